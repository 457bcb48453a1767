//! What an honest worker and an honest job do, under their filters: nothing of it may be stopped.
//!
//! Called by `roles`. A new need of the worker program belongs here and in its filter's table.

use std::collections::HashMap;
use std::fs::File;
use std::io::{IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::time::Instant;

use lazaret_sandbox::job::{JobJail, Streams};
use lazaret_sandbox::memfd::{self, Mapped};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, recvmsg, sendmsg,
};
use rustix::pipe::{PipeFlags, pipe_with};

use crate::streams::INPUT;

const CONTENT: &[u8] = b"an artifact";

/// The worker's part, after its filter and before its fork: `ours` leads to a job that is not
/// there yet, which will find what is sent.
pub(crate) fn in_the_worker(ours: &UnixStream) {
    let began = Instant::now();
    let file = memfd::create("artifact").expect("a memory file");
    rustix::io::write(&file, CONTENT).expect("room in it");
    memfd::seal(file.as_fd()).expect("seals");
    let second = file.try_clone().expect("a second descriptor");
    assert_eq!(File::from(second).metadata().expect("its length").len(), CONTENT.len() as u64);
    assert_eq!(&*Mapped::open(&file, 1 << 20).expect("sealed"), CONTENT);

    let mut counts = HashMap::new();
    for byte in vec![7u8; 4 << 20] {
        *counts.entry(byte).or_insert(0u32) += 1;
    }
    assert_eq!(counts[&7], 4 << 20);

    let at_once = Timespec { tv_sec: 0, tv_nsec: 0 };
    poll(&mut [PollFd::new(ours, PollFlags::IN)], Some(&at_once)).expect("poll");
    send(ours, &file);
    assert!(began.elapsed().as_secs() < 3600);
    eprintln!("the worker has worked");
}

fn send(channel: &UnixStream, file: &OwnedFd) {
    let descriptors = [file.as_fd()];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut attached = SendAncillaryBuffer::new(&mut space);
    assert!(attached.push(SendAncillaryMessage::ScmRights(&descriptors)));
    let sent = sendmsg(channel, &[IoSlice::new(b"work")], &mut attached, SendFlags::NOSIGNAL);
    assert_eq!(sent, Ok(4));
}

/// Sends the job its ends of pipes, with something to read, and gives the other ends of what it writes.
pub(crate) fn give_streams(channel: &UnixStream) -> [OwnedFd; 2] {
    let pipe = || pipe_with(PipeFlags::CLOEXEC).expect("a pipe");
    let ((stdin, fills), (out, stdout), (err, stderr)) = (pipe(), pipe(), pipe());
    rustix::io::write(&fills, INPUT).expect("room in a pipe");
    let descriptors = [stdin.as_fd(), stdout.as_fd(), stderr.as_fd()];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(3))];
    let mut attached = SendAncillaryBuffer::new(&mut space);
    assert!(attached.push(SendAncillaryMessage::ScmRights(&descriptors)));
    let sent = sendmsg(channel, &[IoSlice::new(b"more")], &mut attached, SendFlags::NOSIGNAL);
    assert_eq!(sent, Ok(4));
    [out, err]
}

/// The job's ends.
pub(crate) fn take_streams(jail: &JobJail) -> Streams {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(3))];
    let mut attached = RecvAncillaryBuffer::new(&mut space);
    let (mut message, flags) = ([0; 4], RecvFlags::CMSG_CLOEXEC);
    let room = &mut [IoSliceMut::new(&mut message)];
    recvmsg(jail.channel(), room, &mut attached, flags).expect("a message");
    let mut descriptors = attached.drain().flat_map(|message| match message {
        RecvAncillaryMessage::ScmRights(files) => files.collect::<Vec<_>>(),
        _ => Vec::new(),
    });
    let mut next = || descriptors.next().expect("a pipe");
    Streams { stdin: Some(next()), stdout: next(), stderr: next() }
}

/// The job's part, before it is sealed: take the file, map it, close it.
pub(crate) fn in_the_job(jail: &JobJail) {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(2))];
    let mut attached = RecvAncillaryBuffer::new(&mut space);
    let mut message = [0; 4];
    let received = recvmsg(
        jail.channel(),
        &mut [IoSliceMut::new(&mut message)],
        &mut attached,
        RecvFlags::CMSG_CLOEXEC,
    );
    assert_eq!((received.expect("a message").bytes, &message), (4, b"work"));
    for message in attached.drain() {
        if let RecvAncillaryMessage::ScmRights(mut files) = message {
            let file = files.next().expect("a file");
            assert_eq!(&*Mapped::open(file, 1 << 20).expect("sealed"), CONTENT);
        }
    }
}
