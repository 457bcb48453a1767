//! What can go wrong in one call, one variant per step.
//!
//! Whose fault it is and whether to retry are the host's to decide; [`ExecuteError::is_deterministic`]
//! only says whether the same call ends the same way on every machine.

use crate::compressed::DecompressError;
use crate::trap::TrapKind;

/// Why a call returned no output.
#[derive(Debug, thiserror::Error)]
pub enum ExecuteError {
    /// The engine was built for another native stack size than these params ask for.
    #[error("the engine was built for other params")]
    WrongEngine,
    /// The block data carries the prefix of compressed data but does not decompress.
    #[error("the block data does not decompress")]
    BlockDataDecompress(#[source] DecompressError),
    /// The artifact's memory starts above the limit.
    #[error("the memory starts at {pages} pages, {pages_max} are allowed")]
    MemoryLimit {
        /// What the module asks for.
        pages: u64,
        /// What the params allow.
        pages_max: u32,
    },
    /// The artifact could not be instantiated although preparation found that it can be.
    #[error("cannot instantiate: {text}")]
    Instantiate {
        /// Wasmtime's words.
        text: String,
    },
    /// The artifact lacks an export that preparation checked for.
    #[error("the export `{name}` is missing or has another type")]
    MissingExport {
        /// The export.
        name: &'static str,
    },
    /// The artifact exports no `__heap_base` of type i32, so its input has no place. Preparation
    /// takes such code, as Polkadot's does; no call of it can succeed.
    #[error("the module has no i32 global `__heap_base`, so there is no place for its input")]
    NoHeapBase,
    /// The input is larger than one allocation can be (32 MiB, as in Substrate's allocator).
    #[error("the input has {bytes} bytes, {bytes_max} are allowed")]
    InputTooLarge {
        /// Bytes the input would take in guest memory.
        bytes: u64,
        /// The largest allocation.
        bytes_max: u64,
    },
    /// The guest's heap has no room for the input.
    #[error("no room for the input in the guest's memory: {text}")]
    InputMemory {
        /// The allocator's words.
        text: String,
    },
    /// The guest trapped.
    #[error("the guest trapped: {text}")]
    Trap {
        /// What kind of trap.
        kind: TrapKind,
        /// For people; may hold names of the guest's choosing.
        text: String,
    },
    /// The guest returned a range that is not inside its memory.
    #[error(
        "the output ({length} bytes at {pointer}) is outside the memory of {memory_bytes} bytes"
    )]
    OutputOutOfBounds {
        /// Where the output starts.
        pointer: u32,
        /// How long it is.
        length: u32,
        /// How large the memory is.
        memory_bytes: u64,
    },
    /// The operating system refused memory that the limits allow. Says nothing about the guest.
    #[error("the machine refused memory: {text}")]
    MachineMemory {
        /// The operating system's words.
        text: String,
    },
}

impl ExecuteError {
    /// Whether the same code, params and input end like this on every machine.
    pub fn is_deterministic(&self) -> bool {
        match self {
            Self::WrongEngine | Self::MachineMemory { .. } => false,
            // Preparation checked these, so the artifact is not what preparation made.
            Self::Instantiate { .. } | Self::MissingExport { .. } => false,
            // The native limit depends on how code was compiled.
            Self::Trap { kind, .. } => *kind != TrapKind::StackOverflow,
            _ => true,
        }
    }
}
