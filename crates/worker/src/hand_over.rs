//! Orders from a worker to its job: a message on the job's channel, descriptors attached.
//!
//! The channel is a stream socket pair, so that a whole reply needs no more than `write`. In the other
//! direction goes one message. One with an input may come in pieces: how much the kernel keeps in one depends on its
//! settings. It is whole when it decodes. To a template goes any number, and its channel keeps them apart.
//!
//! What is attached to a message that nobody has received yet is *in flight*, and as long as a socket is, the kernel looks
//! for some that nobody can receive any more whenever one is closed (`unix_gc`, a worker of the kernel's). So channels go to
//! a template several at a time.

use std::{
    io::{self, IoSliceMut},
    mem::MaybeUninit,
    os::fd::{BorrowedFd, OwnedFd},
};

use lazaret_sandbox::job::{ATTACHED_MAX, JobJail};
use lazaret_wire::{
    frame::{decode, encode},
    work::{INPUT_INLINE_BYTES_MAX, ORDER_BYTES_MAX, Order},
};
use rustix::{
    buffer::spare_capacity,
    net::{
        AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, Shutdown, SocketFlags,
        SocketType, recvmsg, shutdown, socketpair, sockopt,
    },
    process::Pid,
};

use crate::{host_link, template::COPIES_MAX};

/// The most bytes of an order with an input.
const WORK_BYTES_MAX: usize = ORDER_BYTES_MAX + INPUT_INLINE_BYTES_MAX;

/// Channels that a template is given at a time.
pub(crate) const CHANNELS_AT_A_TIME: usize = ATTACHED_MAX;
/// Channels that a template has at most: those of copies that it is to make, and those that came with the last of these orders.
const CHANNELS_MAX: usize = COPIES_MAX + CHANNELS_AT_A_TIME;

/// What a copy says when it is there.
pub(crate) const ANNOUNCEMENT_BYTES: usize = 1;

/// A worker's end of a channel, and its job's.
pub(crate) fn channel() -> io::Result<(OwnedFd, OwnedFd)> {
    Ok(socketpair(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None)?)
}

/// The same for a template, of whose messages each is received by itself.
pub(crate) fn channel_of_a_template() -> io::Result<(OwnedFd, OwnedFd)> {
    Ok(socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)?)
}

/// The same for a copy, which says a byte on it: whoever receives that is told who sent it.
pub(crate) fn channel_of_a_copy() -> io::Result<(OwnedFd, OwnedFd)> {
    let (ours, theirs) = channel()?;
    sockopt::set_socket_passcred(&ours, true)?;
    Ok((ours, theirs))
}

/// Copy: says that it is there.
pub(crate) fn announce(channel: BorrowedFd<'_>) -> io::Result<()> {
    rustix::io::write(channel, &[0; ANNOUNCEMENT_BYTES])?;
    Ok(())
}

/// Worker: whose byte that is, by the word of the kernel (`SCM_CREDENTIALS`); `None` if nobody will say one
/// any more. The byte stays where it is, in front of the copy's reply: to take it would wake the copy.
pub(crate) fn announced(channel: BorrowedFd<'_>) -> io::Result<Option<Pid>> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmCredentials(1))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let mut byte = [0];
    let room = &mut [IoSliceMut::new(&mut byte)];
    let flags = RecvFlags::CMSG_CLOEXEC | RecvFlags::DONTWAIT | RecvFlags::PEEK;
    let received = rustix::io::retry_on_intr(|| recvmsg(channel, room, &mut control, flags))?;
    let sender = control.drain().find_map(|message| match message {
        RecvAncillaryMessage::ScmCredentials(sender) => Some(sender.pid),
        _ => None,
    });
    Ok(sender.filter(|_| received.bytes > 0))
}

/// Worker: hands over.
pub(crate) fn give(
    channel: BorrowedFd<'_>,
    order: &Order,
    descriptors: &[BorrowedFd<'_>],
) -> io::Result<()> {
    let bytes = encode(order).map_err(io::Error::other)?;
    host_link::send(channel, &bytes, descriptors)?;
    match order {
        Order::Load(_) | Order::Copy { .. } | Order::Gather => Ok(()),
        // Nothing comes after work. Whoever asks for more finds the end and cannot wait for it, not
        // even before the final list: that no job waits is what tells a stall from a bad guest.
        Order::Work(_) => Ok(shutdown(channel, Shutdown::Write)?),
    }
}

/// The channels of copies to come, in a template. They stand on its stack, as what is written elsewhere is copied first,
/// because the last copy has it too.
pub(crate) struct Channels([Option<OwnedFd>; CHANNELS_MAX]);

impl Channels {
    pub(crate) fn none() -> Self {
        Self([const { None }; CHANNELS_MAX])
    }

    /// Template: waits for an order, which is no work.
    pub(crate) fn take_next(&mut self, template: &JobJail) -> io::Result<Option<Order>> {
        let mut room = [0; ORDER_BYTES_MAX];
        let (bytes, more) = template.receive(&mut room)?;
        let free = self.0.iter_mut().filter(|place| place.is_none());
        free.zip(more.into_iter().flatten()).for_each(|(place, channel)| *place = Some(channel));
        order(&room[..bytes])
    }

    /// The channel of the next copy.
    pub(crate) fn next(&mut self) -> Option<OwnedFd> {
        let next = self.0[0].take();
        self.0.rotate_left(1);
        next
    }
}

/// Job: waits for an order; `None` when the worker is gone.
pub(crate) fn take(channel: BorrowedFd<'_>) -> io::Result<Option<(Order, Vec<OwnedFd>)>> {
    let mut room = vec![0; WORK_BYTES_MAX];
    let (mut bytes, mut descriptors) = (0, Vec::new());
    loop {
        let (received, attached) = host_link::receive(channel, &mut room[bytes..])?;
        bytes += received;
        descriptors.extend(attached);
        match order(&room[..bytes]) {
            Err(_) if received > 0 => {}
            order => return Ok(order?.map(|order| (order, descriptors))),
        }
    }
}

/// Copy that is shut: waits for an order, which has no descriptor.
pub(crate) fn read(channel: BorrowedFd<'_>) -> io::Result<Option<Order>> {
    // Not cleared and not on the stack, whose every page would be touched: one is made for each that is
    // written. For the same reason what is not written is given back before anything else is allocated.
    let mut bytes = Vec::new();
    loop {
        bytes.reserve_exact(WORK_BYTES_MAX.saturating_sub(bytes.len()));
        let read = || rustix::io::read(channel, spare_capacity(&mut bytes));
        let received = rustix::io::retry_on_intr(read)?;
        bytes.shrink_to_fit();
        match order(&bytes) {
            Err(_) if received > 0 => {}
            order => return order,
        }
    }
}

/// The order in a message; `None` if there was none.
pub(crate) fn order(bytes: &[u8]) -> io::Result<Option<Order>> {
    if bytes.is_empty() {
        return Ok(None);
    }
    let order = decode(bytes).map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
    Ok(Some(order))
}

#[cfg(test)]
mod tests {
    use std::{io::Read, os::fd::AsFd};

    use lazaret_wire::{
        params::Params,
        work::{Copy, Execute, Given, Input, Inspect, Limits, Load, Work},
    };

    use super::*;

    const LIMITS: Limits = Limits {
        cpu_micros: 1,
        wall_micros: 4,
        memory_bytes: 1 << 20,
        heap_bytes: 0,
        output_bytes: 1,
    };

    #[test]
    fn two_orders_that_wait_are_two_and_after_work_comes_the_end() {
        let (worker, job) = channel().unwrap();
        let load = Order::Load(Load {
            params: Params::default(),
            limits: LIMITS,
            shut: false,
            often: false,
        });
        let params = Params::default();
        let work =
            Order::Work(Work::Inspect(Inspect { params, code_bytes_max: 1, limits: LIMITS }));
        let (file, _other) = channel().unwrap();
        give(worker.as_fd(), &load, &[file.as_fd()]).unwrap();
        give(worker.as_fd(), &work, &[file.as_fd(), file.as_fd()]).unwrap();

        for (order, attached) in [(load, 1), (work, 2)] {
            let (taken, descriptors) = take(job.as_fd()).unwrap().unwrap();
            assert_eq!((taken, descriptors.len()), (order, attached));
        }
        assert!(take(job.as_fd()).unwrap().is_none(), "it would wait for ever");
        assert_eq!(rustix::io::write(&job, b"a reply"), Ok(7));
    }

    #[test]
    fn orders_of_a_template_are_kept_apart_with_channels_and_without() {
        let (worker, template) = channel_of_a_template().unwrap();
        let order = Order::Copy { how: Copy::Shut(LIMITS), long: true };
        let (_ours, theirs): (Vec<_>, Vec<_>) =
            (0..CHANNELS_AT_A_TIME).map(|_| channel_of_a_copy().unwrap()).unzip();
        let attached: Vec<_> = theirs.iter().map(AsFd::as_fd).collect();
        for attached in [&attached[..], &[], &[]] {
            give(worker.as_fd(), &order, attached).unwrap();
        }
        drop(worker);
        for count in [CHANNELS_AT_A_TIME, 0, 0] {
            let (taken, descriptors) = take(template.as_fd()).unwrap().unwrap();
            assert_eq!((&taken, descriptors.len()), (&order, count));
        }
        assert!(take(template.as_fd()).unwrap().is_none());
    }

    #[test]
    fn the_word_of_a_copy_tells_whose_it_is_and_stays_in_front_of_its_reply() {
        let (worker, copy) = channel_of_a_copy().unwrap();
        let unannounced = announced(worker.as_fd()).unwrap_err();
        assert_eq!(unannounced.kind(), io::ErrorKind::WouldBlock);
        announce(copy.as_fd()).unwrap();
        for _ in 0..2 {
            assert_eq!(announced(worker.as_fd()).unwrap(), Some(rustix::process::getpid()));
        }
        assert_eq!(rustix::io::write(&copy, b"a reply"), Ok(7));
        shutdown(&copy, Shutdown::Write).unwrap();
        let mut said = Vec::new();
        std::fs::File::from(worker).read_to_end(&mut said).unwrap();
        assert_eq!(said.split_at(ANNOUNCEMENT_BYTES), (&[0][..], &b"a reply"[..]));

        let (worker, copy) = channel_of_a_copy().unwrap();
        drop(copy);
        assert_eq!(announced(worker.as_fd()).unwrap(), None);
    }

    #[test]
    fn work_that_comes_in_pieces_is_taken_when_it_is_whole_and_not_at_all_if_it_never_is() {
        let (params, given) = (Params::default(), Given::Inline(vec![7; INPUT_INLINE_BYTES_MAX]));
        let input = Input::PvfEncoded;
        let work = Execute { artifact: 1, given, input, params, limits: LIMITS };
        let order = Order::Work(Work::Execute(work));
        let bytes = encode(&order).unwrap();
        let send = |pieces: &[&[u8]]| {
            let (worker, job) = channel().unwrap();
            for piece in pieces {
                // With a descriptor, so that they are not read as one.
                host_link::send(worker.as_fd(), piece, &[job.as_fd()]).unwrap();
            }
            shutdown(&worker, Shutdown::Write).unwrap();
            job
        };
        let whole = [&bytes[..10_000], &bytes[10_000..30_000], &bytes[30_000..]];
        let (taken, descriptors) = take(send(&whole).as_fd()).unwrap().unwrap();
        assert_eq!((&taken, descriptors.len()), (&order, 3));
        assert_eq!(read(send(&whole).as_fd()).unwrap(), Some(order));
        assert!(take(send(&whole[..2]).as_fd()).is_err());
        assert!(read(send(&whole[..2]).as_fd()).is_err());
        assert!(take(send(&[]).as_fd()).unwrap().is_none());
        assert!(read(send(&[]).as_fd()).unwrap().is_none());
    }

    #[test]
    fn a_job_that_is_gone_is_no_holder_of_work() {
        let (worker, job) = channel().unwrap();
        drop(job);
        let load = Order::Load(Load {
            params: Params::default(),
            limits: LIMITS,
            shut: false,
            often: false,
        });
        assert_eq!(give(worker.as_fd(), &load, &[]).unwrap_err().kind(), io::ErrorKind::BrokenPipe);
    }
}
