//! Calls with paths: opening, making, moving, removing, looking.

use super::abi::{Errno, FileType, SYMLINK_FOLLOW, fd_flags, open_flags, rights, time_flags};
use super::descriptors::{Descriptor, Kind, Place};
use super::guest::{Answer, Guest};
use super::paths::{Found, Last, walk};
use super::volume::{New, Times};

/// A path in the guest's memory, and the descriptor of the directory that it starts from.
#[derive(Clone, Copy)]
pub(crate) struct At {
    pub(crate) fd: u32,
    pub(crate) pointer: u32,
    pub(crate) bytes: u32,
}

/// What is asked of a path that is opened.
#[derive(Clone, Copy)]
pub(crate) struct Open {
    pub(crate) look_up: u32,
    pub(crate) open: u32,
    pub(crate) rights: u64,
    pub(crate) inheriting: u64,
    pub(crate) fd: u32,
}

fn find(guest: &mut Guest<'_>, at: At, needed: u64, last: Last) -> Result<(usize, Found), Errno> {
    let path = guest.path(at.pointer, at.bytes)?;
    let place = guest.context.descriptors.directory(at.fd, needed)?;
    Ok((place.volume, walk(guest.context.volume(place)?, place.node, &path, last)?))
}

fn last(look_up: u32) -> Last {
    if look_up & SYMLINK_FOLLOW != 0 { Last::Follow } else { Last::Keep }
}

pub(crate) fn open(guest: &mut Guest<'_>, at: At, asked: Open, result: u32) -> Answer {
    if asked.open & !open_flags::ALL != 0 || asked.fd & !fd_flags::ALL != 0 {
        return Err(Errno::Invalid.into());
    }
    guest.range(result, 4)?;
    let (creates, truncates) =
        (asked.open & open_flags::CREATE != 0, asked.open & open_flags::TRUNCATE != 0);
    let mut needed = rights::PATH_OPEN;
    if creates {
        needed |= rights::PATH_CREATE_FILE;
    }
    if truncates {
        needed |= rights::PATH_FILESTAT_SET_SIZE;
    }
    let exclusive = creates && asked.open & open_flags::EXCLUSIVE != 0;
    let follow = if exclusive { Last::Keep } else { last(asked.look_up) };
    // On a tree that cannot be written, creating what is there only opens it.
    let writable = {
        let place = guest.context.descriptors.directory(at.fd, rights::PATH_OPEN)?;
        guest.context.volume(place)?.is_writable()
    };
    let needed = if writable { needed } else { rights::PATH_OPEN };
    let (volume, found) = find(guest, at, needed, follow)?;
    let node = match found.node {
        Some(_) if exclusive => return Err(Errno::Exists.into()),
        Some(node) => node,
        None if !creates => return Err(Errno::NoEntry.into()),
        None if found.wants_directory || asked.open & open_flags::DIRECTORY != 0 => {
            return Err(Errno::NoEntry.into());
        }
        None if !writable => return Err(Errno::ReadOnly.into()),
        None => {
            let now = guest.stamp();
            let volume = &mut guest.context.volumes[volume];
            volume.create(found.directory, &found.name, New::File, now)?
        }
    };
    let place = Place { volume, node };
    let descriptor = describe(guest, at.fd, place, asked)?;
    if truncates {
        let now = guest.stamp();
        guest.context.volume(place)?.resize(node, 0, now)?;
    }
    let fd = guest.context.descriptors.add(descriptor)?;
    guest.context.volume(place)?.hold(node)?;
    Ok(guest.write_u32(result, fd)?)
}

/// The descriptor of a node that is opened: what was asked for, so far as the directory hands it on.
fn describe(
    guest: &mut Guest<'_>,
    directory: u32,
    place: Place,
    asked: Open,
) -> Result<Descriptor, Errno> {
    let handed_on = guest.context.descriptors.get(directory)?.inheriting;
    let volume = guest.context.volume(place)?;
    let flags = asked.fd;
    match volume.file_type(place.node)? {
        FileType::Directory => {
            let writes = rights::FD_WRITE | rights::FD_ALLOCATE | rights::FD_FILESTAT_SET_SIZE;
            if asked.rights & rights::FD_WRITE != 0 && asked.rights & rights::FD_READDIR == 0
                || asked.open & open_flags::TRUNCATE != 0
            {
                return Err(Errno::IsDirectory);
            }
            let rights = asked.rights & handed_on & rights::DIRECTORY & !writes;
            let inheriting = asked.inheriting & handed_on;
            let kind = Kind::Directory { place, mounted_at: None };
            Ok(Descriptor { kind, rights, inheriting, flags })
        }
        FileType::SymbolicLink => Err(Errno::Loop),
        _ if asked.open & open_flags::DIRECTORY != 0 => Err(Errno::NotDirectory),
        _ => {
            let changes =
                asked.rights & rights::FD_WRITE != 0 || asked.open & open_flags::TRUNCATE != 0;
            if changes && !volume.is_writable() {
                return Err(Errno::ReadOnly);
            }
            // Some programs, only ever tried where rights are ignored, ask for none and then read.
            let wanted = if asked.rights == 0 { u64::MAX } else { asked.rights };
            let rights = wanted & handed_on & rights::FILE;
            let kind = Kind::File { place, position: 0 };
            Ok(Descriptor { kind, rights, inheriting: 0, flags })
        }
    }
}

pub(crate) fn create_directory(guest: &mut Guest<'_>, at: At) -> Answer {
    create(guest, at, rights::PATH_CREATE_DIRECTORY, New::Directory)
}

pub(crate) fn symlink(guest: &mut Guest<'_>, target: (u32, u32), at: At) -> Answer {
    let target = guest.path(target.0, target.1)?;
    if target.is_empty() || target.contains(&0) {
        return Err(Errno::Invalid.into());
    }
    // What leads out of its directory would be refused when it is followed.
    if target.starts_with(b"/") {
        return Err(Errno::NotPermitted.into());
    }
    create(guest, at, rights::PATH_SYMLINK, New::Link(&target))
}

fn create(guest: &mut Guest<'_>, at: At, needed: u64, new: New<'_>) -> Answer {
    let (volume, found) = find_to_change(guest, at, needed)?;
    if found.node.is_some() {
        return Err(Errno::Exists.into());
    }
    if found.wants_directory && !matches!(new, New::Directory) {
        return Err(Errno::NoEntry.into());
    }
    let now = guest.stamp();
    guest.context.volumes[volume].create(found.directory, &found.name, new, now)?;
    Ok(())
}

/// Finds an entry, not what it links to, in a volume that can be written.
fn find_to_change(guest: &mut Guest<'_>, at: At, needed: u64) -> Result<(usize, Found), Errno> {
    let place = guest.context.descriptors.directory(at.fd, 0)?;
    if !guest.context.volume(place)?.is_writable() {
        return Err(Errno::ReadOnly);
    }
    find(guest, at, needed, Last::Keep)
}

pub(crate) fn remove(guest: &mut Guest<'_>, at: At, what: FileType) -> Answer {
    let wants_directory = what == FileType::Directory;
    let needed = match wants_directory {
        true => rights::PATH_REMOVE_DIRECTORY,
        false => rights::PATH_UNLINK_FILE,
    };
    let (volume, found) = find_to_change(guest, at, needed)?;
    let node = found.there()?;
    if found.name.is_empty() {
        return Err(Errno::Invalid.into());
    }
    let now = guest.stamp();
    let volume = &mut guest.context.volumes[volume];
    match (volume.file_type(node)? == FileType::Directory, wants_directory) {
        (true, false) => return Err(Errno::IsDirectory.into()),
        (false, true) => return Err(Errno::NotDirectory.into()),
        _ => {}
    }
    Ok(volume.unlink(found.directory, &found.name, now)?)
}

pub(crate) fn rename(guest: &mut Guest<'_>, from: At, to: At) -> Answer {
    let (volume, from) = find_to_change(guest, from, rights::PATH_RENAME_SOURCE)?;
    let (other, to) = find_to_change(guest, to, rights::PATH_RENAME_TARGET)?;
    if volume != other {
        return Err(Errno::CrossDevice.into());
    }
    let node = from.there()?;
    if from.name.is_empty() || to.name.is_empty() {
        return Err(Errno::Invalid.into());
    }
    let now = guest.stamp();
    let volume = &mut guest.context.volumes[volume];
    if to.wants_directory && volume.file_type(node)? != FileType::Directory {
        return Err(Errno::NotDirectory.into());
    }
    Ok(volume.rename((from.directory, &from.name), (to.directory, &to.name), now)?)
}

pub(crate) fn link(guest: &mut Guest<'_>, from: At, look_up: u32, to: At) -> Answer {
    let (volume, from) = find(guest, from, rights::PATH_LINK_SOURCE, last(look_up))?;
    let (other, to) = find_to_change(guest, to, rights::PATH_LINK_TARGET)?;
    if volume != other {
        return Err(Errno::CrossDevice.into());
    }
    if to.node.is_some() {
        return Err(Errno::Exists.into());
    }
    if to.wants_directory {
        return Err(Errno::NoEntry.into());
    }
    let now = guest.stamp();
    let node = from.there()?;
    Ok(guest.context.volumes[volume].link(to.directory, &to.name, node, now)?)
}

/// A target that does not fit is cut off, as `readlink` does.
pub(crate) fn read_link(guest: &mut Guest<'_>, at: At, buffer: (u32, u32), used: u32) -> Answer {
    let (volume, found) = find(guest, at, rights::PATH_READLINK, Last::Keep)?;
    let target = guest.context.volumes[volume].target(found.there()?)?;
    let target = target[..target.len().min(buffer.1 as usize)].to_vec();
    guest.write(buffer.0, &target)?;
    Ok(guest.write_u32(used, target.len() as u32)?)
}

pub(crate) fn filestat(guest: &mut Guest<'_>, at: At, look_up: u32, result: u32) -> Answer {
    let (volume, found) = find(guest, at, rights::PATH_FILESTAT_GET, last(look_up))?;
    let place = Place { volume, node: found.there()? };
    let stat = super::fd::stat_of(guest, place)?.encode(guest.generation);
    Ok(guest.write(result, &stat)?)
}

/// Times to set, and which.
#[derive(Clone, Copy)]
pub(crate) struct NewTimes {
    pub(crate) accessed: u64,
    pub(crate) modified: u64,
    pub(crate) flags: u32,
}

impl NewTimes {
    fn apply(self, now: u64) -> Result<impl FnOnce(&mut Times), Errno> {
        let pick =
            |given: u64, set: u32, set_now: u32| match (self.flags & set, self.flags & set_now) {
                (0, 0) => Ok(None),
                (_, 0) => Ok(Some(given)),
                (0, _) => Ok(Some(now)),
                _ => Err(Errno::Invalid),
            };
        if self.flags & !time_flags::ALL != 0 {
            return Err(Errno::Invalid);
        }
        let accessed = pick(self.accessed, time_flags::ACCESSED, time_flags::ACCESSED_NOW)?;
        let modified = pick(self.modified, time_flags::MODIFIED, time_flags::MODIFIED_NOW)?;
        Ok(move |times: &mut Times| {
            times.accessed = accessed.unwrap_or(times.accessed);
            times.modified = modified.unwrap_or(times.modified);
            times.changed = now;
        })
    }
}

pub(crate) fn set_times(guest: &mut Guest<'_>, at: At, look_up: u32, new: NewTimes) -> Answer {
    let place = guest.context.descriptors.directory(at.fd, 0)?;
    if !guest.context.volume(place)?.is_writable() {
        return Err(Errno::ReadOnly.into());
    }
    let (volume, found) = find(guest, at, rights::PATH_FILESTAT_SET_TIMES, last(look_up))?;
    let change = new.apply(guest.stamp())?;
    Ok(guest.context.volumes[volume].set_times(found.there()?, change)?)
}

/// The same, of an open file or directory.
pub(crate) fn set_times_of(guest: &mut Guest<'_>, fd: u32, new: NewTimes) -> Answer {
    let descriptor = guest.context.descriptors.with(fd, rights::FD_FILESTAT_SET_TIMES)?;
    let place = descriptor.place().ok_or(Errno::BadDescriptor)?;
    let change = new.apply(guest.stamp())?;
    Ok(guest.context.volume(place)?.set_times(place.node, change)?)
}
