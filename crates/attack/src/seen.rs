//! What came of an attempt, read from the host's verdict, and whether that is what should have.

use std::fmt;

use lazaret::{Answer, Doubt, Fault, Refusal, Verdict};
use lazaret_sandbox::markers;

use crate::list::Expect;

/// Statuses of an attack, as in `attack.h`.
const NOTHING: i32 = 2;
const THROUGH: i32 = 3;
const REFUSED: i32 = 120;
const ERRNO_MAX: i32 = 133;

/// What came of an attempt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Seen {
    /// Killed by a filter.
    Sigsys,
    /// Killed by another signal.
    Killed(i32),
    /// Ended by the marker of a fault.
    Fault,
    /// The kernel said no.
    Errno(i32),
    /// There was nothing to be had.
    Nothing,
    /// It got what it wanted.
    Through,
    /// Ended by the worker at its CPU limit.
    CpuLimit,
    /// Ended by the worker at its wall limit.
    WallLimit,
    /// Not believed, for the reason in words.
    NotBelieved(String),
    /// It lost its worker.
    WorkerLost,
    /// Believed.
    Returned,
    /// Taken for a fault of the machine.
    Blamed(String),
}

impl Seen {
    pub(crate) fn of<T>(answer: &Result<Answer<T>, Fault>) -> Self {
        let answer = match answer {
            Err(fault) => return Self::Blamed(fault.to_string()),
            Ok(answer) => answer,
        };
        match &answer.verdict {
            Verdict::Returned(_) => Self::Returned,
            Verdict::Refused(Refusal::CpuLimit { .. } | Refusal::PrepareCpu { .. }) => {
                Self::CpuLimit
            }
            Verdict::Refused(refusal) => Self::NotBelieved(lazaret::describe(refusal)),
            Verdict::Inconclusive(doubt) => match doubt {
                Doubt::Signaled { signal } => Self::of_signal(*signal),
                Doubt::Exited { status } => Self::of_status(*status),
                Doubt::OutOfMemory => Self::Errno(libc::ENOMEM),
                Doubt::PreparationCpu { .. } => Self::CpuLimit,
                Doubt::WallLimit { .. } => Self::WallLimit,
                Doubt::WorkerLost => Self::WorkerLost,
                doubt => Self::NotBelieved(doubt.to_string()),
            },
        }
    }

    pub(crate) fn of_signal(signal: i32) -> Self {
        match signal {
            libc::SIGSYS => Self::Sigsys,
            libc::SIGSEGV | libc::SIGBUS | libc::SIGILL | libc::SIGTRAP => Self::Fault,
            signal => Self::Killed(signal),
        }
    }

    pub(crate) fn of_status(status: i32) -> Self {
        match status {
            THROUGH => Self::Through,
            NOTHING => Self::Nothing,
            markers::EXIT_FAULTED | markers::EXIT_STACK_OVERFLOW => Self::Fault,
            markers::EXIT_OUT_OF_MEMORY => Self::Errno(libc::ENOMEM),
            status if (REFUSED + 1..=REFUSED + ERRNO_MAX).contains(&status) => {
                Self::Errno(status - REFUSED)
            }
            status => Self::NotBelieved(format!("the job exited with status {status}")),
        }
    }

    /// Whether it is what was expected. Through, and blame on the machine, are never.
    pub(crate) fn is(&self, expected: Expect) -> bool {
        match expected {
            Expect::Sigsys => *self == Self::Sigsys,
            Expect::Fault => *self == Self::Fault,
            Expect::Errno => matches!(self, Self::Errno(_)),
            Expect::NoMemory => *self == Self::Errno(libc::ENOMEM),
            Expect::CpuLimit => *self == Self::CpuLimit,
            Expect::Nothing => *self == Self::Nothing,
            Expect::Own => *self == Self::Returned,
            Expect::NotBelieved => matches!(self, Self::NotBelieved(_) | Self::CpuLimit),
            Expect::Held | Expect::FaultIfOffered => self.held(),
        }
    }

    /// Whether the attack came away with nothing.
    pub(crate) fn held(&self) -> bool {
        !matches!(self, Self::Through | Self::Returned | Self::Blamed(_) | Self::WorkerLost)
    }
}

impl fmt::Display for Seen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Sigsys => write!(f, "SIGSYS"),
            Self::Killed(signal) => write!(f, "signal {signal}"),
            Self::Fault => write!(f, "fault"),
            Self::Errno(errno) => f.write_str(&errno_name(*errno)),
            Self::Nothing => write!(f, "nothing found"),
            Self::Through => write!(f, "GOT THROUGH"),
            Self::CpuLimit => write!(f, "CPU limit"),
            Self::WallLimit => write!(f, "wall limit"),
            Self::NotBelieved(_) => write!(f, "not believed"),
            Self::WorkerLost => write!(f, "WORKER LOST"),
            Self::Returned => write!(f, "returned"),
            Self::Blamed(_) => write!(f, "FAULT"),
        }
    }
}

/// The name by which manual pages know an error.
fn errno_name(errno: i32) -> String {
    let names = [
        (libc::EPERM, "EPERM"),
        (libc::ENOENT, "ENOENT"),
        (libc::ESRCH, "ESRCH"),
        (libc::EBADF, "EBADF"),
        (libc::ECHILD, "ECHILD"),
        (libc::EAGAIN, "EAGAIN"),
        (libc::ENOMEM, "ENOMEM"),
        (libc::EACCES, "EACCES"),
        (libc::EFAULT, "EFAULT"),
        (libc::ENODEV, "ENODEV"),
        (libc::EINVAL, "EINVAL"),
        (libc::EMFILE, "EMFILE"),
        (libc::ENOSPC, "ENOSPC"),
        (libc::EROFS, "EROFS"),
        (libc::ENOSYS, "ENOSYS"),
        (libc::ENOTSOCK, "ENOTSOCK"),
        (libc::EOPNOTSUPP, "EOPNOTSUPP"),
        (libc::EISCONN, "EISCONN"),
        (libc::EUSERS, "EUSERS"),
        (libc::EXDEV, "EXDEV"),
        (libc::EEXIST, "EEXIST"),
        (libc::ENOTDIR, "ENOTDIR"),
        (libc::ENOTTY, "ENOTTY"),
    ];
    let known = names.iter().find(|(number, _)| *number == errno);
    known.map_or_else(|| format!("errno {errno}"), |(_, name)| (*name).to_owned())
}
