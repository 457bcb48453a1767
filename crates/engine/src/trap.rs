//! How a guest's run ended badly, in terms a verdict can be made of.
//!
//! The text of a trap may hold words of the guest's choosing (the name of a missing import); it is
//! for people, is not capped here, and nothing may match on it.

use crate::imports::HostCallError;

/// What kind of trap ended the guest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TrapKind {
    /// `unreachable`: a panic of the guest, or the logical stack limit, which traps the same way.
    Unreachable,
    /// A load, store or bulk operation outside linear memory.
    MemoryOutOfBounds,
    /// A table access outside the table.
    TableOutOfBounds,
    /// An indirect call through an empty table slot.
    IndirectCallToNull,
    /// An indirect call to a function of another type.
    IndirectCallSignature,
    /// An integer division that overflows.
    IntegerOverflow,
    /// An integer division by zero.
    IntegerDivisionByZero,
    /// A float that no integer of the asked width can hold.
    BadConversionToInteger,
    /// The native stack limit; the logical one should always come first.
    StackOverflow,
    /// A host function refused: a missing import, bad pointers, an allocator that ran out.
    HostCall,
    /// Anything else Wasmtime may trap with.
    Other,
}

/// A trap, or the one thing that looks like a trap and is the machine's doing.
#[derive(Debug)]
pub(crate) enum Ending {
    Trap {
        kind: TrapKind,
        text: String,
    },
    /// The operating system refused memory that the limits allow.
    MachineMemory {
        text: String,
    },
}

/// Sorts what Wasmtime returned from a call or an instantiation.
pub(crate) fn classify(error: &wasmtime::Error) -> Ending {
    if let Some(refusal) = error.downcast_ref::<HostCallError>() {
        let text = refusal.to_string();
        return match refusal {
            HostCallError::MachineMemory { .. } => Ending::MachineMemory { text },
            _ => Ending::Trap { kind: TrapKind::HostCall, text },
        };
    }
    match error.downcast_ref::<wasmtime::Trap>() {
        Some(trap) => Ending::Trap { kind: kind_of(*trap), text: trap.to_string() },
        None => Ending::Trap { kind: TrapKind::Other, text: format!("{error:#}") },
    }
}

fn kind_of(trap: wasmtime::Trap) -> TrapKind {
    use wasmtime::Trap;
    match trap {
        Trap::UnreachableCodeReached => TrapKind::Unreachable,
        Trap::MemoryOutOfBounds => TrapKind::MemoryOutOfBounds,
        Trap::TableOutOfBounds => TrapKind::TableOutOfBounds,
        Trap::IndirectCallToNull => TrapKind::IndirectCallToNull,
        Trap::BadSignature => TrapKind::IndirectCallSignature,
        Trap::IntegerOverflow => TrapKind::IntegerOverflow,
        Trap::IntegerDivisionByZero => TrapKind::IntegerDivisionByZero,
        Trap::BadConversionToInteger => TrapKind::BadConversionToInteger,
        Trap::StackOverflow => TrapKind::StackOverflow,
        _ => TrapKind::Other,
    }
}
