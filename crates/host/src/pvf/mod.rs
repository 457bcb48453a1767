//! Parachain validation functions: blocks in, validation results out, votes.
//!
//! The types are those of Polkadot's `polkadot-parachain-primitives` and `polkadot-primitives`,
//! SCALE-encoded; the convention of the call is in the Polkadot specification, "Parachain validation
//! functions".
//!
//! A node has the executor params of a session and a reason to validate; the settings follow:
//!
//! ```
//! use lazaret::pvf::{ExecKind, ExecutorParams, Settings};
//!
//! // MaxMemoryPages(8192), PvfExecTimeout(Approval, 16000).
//! let session = [0x08, 1, 0, 0x20, 0, 0, 6, 1, 0x80, 0x3e, 0, 0, 0, 0, 0, 0];
//! let executor_params = ExecutorParams::from_scale(&session)?;
//! let settings = Settings::for_kind(ExecKind::Approval, &executor_params)?;
//! assert_eq!(settings.params.memory_pages_max, 32 + 8192);
//! assert_eq!(settings.limits.cpu, std::time::Duration::from_secs(16));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! The limits of preparing code follow the session too: [`ExecutorParams::prepare_limits`] gives them, and
//! the session's [`code_decompressed_bytes_max`] goes into them. A node hands them to each request
//! ([`Settings::prepare_limits`], [`Host::precheck_with`]), or to the host for all that bring none
//! ([`Builder::prepare_limits`](crate::Builder::prepare_limits)).

mod block;
mod executor_limits;
mod executor_params;
mod executor_rules;
mod head;
mod kinds;
mod params;
mod result;
mod sizes;
mod vote;

use crate::{Answer, Code, Fault, Host, host::Call};

pub use block::Block;
pub use executor_limits::Unusable;
pub use executor_params::{
    DecodeError, ExecTimeoutKind, ExecutorParam, ExecutorParams, HostFunctions,
};
pub use executor_rules::Inconsistency;
pub use head::{head_hash, head_number};
pub use kinds::{ExecKind, PrepareKind, Settings};
pub use params::{ValidationParams, ValidationParamsExtension};
pub use result::{HorizontalMessage, MESSAGES_MAX, Messages, Validated, ValidationResult};
pub use sizes::{
    BLOCK_DATA_BYTES_MAX, CODE_DECOMPRESSED_BYTES_MAX_OF_OLD_RUNTIMES, CODE_ON_CHAIN_BYTES_MAX,
    code_decompressed_bytes_max,
};
pub use vote::{precheck_vote, vote};

pub(crate) use result::read_result;

impl Host {
    /// Validates a block: calls `validate_block` of `code` once in a jailed job.
    ///
    /// The result is decoded here, in the host, because the caller needs it here: a decoder that
    /// takes memory only for bytes that are there, and that is fuzzed.
    pub async fn validate(
        &self,
        code: &Code,
        block: Block,
        settings: &Settings,
    ) -> Result<Answer<Validated>, Fault> {
        let call = Call {
            request: None,
            code: code.clone(),
            params: settings.params.clone(),
            input: block.into_input(),
            limits: settings.limits.clone(),
            wall: None,
            streams: None,
            prepare_limits: settings.prepare_limits.clone(),
            retry: settings.retry,
            deadline: settings.deadline,
            lane: settings.lane,
            group: settings.group,
        };
        Ok(self.execute(call).await?.read(read_result))
    }
}
