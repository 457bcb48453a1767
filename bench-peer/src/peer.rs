//! Polkadot's host, driven as a validator drives it: secure mode on, the version of the workers
//! checked, calls of the kind for approval.

use std::{
    fs,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use futures::channel::oneshot;
use parity_scale_codec::{Decode, Encode};
use polkadot_node_core_pvf::{
    Config, InvalidCandidate, Metrics, Priority, ValidationError, ValidationHost, start,
};
use polkadot_node_core_pvf_common::execute::ValidationContext;
use polkadot_node_subsystem::messages::PvfExecKind;
use polkadot_primitives::{CandidateReceiptV2, ExecutorParams};
use tokio::task::AbortHandle;

use crate::{
    hosts::{EXECUTE_WORKERS, PREPARE_WORKERS, PREPARE_WORKERS_WITH_CRITICAL},
    programs,
    work::{Ended, Guest, Work},
};

/// What its artifacts are called.
const ARTIFACT_EXTENSION: &str = "pvf";
/// More than the encoding of a candidate receipt, all of whose fields have a fixed size.
const RECEIPT_BYTES_MAX: usize = 4096;

/// A running host of the peer. Its workers end with it.
pub(crate) struct Peer {
    host: ValidationHost,
    receipt: CandidateReceiptV2,
    task: AbortHandle,
}

impl Peer {
    /// Starts it over a cache directory, which it empties.
    pub(crate) async fn start(cache: &Path) -> Result<Self, String> {
        let version = env!("CARGO_PKG_VERSION").to_owned();
        let config = Config::new(
            cache.to_owned(),
            Some(version),
            true,
            programs::beside("peer-prepare-worker")?,
            programs::beside("peer-execute-worker")?,
            EXECUTE_WORKERS,
            PREPARE_WORKERS,
            PREPARE_WORKERS_WITH_CRITICAL,
        );
        let started = start(config, Metrics::default()).await;
        let (host, run) = started.map_err(|error| format!("the peer does not start: {error}"))?;
        // The host looks at the version of the descriptor alone, and zeros are one it knows.
        let receipt = CandidateReceiptV2::decode(&mut &[0_u8; RECEIPT_BYTES_MAX][..])
            .map_err(|error| format!("no candidate receipt: {error}"))?;
        Ok(Self { host, receipt, task: tokio::spawn(run).abort_handle() })
    }

    /// Which parts of its jail are on, in its own words.
    pub(crate) fn security(&self) -> String {
        format!("{:?}", self.host.security_status)
    }

    /// Prechecks code that it has not seen yet, which also makes the artifact.
    pub(crate) async fn prepare(&self, guest: &Guest) -> Result<Duration, String> {
        let (answer_to, answer) = oneshot::channel();
        let (mut host, pvf) = (self.host.clone(), guest.pvf_to_precheck());
        let begin = Instant::now();
        host.precheck_pvf(pvf, answer_to).await?;
        let answer = answer.await.map_err(|_| "the peer's host went away".to_owned())?;
        let took = begin.elapsed();
        answer.map_err(|error| format!("the peer, {}: {error}", guest.name))?;
        Ok(took)
    }

    /// Calls code once; what it took, and what came.
    pub(crate) async fn call(&self, work: &Work) -> Result<(Duration, Ended), String> {
        let (answer_to, answer) = oneshot::channel();
        let (mut host, pvf) = (self.host.clone(), work.guest.pvf.clone());
        let context = ValidationContext {
            candidate_receipt: self.receipt.clone(),
            pvd: work.pvd.clone(),
            pov: work.pov.clone(),
            executor_params: ExecutorParams::default(),
            exec_timeout: work.cpu_limit,
            v3_seen: false,
        };
        let begin = Instant::now();
        host.execute_pvf(pvf, context, Priority::Normal, PvfExecKind::Approval, answer_to).await?;
        let answer = answer.await.map_err(|_| "the peer's host went away".to_owned())?;
        let took = begin.elapsed();
        let ended = match answer {
            Ok(result) => Ended::Returned(result.encode()),
            Err(ValidationError::Invalid(InvalidCandidate::HardTimeout)) => Ended::CpuLimit,
            Err(error) => Ended::Otherwise(error.to_string()),
        };
        Ok((took, ended))
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Bytes of all artifacts in its cache directory.
pub(crate) fn artifact_bytes(cache: &Path) -> Result<u64, String> {
    let files = artifacts(cache)?;
    Ok(files.iter().filter_map(|path| fs::metadata(path).ok()).map(|found| found.len()).sum())
}

/// A directory with the same artifacts, made of hard links: the host that starts over it removes
/// its own names only.
pub(crate) fn link_artifacts(from: &Path, to: &Path) -> Result<usize, String> {
    fs::create_dir_all(to).map_err(|error| error.to_string())?;
    let files = artifacts(from)?;
    for path in &files {
        let name = path.file_name().expect("found in a directory");
        fs::hard_link(path, to.join(name)).map_err(|error| error.to_string())?;
    }
    Ok(files.len())
}

fn artifacts(cache: &Path) -> Result<Vec<PathBuf>, String> {
    let files = fs::read_dir(cache).map_err(|error| error.to_string())?.flatten();
    let is_one =
        |path: &PathBuf| path.extension().is_some_and(|extension| extension == ARTIFACT_EXTENSION);
    Ok(files.map(|file| file.path()).filter(is_one).collect())
}
