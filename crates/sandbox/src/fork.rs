//! Makes a job: a copy of the worker.
//!
//! Called by the worker, one job at a time. The legacy `clone` rather than `clone3`, because a
//! seccomp filter sees the flags of the first in a register, and of the second only a pointer:
//! the worker's filter allows exactly these flags and, because templates are behind it too, those of a
//! copy, so nothing in the worker can make a thread or a namespace. Only where the host has a control group
//! to give is it `clone3`, which alone has CLONE_INTO_CGROUP, with its arguments at one address that
//! the filter knows, in a page that is sealed (`sys::CloneArgs`).
//!
//! A job that has loaded its work can be a *template*: it copies itself for each call
//! ([`copy_job`]), with CLONE_PARENT, so that the copy is its worker's child and what the kernel says of
//! its end is said to the worker.
//!
//! # Why jobs share a pid namespace
//!
//! The namespace is made once for all jobs of a worker (`keeper.rs`). Each job in one of its own would be
//! first in it, and the first of a namespace cannot use CLONE_PARENT; a copy in one of its own would need
//! a template with CAP_SYS_ADMIN. As it is, neither the worker nor a job has any capability. What a
//! namespace for each job did besides, to take its children along when it died, is done by there being no
//! children: RLIMIT_NPROC is 0, and no list of system calls of a job but a template's has a fork.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::rc::Rc;

use rustix::process::{Pid, PidfdFlags, pidfd_open};

use crate::ahead::Ahead;
use crate::filter::Filters;
use crate::job::JobJail;
use crate::layer::{Record, Refusal};
use crate::steps::clocks::ClockPages;
use crate::sys::{self, CloneArgs, Cloned, Side};
use crate::worker::WorkerJail;
use crate::written::Written;

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
    pub(crate) written: Rc<Written>,
    pub(crate) filters: Rc<Filters>,
    /// Whether the worker hears of those who ask before they end.
    pub(crate) is_heard: bool,
    /// What it runs from, if that lies in large pages.
    pub(crate) ahead: Box<Ahead>,
}

/// How a worker forks its jobs.
#[derive(Debug)]
pub(crate) enum ForkWay {
    /// By `clone(2)`.
    Plain,
    /// By `clone3(2)`, into the group whose descriptor the arguments name.
    IntoCgroup { args: CloneArgs, _group: OwnedFd },
}

impl ForkWay {
    pub(crate) fn fork(&self) -> io::Result<Cloned> {
        match self {
            ForkWay::Plain => sys::clone_process(sys::JOB_CLONE_FLAGS),
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

    /// A child that somebody else made, by its pid as this process sees it. The pid is a child's until it
    /// is reaped; that it is a child shows when it is.
    ///
    /// # Errors
    /// As `pidfd_open(2)`; ESRCH if there is no such process.
    pub fn open(pid: Pid) -> io::Result<Self> {
        let pidfd = pidfd_open(pid, PidfdFlags::empty())?;
        Ok(Child { pid: pid.as_raw_nonzero().get(), pidfd })
    }
}

impl AsFd for Child {
    /// The pidfd: readable for `poll(2)` when the job has ended.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.pidfd.as_fd()
    }
}

/// Forks a job, in the jobs' pid namespace where there is one.
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
            written: jail.written(),
            filters: jail.filters(),
            is_heard: jail.ends().is_some(),
            ahead: Box::default(),
        })),
    }
}

/// Forks a process that ends at once, and reaps it: what any job costs at the least. For those who
/// measure; the caller has one thread, as for [`fork_job`].
///
/// # Errors
/// As `clone(2)` and `waitid(2)`.
pub fn fork_and_reap() -> io::Result<()> {
    match sys::clone_process(sys::JOB_CLONE_FLAGS)? {
        Cloned::Child => sys::exit_group(0),
        Cloned::Parent { pid, pidfd } => crate::watch::reap(Child { pid, pidfd }).map(drop),
    }
}

/// Whether this is a copy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Copied {
    /// Yes: a child of the template's parent.
    Job,
    /// No: the template.
    Template,
}

/// Copies the job that calls it, a template, which has one thread, and lets the copy run first: of several that are to be
/// made the first is then ready as soon as it can be.
///
/// # Errors
/// As `clone(2)`: no memory, or too many processes.
pub fn copy_job(template: &JobJail) -> io::Result<Copied> {
    Ok(match sys::clone_copy(template.way())? {
        Side::Copy => Copied::Job,
        Side::Original => {
            sys::let_others_run(template.way());
            Copied::Template
        }
    })
}
