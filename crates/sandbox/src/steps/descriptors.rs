//! What stays open: in a worker the host's socket and the log, in a job its channel.

use std::os::fd::{OwnedFd, RawFd};

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use crate::job::CHANNEL;
use crate::layer::{During, Step};
use crate::sys::{self, Way};

/// Closes whatever the host's program left open but the socket (0), the log (2), and the program's text (1)
/// if that is there. What the
/// host holds without close-on-exec must not be a job's to use.
pub(crate) fn keep_socket_and_log(and_text: bool) -> Step {
    if !and_text {
        sys::close_range(Way::Open, 1, 1).during("close_range 1")?;
    }
    sys::close_range(Way::Open, 3, RawFd::MAX).during("close_range 3..")
}

/// Makes the channel descriptor 0 and closes the rest: the worker's socket, its log, its other
/// jobs' channels.
pub(crate) fn keep_channel(channel: OwnedFd) -> Result<OwnedFd, crate::layer::Refusal> {
    let channel = sys::move_to_descriptor(Way::Open, channel, CHANNEL).during("dup2 to 0")?;
    sys::close_range(Way::Open, 1, RawFd::MAX).during("close_range 1..")?;
    Ok(channel)
}

/// Whether the other end of the channel is closed, which only the worker holds.
pub(crate) fn peer_is_gone(channel: &OwnedFd) -> Result<bool, crate::layer::Refusal> {
    let mut polled = [PollFd::new(channel, PollFlags::empty())];
    let at_once = Timespec { tv_sec: 0, tv_nsec: 0 };
    poll(&mut polled, Some(&at_once)).during("poll")?;
    Ok(polled[0].revents().intersects(PollFlags::HUP | PollFlags::ERR | PollFlags::NVAL))
}
