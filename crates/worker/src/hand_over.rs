//! Orders from a worker to its job: a message on the job's channel, descriptors attached.
//!
//! The channel is a stream socket pair, so that a whole reply needs no more than `write`. In the other
//! direction go at most two messages, each small and sent at once. Two that wait are not read as one,
//! because descriptors are attached to each (unix(7)).

use std::{
    io,
    os::fd::{BorrowedFd, OwnedFd},
};

use lazaret_wire::{
    frame::{decode, encode},
    work::Order,
};
use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};

use crate::host_link;

/// The most bytes of one order: numbers and settings, no guest bytes.
const ORDER_BYTES_MAX: usize = 4096;

/// A worker's end of a channel, and its job's.
pub(crate) fn channel() -> io::Result<(OwnedFd, OwnedFd)> {
    Ok(socketpair(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None)?)
}

/// Worker: hands over.
pub(crate) fn give(
    channel: BorrowedFd<'_>,
    order: &Order,
    descriptors: &[BorrowedFd<'_>],
) -> io::Result<()> {
    let bytes = encode(order).map_err(io::Error::other)?;
    host_link::send(channel, &bytes, descriptors)
}

/// Job: waits for an order; `None` when the worker is gone.
pub(crate) fn take(channel: BorrowedFd<'_>) -> io::Result<Option<(Order, Vec<OwnedFd>)>> {
    let mut bytes = [0; ORDER_BYTES_MAX];
    let (received, descriptors) = host_link::receive(channel, &mut bytes)?;
    if received == 0 {
        return Ok(None);
    }
    let order = decode(&bytes[..received])
        .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
    Ok(Some((order, descriptors)))
}
