//! How a call of a program ended, from what Wasmtime returned and what the instance then says.

use wasmtime::{Instance, Store, Trap};

use super::artifact::State;
use super::call::Output;
use crate::execute::ExecuteError;
use crate::stack::STACK;
use crate::trap::{Ending, TrapKind, classify};
use crate::wasi::{Stream, WriteError};

/// How a host function ends a program, other than by a trap.
#[derive(Clone, Copy, Debug, thiserror::Error)]
pub(crate) enum Stop {
    #[error("exit {0}")]
    Exit(i32),
    #[error("signal {0}")]
    Raised(u8),
    #[error("{1:?} on {0}")]
    Output(Stream, WriteError),
}

/// What a call that did not return ended with.
pub(crate) fn of(
    error: &wasmtime::Error,
    store: &mut Store<State>,
    instance: &Instance,
    values_max: u32,
) -> Result<Output, ExecuteError> {
    match error.downcast_ref::<Stop>() {
        Some(Stop::Exit(code)) => return Ok(Output::Exit(*code)),
        Some(Stop::Raised(signal)) => return Err(ExecuteError::Raised { signal: *signal }),
        Some(Stop::Output(stream, WriteError::Limit { bytes_max })) => {
            return Err(ExecuteError::OutputLimit { stream: *stream, bytes_max: *bytes_max });
        }
        _ => {}
    }
    if error.downcast_ref::<Trap>() == Some(&Trap::OutOfFuel) {
        let fuel = store.data().fuel.unwrap_or_default();
        return Err(ExecuteError::OutOfFuel { fuel });
    }
    let (kind, text) = match classify(error) {
        Ending::MachineMemory { text } => return Err(ExecuteError::MachineMemory { text }),
        Ending::Trap { kind, text } => (kind, text),
    };
    if kind == TrapKind::Unreachable && counted(store, instance) > values_max {
        return Err(ExecuteError::StackExhausted { values_max });
    }
    // What programs do when they are refused memory is to abort, or not to look.
    let may_follow = matches!(kind, TrapKind::Unreachable | TrapKind::MemoryOutOfBounds);
    let limiter = &store.data().limiter;
    match (limiter.pages_refused, limiter.elements_refused) {
        (Some(pages), _) if may_follow => {
            Err(ExecuteError::MemoryExhausted { pages, pages_max: limiter.pages_max(), text })
        }
        (_, Some(elements)) if may_follow => {
            let elements_max = limiter.elements_max();
            Err(ExecuteError::TableExhausted { elements, elements_max, text })
        }
        _ => Err(ExecuteError::Trap { kind, text }),
    }
}

/// Why there is no instance, where it is the limits' doing.
pub(crate) fn of_instantiation(error: &wasmtime::Error, store: &Store<State>) -> ExecuteError {
    let limiter = &store.data().limiter;
    if let Some(pages) = limiter.pages_refused {
        return ExecuteError::MemoryLimit { pages, pages_max: limiter.pages_max() };
    }
    if let Some(elements) = limiter.elements_refused {
        return ExecuteError::TableLimit { elements, elements_max: limiter.elements_max() };
    }
    match classify(error) {
        Ending::MachineMemory { text } => ExecuteError::MachineMemory { text },
        // A segment outside its memory or table; nothing else of the guest's happens then.
        Ending::Trap { kind: TrapKind::Other, text } => ExecuteError::Instantiate { text },
        Ending::Trap { kind, text } => ExecuteError::Trap { kind, text },
    }
}

/// Values on the counted stack.
fn counted(store: &mut Store<State>, instance: &Instance) -> u32 {
    let counter = instance.get_global(&mut *store, STACK);
    counter.and_then(|counter| counter.get(&mut *store).i32()).unwrap_or(0) as u32
}
