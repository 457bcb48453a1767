//! Lazaret's host, driven through its public interface only.

use std::{
    path::Path,
    time::{Duration, Instant},
};

use lazaret::{
    Host, LayerState, Params, Retry, Verdict, Vote,
    pvf::{Block, Settings, precheck_vote},
};

use crate::{
    hosts::{EXECUTE_WORKERS, PREPARE_WORKERS, PREPARE_WORKERS_WITH_CRITICAL},
    programs,
    work::{Ended, Guest, Work},
};

/// A running host. Its workers end with it.
pub(crate) struct Lazaret {
    host: Host,
}

impl Lazaret {
    /// Starts it over a cache directory, whose artifacts it uses.
    pub(crate) async fn start(cache: &Path) -> Result<Self, String> {
        let host = Host::builder()
            .cache_dir(cache)
            .worker_program(programs::beside("lazaret-worker")?)
            .execute_workers(EXECUTE_WORKERS)
            .prepare_workers(PREPARE_WORKERS)
            .critical_prepare_workers(PREPARE_WORKERS_WITH_CRITICAL - PREPARE_WORKERS)
            .start()
            .await
            .map_err(|fault| format!("Lazaret does not start: {fault}"))?;
        Ok(Self { host })
    }

    /// Which parts of its jail are on.
    pub(crate) fn security(&self) -> String {
        let security = self.host.security();
        let on = |layer: &&lazaret::Layer| layer.state == LayerState::On;
        let on = security.layers.iter().filter(on).count();
        format!("{:?}, {on} of {} layers on", security.level, security.layers.len())
    }

    /// Identifies its engine.
    pub(crate) fn engine_fingerprint(&self) -> [u8; 32] {
        self.host.engine_fingerprint()
    }

    /// Prechecks code that it has not seen yet, which also makes the artifact.
    pub(crate) async fn prepare(&self, guest: &Guest) -> Result<Duration, String> {
        let begin = Instant::now();
        let answer = self.host.precheck(&guest.code, &Params::default()).await;
        let took = begin.elapsed();
        match precheck_vote(&answer) {
            Vote::For => Ok(took),
            vote => Err(format!("Lazaret, {}: vote {vote}", guest.name)),
        }
    }

    /// Bytes of the artifact of code that was prepared.
    pub(crate) async fn artifact_bytes(&self, guest: &Guest) -> Result<u64, String> {
        let answer = self.host.prepare(&guest.code, &Params::default()).await;
        let answer = answer.map_err(|fault| fault.to_string())?;
        answer.artifact.map(|artifact| artifact.bytes).ok_or("no artifact".to_owned())
    }

    /// Calls code once; what it took, and what came.
    pub(crate) async fn call(&self, work: &Work) -> Result<(Duration, Ended), String> {
        let block = Block::parts(work.params.clone());
        let mut settings = Settings::default();
        settings.limits.cpu = work.cpu_limit;
        settings.retry = Retry::Never;
        let begin = Instant::now();
        let answer = self.host.validate(&work.guest.code, block, &settings).await;
        let took = begin.elapsed();
        let verdict = match answer {
            Ok(answer) => answer.verdict,
            Err(fault) => return Ok((took, Ended::Otherwise(fault.to_string()))),
        };
        let stopped = verdict.reason_word() == Some("cpu-limit");
        let ended = match verdict {
            Verdict::Returned(validated) => Ended::Returned(validated.encoded),
            Verdict::Refused(_) if stopped => Ended::CpuLimit,
            verdict => Ended::Otherwise(format!("{verdict:?}")),
        };
        Ok((took, ended))
    }
}
