//! Calls on descriptors: reading, writing, seeking, and what is known of them.

use super::abi::{Errno, fd_flags, rights};
use super::descriptors::{Kind, Place};
use super::guest::{Answer, Guest, Refusal};
use super::world::WriteError;
use crate::program::Stop;

/// Where in a file a call reads or writes.
#[derive(Clone, Copy)]
pub(crate) enum At {
    /// Where the descriptor is, which moves.
    Position,
    Offset(u64),
}

pub(crate) fn read(guest: &mut Guest<'_>, fd: u32, at: At, io: (u32, u32), count: u32) -> Answer {
    let mut needed = rights::FD_READ;
    if let At::Offset(_) = at {
        needed |= rights::FD_SEEK;
    }
    let descriptor = match guest.context.descriptors.get(fd)?.kind {
        Kind::Input => guest.context.descriptors.with(fd, rights::FD_READ)?,
        _ => guest.context.descriptors.with(fd, needed)?,
    };
    let kind = descriptor.kind.clone();
    let ranges = guest.io_ranges(io.0, io.1)?;
    guest.range(count, 4)?;
    let total = match (kind, at) {
        (Kind::Input, At::Position) => {
            // One range per call: what is there is given at once, and no second wait follows.
            match ranges.into_iter().find(|range| !range.is_empty()) {
                Some(range) => {
                    let bytes = range.len();
                    guest.context.outside.read(&mut guest.memory[range]).min(bytes)
                }
                None => 0,
            }
        }
        (Kind::Input, At::Offset(_)) => return Err(Errno::Seek.into()),
        (Kind::Output(_), _) => return Err(Errno::BadDescriptor.into()),
        (Kind::Directory { .. }, _) => return Err(Errno::IsDirectory.into()),
        (Kind::File { place, position }, at) => {
            let start = if let At::Offset(offset) = at { offset } else { position };
            let content = guest.context.volumes[place.volume].content(place.node)?;
            let mut left = usize::try_from(start)
                .ok()
                .and_then(|start| content.get(start..))
                .unwrap_or_default();
            let mut total = 0;
            for range in ranges {
                let (now, later) = left.split_at(left.len().min(range.len()));
                guest.memory[range.start..range.start + now.len()].copy_from_slice(now);
                total += now.len();
                left = later;
            }
            if let At::Position = at {
                guest.context.descriptors.set_position(fd, position + total as u64);
            }
            total
        }
    };
    Ok(guest.write_u32(count, total as u32)?)
}

pub(crate) fn write(guest: &mut Guest<'_>, fd: u32, at: At, io: (u32, u32), count: u32) -> Answer {
    let mut needed = rights::FD_WRITE;
    if let At::Offset(_) = at {
        needed |= rights::FD_SEEK;
    }
    let descriptor = match guest.context.descriptors.get(fd)?.kind {
        Kind::Output(_) => guest.context.descriptors.with(fd, rights::FD_WRITE)?,
        _ => guest.context.descriptors.with(fd, needed)?,
    };
    let (kind, flags) = (descriptor.kind.clone(), descriptor.flags);
    let ranges = guest.io_ranges(io.0, io.1)?;
    guest.range(count, 4)?;
    let mut total = 0;
    match (kind, at) {
        (Kind::Output(stream), At::Position) => {
            for range in ranges.into_iter().filter(|range| !range.is_empty()) {
                total += range.len();
                match guest.context.outside.write(stream, &guest.memory[range]) {
                    Ok(()) => {}
                    Err(WriteError::Closed) => return Err(Errno::Pipe.into()),
                    Err(limit) => return Err(Refusal::Stop(Stop::Output(stream, limit))),
                }
            }
        }
        (Kind::Output(_), At::Offset(_)) => return Err(Errno::Seek.into()),
        (Kind::Input, _) => return Err(Errno::BadDescriptor.into()),
        (Kind::Directory { .. }, _) => return Err(Errno::IsDirectory.into()),
        (Kind::File { place, position }, at) => {
            let now = guest.stamp();
            let volume = &mut guest.context.volumes[place.volume];
            let mut offset = match at {
                At::Offset(offset) => offset,
                At::Position if flags & fd_flags::APPEND != 0 => {
                    volume.content(place.node)?.len() as u64
                }
                At::Position => position,
            };
            for range in ranges {
                match volume.write(place.node, offset, &guest.memory[range], now) {
                    Ok(written) => {
                        offset += written as u64;
                        total += written;
                    }
                    // What went before stays written, and the program is told how much that is.
                    Err(_) if total > 0 => break,
                    Err(errno) => return Err(errno.into()),
                }
            }
            if let At::Position = at {
                guest.context.descriptors.set_position(fd, offset);
            }
        }
    }
    Ok(guest.write_u32(count, total as u32)?)
}

/// From where a seek counts.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Whence {
    Start,
    Position,
    End,
}

pub(crate) fn seek(guest: &mut Guest<'_>, fd: u32, by: i64, whence: u32, result: u32) -> Answer {
    use super::abi::Generation::{Preview1, Unstable};
    let whence = match (guest.generation, whence) {
        (Preview1, 0) | (Unstable, 2) => Whence::Start,
        (Preview1, 1) | (Unstable, 0) => Whence::Position,
        (Preview1, 2) | (Unstable, 1) => Whence::End,
        _ => return Err(Errno::Invalid.into()),
    };
    if guest.context.descriptors.get(fd)?.place().is_none() {
        return Err(Errno::Seek.into());
    }
    let is_tell = whence == Whence::Position && by == 0;
    let needed = if is_tell { rights::FD_TELL } else { rights::FD_SEEK };
    let (place, position) = guest.context.descriptors.file(fd, needed)?;
    let from = match whence {
        Whence::Start => 0,
        Whence::Position => position,
        Whence::End => guest.context.volume(place)?.content(place.node)?.len() as u64,
    };
    let to = from.checked_add_signed(by).filter(|to| *to <= i64::MAX as u64);
    let to = to.ok_or(Errno::Invalid)?;
    guest.write_u64(result, to)?;
    guest.context.descriptors.set_position(fd, to);
    Ok(())
}

pub(crate) fn tell(guest: &mut Guest<'_>, fd: u32, result: u32) -> Answer {
    let (_, position) = guest.context.descriptors.file(fd, rights::FD_TELL)?;
    Ok(guest.write_u64(result, position)?)
}

pub(crate) fn close(guest: &mut Guest<'_>, fd: u32) -> Answer {
    let closed = guest.context.descriptors.remove(fd)?;
    guest.context.let_go(closed.place());
    Ok(())
}

pub(crate) fn renumber(guest: &mut Guest<'_>, from: u32, to: u32) -> Answer {
    if let Some(closed) = guest.context.descriptors.replace(from, to)? {
        guest.context.let_go(closed.place());
    }
    Ok(())
}

/// All is in memory, so it is as safe as it will ever be.
pub(crate) fn sync(guest: &mut Guest<'_>, fd: u32, needed: u64) -> Answer {
    guest.context.descriptors.with(fd, needed)?;
    Ok(())
}

pub(crate) fn advise(guest: &mut Guest<'_>, fd: u32, advice: u32) -> Answer {
    guest.context.descriptors.file(fd, rights::FD_ADVISE)?;
    if advice > 5 { Err(Errno::Invalid.into()) } else { Ok(()) }
}

pub(crate) fn allocate(guest: &mut Guest<'_>, fd: u32, offset: u64, bytes: u64) -> Answer {
    let (place, _) = guest.context.descriptors.file(fd, rights::FD_ALLOCATE)?;
    let end = offset.checked_add(bytes).filter(|_| bytes > 0).ok_or(Errno::Invalid)?;
    let now = guest.stamp();
    let volume = guest.context.volume(place)?;
    if end > volume.content(place.node)?.len() as u64 {
        volume.resize(place.node, end, now)?;
    }
    Ok(())
}

pub(crate) fn set_size(guest: &mut Guest<'_>, fd: u32, bytes: u64) -> Answer {
    let (place, _) = guest.context.descriptors.file(fd, rights::FD_FILESTAT_SET_SIZE)?;
    let now = guest.stamp();
    Ok(guest.context.volume(place)?.resize(place.node, bytes, now)?)
}

pub(crate) fn fdstat(guest: &mut Guest<'_>, fd: u32, result: u32) -> Answer {
    let descriptor = guest.context.descriptors.get(fd)?;
    let mut stat = [0; 24];
    stat[0] = descriptor.file_type() as u8;
    stat[2..4].copy_from_slice(&(descriptor.flags as u16).to_le_bytes());
    stat[8..16].copy_from_slice(&descriptor.rights.to_le_bytes());
    stat[16..].copy_from_slice(&descriptor.inheriting.to_le_bytes());
    Ok(guest.write(result, &stat)?)
}

pub(crate) fn set_flags(guest: &mut Guest<'_>, fd: u32, flags: u32) -> Answer {
    guest.context.descriptors.with(fd, rights::FD_FDSTAT_SET_FLAGS)?;
    if flags & !fd_flags::ALL != 0 {
        return Err(Errno::Invalid.into());
    }
    guest.context.descriptors.get_mut(fd)?.flags = flags;
    Ok(())
}

/// Rights can be given up and never taken.
pub(crate) fn set_rights(guest: &mut Guest<'_>, fd: u32, base: u64, inheriting: u64) -> Answer {
    let descriptor = guest.context.descriptors.get_mut(fd)?;
    if base & !descriptor.rights != 0 || inheriting & !descriptor.inheriting != 0 {
        return Err(Errno::NotCapable.into());
    }
    (descriptor.rights, descriptor.inheriting) = (base, inheriting);
    Ok(())
}

pub(crate) fn filestat(guest: &mut Guest<'_>, fd: u32, result: u32) -> Answer {
    let descriptor = guest.context.descriptors.with(fd, rights::FD_FILESTAT_GET)?;
    let stat = match descriptor.place() {
        Some(place) => stat_of(guest, place)?.encode(guest.generation),
        None => {
            let file_type = descriptor.file_type();
            let stat = super::abi::FileStat {
                device: 0,
                node: u64::from(fd) + 1,
                file_type,
                links: 1,
                bytes: 0,
                accessed_ns: 0,
                modified_ns: 0,
                changed_ns: 0,
            };
            stat.encode(guest.generation)
        }
    };
    Ok(guest.write(result, &stat)?)
}

/// What is told of a node. Devices are numbered as the volumes are, from 1 on.
pub(crate) fn stat_of(guest: &mut Guest<'_>, place: Place) -> Result<super::abi::FileStat, Errno> {
    guest.context.volume(place)?.stat(place.node, place.volume as u64 + 1)
}

pub(crate) fn prestat(guest: &mut Guest<'_>, fd: u32, result: u32) -> Answer {
    let length = mounted_at(guest, fd)?.len() as u64;
    // The tag of a directory is 0, and the length fills the upper half.
    Ok(guest.write_u64(result, length << 32)?)
}

pub(crate) fn prestat_name(guest: &mut Guest<'_>, fd: u32, pointer: u32, bytes: u32) -> Answer {
    let name = mounted_at(guest, fd)?.to_vec();
    if name.len() > bytes as usize {
        return Err(Errno::NameTooLong.into());
    }
    Ok(guest.write(pointer, &name)?)
}

fn mounted_at<'a>(guest: &'a Guest<'_>, fd: u32) -> Result<&'a [u8], Errno> {
    match &guest.context.descriptors.get(fd)?.kind {
        Kind::Directory { mounted_at: Some(path), .. } => Ok(path),
        _ => Err(Errno::BadDescriptor),
    }
}

/// Entries from a cookie on, as many as fit; the last one may be cut off. The cookies of `.` and `..`
/// are 0 and 1, and those of entries stay theirs while others come and go.
pub(crate) fn read_directory(
    guest: &mut Guest<'_>,
    fd: u32,
    (pointer, bytes): (u32, u32),
    cookie: u64,
    used: u32,
) -> Answer {
    let place = guest.context.descriptors.directory(fd, rights::FD_READDIR)?;
    let range = guest.range(pointer, bytes)?;
    let volume = guest.context.volumes.get(place.volume).ok_or(Errno::BadDescriptor)?;
    let mut out = Vec::new();
    let mut next = cookie;
    while out.len() < range.len() {
        let (number, name, node) = match next {
            0 => (0, &b"."[..], place.node),
            1 => (1, &b".."[..], volume.parent(place.node)?),
            _ => match volume.entry_from(place.node, next - 2)? {
                Some(entry) => (entry.number + 2, entry.name, entry.node),
                None => break,
            },
        };
        next = number + 1;
        out.extend(next.to_le_bytes());
        out.extend((u64::from(node) + 1).to_le_bytes());
        out.extend((name.len() as u32).to_le_bytes());
        out.extend([volume.file_type(node).map_or(0, |kind| kind as u8), 0, 0, 0]);
        out.extend_from_slice(name);
    }
    out.truncate(range.len());
    guest.write(pointer, &out)?;
    Ok(guest.write_u32(used, out.len() as u32)?)
}
