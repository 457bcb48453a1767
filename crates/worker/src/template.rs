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
use lazaret_wire::work::{Copy, Execute, Load, Order};
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use crate::{
    hand_over,
    watch::{self, Job},
};

/// A template and the copy that waits for the next call.
pub(crate) struct Template {
    job: Job,
    copy: Next,
    /// Whether a copy may have died before it said who it is.
    unheard: bool,
}

/// How far the next copy is.
enum Next {
    /// Nobody asked for one, or it came to nothing.
    Absent,
    /// It was asked for, and will be at the other end of this channel.
    Ordered(Copy, OwnedFd),
    /// It waits for its call.
    Ready(Copy, Job),
}

impl Template {
    /// Makes one of a job that waits for its first order.
    pub(crate) fn new(job: Job, load: Load, artifact: BorrowedFd<'_>) -> Result<Self, Job> {
        match hand_over::give(job.channel.as_fd(), &Order::Load(load), &[artifact]) {
            Ok(()) => Ok(Self { job, copy: Next::Absent, unheard: false }),
            Err(_) => Err(job),
        }
    }

    /// Sees to it that a copy is made, and says whether that took an order. One that cannot be ordered now is
    /// ordered the next time.
    pub(crate) fn order(&mut self, how: &Copy) -> bool {
        let Next::Absent = self.copy else { return false };
        let order = Order::Copy(how.clone());
        if let Ok((ours, theirs)) = hand_over::channel_of_a_copy()
            && hand_over::give(self.job.channel.as_fd(), &order, &[theirs.as_fd()]).is_ok()
        {
            self.copy = Next::Ordered(how.clone(), ours);
        }
        true
    }

    /// The copy, if there is one now or after this time. One that waits for another kind of call makes room
    /// for one that can serve this.
    pub(crate) fn take(&mut self, execute: &Execute, patience: Duration) -> Option<Job> {
        if let Next::Ordered(how, _) | Next::Ready(how, _) = &self.copy
            && !can_serve(how, execute)
        {
            self.discard(patience).ok()?;
            self.order(&Copy::Open);
        }
        self.wait(patience);
        match std::mem::replace(&mut self.copy, Next::Absent) {
            Next::Ready(_, job) => Some(job),
            other => {
                self.copy = other;
                None
            }
        }
    }

    /// Ends the copy that is there or to come.
    fn discard(&mut self, patience: Duration) -> io::Result<()> {
        self.wait(patience);
        match std::mem::replace(&mut self.copy, Next::Absent) {
            Next::Absent => Ok(()),
            Next::Ready(_, job) => watch::put_down(job),
            // If it is there it finds its channel closed and ends, and has to be reaped.
            Next::Ordered(..) => {
                self.unheard = true;
                Ok(())
            }
        }
    }

    /// Waits so long for a copy that was ordered.
    fn wait(&mut self, patience: Duration) {
        if let Next::Ordered(_, channel) = &self.copy {
            let mut source = [PollFd::new(channel, PollFlags::IN)];
            let limit = Timespec {
                tv_sec: patience.as_secs() as i64,
                tv_nsec: patience.subsec_nanos().into(),
            };
            let _ = rustix::io::retry_on_intr(|| poll(&mut source, Some(&limit)));
            self.hear();
        }
    }

    /// Takes note of a copy that has said its byte, or that will not.
    pub(crate) fn hear(&mut self) {
        let Next::Ordered(_, channel) = &self.copy else { return };
        let announced = match hand_over::announced(channel.as_fd()) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
            announced => announced.ok().flatten(),
        };
        let child = announced.and_then(|pid| Child::open(pid).ok());
        self.copy = match (std::mem::replace(&mut self.copy, Next::Absent), child) {
            (Next::Ordered(how, channel), Some(child)) => {
                Next::Ready(how, Job { child, channel, announced: hand_over::ANNOUNCEMENT_BYTES })
            }
            // Whoever was there ends when the channel does.
            _ => {
                self.unheard = true;
                Next::Absent
            }
        };
    }

    /// What becomes readable when the template or its copy ends, or when the copy is there.
    pub(crate) fn sources(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        let copy = match &self.copy {
            Next::Absent => None,
            Next::Ordered(_, channel) => Some(channel.as_fd()),
            Next::Ready(_, job) => Some(job.child.as_fd()),
        };
        std::iter::once(self.job.child.as_fd()).chain(copy)
    }

    /// Whether it is there only to be reaped.
    pub(crate) fn has_ended(&self) -> bool {
        watch::has_ended(&self.job)
    }

    /// Reaps a copy that died while it waited.
    pub(crate) fn reap_copy(&mut self) -> io::Result<()> {
        match std::mem::replace(&mut self.copy, Next::Absent) {
            Next::Ready(_, job) if watch::has_ended(&job) => watch::put_down(job),
            other => {
                self.copy = other;
                Ok(())
            }
        }
    }

    /// The children that this is.
    pub(crate) fn children(&self) -> impl Iterator<Item = &Child> {
        let copy = match &self.copy {
            Next::Ready(_, job) => Some(&job.child),
            Next::Absent | Next::Ordered(..) => None,
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
            Next::Absent => Ok(self.unheard),
            Next::Ready(_, job) => watch::put_down(job).map(|()| self.unheard),
            // If it is there it finds its channel closed and ends, and has to be reaped.
            Next::Ordered(..) => Ok(true),
        }
    }
}

/// Whether a copy that waits so can serve this call.
fn can_serve(how: &Copy, execute: &Execute) -> bool {
    match how {
        Copy::Open => true,
        Copy::Shut(limits) => {
            is_all_in_order(execute) && limits.are_alike_for_a_process(&execute.limits)
        }
    }
}

/// How the copy for a call like this one is to wait.
pub(crate) fn copy_for(execute: &Execute) -> Copy {
    match is_all_in_order(execute) {
        true => Copy::Shut(execute.limits.clone()),
        false => Copy::Open,
    }
}

/// Whether the call brings no descriptor but the artifact's, which a copy does not need.
fn is_all_in_order(execute: &Execute) -> bool {
    !execute.given.is_in_a_file() && execute.input.descriptors() == 0
}
