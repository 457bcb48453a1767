//! A worker's end of the socket to its host: descriptor 0, one frame per datagram, blocking.

use std::{
    cell::RefCell,
    io::{self, IoSlice, IoSliceMut},
    mem::MaybeUninit,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
};

use lazaret_wire::frame::{DESCRIPTORS_MAX, FRAME_BYTES_MAX};
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, recvmsg, sendmsg,
};

/// The socket to the host.
pub(crate) struct HostLink {
    socket: BorrowedFd<'static>,
    /// Room for the longest frame. Made once, because each page that is written here after a job was
    /// forked is copied first.
    room: RefCell<Box<[u8]>>,
}

/// A frame as it came.
pub(crate) struct Received {
    pub(crate) frame: Vec<u8>,
    pub(crate) descriptors: Vec<OwnedFd>,
}

impl HostLink {
    /// Descriptor 0, which stays open for as long as the process is a worker.
    pub(crate) fn inherited() -> Self {
        let room = RefCell::new(vec![0; FRAME_BYTES_MAX].into_boxed_slice());
        Self { socket: rustix::stdio::stdin(), room }
    }

    /// Waits for one frame; `None` when the host is gone.
    pub(crate) fn receive(&self) -> io::Result<Option<Received>> {
        let mut room = self.room.borrow_mut();
        let (bytes, descriptors) = receive(self.socket, &mut room)?;
        let frame = room[..bytes].to_vec();
        Ok((bytes > 0).then_some(Received { frame, descriptors }))
    }

    /// Sends one frame with descriptors.
    pub(crate) fn send(&self, frame: &[u8], descriptors: &[BorrowedFd<'_>]) -> io::Result<()> {
        send(self.socket, frame, descriptors)
    }
}

impl AsFd for HostLink {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket
    }
}

/// Sends bytes with descriptors, in one message.
pub(crate) fn send(
    socket: BorrowedFd<'_>,
    bytes: &[u8],
    descriptors: &[BorrowedFd<'_>],
) -> io::Result<()> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(DESCRIPTORS_MAX))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if !descriptors.is_empty() && !control.push(SendAncillaryMessage::ScmRights(descriptors)) {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    let sent = rustix::io::retry_on_intr(|| {
        sendmsg(socket, &[IoSlice::new(bytes)], &mut control, SendFlags::NOSIGNAL)
    })?;
    if sent == bytes.len() { Ok(()) } else { Err(io::ErrorKind::WriteZero.into()) }
}

/// Receives one message with its descriptors; 0 bytes when the other side is gone.
pub(crate) fn receive(
    socket: BorrowedFd<'_>,
    bytes: &mut [u8],
) -> io::Result<(usize, Vec<OwnedFd>)> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(DESCRIPTORS_MAX))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let message = rustix::io::retry_on_intr(|| {
        recvmsg(socket, &mut [IoSliceMut::new(bytes)], &mut control, RecvFlags::CMSG_CLOEXEC)
    })?;
    let descriptors = control
        .drain()
        .filter_map(|message| match message {
            RecvAncillaryMessage::ScmRights(descriptors) => Some(descriptors),
            _ => None,
        })
        .flatten()
        .collect();
    if message.flags.intersects(ReturnFlags::TRUNC | ReturnFlags::CTRUNC) {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "a message longer than any"));
    }
    Ok((message.bytes, descriptors))
}
