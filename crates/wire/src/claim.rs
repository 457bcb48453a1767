//! What a job says of its own work.
//!
//! A job may be in the hands of its guest, so a claim proves nothing about this machine: it can make
//! the job's own call fail, and that is all. `judge` in the host is built so that no claim becomes a
//! fault.

use serde::{Deserialize, Serialize};

use crate::{program::Value, text::Text};

/// The most imports that one inspection lists; a module with more says how many there are.
pub const IMPORTS_MAX: usize = 512;
/// The most bytes of a name in an inspection.
pub const NAME_BYTES_MAX: usize = 256;
/// The most bytes of an encoded inspection: its imports, its refusals, and room.
pub const INSPECTION_BYTES_MAX: u32 = 512 * 1024;
/// The most refusals that one inspection lists.
pub const REFUSALS_MAX: usize = 64;

/// A job's last word. Output bytes are not in it: they are a record of their own.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Claim {
    /// The guest returned; its output is the output record.
    Returned {
        /// Pages of linear memory at the end of the call.
        memory_pages: u32,
        /// By how many bytes later in its file the input should have begun for nothing of it to be copied: fewer
        /// than there are in a page; 0 if it need not, or was in none.
        input_shift: u16,
    },
    /// The guest, its code or its input broke a rule.
    Refused(Refusal),
    /// The artifact is written to the memfd.
    Prepared(Prepared),
    /// The output record is a postcard-encoded [`Inspection`].
    Inspected,
    /// The artifact would not load or instantiate.
    ArtifactUnusable(Text),
    /// The job could not go on, for reasons that it lays on the machine. Only its word: a guest that
    /// has taken the job over can say so too.
    Unable(Text),
    /// A plain or WASI program ran. What it returned as bytes is the output record.
    Ran(Ran),
}

/// What came of a run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ran {
    /// How it ended.
    pub end: RunEnd,
    /// Pages of linear memory at the end.
    pub memory_pages: u32,
    /// Fuel that it used, where it counted.
    pub fuel_used: Option<u64>,
}

/// How a run ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum RunEnd {
    /// The export returned these; at most [`VALUES_MAX`](crate::program::VALUES_MAX).
    Values(Vec<Value>),
    /// The export returned the bytes of the output record.
    Bytes,
    /// The command ended with this exit code; 0 where it just returned.
    Exited(i32),
    /// The program broke a rule.
    Refused(Refusal),
}

/// What came of a compilation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Prepared {
    /// Bytes of the artifact.
    pub artifact_bytes: u64,
    /// Bytes of the code once decompressed.
    pub code_bytes: u64,
    /// The most heap bytes that the compilation held at once; 0 where they were not counted.
    pub heap_bytes_peak: u64,
}

/// Why a guest is at fault. Texts explain; they are never matched on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub enum Refusal {
    /// The code cannot become an artifact.
    Code {
        /// The step that the code failed at.
        step: CodeStep,
        /// What was wrong with it.
        reason: Text,
    },
    /// Preparing the code would take more heap than its limit.
    PrepareMemory {
        /// The limit, in bytes.
        limit_bytes: u64,
    },
    /// Preparing the code took more CPU time than its limit.
    PrepareCpu {
        /// The limit, in microseconds.
        limit_micros: u64,
    },
    /// The guest trapped.
    Trap {
        /// Which trap it was.
        kind: TrapKind,
        /// What the engine or the host function said of it.
        message: Text,
    },
    /// The guest needs more linear memory at its start than it may have.
    MemoryLimit {
        /// The limit, in pages of 64 KiB.
        limit_pages: u32,
    },
    /// The call took more CPU time than its limit.
    CpuLimit {
        /// The limit, in microseconds.
        limit_micros: u64,
    },
    /// The guest returned something that is not an output.
    BadOutput(Text),
    /// The guest's output is larger than its limit.
    OutputTooLarge {
        /// The limit, in bytes.
        limit_bytes: u64,
    },
    /// The input does not decompress, or not within its limit.
    BadInput(Text),
    /// The input is larger than its limit.
    InputTooLarge {
        /// Bytes it has.
        bytes: u64,
        /// The limit, in bytes.
        limit_bytes: u64,
    },
    /// The code is larger than its limit.
    CodeTooLarge {
        /// Bytes it has.
        bytes: u64,
        /// The limit, in bytes.
        limit_bytes: u64,
    },
    /// The guest used up its fuel.
    OutOfFuel {
        /// The limit.
        limit: u64,
    },
    /// The guest needs larger tables at its start than it may have.
    TableLimit {
        /// The limit, in elements of all tables.
        limit_elements: u32,
    },
    /// The guest trapped after it was refused more memory.
    MemoryExhausted {
        /// What it asked for in all.
        asked_pages: u64,
        /// The limit, in pages of 64 KiB.
        limit_pages: u32,
    },
    /// The guest trapped after it was refused larger tables.
    TableExhausted {
        /// What it asked for in all.
        asked_elements: u64,
        /// The limit, in elements of all tables.
        limit_elements: u32,
    },
    /// The calls of the guest are nested too deeply.
    StackLimit {
        /// The limit, in values on the logical stack.
        limit_values: u32,
    },
    /// The guest raised a signal at itself.
    Raised {
        /// As WASI numbers it.
        signal: u8,
    },
    /// The program has no export of that name that can be called so.
    NoSuchExport {
        /// Its name.
        name: Text,
        /// What there is instead.
        reason: Text,
    },
    /// The arguments of the call are not those that the export takes.
    BadArguments(Text),
}

/// The steps that code goes through to become an artifact.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum CodeStep {
    /// zstd behind the 8-byte prefix, or text to binary.
    Decode,
    /// Validation of the module under the allowed features and the size limits.
    Validate,
    /// Imports and exports that the profile asks for.
    Interface,
    /// Instrumentation with the logical stack limit.
    Instrument,
    /// Compilation to machine code.
    Compile,
    /// A first instance, with the `start` function run.
    Instantiate,
}

/// The ways in which a guest traps.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum TrapKind {
    /// The `unreachable` instruction: a panic of the guest, or the logical stack limit.
    Unreachable,
    /// The native stack was used up.
    StackOverflow,
    /// An access outside linear memory.
    MemoryOutOfBounds,
    /// An access outside a table, or a call through an empty or wrongly typed element.
    BadIndirectCall,
    /// Integer division by zero, overflow, or a float that fits no integer.
    Arithmetic,
    /// A host function refused its arguments.
    HostFunction,
    /// Any other trap of the engine.
    Other,
}

/// What code is, read without compiling it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Inspection {
    /// Spec name and version that the runtime says of itself, if it does.
    pub spec: Option<(Text, u32)>,
    /// Bytes once decompressed.
    pub code_bytes: u64,
    /// Whether the code came compressed.
    pub compressed: bool,
    /// The first [`IMPORTS_MAX`] imports.
    pub imports: Vec<Import>,
    /// How many imports there are.
    pub imports_total: u32,
    /// Why the code would be refused; empty if nothing is wrong so far.
    pub refusals: Vec<Text>,
}

impl Inspection {
    /// The bytes of the output record.
    pub fn encode(&self) -> Result<Vec<u8>, postcard::Error> {
        postcard::to_stdvec(self)
    }

    /// Back from the bytes of an output record, which must be all of it.
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        match postcard::take_from_bytes(bytes) {
            Ok((inspection, [])) => Some(inspection),
            _ => None,
        }
    }
}

/// One import of a module.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Import {
    /// The module it is imported from.
    pub module: Text,
    /// Its name.
    pub name: Text,
    /// What this host makes of it.
    pub treatment: ImportTreatment,
}

/// What the host makes of an import.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ImportTreatment {
    /// It works.
    Provided,
    /// It links, and traps when called.
    Traps,
    /// The memory that it asks for becomes its own.
    OwnMemory,
    /// Code with this import is refused.
    Refused,
}
