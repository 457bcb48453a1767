//! What both hosts are asked: code, a block, a limit, and what must come of it.
//!
//! Everything that a node has in its hands before it calls its host is made here, before any clock
//! runs: the peer's form and Lazaret's form of the same code and the same block.

use std::{sync::Arc, time::Duration};

use lazaret::{Code, pvf::ValidationParams};
use parity_scale_codec::Encode;
use polkadot_node_core_pvf::{PrepareJobKind, PvfPrepData};
use polkadot_node_primitives::PoV;
use polkadot_parachain_primitives::primitives::{BlockData, HeadData};
use polkadot_primitives::{ExecutorParams, PersistedValidationData};

/// The network's limit for a call to approve a block.
pub(crate) const CALL_CPU_LIMIT: Duration = Duration::from_secs(12);
/// The network's limits for preparing code: to accept it, and because a call needs it.
const PRECHECK_CPU_LIMIT: Duration = Duration::from_secs(60);
const PREPARE_CPU_LIMIT: Duration = Duration::from_secs(360);
/// Bytes that code may have once decompressed; Lazaret's default.
const CODE_BYTES_MAX: u32 = 50 * 1024 * 1024;

/// Code, as each host wants it.
#[derive(Clone)]
pub(crate) struct Guest {
    /// What the table calls it. No two guests share one.
    pub(crate) name: String,
    /// For Lazaret.
    pub(crate) code: Code,
    /// For a call by the peer.
    pub(crate) pvf: PvfPrepData,
}

impl Guest {
    pub(crate) fn new(name: impl Into<String>, bytes: Vec<u8>) -> Result<Self, String> {
        let name = name.into();
        let code = Code::new(&bytes).map_err(|error| format!("{name}: {error:?}"))?;
        let pvf = pvf(bytes, PREPARE_CPU_LIMIT, PrepareJobKind::Compilation);
        Ok(Self { name, code, pvf })
    }

    /// For a precheck by the peer.
    pub(crate) fn pvf_to_precheck(&self) -> PvfPrepData {
        let bytes = self.pvf.maybe_compressed_code().to_vec();
        pvf(bytes, PRECHECK_CPU_LIMIT, PrepareJobKind::Prechecking)
    }
}

fn pvf(bytes: Vec<u8>, cpu_limit: Duration, kind: PrepareJobKind) -> PvfPrepData {
    PvfPrepData::from_code(bytes, ExecutorParams::default(), cpu_limit, kind, CODE_BYTES_MAX)
}

/// What a call must come to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Ended {
    /// The guest returned these bytes.
    Returned(Vec<u8>),
    /// It was stopped at its limit of CPU time, and the block counts as invalid.
    CpuLimit,
    /// Anything else, in the words of the host.
    Otherwise(String),
}

/// One call.
pub(crate) struct Work {
    pub(crate) guest: Guest,
    /// The block for Lazaret and for the engine alone.
    pub(crate) params: ValidationParams,
    /// The block for the peer.
    pub(crate) pvd: Arc<PersistedValidationData>,
    pub(crate) pov: Arc<PoV>,
    pub(crate) cpu_limit: Duration,
    pub(crate) expected: Ended,
}

impl Work {
    pub(crate) fn new(guest: Guest, params: ValidationParams, expected: Ended) -> Self {
        let pvd = PersistedValidationData {
            parent_head: HeadData(params.parent_head.clone()),
            relay_parent_number: params.relay_parent_number,
            relay_parent_storage_root: params.relay_parent_storage_root.into(),
            max_pov_size: params.encoded_size() as u32,
        };
        let pov = PoV { block_data: BlockData(params.block_data.clone()) };
        Self {
            guest,
            params,
            pvd: Arc::new(pvd),
            pov: Arc::new(pov),
            cpu_limit: CALL_CPU_LIMIT,
            expected,
        }
    }

    /// An error unless this is what had to come.
    pub(crate) fn check(&self, by: &str, ended: &Ended) -> Result<(), String> {
        if *ended == self.expected {
            return Ok(());
        }
        let mut text = format!("{by}, {}: {ended:?}", self.guest.name);
        text.truncate(text.floor_char_boundary(500));
        Err(text)
    }
}
