//! Where a job wakes.
//!
//! Called by the worker around what wakes a job. The kernel likes to wake a process where it last ran, which is the
//! processor on which its template makes the next copy at that moment, while the worker's own has nothing to
//! do as soon as the worker waits. A job that wakes beside its worker runs there at once, and no other
//! processor has to be woken for it or for what it says.

use rustix::process::Pid;
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

use crate::fork::Child;
use crate::sys;

/// The processors that a worker may use, and its jobs with it, where they can be told: on machines with at most
/// [`CpuSet::MAX_CPU`].
#[derive(Clone, Copy, Debug)]
pub struct Home(Option<CpuSet>);

impl Home {
    /// Those of the process that calls it (`sched_getaffinity(2)`).
    pub fn of_caller() -> Self {
        Self(sched_getaffinity(None).ok())
    }

    /// Does what wakes this job, which sleeps, and has it wake on the processor that the caller runs on. From
    /// then on the kernel may move it as before (`sched_setaffinity(2)`).
    ///
    /// Where the kernel refuses, the job wakes where the kernel likes: nothing depends on the place but time.
    pub fn wake_here<T>(&self, job: &Child, wake: impl FnOnce() -> T) -> T {
        let pid = Pid::from_raw(job.pid);
        let (Some(everywhere), Some(here)) = (&self.0, sys::processor()) else { return wake() };
        let is_held = sched_setaffinity(pid, &only(here)).is_ok();
        let woken = wake();
        if is_held {
            let _ = sched_setaffinity(pid, everywhere);
        }
        woken
    }
}

fn only(processor: usize) -> CpuSet {
    let mut set = CpuSet::new();
    // One of those that could be told.
    set.set(processor);
    set
}
