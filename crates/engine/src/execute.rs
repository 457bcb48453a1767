//! What can go wrong in one call, one variant per step.
//!
//! Whose fault it is and whether to retry are the host's to decide; [`ExecuteError::is_deterministic`]
//! only says whether the same call ends the same way on every machine.

use crate::compressed::DecompressError;
use crate::trap::TrapKind;
use crate::wasi::Stream;

/// Names that [`ExecuteError::NoSuchFunction`] lists.
pub const EXPORTS_LISTED_MAX: usize = 64;

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
    /// The code exports no function of the name that is to be called.
    #[error("there is no exported function `{name}`")]
    NoSuchFunction {
        /// What was asked for.
        name: String,
        /// What there is, the first [`EXPORTS_LISTED_MAX`] by name.
        there_are: Vec<String>,
    },
    /// The arguments do not fit the function.
    #[error("{function} takes {expected}, not {found}")]
    Arguments {
        /// The function.
        function: String,
        /// The types it takes, or what one of them is written as.
        expected: String,
        /// What was given, or the word that is none.
        found: String,
    },
    /// A parameter or result is of a type that cannot be handed over (a vector, a reference).
    #[error("{function} has the type {found}; only i32, i64, f32 and f64 can be handed over")]
    TypeNotHandedOver {
        /// The function.
        function: String,
        /// Its type.
        found: String,
    },
    /// The code does not keep the convention of bytes ([`program::Input::Bytes`](crate::program::Input)).
    #[error("bytes cannot be handed over: {lacks}")]
    BytesConvention {
        /// What is missing or different.
        lacks: &'static str,
    },
    /// The instance's tables are larger than the limit from the start.
    #[error("the tables start with {elements} elements, {elements_max} are allowed")]
    TableLimit {
        /// What the module asks for.
        elements: u64,
        /// What the params allow.
        elements_max: u32,
    },
    /// The guest trapped after it was refused more memory.
    #[error("out of memory: {pages} pages were asked for, {pages_max} are allowed ({text})")]
    MemoryExhausted {
        /// What it asked for in all the last time it was refused.
        pages: u64,
        /// What the params allow.
        pages_max: u32,
        /// The trap.
        text: String,
    },
    /// The guest trapped after it was refused larger tables.
    #[error(
        "out of tables: {elements} elements were asked for, {elements_max} are allowed ({text})"
    )]
    TableExhausted {
        /// What it asked for in all the last time it was refused.
        elements: u64,
        /// What the params allow.
        elements_max: u32,
        /// The trap.
        text: String,
    },
    /// The guest's calls are nested too deeply.
    #[error("the stack is exhausted: {values_max} values are allowed")]
    StackExhausted {
        /// What the params allow.
        values_max: u32,
    },
    /// The guest used all its fuel.
    #[error("out of fuel: {fuel} units were given")]
    OutOfFuel {
        /// What it was given.
        fuel: u64,
    },
    /// Fuel was given to code that was prepared without metering.
    #[error("fuel was given, but the code was prepared without metering")]
    NotMetered,
    /// The guest wrote more than the caller takes.
    #[error("more than {bytes_max} bytes were written to {stream}")]
    OutputLimit {
        /// Where to.
        stream: Stream,
        /// The limit.
        bytes_max: u64,
    },
    /// The guest raised a signal (`proc_raise`), which ends it.
    #[error("the guest raised signal {signal}")]
    Raised {
        /// As WASI numbers it.
        signal: u8,
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
            Self::WrongEngine | Self::NotMetered | Self::MachineMemory { .. } => false,
            // Preparation checked these, so the artifact is not what preparation made.
            Self::Instantiate { .. } | Self::MissingExport { .. } => false,
            // The native limit depends on how code was compiled.
            Self::Trap { kind, .. } => *kind != TrapKind::StackOverflow,
            _ => true,
        }
    }
}
