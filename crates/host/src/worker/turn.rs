//! What the kernel tells of a job that is late: whether it did not get its turn, or was kept from it.
//!
//! Asked by the conversation with a worker, and only when an answer is nearly overdue. Worker and job see
//! no `/proc`; the host does, and finds the job as the worker's child.

use std::{fmt, fs, time::Duration};

/// A job shortly before its wall-clock limit: when nine tenths of it had passed. What the kernel did not
/// say is `None`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct JobTurn {
    /// How long it had waited for a processor in its whole life (kernel documentation
    /// "scheduler/sched-stats"). A wait that is not over yet counts nothing: see `state`.
    pub run_queue_delay: Option<Duration>,
    /// What it was doing (`proc_pid_stat(5)`): `R` for running or waiting for a processor, `T` for
    /// stopped, `D` for waiting on a disk or on memory.
    pub state: Option<char>,
}

/// The job of a worker. Of its children those that wait for work sleep, which a job cannot once its
/// guest runs: no call of its final list sleeps. Of several, the one that waited longest.
pub(super) fn of_job_of(worker_pid: u32) -> JobTurn {
    let path = format!("/proc/{worker_pid}/task/{worker_pid}/children");
    let children = fs::read_to_string(path).unwrap_or_default();
    let is_there = |turn: &JobTurn| !matches!(turn.state, None | Some('Z'));
    let turns = children.split_whitespace().map(turn).filter(is_there);
    turns.max_by_key(|turn| (turn.state != Some('S'), turn.run_queue_delay)).unwrap_or_default()
}

fn turn(pid: &str) -> JobTurn {
    let read = |name: &str| fs::read_to_string(format!("/proc/{pid}/{name}")).ok();
    JobTurn {
        run_queue_delay: read("schedstat").and_then(|text| run_queue_delay(&text)),
        state: read("stat").and_then(|text| state(&text)),
    }
}

/// The second number: nanoseconds. A kernel that does not count says zeros.
fn run_queue_delay(schedstat: &str) -> Option<Duration> {
    let mut numbers = schedstat.split_whitespace().map(|number| number.parse::<u64>().ok());
    let (ran, waited) = (numbers.next()??, numbers.next()??);
    (ran > 0).then_some(Duration::from_nanos(waited))
}

/// The letter after the name, which stands in parentheses and may hold anything.
fn state(stat: &str) -> Option<char> {
    stat.rsplit_once(") ")?.1.chars().next()
}

impl fmt::Display for JobTurn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let doing = match self.state {
            Some('R') => "wanted to run",
            Some('T' | 't') => "was stopped",
            Some('D') => "waited on a disk or on memory",
            Some(_) => "slept",
            None => "was in an unknown state",
        };
        match self.run_queue_delay {
            Some(delay) => write!(f, "it had waited {delay:?} for a processor and {doing}"),
            None => write!(f, "it had waited for a processor for an unknown time and {doing}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::process::{Command, Stdio};

    use rustix::{
        process::Pid,
        thread::{CpuSet, sched_getaffinity, sched_setaffinity},
    };

    use super::*;

    #[test]
    fn the_kernels_files_are_read() {
        assert_eq!(
            run_queue_delay("103962631 249676787 301\n"),
            Some(Duration::from_nanos(249676787))
        );
        assert_eq!(run_queue_delay("0 0 0\n"), None, "a kernel that does not count");
        assert_eq!(run_queue_delay("7\n"), None);
        assert_eq!(state("7 (a) R (b) T 1 7"), Some('T'));
        assert_eq!(state(""), None);
        assert_eq!(of_job_of(0), JobTurn::default());
    }

    #[test]
    fn what_is_unknown_is_said_to_be() {
        let unknown = JobTurn::default().to_string();
        assert_eq!(
            unknown,
            "it had waited for a processor for an unknown time and was in an unknown state"
        );
        let turn = JobTurn { run_queue_delay: Some(Duration::from_millis(1500)), state: Some('R') };
        assert_eq!(turn.to_string(), "it had waited 1.5s for a processor and wanted to run");
    }

    /// Two that never rest share one processor, so each waits for the other.
    #[test]
    fn a_process_that_shares_its_processor_waits_for_it() {
        let ours = sched_getaffinity(None).unwrap();
        let mut one = CpuSet::new();
        one.set((0..CpuSet::MAX_CPU).find(|cpu| ours.is_set(*cpu)).unwrap());
        let mut busy = [0, 1].map(|_| {
            let child = Command::new("sh")
                .args(["-c", "while :; do :; done"])
                .stdin(Stdio::null())
                .spawn()
                .unwrap();
            sched_setaffinity(Pid::from_raw(child.id() as i32), &one).unwrap();
            child
        });
        let pid = busy[0].id().to_string();
        let delay = loop {
            match turn(&pid) {
                JobTurn { run_queue_delay: None, .. } => break None,
                JobTurn { run_queue_delay: delay, state: Some('R') }
                    if delay > Some(Duration::from_millis(20)) =>
                {
                    break delay;
                }
                _ => std::thread::yield_now(),
            }
        };
        busy.iter_mut()
            .for_each(|child| child.kill().and_then(|()| child.wait().map(drop)).unwrap());
        if delay.is_none() {
            eprintln!("SKIPPED (1): the delay of a job: this kernel does not count it");
        }
    }
}
