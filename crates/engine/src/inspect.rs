//! What a piece of code is and what would become of it, without compiling it.
//!
//! Serves `lazaret pvf inspect`. Reads hostile code like `prepare` does, so it too belongs in a job.

use crate::externs::{InspectedExport, InspectedImport};
use crate::params::{CodeLimits, Params};
use crate::prepare::{PrepareError, unpack};
use crate::runtime_version::{RuntimeVersion, read_version};
use crate::survey::survey;

/// What a piece of code is.
#[derive(Debug)]
pub struct Inspection {
    /// The embedded version, when there is one and it decodes.
    pub version: Option<RuntimeVersion>,
    /// Bytes as given.
    pub code_bytes: u64,
    /// Bytes after decompression.
    pub code_decompressed_bytes: u64,
    /// Functions, imported ones included.
    pub functions: u64,
    /// Pages the memory starts with, and what the module itself limits it to.
    pub memory_pages: Option<(u64, Option<u64>)>,
    /// Whether there is a `start` function.
    pub has_start: bool,
    /// What it imports, and what happens to each import.
    pub imports: Vec<InspectedImport>,
    /// What it exports.
    pub exports: Vec<InspectedExport>,
    /// Why it would be refused; empty when it would go on to be compiled.
    pub refusals: Vec<PrepareError>,
}

/// Looks at code. An error means that it is not valid Wasm of the allowed kind, or does not unpack.
pub fn inspect(
    code: &[u8],
    params: &Params,
    limits: &CodeLimits,
) -> Result<Inspection, PrepareError> {
    let wasm = unpack(code, params, limits)?;
    let survey = survey(&wasm, params)?;
    Ok(Inspection {
        version: read_version(survey.version_section, survey.apis_section).ok(),
        code_bytes: code.len() as u64,
        code_decompressed_bytes: wasm.len() as u64,
        functions: survey.functions,
        memory_pages: survey.memory,
        has_start: survey.has_start,
        imports: survey.imports,
        exports: survey.exports,
        refusals: survey.objections,
    })
}
