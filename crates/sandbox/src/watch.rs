//! The worker's view of a job: its CPU time, its limit, its death. Never the job's word.
//!
//! Called by the worker, which polls the descriptors given here together with its own; nothing
//! here waits except [`reap`], which is called when the pidfd is readable or after [`kill`].

use std::io;
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use rustix::process::{Signal, pidfd_send_signal};

use crate::fork::Child;
use crate::home::Home;
use crate::sys;

/// A limit on a job's CPU time. Nobody is told when it is reached; but a job has one thread, which uses no more CPU time
/// than time passes, so that it is known until when it cannot have been.
///
/// A POSIX timer on the job's CPU clock would tell, as late as a tick of the kernel later, and takes four calls
/// for each job, of which hardly one comes near its limit.
#[derive(Clone, Copy, Debug)]
pub struct CpuLimit {
    /// CPU time of the job at which it is reached.
    end: Duration,
    /// When to look.
    look: Instant,
}

/// How long is waited at least before the next look.
const LOOKS_APART_MIN: Duration = Duration::from_micros(100);

impl CpuLimit {
    /// One that is reached when a job has used `limit` beyond what it had used at that moment.
    pub fn new(since: Instant, used: Duration, limit: Duration) -> Self {
        Self { end: used.saturating_add(limit), look: since + limit }
    }

    /// How long the job need not be looked at.
    pub fn patience(&self) -> Duration {
        self.look.saturating_duration_since(Instant::now())
    }

    /// Whether it is reached; to be asked when [`patience`](Self::patience) is over. Before a look the job's time is
    /// [accounted](Home::account).
    ///
    /// # Errors
    /// As [`cpu_time`].
    pub fn is_reached(&mut self, job: &Child, home: &Home) -> io::Result<bool> {
        let now = Instant::now();
        if now < self.look {
            return Ok(false);
        }
        home.account(job);
        let left = self.end.saturating_sub(cpu_time(job)?);
        self.look = now + left.max(LOOKS_APART_MIN);
        Ok(left.is_zero())
    }
}

/// How a job ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// By itself, with this status: a claim like any other (see [`crate::markers`]).
    Exited(i32),
    /// By this signal. SIGSYS says that the filter stopped it.
    Killed(i32),
}

/// What the kernel knows of a job that has ended (`getrusage(2)`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ended {
    /// How.
    pub end: End,
    /// CPU time in user mode.
    pub user: Duration,
    /// CPU time in the kernel on its behalf.
    pub system: Duration,
    /// The most memory that was resident, in bytes.
    pub resident_bytes_max: u64,
    /// Page faults that needed no reading.
    pub minor_faults: u64,
    /// Page faults that did.
    pub major_faults: u64,
}

/// Waits for the job to end and reaps it.
///
/// # Errors
/// As `waitid(2)`.
pub fn reap(job: Child) -> io::Result<Ended> {
    let reaped = sys::reap(job.pidfd.as_fd(), 0)?;
    let usage = reaped.usage;
    Ok(Ended {
        end: match reaped.code {
            libc::CLD_EXITED => End::Exited(reaped.status),
            _ => End::Killed(reaped.status),
        },
        user: duration(usage.ru_utime),
        system: duration(usage.ru_stime),
        resident_bytes_max: usage.ru_maxrss.unsigned_abs() * 1024,
        minor_faults: usage.ru_minflt.unsigned_abs(),
        major_faults: usage.ru_majflt.unsigned_abs(),
    })
}

/// What became of a job that was to be reaped.
#[derive(Debug)]
pub enum Unless {
    /// It is reaped.
    Reaped,
    /// It has not ended.
    Runs(Child),
}

/// Reaps the job if it has ended, and waits for nothing.
///
/// # Errors
/// As `waitid(2)`.
pub fn reap_unless_it_runs(job: Child) -> io::Result<Unless> {
    // Of one that has not ended the kernel says nothing.
    match sys::reap(job.pidfd.as_fd(), libc::WNOHANG)?.code {
        0 => Ok(Unless::Runs(job)),
        _ => Ok(Unless::Reaped),
    }
}

/// Reaps one child that has ended and is none of these, if there is one: a copy of a template of which the
/// worker was never told.
///
/// # Errors
/// As `waitid(2)`.
pub fn reap_stranger<'a>(known: impl Iterator<Item = &'a Child>) -> io::Result<bool> {
    let known: Vec<_> = known.map(|child| child.pid).collect();
    sys::reap_stranger(&known)
}

/// Kills the job; harmless if it has already ended.
///
/// # Errors
/// As `pidfd_send_signal(2)`.
pub fn kill(job: &Child) -> io::Result<()> {
    match pidfd_send_signal(&job.pidfd, Signal::KILL) {
        Ok(()) | Err(rustix::io::Errno::SRCH) => Ok(()),
        Err(errno) => Err(errno.into()),
    }
}

/// The CPU time that the job has used so far; of one that runs as of when it was last
/// [accounted](Home::account).
///
/// # Errors
/// EINVAL or ESRCH once it has been reaped.
pub fn cpu_time(job: &Child) -> io::Result<Duration> {
    sys::cpu_time(job.pid)
}

fn duration(time: libc::timeval) -> Duration {
    Duration::from_secs(time.tv_sec.unsigned_abs())
        + Duration::from_micros(time.tv_usec.unsigned_abs())
}
