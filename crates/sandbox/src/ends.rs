//! The end of a job, heard when it calls for it.
//!
//! Most of the time that a job takes to end the kernel needs for its memory, and only then it can be reaped. But
//! from the moment when its one thread has called `exit_group(2)` nothing of it runs any more, and what it will have
//! ended with stands in that call. So jobs may *ask* before they end, by a bit of the status that the kernel does
//! not look at, and a filter of the worker's makes the kernel tell the worker of it (`seccomp_unotify(2)`): which
//! process, by the worker's own numbers, and with which status. Until the worker lets it, the job is stopped inside
//! that call. Nobody can change the call meanwhile: its arguments are in registers, the job has no other thread, and a
//! signal that it would handle does not come through (`SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV`).
//!
//! Who does not ask ends all the same, and is seen by its pidfd.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::{fmt, io};

use crate::fork::Child;
use crate::sys::listener;

/// Where a worker hears of those who ask; readable for `poll(2)` when somebody does.
#[derive(Debug)]
pub struct Ends(OwnedFd);

/// Somebody who asks, stopped until [`Ends::let_go`].
pub struct Asking {
    pid: libc::pid_t,
    status: i32,
    id: u64,
}

impl Ends {
    pub(crate) fn listen() -> io::Result<Self> {
        listener::listen().map(Self)
    }

    /// Who asks; to be called when this is readable. Nothing if that has been killed since.
    ///
    /// # Errors
    /// As `ioctl(2)`, SECCOMP_IOCTL_NOTIF_RECV.
    pub fn next(&self) -> io::Result<Option<Asking>> {
        let heard = listener::hear(self.0.as_fd())?;
        Ok(heard.map(|(pid, status, id)| Asking { pid, status, id }))
    }

    /// Lets it end. One that was killed meanwhile has ended already.
    pub fn let_go(&self, asking: Asking) {
        let _ = listener::allow(self.0.as_fd(), asking.id);
    }
}

impl Asking {
    /// Whether it is this job.
    pub fn is(&self, job: &Child) -> bool {
        self.pid == job.pid
    }

    /// What it ends with, as `waitid(2)` will say it.
    pub fn status(&self) -> i32 {
        self.status
    }
}

impl fmt::Debug for Asking {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{} asks to end with {}", self.pid, self.status)
    }
}

impl AsFd for Ends {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}
