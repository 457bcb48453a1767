//! On which processors a worker and its jobs run.
//!
//! A call takes turns: its host, the worker, the job that is called, the worker, the host; none of them runs while another
//! does. Beside it runs what nobody waits for: a template that makes the next copy, that copy until it is ready, and
//! a job that ends. The kernel does not know the one from the other. Left alone it wakes a copy where its template
//! runs, begins a new one where the call goes on, and has the worker wait behind a job that ends while another
//! processor has nothing to do.

use rustix::process::Pid;
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

use crate::fork::Child;
use crate::sys;

/// The processors that a worker may use, and its jobs with it, where they can be told: on machines with at most
/// [`CpuSet::MAX_CPU`].
///
/// Where the kernel refuses to have a process on some of them (`sched_setaffinity(2)`), it runs where the kernel likes: nothing
/// depends on the place but time.
#[derive(Clone, Copy, Debug)]
pub struct Home(Option<CpuSet>);

impl Home {
    /// Those of the process that calls it (`sched_getaffinity(2)`).
    pub fn of_caller() -> Self {
        Self(sched_getaffinity(None).ok())
    }

    /// The one on which the caller runs now.
    pub fn processor(&self) -> Option<usize> {
        sys::processor()
    }

    /// One of them by its place among them, beginning anew behind the last; none where they cannot be told.
    pub fn nth(&self, place: usize) -> Option<usize> {
        let set = self.0?;
        let place = place.checked_rem(set.count() as usize)?;
        (0..CpuSet::MAX_CPU).filter(|processor| set.is_set(*processor)).nth(place)
    }

    /// Has a job that sleeps wake on the caller's processor.
    pub fn keep_here(&self, job: &Child) {
        if let Some(here) = self.processor() {
            self.keep_on(job, here);
        }
    }

    /// Has a job that sleeps wake on this processor, and the copies that it makes begin there.
    pub fn keep_on(&self, job: &Child, processor: usize) {
        if self.has(processor) {
            let _ = sched_setaffinity(Pid::from_raw(job.pid), &only(processor));
        }
    }

    /// Has a job wake, and the copies that it makes begin, on any other than this processor.
    pub fn keep_off(&self, job: &Child, processor: usize) {
        if let Some(everywhere) = self.0.filter(|_| processor < CpuSet::MAX_CPU) {
            let mut elsewhere = everywhere;
            elsewhere.unset(processor);
            let _ = sched_setaffinity(Pid::from_raw(job.pid), &elsewhere);
        }
    }

    /// Has a job run anywhere again.
    pub fn let_roam(&self, job: &Child) {
        if let Some(everywhere) = &self.0 {
            let _ = sched_setaffinity(Pid::from_raw(job.pid), everywhere);
        }
    }

    /// Has the kernel add what a running job has used until now to its CPU time, and lets the job run anywhere. Of a process that
    /// runs the kernel knows it as of the last tick, up to 10 ms ago, unless something is changed about it: here that it
    /// may not run on the caller's processor, and then that it may.
    pub fn account(&self, job: &Child) {
        if let Some(here) = self.processor() {
            self.keep_off(job, here);
            self.let_roam(job);
        }
    }

    /// Moves the caller to this processor, if it is one of them. The kernel may move it back at any time.
    pub fn go_to(&self, processor: usize) {
        if self.keep_to(processor) {
            self.roam();
        }
    }

    /// Moves the caller to this processor, and all that it forks from now on; says whether that could be.
    pub fn keep_to(&self, processor: usize) -> bool {
        self.has(processor) && sched_setaffinity(None, &only(processor)).is_ok()
    }

    /// Has the caller run anywhere again.
    pub fn roam(&self) {
        if let Some(everywhere) = &self.0 {
            let _ = sched_setaffinity(None, everywhere);
        }
    }

    fn has(&self, processor: usize) -> bool {
        self.0.is_some_and(|set| processor < CpuSet::MAX_CPU && set.is_set(processor))
    }
}

fn only(processor: usize) -> CpuSet {
    let mut set = CpuSet::new();
    // One of those that could be told.
    set.set(processor);
    set
}

#[cfg(test)]
mod tests {
    use std::process::{Command, Stdio};
    use std::time::{Duration, Instant};

    use super::*;
    use crate::watch;

    /// Half of the shortest time between two ticks that Linux is built with (CONFIG_HZ=1000).
    const HALF_A_TICK: Duration = Duration::from_micros(500);
    /// Readings in a row that are closer together, more than other interrupts would give.
    const IN_A_ROW: u32 = 8;
    /// Longer than a machine that is busy elsewhere takes for that.
    const PATIENCE: Duration = Duration::from_secs(30);

    #[test]
    fn the_time_of_a_job_that_runs_is_known_between_two_ticks() {
        let loop_without_end = ["-c", "while :; do :; done"];
        let mut shell =
            Command::new("sh").args(loop_without_end).stdin(Stdio::null()).spawn().unwrap();
        let job = Child::open(Pid::from_child(&shell)).unwrap();
        let home = Home::of_caller();
        let (begin, mut before, mut fine) = (Instant::now(), Duration::ZERO, 0);
        while fine < IN_A_ROW {
            assert!(begin.elapsed() < PATIENCE, "no reading lay between two ticks");
            home.account(&job);
            let used = watch::cpu_time(&job).unwrap();
            fine = match used.saturating_sub(before) {
                // It did not run meanwhile.
                Duration::ZERO => fine,
                step if step < HALF_A_TICK => fine + 1,
                _ => 0,
            };
            before = used;
        }
        shell.kill().unwrap();
        shell.wait().unwrap();
    }
}
