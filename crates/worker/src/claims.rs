//! What the engine found, as claims: here a result crosses from a job to its worker, and changes its
//! type. Also the other way: what was asked, in the engine's words.

use std::{error::Error, fs::File};

use lazaret_engine::{
    Artifact, CodeFormat, CodeLimits, Engine, ExecuteError, Features, ImportTreatment, Inspection,
    LoadError, LogLevel, LogLine, Params, PrepareError, Profile, TrapKind, UnknownImports, program,
    pvf,
};
use lazaret_wire::{
    claim::{self, Claim, CodeStep, IMPORTS_MAX, NAME_BYTES_MAX, REFUSALS_MAX, Refusal},
    evidence, params,
    text::{TEXT_BYTES_MAX, Text},
    work,
};

/// Pages of all that a 32-bit address reaches.
const MEMORY_PAGES_MAX: u32 = 65_536;

/// Params in the engine's words.
pub(crate) fn engine_params(params: &params::Params) -> Params {
    Params {
        profile: match params.profile {
            params::Profile::Pvf => Profile::Pvf,
            params::Profile::Plain => Profile::Plain,
            params::Profile::Wasi => Profile::Wasi,
        },
        memory_pages_max: params.memory_pages_max,
        table_elements_max: params.table_elements_max,
        stack_logical_max: params.stack_logical_max,
        stack_native_bytes_max: params.stack_native_bytes_max,
        features: features(params),
        metering: params.metering == params::Metering::Fuel,
        unknown_imports: match params.unknown_imports {
            params::UnknownImports::Refused => UnknownImports::Refused,
            params::UnknownImports::TrapWhenCalled => UnknownImports::TrapWhenCalled,
        },
        code_format: match params.code_format {
            params::CodeFormat::Binary => CodeFormat::Binary,
            params::CodeFormat::Text => CodeFormat::Text,
        },
    }
}

/// Those to prepare under. Limits of memory and tables are those of each call: were a program refused here
/// for want of them, what is said of it would depend on who prepared it first. A parachain validation
/// function is refused here, as the network asks.
pub(crate) fn preparation_params(params: &params::Params) -> Params {
    let params = engine_params(params);
    match params.profile {
        Profile::Pvf => params,
        Profile::Plain | Profile::Wasi => {
            Params { memory_pages_max: MEMORY_PAGES_MAX, table_elements_max: u32::MAX, ..params }
        }
    }
}

fn features(params: &params::Params) -> Features {
    let of = params.features;
    match params.profile {
        params::Profile::Pvf => Features {
            bulk_memory: params.bulk_memory,
            sign_extension: params.sign_extension,
            ..Features::PVF
        },
        params::Profile::Plain | params::Profile::Wasi => Features {
            mutable_globals: of.mutable_globals,
            sign_extension: of.sign_extension,
            saturating_float_to_int: of.saturating_float_to_int,
            multi_value: of.multi_value,
            bulk_memory: of.bulk_memory,
            reference_types: of.reference_types,
            simd: of.simd,
            extended_const: of.extended_const,
            tail_calls: of.tail_calls,
        },
    }
}

/// The size of code as it is given was checked by the host; what it decompresses to is checked here.
pub(crate) fn code_limits(code_bytes_max: u64) -> CodeLimits {
    CodeLimits { code_bytes_max: u64::MAX, code_decompressed_bytes_max: code_bytes_max }
}

/// The input in the engine's words; `None` if it is shorter than the head and the extension
/// that should be in it.
pub(crate) fn pvf_input<'a>(form: &work::Input, bytes: &'a [u8]) -> Option<pvf::Input<'a>> {
    let parts = match form {
        work::Input::PvfEncoded => return Some(pvf::Input::Encoded(bytes)),
        work::Input::PvfParts(parts) => parts,
        work::Input::Plain(_) | work::Input::Sequence(_) | work::Input::Wasi(_) => return None,
    };
    let (parent_head, rest) = bytes.split_at_checked(parts.parent_head_bytes as usize)?;
    let block_data_bytes = rest.len().checked_sub(parts.extension_bytes as usize)?;
    let (block_data, extension) = rest.split_at(block_data_bytes);
    Some(pvf::Input::Parts {
        parent_head,
        block_data,
        extension,
        relay_parent_number: parts.relay_parent_number,
        relay_parent_storage_root: parts.relay_parent_storage_root,
        block_data_bytes_max: parts.block_data_bytes_max,
    })
}

/// Loads the artifact that the host handed over.
#[allow(unsafe_code)]
pub(crate) fn load(engine: &Engine, artifact: File) -> Result<Artifact, LoadError> {
    // SAFETY: `load` asks for an artifact that nobody changes, and where its maker is not trusted,
    // for a process that is allowed nothing. The memfd is sealed, which the host checked; the maker
    // was a job like this one; and this process is a job, whose last doors close before the artifact
    // runs.
    unsafe { engine.load(artifact) }
}

/// The same of a program.
#[allow(unsafe_code)]
pub(crate) fn load_program(
    engine: &Engine,
    artifact: File,
    params: &Params,
) -> Result<program::Program, LoadError> {
    // SAFETY: as for `load`, which asks for the same.
    unsafe { engine.load_program(artifact, params) }
}

/// Why a call of a parachain validation function returned nothing.
pub(crate) fn of_execution(error: ExecuteError, params: &params::Params) -> Claim {
    refusal(error, params).map_or_else(|claim| claim, Claim::Refused)
}

/// Why a call returned nothing, as the guest's fault or as another claim.
pub(crate) fn refusal(error: ExecuteError, params: &params::Params) -> Result<Refusal, Claim> {
    use ExecuteError as E;
    let text = with_causes(&error);
    Ok(match error {
        E::Trap { kind, text } => Refusal::Trap { kind: trap_kind(kind), message: text.into() },
        E::MemoryLimit { .. } => Refusal::MemoryLimit { limit_pages: params.memory_pages_max },
        E::BlockDataDecompress(_) => Refusal::BadInput(text),
        E::InputTooLarge { bytes, bytes_max } => {
            Refusal::InputTooLarge { bytes, limit_bytes: bytes_max }
        }
        E::InputMemory { .. } => Refusal::BadInput(text),
        E::NoHeapBase => Refusal::Trap { kind: claim::TrapKind::Other, message: text },
        E::OutputOutOfBounds { .. } => Refusal::BadOutput(text),
        E::NoSuchFunction { name, there_are } => Refusal::NoSuchExport {
            name: self::name(&name),
            reason: match there_are.as_slice() {
                [] => "the program exports no function".into(),
                there_are => format!("it exports {}", there_are.join(", ")).into(),
            },
        },
        E::Arguments { .. } | E::TypeNotHandedOver { .. } | E::BytesConvention { .. } => {
            Refusal::BadArguments(text)
        }
        E::TableLimit { elements_max, .. } => Refusal::TableLimit { limit_elements: elements_max },
        E::MemoryExhausted { pages, pages_max, .. } => {
            Refusal::MemoryExhausted { asked_pages: pages, limit_pages: pages_max }
        }
        E::TableExhausted { elements, elements_max, .. } => {
            Refusal::TableExhausted { asked_elements: elements, limit_elements: elements_max }
        }
        E::StackExhausted { values_max } => Refusal::StackLimit { limit_values: values_max },
        E::OutOfFuel { fuel } => Refusal::OutOfFuel { limit: fuel },
        E::OutputLimit { bytes_max, .. } => Refusal::OutputTooLarge { limit_bytes: bytes_max },
        E::Raised { signal } => Refusal::Raised { signal },
        E::Instantiate { .. } | E::MissingExport { .. } => {
            return Err(Claim::ArtifactUnusable(text));
        }
        E::WrongEngine | E::NotMetered | E::MachineMemory { .. } => {
            return Err(Claim::Unable(text));
        }
    })
}

/// Why code did not become an artifact.
pub(crate) fn of_preparation(error: PrepareError) -> Claim {
    use PrepareError as E;
    let reason = with_causes(&error);
    let step = match error {
        E::NotOfProfile { .. } | E::CodeTooLarge { .. } | E::Decompress(_) | E::Text { .. } => {
            CodeStep::Decode
        }
        E::Invalid { .. } | E::Limit { .. } | E::Unsupported { .. } => CodeStep::Validate,
        E::ImportModule { .. }
        | E::ImportKind { .. }
        | E::UnknownImport { .. }
        | E::ImportType { .. }
        | E::MissingExport { .. }
        | E::ExportType { .. } => CodeStep::Interface,
        E::Deserialize { .. } | E::StackLimiter { .. } => CodeStep::Instrument,
        E::Compile { .. } => CodeStep::Compile,
        E::MemoryMinimum { .. }
        | E::SegmentOutOfBounds { .. }
        | E::Instantiate { .. }
        | E::StartTrapped { .. } => CodeStep::Instantiate,
        E::WrongEngine | E::MachineMemory { .. } => return Claim::Unable(reason),
    };
    Claim::Refused(Refusal::Code { step, reason })
}

/// An inspection, capped.
pub(crate) fn inspection(found: Inspection) -> claim::Inspection {
    let imports_total = found.imports.len() as u32;
    claim::Inspection {
        spec: found.version.map(|version| (version.spec_name.into(), version.spec_version)),
        code_bytes: found.code_decompressed_bytes,
        compressed: found.code_decompressed_bytes != found.code_bytes,
        imports: found.imports.into_iter().take(IMPORTS_MAX).map(import).collect(),
        imports_total,
        refusals: found
            .refusals
            .iter()
            .take(REFUSALS_MAX)
            .map(|error| with_causes(error))
            .collect(),
    }
}

fn name(name: &str) -> Text {
    name[..name.floor_char_boundary(NAME_BYTES_MAX)].into()
}

fn import(import: lazaret_engine::InspectedImport) -> claim::Import {
    claim::Import {
        module: name(&import.module),
        name: name(&import.name),
        treatment: match import.treatment {
            ImportTreatment::Provided => claim::ImportTreatment::Provided,
            ImportTreatment::TrapsWhenCalled => claim::ImportTreatment::Traps,
            ImportTreatment::OwnMemory => claim::ImportTreatment::OwnMemory,
            ImportTreatment::Refused => claim::ImportTreatment::Refused,
        },
    }
}

/// A line of a guest, capped.
pub(crate) fn log_line(line: &LogLine<'_>) -> evidence::LogLine {
    evidence::LogLine {
        level: match line.level {
            LogLevel::Error => evidence::LogLevel::Error,
            LogLevel::Warn => evidence::LogLevel::Warn,
            LogLevel::Info => evidence::LogLevel::Info,
            LogLevel::Debug => evidence::LogLevel::Debug,
            LogLevel::Trace => evidence::LogLevel::Trace,
        },
        target: line.target.into(),
        message: capped(&line.message),
    }
}

fn trap_kind(kind: TrapKind) -> claim::TrapKind {
    match kind {
        TrapKind::Unreachable => claim::TrapKind::Unreachable,
        TrapKind::StackOverflow => claim::TrapKind::StackOverflow,
        TrapKind::MemoryOutOfBounds => claim::TrapKind::MemoryOutOfBounds,
        TrapKind::TableOutOfBounds
        | TrapKind::IndirectCallToNull
        | TrapKind::IndirectCallSignature => claim::TrapKind::BadIndirectCall,
        TrapKind::IntegerOverflow
        | TrapKind::IntegerDivisionByZero
        | TrapKind::BadConversionToInteger => claim::TrapKind::Arithmetic,
        TrapKind::HostCall => claim::TrapKind::HostFunction,
        TrapKind::Other => claim::TrapKind::Other,
    }
}

/// An error and what caused it, in one capped line.
pub(crate) fn with_causes(error: &dyn Error) -> Text {
    let mut words = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        words.push_str(": ");
        words.push_str(&error.to_string());
        cause = error.source();
    }
    words.into()
}

/// What `shown` writes, up to the cap and no further: a guest may log 100 MiB in one line.
fn capped(shown: &impl std::fmt::Display) -> Text {
    struct Capped(String);
    impl std::fmt::Write for Capped {
        fn write_str(&mut self, piece: &str) -> std::fmt::Result {
            let room = TEXT_BYTES_MAX - self.0.len();
            self.0.push_str(&piece[..piece.floor_char_boundary(room)]);
            if piece.len() > room { Err(std::fmt::Error) } else { Ok(()) }
        }
    }
    let mut text = Capped(String::new());
    // The error only says that the cap was reached.
    let _ = std::fmt::write(&mut text, format_args!("{shown}"));
    text.0.into()
}
