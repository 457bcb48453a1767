//! How a host is set up.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use crate::{
    CacheLimits, Fault, Host, JailLevel, Lanes, PrepareLimits, PrepareRetry, cgroup::Place,
    cpus::Cpus, queue::Room,
};

/// Requests that may wait in one lane for a worker of one role.
const WAITING_MAX_DEFAULT: usize = 4096;
const EXECUTE_WORKERS_DEFAULT: Workers = Workers { for_all: 4, for_critical: 0 };
const PREPARE_WORKERS_DEFAULT: Workers = Workers { for_all: 1, for_critical: 1 };
/// How long a worker may be idle.
const IDLE_MAX_DEFAULT: Duration = Duration::from_secs(300);
const IDLE_MAX_MIN: Duration = Duration::from_millis(1);
/// Deaths over distinct inputs until an artifact is doubted.
const DEATHS_MAX_DEFAULT: usize = 3;
/// Hot artifacts in memory, in bytes.
const HOT_BYTES_MAX_DEFAULT: u64 = 1024 * 1024 * 1024;

/// How long the host waits for a worker that says nothing, before it ends the worker. A healthy one
/// needs milliseconds; the defaults leave room for a machine under great load.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Patience {
    /// From the start of the process to its greeting, canary job included; 20 s by default.
    pub greeting: Duration,
    /// For an answer, beyond the wall limit of the job; 5 s by default.
    pub answer: Duration,
    /// For the answer to a withdrawal, which takes one kill and one reap; 2 s by default.
    pub withdrawal: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Self {
            greeting: Duration::from_secs(20),
            answer: Duration::from_secs(5),
            withdrawal: Duration::from_secs(2),
        }
    }
}

/// How many workers of one role there may be.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Workers {
    for_all: usize,
    /// Beside those, for critical lanes only.
    for_critical: usize,
}

impl Workers {
    pub(crate) fn room(self, waiting_max: usize) -> Room {
        let soft = self.for_all.max(1);
        Room { soft, hard: soft.saturating_add(self.for_critical), waiting_max }
    }
}

/// Settings of a [`Host`]; every one has a default.
#[derive(Clone, Debug)]
#[must_use]
pub struct Builder {
    pub(crate) cache_dir: Option<PathBuf>,
    pub(crate) cache_limits: CacheLimits,
    pub(crate) worker_program: Option<PathBuf>,
    pub(crate) jail: JailLevel,
    pub(crate) lanes: Lanes,
    pub(crate) execute_workers: Workers,
    pub(crate) prepare_workers: Workers,
    pub(crate) idle_max: Duration,
    pub(crate) waiting_max: usize,
    pub(crate) hot_bytes_max: u64,
    pub(crate) prepare_limits: PrepareLimits,
    pub(crate) prepare_retry: PrepareRetry,
    pub(crate) deaths_max: usize,
    pub(crate) patience: Patience,
    pub(crate) cgroup: Place,
    pub(crate) execute_cpus: Vec<Cpus>,
}

impl Default for Builder {
    fn default() -> Self {
        Self {
            cache_dir: None,
            cache_limits: CacheLimits::default(),
            worker_program: None,
            jail: JailLevel::Strict,
            lanes: Lanes::pvf(),
            idle_max: IDLE_MAX_DEFAULT,
            execute_workers: EXECUTE_WORKERS_DEFAULT,
            prepare_workers: PREPARE_WORKERS_DEFAULT,
            waiting_max: WAITING_MAX_DEFAULT,
            hot_bytes_max: HOT_BYTES_MAX_DEFAULT,
            prepare_limits: PrepareLimits::default(),
            prepare_retry: PrepareRetry::default(),
            deaths_max: DEATHS_MAX_DEFAULT,
            patience: Patience::default(),
            cgroup: Place::default(),
            execute_cpus: Vec::new(),
        }
    }
}

impl Builder {
    /// Where artifacts are kept over restarts. Without it they live in memory only. The directory
    /// is made if need be and must be writable by nobody else.
    pub fn cache_dir(mut self, directory: impl AsRef<Path>) -> Self {
        self.cache_dir = Some(directory.as_ref().to_owned());
        self
    }

    /// Bytes of artifacts in the cache directory before the least recently used go; 10 GiB by default.
    /// A host knows what it wrote itself; what others wrote to a shared directory it sees within 10
    /// minutes.
    pub fn cache_bytes_max(mut self, bytes: u64) -> Self {
        self.cache_limits.bytes_max = bytes;
        self
    }

    /// How long an artifact in the cache directory may go unused; 24 hours by default. Use from memory
    /// counts.
    pub fn cache_unused_max(mut self, time: Duration) -> Self {
        self.cache_limits.unused_max = time;
        self
    }

    /// The program to start as a worker; it must call `lazaret_worker::run_if_worker` first thing.
    /// By default the running program itself, as it was when the host started.
    pub fn worker_program(mut self, program: impl AsRef<Path>) -> Self {
        self.worker_program = Some(program.as_ref().to_owned());
        self
    }

    /// How much of the jail must hold. The default is [`JailLevel::Strict`].
    pub fn jail(mut self, level: JailLevel) -> Self {
        self.jail = level;
        self
    }

    /// The lanes of calls; [`Lanes::pvf`] by default.
    pub fn lanes(mut self, lanes: Lanes) -> Self {
        self.lanes = lanes;
        self
    }

    /// Calls that may run at once, at least 1; 4 by default.
    pub fn execute_workers(mut self, count: usize) -> Self {
        self.execute_workers.for_all = count;
        self
    }

    /// Calls of critical lanes that may run beside those; 0 by default.
    pub fn critical_execute_workers(mut self, count: usize) -> Self {
        self.execute_workers.for_critical = count;
        self
    }

    /// Preparations that may run at once, at least 1; 1 by default.
    pub fn prepare_workers(mut self, count: usize) -> Self {
        self.prepare_workers.for_all = count;
        self
    }

    /// Preparations for which a call waits that may run beside those; 1 by default.
    pub fn critical_prepare_workers(mut self, count: usize) -> Self {
        self.prepare_workers.for_critical = count;
        self
    }

    /// How long a worker may be idle before it is ended, but for the one that was used last; 5 minutes
    /// by default.
    pub fn idle_max(mut self, time: Duration) -> Self {
        self.idle_max = time.max(IDLE_MAX_MIN);
        self
    }

    /// Requests that may wait in one lane before the next there is told [`Fault::Busy`]; 4096 by
    /// default.
    pub fn waiting_max(mut self, count: usize) -> Self {
        self.waiting_max = count;
        self
    }

    /// Bytes of hot artifacts kept in memory; 1 GiB by default.
    pub fn hot_bytes_max(mut self, bytes: u64) -> Self {
        self.hot_bytes_max = bytes;
        self
    }

    /// Limits of preparing code.
    pub fn prepare_limits(mut self, limits: PrepareLimits) -> Self {
        self.prepare_limits = limits;
        self
    }

    /// When code whose preparation failed, but might not the next time, is tried again.
    pub fn prepare_retry(mut self, rules: PrepareRetry) -> Self {
        self.prepare_retry = rules;
        self
    }

    /// Distinct inputs over which jobs of one artifact may die, in ways that nobody can explain, before
    /// the artifact is made anew and the canary is tried; at least 1, 3 by default.
    pub fn deaths_max(mut self, count: usize) -> Self {
        self.deaths_max = count.max(1);
        self
    }

    /// How long to wait for workers that say nothing.
    pub fn patience(mut self, patience: Patience) -> Self {
        self.patience = patience;
        self
    }

    /// Where the control groups of workers and jobs are made: a directory of cgroup2 that this
    /// program may write and nobody else uses. By default the group that was delegated to this
    /// program, if it was (systemd's `Delegate=`, or a group that belongs to its ordinary user) and
    /// gives memory and pids; the program's one process is then moved to a group of its own below it.
    pub fn cgroup(mut self, directory: impl AsRef<Path>) -> Self {
        self.cgroup = Place::At(directory.as_ref().to_owned());
        self
    }

    /// The processors on which workers that call run, and their jobs: each worker gets the set that has the
    /// fewest. None is the default: all that this program may run on. While there is a call for each processor, each
    /// worker keeps to one of its set.
    pub fn execute_cpus(mut self, sets: impl IntoIterator<Item = Cpus>) -> Self {
        self.execute_cpus = sets.into_iter().collect();
        self
    }

    /// Makes no control group, even if one was delegated.
    pub fn without_cgroup(mut self) -> Self {
        self.cgroup = Place::Nowhere;
        self
    }

    /// Starts the host and its first worker, so that a machine that cannot run jobs says so now.
    /// Must be called inside a tokio runtime with I/O and time enabled.
    pub async fn start(self) -> Result<Host, Fault> {
        Host::start(self).await
    }
}
