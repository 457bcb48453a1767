//! Executor params as the command line names them.

use std::path::Path;

use lazaret::{
    Params,
    pvf::{ExecutorParams, Settings},
};

use crate::{
    arguments::{KindChoice, Meaning},
    errors::Failure,
    hosting,
};

/// Far more than every executor param once.
const BYTES_MAX: u64 = 64 * 1024;

/// The executor params that were named, or none: the network's defaults.
pub(crate) fn read(meaning: &Meaning) -> Result<ExecutorParams, Failure> {
    let Some(value) = &meaning.executor_params else { return Ok(ExecutorParams::default()) };
    let bytes = match value.strip_prefix("0x") {
        None => hosting::read_up_to(Path::new(value), BYTES_MAX)?,
        Some(digits) => hex::decode(digits).map_err(|_| Failure::Hex {
            argument: "--executor-params",
            value: value.chars().take(80).collect(),
            accepted: "hex after 0x, or a file,",
        })?,
    };
    ExecutorParams::from_scale(&bytes).map_err(|error| wrong(meaning, &error))
}

/// What code means under executor params.
pub(crate) fn code_params(meaning: &Meaning, params: &ExecutorParams) -> Result<Params, Failure> {
    params.code_params().map_err(|error| wrong(meaning, &error))
}

/// The settings of a kind of validation under executor params.
pub(crate) fn settings(
    meaning: &Meaning,
    kind: KindChoice,
    params: &ExecutorParams,
) -> Result<Settings, Failure> {
    Settings::for_kind(kind.into(), params).map_err(|error| wrong(meaning, &error))
}

fn wrong(meaning: &Meaning, reason: &dyn std::error::Error) -> Failure {
    let value = meaning.executor_params.as_deref().unwrap_or_default();
    Failure::ExecutorParams { value: value.chars().take(80).collect(), reason: reason.to_string() }
}
