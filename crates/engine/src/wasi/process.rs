//! Calls about the program itself: arguments, environment, clocks, randomness, its end, and waiting.

use super::abi::{Errno, Generation, rights};
use super::descriptors::Kind;
use super::guest::{Answer, Guest, Refusal};
use super::world::ClockId;
use crate::program::Stop;

/// Things that one call may wait for.
const SUBSCRIPTIONS_MAX: u32 = 4096;

/// Bytes of an event.
const EVENT_BYTES: u32 = 32;

/// How many strings there are, and how many bytes with a zero behind each.
pub(crate) fn sizes(
    guest: &mut Guest<'_>,
    strings: impl Fn(&Guest<'_>) -> (usize, usize),
    (count, bytes): (u32, u32),
) -> Answer {
    let (strings, total) = strings(guest);
    guest.write_u32(count, strings as u32)?;
    Ok(guest.write_u32(bytes, (total + strings) as u32)?)
}

/// Writes strings with a zero behind each, and a pointer to each.
pub(crate) fn strings(
    guest: &mut Guest<'_>,
    strings: Vec<Vec<u8>>,
    (mut pointers, mut bytes): (u32, u32),
) -> Answer {
    for mut string in strings {
        string.push(0);
        guest.write_u32(pointers, bytes)?;
        guest.write(bytes, &string)?;
        pointers = pointers.checked_add(4).ok_or(Errno::Fault)?;
        bytes = bytes.checked_add(string.len() as u32).ok_or(Errno::Fault)?;
    }
    Ok(())
}

fn clock(id: u32) -> Result<ClockId, Errno> {
    match id {
        0 => Ok(ClockId::RealTime),
        1..=3 => Ok(ClockId::Monotonic),
        _ => Err(Errno::Invalid),
    }
}

pub(crate) fn clock_resolution(guest: &mut Guest<'_>, id: u32, result: u32) -> Answer {
    clock(id)?;
    let resolution = guest.context.clock_resolution();
    Ok(guest.write_u64(result, resolution)?)
}

pub(crate) fn clock_time(guest: &mut Guest<'_>, id: u32, result: u32) -> Answer {
    guest.range(result, 8)?;
    let now = guest.context.read_clock(clock(id)?, guest.worked_ns);
    Ok(guest.write_u64(result, now)?)
}

pub(crate) fn random(guest: &mut Guest<'_>, pointer: u32, bytes: u32) -> Answer {
    let range = guest.range(pointer, bytes)?;
    guest.context.fill_random(&mut guest.memory[range]);
    Ok(())
}

pub(crate) fn exit(code: u32) -> Answer {
    Err(Refusal::Stop(Stop::Exit(code as i32)))
}

pub(crate) fn raise(signal: u32) -> Answer {
    match signal {
        0 => Ok(()),
        1..=30 => Err(Refusal::Stop(Stop::Raised(signal as u8))),
        _ => Err(Errno::Invalid.into()),
    }
}

/// There are no sockets: a descriptor is none, or not there.
pub(crate) fn not_a_socket(guest: &mut Guest<'_>, fd: u32) -> Answer {
    guest.context.descriptors.get(fd)?;
    Err(Errno::NotSocket.into())
}

/// One thing that a program waits for.
struct Subscription {
    user_data: u64,
    event: Event,
}

enum Event {
    /// Nanoseconds from now, or the error that asking for it is.
    Clock(Result<u64, Errno>),
    /// Which of the two kinds, and bytes that are there, or the error.
    Descriptor(u8, Result<u64, Errno>),
}

/// Waits for no time at all: descriptors are always ready, and if only clocks were asked for, the
/// clock jumps to the first of their moments.
pub(crate) fn poll(
    guest: &mut Guest<'_>,
    (from, to): (u32, u32),
    count: u32,
    result: u32,
) -> Answer {
    if count == 0 || count > SUBSCRIPTIONS_MAX {
        return Err(Errno::Invalid.into());
    }
    guest.range(result, 4)?;
    guest.range(to, count * EVENT_BYTES)?;
    let mut subscriptions = Vec::with_capacity(count as usize);
    for index in 0..count {
        subscriptions.push(subscription(guest, from, index)?);
    }
    let is_ready = |subscription: &Subscription| {
        matches!(subscription.event, Event::Descriptor(..) | Event::Clock(Err(_)))
    };
    let first = subscriptions.iter().filter_map(|subscription| match subscription.event {
        Event::Clock(Ok(ns)) => Some(ns),
        _ => None,
    });
    let first = first.min().filter(|_| !subscriptions.iter().any(is_ready)).unwrap_or(0);
    guest.context.sleep(first);
    let mut events = 0;
    for subscription in subscriptions {
        let (kind, answer) = match subscription.event {
            Event::Clock(Ok(ns)) if ns > first => continue,
            Event::Clock(answer) => (0, answer.map(|_| 0)),
            Event::Descriptor(kind, answer) => (kind, answer),
        };
        let mut event = [0; EVENT_BYTES as usize];
        event[..8].copy_from_slice(&subscription.user_data.to_le_bytes());
        event[10] = kind;
        match answer {
            Ok(bytes) => event[16..24].copy_from_slice(&bytes.to_le_bytes()),
            Err(errno) => event[8..10].copy_from_slice(&(errno as u16).to_le_bytes()),
        }
        guest.write(to + events * EVENT_BYTES, &event)?;
        events += 1;
    }
    Ok(guest.write_u32(result, events)?)
}

fn subscription(guest: &mut Guest<'_>, from: u32, index: u32) -> Result<Subscription, Errno> {
    // The older generation has a number of the subscriber's before the clock's.
    let (bytes, more) = match guest.generation {
        Generation::Preview1 => (48, 0),
        Generation::Unstable => (56, 8),
    };
    let start = from.checked_add(index * bytes).ok_or(Errno::Fault)?;
    guest.range(start, bytes)?;
    let user_data = guest.read_u64(start)?;
    let event = match guest.bytes(start + 8, 1)?[0] {
        0 => {
            let id = guest.read_u32(start + 16 + more)?;
            let timeout = guest.read_u64(start + 24 + more)?;
            let is_moment = guest.read_u32(start + 40 + more)? & 1 != 0;
            let clock = clock(id);
            Event::Clock(clock.map(|clock| match is_moment {
                true => {
                    let now = guest.context.read_clock(clock, guest.worked_ns);
                    timeout.saturating_sub(now)
                }
                false => timeout,
            }))
        }
        kind @ (1 | 2) => {
            let fd = guest.read_u32(start + 16)?;
            Event::Descriptor(kind, ready(guest, fd))
        }
        _ => return Err(Errno::Invalid),
    };
    Ok(Subscription { user_data, event })
}

/// Bytes that can be read at once, so far as that is known; 1 of standard input, which may wait.
fn ready(guest: &mut Guest<'_>, fd: u32) -> Result<u64, Errno> {
    let descriptor = guest.context.descriptors.with(fd, rights::POLL_FD_READWRITE)?;
    match descriptor.kind {
        Kind::File { place, position } => {
            let bytes = guest.context.volume(place)?.content(place.node)?.len() as u64;
            Ok(bytes.saturating_sub(position))
        }
        _ => Ok(1),
    }
}
