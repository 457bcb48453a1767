//! The worker's view of a job: its CPU time, its limit, its death. Never the job's word.
//!
//! Called by the worker, which polls the descriptors given here together with its own; nothing
//! here waits except [`reap`], which is called when the pidfd is readable or after [`kill`].

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use rustix::process::{Signal, pidfd_send_signal};

use crate::fork::Child;
use crate::sys::{self, CpuClockTimer};

/// A deadline on a job's CPU clock (`clock_getcpuclockid(3)`, `timer_create(2)`), readable for
/// `poll(2)` when it has passed. Precise to about one tick of the kernel.
///
/// One per worker, made before the worker's filter and armed for one job after another.
#[derive(Debug)]
pub struct CpuTimer {
    signals: OwnedFd,
    signal: i32,
    running: Option<CpuClockTimer>,
    /// Tells a signal of the present job from a late one of the job before.
    mark: i32,
}

impl CpuTimer {
    /// Makes the descriptor and blocks the real-time signal that it reports.
    ///
    /// # Errors
    /// As `signalfd(2)`.
    pub fn new() -> io::Result<Self> {
        let signal = libc::SIGRTMIN() + 1;
        Ok(CpuTimer { signals: sys::signal_descriptor(signal)?, signal, running: None, mark: 0 })
    }

    /// Sets the deadline `limit` of CPU time from now; replaces an earlier one.
    ///
    /// # Errors
    /// As `timer_create(2)`; ESRCH or EINVAL if the job has been reaped.
    pub fn arm(&mut self, job: &Child, limit: Duration) -> io::Result<()> {
        self.disarm();
        self.mark = self.mark.wrapping_add(1);
        self.running = Some(CpuClockTimer::start(job.pid, limit, self.signal, self.mark)?);
        Ok(())
    }

    /// Takes the deadline away, and a signal that it has already sent, so that the descriptor
    /// is not readable for the next job.
    pub fn disarm(&mut self) {
        self.running = None;
        // If it cannot be read, the mark still tells it from a signal of the next job.
        let _ = self.fired();
    }

    /// Whether the deadline of the job that is armed now has passed; to be asked when the
    /// descriptor is readable.
    ///
    /// # Errors
    /// As `read(2)` of a signalfd.
    pub fn fired(&mut self) -> io::Result<bool> {
        let mut fired = false;
        while let Some(mark) = sys::next_signal_mark(self.signals.as_fd())? {
            fired |= self.running.is_some() && mark == self.mark;
        }
        Ok(fired)
    }
}

impl AsFd for CpuTimer {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.signals.as_fd()
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
    let reaped = sys::reap(job.pidfd.as_fd())?;
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

/// The CPU time that the job has used so far.
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
