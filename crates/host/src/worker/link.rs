//! The host's end of a worker's socket pair: one frame out, one frame in, descriptors attached.

use std::{
    io::{self, IoSlice, IoSliceMut},
    mem::MaybeUninit,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    sync::Mutex,
};

use lazaret_wire::frame::{DESCRIPTORS_MAX, FRAME_BYTES_MAX};
use rustix::{
    io::Errno,
    net::{
        AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags,
        SendAncillaryBuffer, SendAncillaryMessage, SendFlags, SocketFlags, SocketType, recv,
        recvmsg, sendmsg, socketpair,
    },
};
use tokio::net::unix::pipe;

/// A socket to one worker. Dropping it is how a worker learns that it is no longer needed.
pub(crate) struct Link {
    /// tokio's name for what is watched for reading only. Whoever watches for room to write too is woken each time
    /// that the worker has read something.
    socket: pipe::Receiver,
    /// Room for the longest frame, made once.
    room: Mutex<Box<[u8]>>,
}

/// A frame as it came.
pub(crate) struct Received {
    pub(crate) frame: Vec<u8>,
    pub(crate) descriptors: Vec<OwnedFd>,
}

/// A link and the end that becomes the worker's descriptor 0. The worker's end blocks, ours does not.
pub(crate) fn pair() -> io::Result<(Link, OwnedFd)> {
    let (ours, theirs) =
        socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)?;
    rustix::io::ioctl_fionbio(&ours, true)?;
    let socket = pipe::Receiver::from_owned_fd_unchecked(ours)?;
    let room = Mutex::new(vec![0; FRAME_BYTES_MAX].into_boxed_slice());
    Ok((Link { socket, room }, theirs))
}

impl Link {
    /// Sends one frame with descriptors.
    pub(crate) async fn send(
        &self,
        frame: &[u8],
        descriptors: &[BorrowedFd<'_>],
    ) -> io::Result<()> {
        match send(self.socket.as_fd(), frame, descriptors) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            sent => return sent,
        }
        // There is room for several frames, and a worker reads each: it does not run, or does not read.
        let socket = self.socket.as_fd().try_clone_to_owned()?;
        let socket = pipe::Sender::from_owned_fd_unchecked(socket)?;
        loop {
            socket.writable().await?;
            match socket.try_io(|| send(socket.as_fd(), frame, descriptors)) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                sent => return sent,
            }
        }
    }

    /// Whether the worker's end is open and nothing has come from it.
    pub(crate) fn is_quiet(&self) -> bool {
        let nothing = recv(&self.socket, &mut [0; 1], RecvFlags::PEEK | RecvFlags::DONTWAIT);
        matches!(nothing, Err(Errno::AGAIN))
    }

    /// Waits for one frame. A worker that closed its end is [`io::ErrorKind::UnexpectedEof`].
    pub(crate) async fn receive(&self) -> io::Result<Received> {
        let receive = || {
            let mut room = self.room.lock().expect("no panic while locked");
            receive(self.socket.as_fd(), &mut room)
        };
        loop {
            self.socket.readable().await?;
            match self.socket.try_io(receive) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                received => return received,
            }
        }
    }
}

/// Whether descriptors were left behind because this process may not have any more.
pub(crate) fn is_out_of_descriptors(error: &io::Error) -> bool {
    error.raw_os_error() == Some(Errno::MFILE.raw_os_error())
}

fn send(socket: BorrowedFd<'_>, frame: &[u8], descriptors: &[BorrowedFd<'_>]) -> io::Result<()> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(DESCRIPTORS_MAX))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if !descriptors.is_empty() && !control.push(SendAncillaryMessage::ScmRights(descriptors)) {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    sendmsg(socket, &[IoSlice::new(frame)], &mut control, SendFlags::NOSIGNAL)?;
    Ok(())
}

fn receive(socket: BorrowedFd<'_>, room: &mut [u8]) -> io::Result<Received> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(DESCRIPTORS_MAX))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let message =
        recvmsg(socket, &mut [IoSliceMut::new(room)], &mut control, RecvFlags::CMSG_CLOEXEC)?;
    let descriptors: Vec<_> = control
        .drain()
        .filter_map(|message| match message {
            RecvAncillaryMessage::ScmRights(descriptors) => Some(descriptors),
            _ => None,
        })
        .flatten()
        .collect();
    if message.bytes == 0 {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    // The kernel leaves out descriptors for which this process has no room (unix(7)). That is this
    // machine's trouble, and must not look like the worker's.
    if message.flags.contains(ReturnFlags::CTRUNC) && descriptors.len() < DESCRIPTORS_MAX {
        return Err(Errno::MFILE.into());
    }
    if message.flags.intersects(ReturnFlags::TRUNC | ReturnFlags::CTRUNC) {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "a frame longer than any frame"));
    }
    Ok(Received { frame: room[..message.bytes].to_vec(), descriptors })
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;

    #[tokio::test]
    async fn frames_for_which_there_is_no_room_yet_arrive_whole_and_in_order() {
        const FRAMES: u8 = 40;
        let (link, worker) = pair().unwrap();
        let sent = async {
            for number in 0..FRAMES {
                link.send(&vec![number; 64 * 1024], &[]).await.unwrap();
            }
        };
        // Not polled again until there is room, which there is not before the first is read.
        let mut sent = Box::pin(sent);
        assert!(polled_once(&mut sent).await.is_none());
        let reader = thread::spawn(move || {
            let mut room = vec![0; FRAME_BYTES_MAX];
            (0..FRAMES).for_each(|number| {
                let bytes = recv(&worker, &mut *room, RecvFlags::empty()).unwrap().1;
                assert!(bytes == 64 * 1024 && room[..bytes].iter().all(|byte| *byte == number));
            });
        });
        sent.await;
        reader.join().unwrap();
    }

    /// What comes of it when it is polled once.
    async fn polled_once<F: Future + Unpin>(future: &mut F) -> Option<F::Output> {
        std::future::poll_fn(|context| {
            std::task::Poll::Ready(match std::pin::Pin::new(&mut *future).poll(context) {
                std::task::Poll::Ready(output) => Some(output),
                std::task::Poll::Pending => None,
            })
        })
        .await
    }
}
