//! Work from a worker to its job: one message on the job's channel, descriptors attached.
//!
//! The channel is a stream socket pair, so that a whole reply needs no more than `write`. The one
//! message in the other direction is small, sent at once, and read at once.

use std::{
    io,
    os::fd::{BorrowedFd, OwnedFd},
};

use lazaret_wire::{
    frame::{decode, encode},
    work::Work,
};
use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};

use crate::host_link;

/// The most bytes of one piece of work: numbers and settings, no guest bytes.
const WORK_BYTES_MAX: usize = 4096;

/// A worker's end of a channel, and its job's.
pub(crate) fn channel() -> io::Result<(OwnedFd, OwnedFd)> {
    Ok(socketpair(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None)?)
}

/// Worker: hands over.
pub(crate) fn give(
    channel: BorrowedFd<'_>,
    work: &Work,
    descriptors: &[BorrowedFd<'_>],
) -> io::Result<()> {
    let bytes = encode(work).map_err(io::Error::other)?;
    host_link::send(channel, &bytes, descriptors)
}

/// Job: waits for its work; `None` when the worker is gone.
pub(crate) fn take(channel: BorrowedFd<'_>) -> io::Result<Option<(Work, Vec<OwnedFd>)>> {
    let mut bytes = [0; WORK_BYTES_MAX];
    let (received, descriptors) = host_link::receive(channel, &mut bytes)?;
    if received == 0 {
        return Ok(None);
    }
    let work = decode(&bytes[..received])
        .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
    Ok(Some((work, descriptors)))
}
