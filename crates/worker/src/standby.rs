//! Jobs that wait for work, forked and confined: one for anything, and one that has loaded the
//! artifact of the last two calls, because the next is likely to have the same.

use std::{
    io,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
};

use lazaret_wire::{
    frame::Readiness,
    work::{Execute, Limits, Load, Work},
};
use rustix::event::{PollFd, PollFlags, poll};

use crate::watch::{self, Job};

/// What waits in a worker.
pub(crate) struct Standby {
    idle: Option<Job>,
    loaded: Option<(Job, Call)>,
    /// What the last call was; with its artifact, if the call before was alike.
    last: Option<(Call, Option<OwnedFd>)>,
    /// Whether every job loads before it is handed its call: of an attack.
    loads_always: bool,
}

/// What calls that one loaded job serves have in common.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Call {
    artifact: u64,
    load: Load,
}

impl Standby {
    pub(crate) fn new(loads_always: bool) -> Self {
        Self { idle: None, loaded: None, last: None, loads_always }
    }

    /// What a job that waits for anything is to load before it is handed this work.
    pub(crate) fn must_load(&self, work: &Work) -> Option<Load> {
        match work {
            Work::Execute(execute) if self.loads_always => Some(Call::of(execute).load),
            _ => None,
        }
    }

    /// The job that is nearest to this work. One that has loaded something else is ended first, so that
    /// no artifact is there beside a call of another.
    pub(crate) fn take(&mut self, work: &Work) -> Option<(Job, Readiness)> {
        if let (Work::Execute(execute), Some((job, call))) = (work, self.loaded.take()) {
            if call.covers(execute) {
                return Some((job, Readiness::Loaded));
            }
            // It holds nothing that anybody waits for.
            let _ = watch::put_down(job);
        }
        self.idle.take().map(|job| (job, Readiness::Standby))
    }

    /// Learns from a call what the next one may be.
    pub(crate) fn note(&mut self, execute: &Execute, artifact: OwnedFd) {
        match &mut self.last {
            Some((last, kept)) if last.is_like(execute) => {
                last.load.limits = widest(&last.load.limits, &execute.limits);
                *kept = Some(artifact);
            }
            _ => self.last = Some((Call::of(execute), None)),
        }
    }

    /// Waits until the host's socket is readable, which is true, or a job that waited has died, which
    /// is reaped.
    pub(crate) fn wait_with(&mut self, host: BorrowedFd<'_>) -> io::Result<bool> {
        let loaded = self.loaded.as_ref().map(|(job, _)| job);
        let jobs = self.idle.iter().chain(loaded).map(|job| job.child.as_fd());
        let mut sources: Vec<_> = std::iter::once(host)
            .chain(jobs)
            .map(|source| PollFd::from_borrowed_fd(source, PollFlags::IN))
            .collect();
        rustix::io::retry_on_intr(|| poll(&mut sources, None))?;
        if !sources[0].revents().is_empty() {
            return Ok(true);
        }
        let idle = self.idle.take_if(|job| watch::has_ended(job));
        let loaded = self.loaded.take_if(|(job, _)| watch::has_ended(job));
        idle.into_iter().chain(loaded.map(|(job, _)| job)).try_for_each(watch::put_down)?;
        Ok(false)
    }

    /// Whether the job for anything is missing.
    pub(crate) fn lacks_idle(&self) -> bool {
        self.idle.is_none()
    }

    pub(crate) fn keep_idle(&mut self, job: Job) {
        self.idle = Some(job);
    }

    /// What a job should load now, and the artifact.
    pub(crate) fn lacks_loaded(&self) -> Option<(Load, BorrowedFd<'_>)> {
        let (last, artifact) = self.last.as_ref().filter(|_| self.loaded.is_none())?;
        artifact.as_ref().map(|artifact| (last.load.clone(), artifact.as_fd()))
    }

    /// A job that was told to load what [`lacks_loaded`](Self::lacks_loaded) gave.
    pub(crate) fn keep_loaded(&mut self, job: Job) {
        self.loaded = self.last.as_ref().map(|(call, _)| (job, call.clone()));
    }
}

impl Call {
    fn of(execute: &Execute) -> Self {
        let (params, limits) = (execute.params.clone(), execute.limits.clone());
        Self { artifact: execute.artifact, load: Load { params, limits } }
    }

    fn is_like(&self, execute: &Execute) -> bool {
        self.artifact == execute.artifact && self.load.params == execute.params
    }

    /// Whether a job that loaded for this call can serve that one: limits of a process can only be
    /// lowered.
    fn covers(&self, execute: &Execute) -> bool {
        let (ours, theirs) = (&self.load.limits, &execute.limits);
        self.is_like(execute)
            && ours.cpu_micros >= theirs.cpu_micros
            && ours.memory_bytes >= theirs.memory_bytes
    }
}

fn widest(one: &Limits, other: &Limits) -> Limits {
    Limits {
        cpu_micros: one.cpu_micros.max(other.cpu_micros),
        memory_bytes: one.memory_bytes.max(other.memory_bytes),
        ..other.clone()
    }
}
