//! A job that has loaded an artifact and copies itself for each call of it, seen from its worker.
//!
//! It runs no guest and holds no work, so that it dies harms nobody. A copy is made as soon as the one
//! before is taken. It says a byte on its channel, and the kernel tells who said it: the template has no
//! word in that.

use std::{
    io,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    time::Duration,
};

use lazaret_sandbox::fork::Child;
use lazaret_wire::work::{Load, Order};
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use crate::{
    hand_over,
    watch::{self, Job},
};

/// A template and the copy that waits for the next call.
pub(crate) struct Template {
    job: Job,
    copy: Copy,
    /// Whether a copy may have died before it said who it is.
    unheard: bool,
}

/// How far the next copy is.
enum Copy {
    /// Nobody asked for one, or it came to nothing.
    Absent,
    /// It was asked for, and will be at the other end of this channel.
    Ordered(OwnedFd),
    /// It waits for its call.
    Ready(Job),
}

impl Template {
    /// Makes one of a job that waits for its first order.
    pub(crate) fn new(job: Job, load: Load, artifact: BorrowedFd<'_>) -> Result<Self, Job> {
        match hand_over::give(job.channel.as_fd(), &Order::Load(load), &[artifact]) {
            Ok(()) => Ok(Self { job, copy: Copy::Absent, unheard: false }),
            Err(_) => Err(job),
        }
    }

    /// Sees to it that a copy is made, and says whether that took an order. One that cannot be ordered now is
    /// ordered the next time.
    pub(crate) fn order(&mut self) -> bool {
        let Copy::Absent = self.copy else { return false };
        if let Ok((ours, theirs)) = hand_over::channel_of_a_copy()
            && hand_over::give(self.job.channel.as_fd(), &Order::Copy, &[theirs.as_fd()]).is_ok()
        {
            self.copy = Copy::Ordered(ours);
        }
        true
    }

    /// The copy, if there is one now or after this time.
    pub(crate) fn take(&mut self, patience: Duration) -> Option<Job> {
        if let Copy::Ordered(channel) = &self.copy {
            let mut source = [PollFd::new(channel, PollFlags::IN)];
            let limit = Timespec {
                tv_sec: patience.as_secs() as i64,
                tv_nsec: patience.subsec_nanos().into(),
            };
            let _ = rustix::io::retry_on_intr(|| poll(&mut source, Some(&limit)));
            self.hear();
        }
        match std::mem::replace(&mut self.copy, Copy::Absent) {
            Copy::Ready(job) => Some(job),
            other => {
                self.copy = other;
                None
            }
        }
    }

    /// Takes note of a copy that has said its byte, or that will not.
    pub(crate) fn hear(&mut self) {
        let Copy::Ordered(channel) = &self.copy else { return };
        let announced = match hand_over::announced(channel.as_fd()) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
            announced => announced.ok().flatten(),
        };
        let child = announced.and_then(|pid| Child::open(pid).ok());
        self.copy = match (std::mem::replace(&mut self.copy, Copy::Absent), child) {
            (Copy::Ordered(channel), Some(child)) => Copy::Ready(Job { child, channel }),
            // Whoever was there ends when the channel does.
            _ => {
                self.unheard = true;
                Copy::Absent
            }
        };
    }

    /// What becomes readable when the template or its copy ends, or when the copy is there.
    pub(crate) fn sources(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        let copy = match &self.copy {
            Copy::Absent => None,
            Copy::Ordered(channel) => Some(channel.as_fd()),
            Copy::Ready(job) => Some(job.child.as_fd()),
        };
        std::iter::once(self.job.child.as_fd()).chain(copy)
    }

    /// Whether it is there only to be reaped.
    pub(crate) fn has_ended(&self) -> bool {
        watch::has_ended(&self.job)
    }

    /// Reaps a copy that died while it waited.
    pub(crate) fn reap_copy(&mut self) -> io::Result<()> {
        match std::mem::replace(&mut self.copy, Copy::Absent) {
            Copy::Ready(job) if watch::has_ended(&job) => watch::put_down(job),
            other => {
                self.copy = other;
                Ok(())
            }
        }
    }

    /// The children that this is.
    pub(crate) fn children(&self) -> impl Iterator<Item = &Child> {
        let copy = match &self.copy {
            Copy::Ready(job) => Some(&job.child),
            Copy::Absent | Copy::Ordered(_) => None,
        };
        std::iter::once(&self.job.child).chain(copy)
    }

    /// Whether it may have left a child that nobody knows, since this was asked last.
    pub(crate) fn left_a_stranger(&mut self) -> bool {
        std::mem::take(&mut self.unheard)
    }

    /// Ends it and its copy, and says whether it may have left a child that nobody knows.
    pub(crate) fn end(mut self) -> io::Result<bool> {
        self.hear();
        watch::put_down(self.job)?;
        match self.copy {
            Copy::Absent => Ok(self.unheard),
            Copy::Ready(job) => watch::put_down(job).map(|()| self.unheard),
            // If it is there it finds its channel closed and ends, and has to be reaped.
            Copy::Ordered(_) => Ok(true),
        }
    }
}
