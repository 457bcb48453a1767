//! Code in, artifact out: decompress, validate, instrument, compile, check.
//!
//! Runs inside a prepare job, on hostile code. Every error but the one the machine causes is the
//! same on every machine. Time is not limited here: the worker watches the job's CPU clock.

use std::borrow::Cow;

use wasmtime::{Module, Store};

use crate::artifact::{Artifact, start};
use crate::compressed::{DecompressError, decompress};
use crate::engine::Engine;
use crate::externs::ExternKind;
use crate::imports::State;
use crate::instrument::instrument;
use crate::params::{CodeFormat, CodeLimits, Features, Params, Profile};
use crate::stack;
use crate::survey::survey;
use crate::trap::{Ending, TrapKind, classify};

/// Stack for parsing and compiling. The main stack of a job may be small, and the limit of what a
/// module can make a compiler recurse should not depend on it.
const STACK_BYTES: usize = 64 << 20;

/// Stack for host functions, on top of what compiled code may use.
pub(crate) const STACK_BYTES_MARGIN: usize = 16 << 20;

/// A prepared artifact.
#[derive(Debug)]
pub struct Prepared {
    /// The bytes [`Engine::load`] takes.
    pub artifact: Vec<u8>,
    /// Bytes of the code after decompression.
    pub code_bytes: u64,
    /// Functions in the code, imported ones included.
    pub functions: u64,
}

/// Why code is refused, one variant per step.
///
/// Texts may hold words of the code's choosing (names of imports) and are not capped.
#[derive(Debug, thiserror::Error)]
pub enum PrepareError {
    /// The engine was built for another native stack size than these params ask for.
    #[error("the engine was built for other params")]
    WrongEngine,
    /// The params ask for what the profile does not have.
    #[error("this profile has no {what}")]
    NotOfProfile {
        /// What it does not have.
        what: &'static str,
    },
    /// The code is larger than allowed.
    #[error("the code has {bytes} bytes, {bytes_max} are allowed")]
    CodeTooLarge {
        /// Bytes of the code.
        bytes: u64,
        /// The limit that it is above.
        bytes_max: u64,
    },
    /// The code carries the prefix of compressed code but does not decompress.
    #[error("the code does not decompress")]
    Decompress(#[source] DecompressError),
    /// The text format does not parse.
    #[error("the text is not a module: {text}")]
    Text {
        /// The parser's words.
        text: String,
    },
    /// Not valid Wasm of the allowed kind.
    #[error("not valid Wasm: {text} (at byte {offset})")]
    Invalid {
        /// The validator's words.
        text: String,
        /// Where in the decompressed code.
        offset: usize,
    },
    /// More of something than [`limits`](crate::limits) allow.
    #[error("{found} {what}, {max} are allowed")]
    Limit {
        /// What there is too much of.
        what: &'static str,
        /// How much there is.
        found: u64,
        /// How much is allowed.
        max: u64,
    },
    /// An instruction of the bulk memory proposal beyond `memory.copy` and `memory.fill`.
    #[error("{what} is not supported")]
    Unsupported {
        /// The instruction.
        what: &'static str,
    },
    /// An import from a module other than `env`.
    #[error("the host provides nothing from `{module}` (asked for `{name}`)")]
    ImportModule {
        /// The module asked for.
        module: String,
        /// What was asked of it.
        name: String,
    },
    /// An import that the profile does not provide.
    #[error(
        "nothing provides the {kind:?} `{name}` of `{module}`; functions that are never called can \
         be let through as unknown imports"
    )]
    UnknownImport {
        /// The module asked for.
        module: String,
        /// What was asked of it.
        name: String,
        /// What it should be.
        kind: ExternKind,
    },
    /// An import that is neither a function nor a memory.
    #[error("the host provides functions and a memory, not `{name}` ({kind:?})")]
    ImportKind {
        /// The import.
        name: String,
        /// What it is.
        kind: ExternKind,
    },
    /// A host function is imported with another type than it has.
    #[error("`{name}` has the type {expected}, not {found}")]
    ImportType {
        /// The import.
        name: String,
        /// The type the host function has.
        expected: String,
        /// The type it is imported with.
        found: String,
    },
    /// An export every parachain runtime has is missing.
    #[error("the export `{name}` is missing")]
    MissingExport {
        /// The export.
        name: &'static str,
    },
    /// An export every parachain runtime has is of another kind or type.
    #[error("the export `{name}` is a {found}")]
    ExportType {
        /// The export.
        name: &'static str,
        /// What it is instead.
        found: String,
    },
    /// The memory starts above the limit.
    #[error("the memory starts at {pages} pages, {pages_max} are allowed")]
    MemoryMinimum {
        /// What the module asks for.
        pages: u64,
        /// What the params allow.
        pages_max: u32,
    },
    /// A data segment outside the memory, or an element segment outside the table.
    #[error("a segment ends at {end}, beyond the size {size}")]
    SegmentOutOfBounds {
        /// Where the segment ends, in bytes or elements.
        end: u64,
        /// The size of what it should lie in.
        size: u64,
    },
    /// The stack limiter's parser does not take the module, or cannot write it again.
    #[error("cannot be instrumented: {text}")]
    Deserialize {
        /// The parser's words.
        text: String,
    },
    /// The stack limiter does not take the module.
    #[error("cannot inject the stack limiter: {reason}")]
    StackLimiter {
        /// The limiter's words.
        reason: &'static str,
    },
    /// Wasmtime does not compile the module.
    #[error("does not compile: {text}")]
    Compile {
        /// Wasmtime's words.
        text: String,
    },
    /// The compiled module cannot be linked or instantiated.
    #[error("does not instantiate: {text}")]
    Instantiate {
        /// Wasmtime's words.
        text: String,
    },
    /// The `start` function traps.
    #[error("the start function traps: {text}")]
    StartTrapped {
        /// What kind of trap.
        kind: TrapKind,
        /// For people.
        text: String,
    },
    /// The operating system refused memory. Says nothing about the code.
    #[error("the machine refused memory: {text}")]
    MachineMemory {
        /// The operating system's words.
        text: String,
    },
}

impl PrepareError {
    /// Whether the same code and params end like this on every machine.
    pub fn is_deterministic(&self) -> bool {
        match self {
            Self::WrongEngine | Self::MachineMemory { .. } => false,
            Self::StartTrapped { kind, .. } => *kind != TrapKind::StackOverflow,
            _ => true,
        }
    }
}

impl From<wasmparser::BinaryReaderError> for PrepareError {
    fn from(error: wasmparser::BinaryReaderError) -> Self {
        Self::Invalid { text: error.message().to_owned(), offset: error.offset() }
    }
}

impl Engine {
    /// Turns code into an artifact, or says why it is refused. Whether the artifact can be
    /// instantiated is for [`check`](Self::check) to say, once it is loaded.
    pub fn prepare(
        &self,
        code: &[u8],
        params: &Params,
        limits: &CodeLimits,
    ) -> Result<Prepared, PrepareError> {
        if !self.suits(params) {
            return Err(PrepareError::WrongEngine);
        }
        stacker::grow(STACK_BYTES, || {
            let wasm = unpack(code, params, limits)?;
            check_params(params)?;
            let mut survey = survey(&wasm, params)?;
            if !survey.objections.is_empty() {
                return Err(survey.objections.swap_remove(0));
            }
            let artifact = match params.profile {
                Profile::Pvf => self.compile(&instrument(&wasm, params)?)?,
                Profile::Plain | Profile::Wasi => {
                    let changed = stack::instrument(&wasm, &survey, params)?;
                    self.compile_program(&changed, params)?
                }
            };
            let (code_bytes, functions) = (wasm.len() as u64, survey.functions);
            Ok(Prepared { artifact, code_bytes, functions })
        })
    }

    fn compile(&self, wasm: &[u8]) -> Result<Vec<u8>, PrepareError> {
        let compile = |error: wasmtime::Error| PrepareError::Compile { text: format!("{error:#}") };
        let module = Module::from_binary(self.wasmtime(), wasm).map_err(compile)?;
        let artifact = module.serialize().map_err(compile)?;
        self.link(module)
            .map_err(|error| PrepareError::Instantiate { text: format!("{error:#}") })?;
        Ok(artifact)
    }

    /// Makes one instance of a fresh artifact, `start` function included: what an artifact cannot do
    /// once here, it could not do for any call.
    pub fn check(&self, artifact: &Artifact, params: &Params) -> Result<(), PrepareError> {
        if !self.suits(params) {
            return Err(PrepareError::WrongEngine);
        }
        let stack_bytes = self.stack_native_bytes_max() + STACK_BYTES_MARGIN;
        stacker::grow(stack_bytes, || {
            let state = State::new(params.memory_pages_max, Box::new(|_| ()));
            let mut store = Store::new(self.wasmtime(), state);
            store.limiter(|state| &mut state.limit);
            let instantiated = artifact.instantiate(&mut store);
            let started = instantiated.and_then(|instance| match start(&mut store, &instance)? {
                Some(start) => start.call(&mut store, ()),
                None => Ok(()),
            });
            let Err(error) = started else { return Ok(()) };
            // Only `start` runs anything; what else may fail, `survey` and linking have checked.
            Err(match classify(&error) {
                Ending::Trap { kind: TrapKind::Other, text } => PrepareError::Instantiate { text },
                Ending::Trap { kind, text } => PrepareError::StartTrapped { kind, text },
                Ending::MachineMemory { text } => PrepareError::MachineMemory { text },
            })
        })
    }
}

/// What the network has no word for cannot be asked of its profile.
fn check_params(params: &Params) -> Result<(), PrepareError> {
    if params.profile != Profile::Pvf {
        return Ok(());
    }
    let Features { sign_extension, bulk_memory, .. } = params.features;
    if params.features != (Features { sign_extension, bulk_memory, ..Features::PVF }) {
        return Err(PrepareError::NotOfProfile { what: "feature beyond bulk memory" });
    }
    match params.metering {
        true => Err(PrepareError::NotOfProfile { what: "metering" }),
        false => Ok(()),
    }
}

/// Decompresses code, or converts it from text.
pub(crate) fn unpack<'a>(
    code: &'a [u8],
    params: &Params,
    limits: &CodeLimits,
) -> Result<Cow<'a, [u8]>, PrepareError> {
    let too_large = |bytes: usize, bytes_max: u64| {
        let bytes = bytes as u64;
        if bytes > bytes_max {
            Err(PrepareError::CodeTooLarge { bytes, bytes_max })
        } else {
            Ok(())
        }
    };
    too_large(code.len(), limits.code_bytes_max)?;
    let wasm = match params.code_format {
        CodeFormat::Binary => decompress(code, limits.code_decompressed_bytes_max)
            .map_err(PrepareError::Decompress)?,
        CodeFormat::Text => Cow::Owned(
            std::str::from_utf8(code)
                .map_err(|error| error.to_string())
                .and_then(|text| wat::parse_str(text).map_err(|error| error.to_string()))
                .map_err(|text| PrepareError::Text { text })?,
        ),
    };
    too_large(wasm.len(), limits.code_decompressed_bytes_max)?;
    Ok(wasm)
}
