//! Nothing outlives its host: seen from outside, by pidfd.
//!
//! Called by `play`.

use std::io::{BufRead, BufReader};
use std::os::fd::OwnedFd;
use std::process::Child;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, pidfd_open};

use crate::play::{Identity, Outcome};

/// The cases.
pub(crate) const NAMES: [&str; 2] =
    ["a_killed_worker_takes_its_job_along", "a_killed_host_takes_worker_and_job_along"];

const PATIENCE: Timespec = Timespec { tv_sec: 10, tv_nsec: 0 };

/// Kills the one process and waits for the others to be gone.
pub(crate) fn play(identity: &Identity, name: &str) -> Outcome {
    let role = if name == NAMES[0] { "linger" } else { "host" };
    let mut killed = identity.start(&[role]);
    // The processes are found before the one is killed, and a pidfd stays theirs after that.
    let found = find_processes(&mut killed);
    killed.kill().expect("own child");
    killed.wait().expect("own child");
    let pidfds = match found {
        Ok(pidfds) => pidfds,
        Err(outcome) => return outcome,
    };
    for pidfd in &pidfds {
        if poll(&mut [PollFd::new(pidfd, PollFlags::IN)], Some(&PATIENCE)) == Ok(0) {
            return Outcome::Failed("a process is left".into());
        }
    }
    Outcome::Held
}

/// The worker and its job, once the job is confined.
fn find_processes(started: &mut Child) -> Result<Vec<OwnedFd>, Outcome> {
    let mut log = BufReader::new(started.stderr.take().expect("piped"));
    let mut line = String::new();
    loop {
        line.clear();
        log.read_line(&mut line).expect("a pipe");
        if line.is_empty() {
            return Err(Outcome::Failed("the worker ended without telling pids".into()));
        }
        if line.starts_with("refused ") {
            return Err(Outcome::Skipped(line));
        }
        let Some(pids) = line.strip_prefix("pids ") else { continue };
        let open = |pid: &str| {
            let pid = Pid::from_raw(pid.parse().expect("a pid")).expect("not 0");
            pidfd_open(pid, PidfdFlags::empty()).expect("the process is alive")
        };
        return Ok(pids.split_whitespace().map(open).collect());
    }
}
