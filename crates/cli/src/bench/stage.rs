//! Hosts to measure on, with a cache of their own, and a call whose answer is known.

use std::{
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use lazaret::{
    Builder, Code, CodeError, Host, JailLevel, Retry, Verdict,
    pvf::{Block, Settings},
};
use tempfile::TempDir;

use super::table::Extent;
use crate::{arguments::Global, errors::Failure, hosting};

pub(super) struct Stage {
    bare: Builder,
    /// Removed with everything in it when the last host is gone.
    folder: TempDir,
    pub(super) extent: Extent,
}

impl Stage {
    pub(super) fn set(global: &Global, level: JailLevel, extent: Extent) -> Result<Self, Failure> {
        let folder = tempfile::tempdir()
            .map_err(|source| Failure::Write { path: std::env::temp_dir(), source })?;
        Ok(Self { bare: hosting::builder(global).jail(level), folder, extent })
    }

    /// A host on the cache of this stage.
    pub(super) async fn host(&self, execute_workers: usize) -> Result<Host, Failure> {
        self.host_on(&self.cache("calls"), execute_workers).await
    }

    pub(super) async fn host_on(&self, cache: &Path, workers: usize) -> Result<Host, Failure> {
        let builder = self.bare.clone().cache_dir(cache).execute_workers(workers);
        Ok(builder.critical_execute_workers(workers).start().await?)
    }

    pub(super) fn cache(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }
}

/// A guest that was made here; that it is no code cannot be.
pub(super) fn made(code: Result<Code, CodeError>) -> Result<Code, Failure> {
    code.map_err(|error| unfit("a guest", error.to_string()))
}

/// How long a call takes that must return.
pub(super) async fn timed(host: &Host, code: &Code, input: &[u8]) -> Result<Duration, Failure> {
    let block = Block::encoded(input.to_vec());
    let mut settings = Settings::default();
    settings.retry = Retry::Never;
    let begin = Instant::now();
    let answer = host.validate(code, block, &settings).await;
    let took = begin.elapsed();
    match answer.map_err(|fault| Failure::of(fault, host))?.verdict {
        Verdict::Returned(_) => Ok(took),
        other => Err(unfit("a call", other.reason_word().unwrap_or("no reason").to_owned())),
    }
}

pub(super) fn unfit(what: &'static str, reason: String) -> Failure {
    Failure::Measurement { what, reason }
}
