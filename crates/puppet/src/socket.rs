//! Descriptor 0, the socket to the host. A puppet whose host has gone ends.

use std::{
    io::{IoSlice, IoSliceMut},
    mem::MaybeUninit,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    process::exit,
};

use lazaret_wire::frame::FRAME_BYTES_MAX;
use rustix::{
    event::{PollFd, PollFlags, poll},
    fs::{MemfdFlags, SealFlags, fcntl_add_seals, ftruncate, memfd_create},
    net::{
        RecvAncillaryBuffer, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage, SendFlags,
        recvmsg, sendmsg,
    },
};

/// More than any frame has, and what the kernel passes on at once.
const DESCRIPTORS: usize = 8;

/// What goes with a frame. Lengths are of memfds that are all holes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Attached {
    Nothing,
    Sealed(u64),
    Unsealed(u64),
    Socket,
    Sockets,
}

/// Waits for one frame; its descriptors are closed.
pub(crate) fn receive() -> Vec<u8> {
    let mut frame = vec![0; FRAME_BYTES_MAX];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(DESCRIPTORS))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let socket = rustix::stdio::stdin();
    let mut pieces = [IoSliceMut::new(&mut frame)];
    match recvmsg(socket, &mut pieces, &mut control, RecvFlags::CMSG_CLOEXEC) {
        Ok(message) if message.bytes > 0 => frame.truncate(message.bytes),
        Ok(_) | Err(_) => exit(0),
    }
    frame
}

pub(crate) fn send(frame: &[u8], attached: Attached) {
    let memfds: Vec<OwnedFd> = match attached {
        Attached::Nothing | Attached::Socket | Attached::Sockets => Vec::new(),
        Attached::Sealed(bytes) => vec![memfd(bytes, true)],
        Attached::Unsealed(bytes) => vec![memfd(bytes, false)],
    };
    let mut descriptors: Vec<BorrowedFd<'_>> = memfds.iter().map(AsFd::as_fd).collect();
    match attached {
        Attached::Socket => descriptors.push(rustix::stdio::stdin()),
        Attached::Sockets => descriptors.extend([rustix::stdio::stdin(); DESCRIPTORS]),
        Attached::Nothing | Attached::Sealed(_) | Attached::Unsealed(_) => {}
    }
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(DESCRIPTORS))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if !descriptors.is_empty() {
        control.push(SendAncillaryMessage::ScmRights(&descriptors));
    }
    let socket = rustix::stdio::stdin();
    if sendmsg(socket, &[IoSlice::new(frame)], &mut control, SendFlags::NOSIGNAL).is_err() {
        exit(0);
    }
}

fn memfd(bytes: u64, sealed: bool) -> OwnedFd {
    let made = || {
        let memfd = memfd_create(c"puppet", MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING)?;
        ftruncate(&memfd, bytes)?;
        if sealed {
            let seals = SealFlags::SHRINK | SealFlags::GROW | SealFlags::WRITE | SealFlags::SEAL;
            fcntl_add_seals(&memfd, seals)?;
        }
        Ok::<_, rustix::io::Errno>(memfd)
    };
    made().unwrap_or_else(|_| exit(3))
}

/// Until there is a frame, which stays unread.
pub(crate) fn wait_until_readable() {
    let socket = rustix::stdio::stdin();
    let _ = poll(&mut [PollFd::new(&socket, PollFlags::IN)], None);
}

/// Reads and says nothing until the host has gone.
pub(crate) fn wait_for_the_end() -> ! {
    loop {
        receive();
    }
}
