//! Makes a job: a copy of the worker that is pid 1 of a namespace of its own.
//!
//! Called by the worker, one job at a time. The legacy `clone` rather than `clone3`, because a
//! seccomp filter sees the flags of the first in a register, and of the second only a pointer:
//! the worker's filter allows exactly these flags, so nothing in the worker can make a thread,
//! a user namespace, or a child in another namespace. Only where the host has a control group to
//! give is it `clone3`, which alone has CLONE_INTO_CGROUP, with its arguments at one address that
//! the filter knows, in a page that is sealed (`sys::CloneArgs`).
//!
//! # Why the worker keeps one capability
//!
//! `CLONE_NEWPID` asks for CAP_SYS_ADMIN in the worker's user namespace. Either the worker keeps
//! it (over a namespace that holds one unused id and one empty mount) and each job drops it
//! first, or each job gets a nested user namespace. Measured on Linux 6.18, 2 shared cores, by
//! `examples/cost.rs`, medians of seven runs, clone to wait of a process that does nothing: 64
//! to 93 us with the capability, 72 to 98 us nested. Speed hardly decides. But the nested one
//! gives the job every capability of the new namespace for a moment, needs `CLONE_NEWUSER` in
//! the worker's filter, and forbids telling the kernel that no user namespace may be made in
//! here; the capabilities of a fresh namespace are where many privilege escalations began.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::rc::Rc;

use crate::filter::Filters;
use crate::layer::{Record, Refusal, check};
use crate::probe::{self, ProbeFailure};
use crate::steps::clocks::ClockPages;
use crate::sys::{self, CloneArgs, Cloned};
use crate::watch::End;
use crate::worker::WorkerJail;

/// The two sides of a fork.
#[derive(Debug)]
pub enum Forked {
    /// In the job. It must end by [`crate::job::end`] and never return to the worker's frames:
    /// their descriptors are closed under them.
    Job(JobStart),
    /// In the worker.
    Worker(Child),
}

/// What a job knows from its worker and needs to confine itself.
#[derive(Debug)]
pub struct JobStart {
    pub(crate) record: Record,
    pub(crate) clock_pages: Result<ClockPages, Refusal>,
    pub(crate) filters: Rc<Filters>,
}

/// How a worker forks its jobs.
#[derive(Debug)]
pub(crate) enum ForkWay {
    /// By `clone(2)` with these flags.
    Plain(u64),
    /// By `clone3(2)`, into the group whose descriptor the arguments name.
    IntoCgroup { args: CloneArgs, _group: OwnedFd },
}

impl ForkWay {
    pub(crate) fn fork(&self) -> io::Result<Cloned> {
        match self {
            ForkWay::Plain(flags) => sys::clone_process(*flags),
            ForkWay::IntoCgroup { args, .. } => sys::clone_into_cgroup(args),
        }
    }
}

/// A job, seen from its worker. Not reaped when dropped: [`crate::watch::reap`] takes it.
#[derive(Debug)]
pub struct Child {
    pub(crate) pid: libc::pid_t,
    pub(crate) pidfd: OwnedFd,
}

impl Child {
    /// The job's pid as the worker sees it. Free to be used by others once it is reaped.
    pub fn pid(&self) -> i32 {
        self.pid
    }
}

impl AsFd for Child {
    /// The pidfd: readable for `poll(2)` when the job has ended.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.pidfd.as_fd()
    }
}

/// Forks a job, with a pid namespace of its own where the worker has one to give.
///
/// That the process has one thread was checked by [`crate::worker::confine`]; after the
/// worker's filter none can be made.
///
/// # Errors
/// As `clone(2)`: no memory, or too many processes.
pub fn fork_job(jail: &WorkerJail) -> io::Result<Forked> {
    match jail.fork_way().fork()? {
        Cloned::Parent { pid, pidfd } => Ok(Forked::Worker(Child { pid, pidfd })),
        Cloned::Child => Ok(Forked::Job(JobStart {
            record: jail.record().clone(),
            clock_pages: jail.clock_pages(),
            filters: jail.filters(),
        })),
    }
}

/// Forks a process that ends at once, and reaps it: what any job costs at the least. For those who
/// measure; the caller has one thread, as for [`fork_job`].
///
/// # Errors
/// As `clone(2)` and `waitid(2)`.
pub fn fork_and_reap() -> io::Result<()> {
    match sys::clone_process(sys::BARE_CLONE_FLAGS)? {
        Cloned::Child => sys::exit_group(0),
        Cloned::Parent { pid, pidfd } => crate::watch::reap(Child { pid, pidfd }).map(drop),
    }
}

/// Makes a throw-away job to see that pid namespaces can be used, not only asked for.
pub(crate) fn try_pid_namespace() -> Result<(), ProbeFailure> {
    const IS_FIRST: i32 = 7;
    let fork = || sys::clone_process(sys::JOB_CLONE_FLAGS);
    let status = || if rustix::process::getpid().is_init() { IS_FIRST } else { 0 };
    let end = probe::end_of(fork, "clone CLONE_NEWPID", status)?;
    Ok(check(end == End::Exited(IS_FIRST), "the job is pid 1")?)
}
