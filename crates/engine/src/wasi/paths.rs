//! Walking a path inside one volume, from a directory that it cannot leave.

use super::abi::{Errno, FileType};
use super::volume::{NAME_BYTES_MAX, NodeId, Volume};

/// The longest path, and what all links on its way may add up to.
pub(crate) const PATH_BYTES_MAX: usize = 4096;

/// Links on the way of one path.
const LINKS_MAX: u32 = 32;

/// Whether a link that the whole path names is followed.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Last {
    Follow,
    Keep,
}

/// Where a path leads.
#[derive(Debug)]
pub(crate) struct Found {
    /// The directory that has, or would have, the entry.
    pub(crate) directory: NodeId,
    /// The entry's name; empty if the path names a directory as `.` or `..`.
    pub(crate) name: Vec<u8>,
    /// What is there.
    pub(crate) node: Option<NodeId>,
    /// The path ends with a slash, so that only a directory will do.
    pub(crate) wants_directory: bool,
}

impl Found {
    /// What is there, or else no entry.
    pub(crate) fn there(&self) -> Result<NodeId, Errno> {
        self.node.ok_or(Errno::NoEntry)
    }
}

/// Walks. `..` above `from`, and absolute paths, are `NotCapable`.
pub(crate) fn walk(volume: &Volume, from: NodeId, path: &[u8], last: Last) -> Result<Found, Errno> {
    check(path)?;
    let mut way = vec![from];
    // Components that are left, the next one last.
    let mut left = Vec::new();
    let mut wants_directory = push_components(path, &mut left)?;
    let mut links = 0;
    let mut link_bytes = 0;
    while let Some(name) = left.pop() {
        let directory = *way.last().ok_or(Errno::NotCapable)?;
        if volume.file_type(directory)? != FileType::Directory {
            return Err(Errno::NotDirectory);
        }
        let is_last = left.is_empty();
        match name.as_slice() {
            b"." => continue,
            b".." => {
                way.pop();
                if way.is_empty() {
                    return Err(Errno::NotCapable);
                }
                continue;
            }
            name if name.len() > NAME_BYTES_MAX => return Err(Errno::NameTooLong),
            _ => {}
        }
        let node = volume.look_up(directory, &name)?;
        let Some(id) = node else {
            return match is_last {
                true => Ok(Found { directory, name, node: None, wants_directory }),
                false => Err(Errno::NoEntry),
            };
        };
        let is_link = volume.file_type(id)? == FileType::SymbolicLink;
        if is_link && (!is_last || last == Last::Follow || wants_directory) {
            links += 1;
            let target = volume.target(id)?;
            link_bytes += target.len();
            if links > LINKS_MAX || link_bytes > PATH_BYTES_MAX {
                return Err(Errno::Loop);
            }
            check(target)?;
            wants_directory |= push_components(target, &mut left)? && is_last;
            continue;
        }
        if is_last {
            if wants_directory && volume.file_type(id)? != FileType::Directory {
                return Err(Errno::NotDirectory);
            }
            return Ok(Found { directory, name, node, wants_directory });
        }
        way.push(id);
    }
    // All of it was `.` and `..`.
    let directory = *way.last().ok_or(Errno::NotCapable)?;
    Ok(Found { directory, name: Vec::new(), node: Some(directory), wants_directory })
}

fn check(path: &[u8]) -> Result<(), Errno> {
    match path {
        [] => Err(Errno::NoEntry),
        path if path.len() > PATH_BYTES_MAX => Err(Errno::NameTooLong),
        path if path.contains(&0) => Err(Errno::Invalid),
        [b'/', ..] => Err(Errno::NotCapable),
        _ => Ok(()),
    }
}

/// Puts components on the pile, the first one on top. Says whether the path ends with a slash.
fn push_components(path: &[u8], left: &mut Vec<Vec<u8>>) -> Result<bool, Errno> {
    let components = path.split(|byte| *byte == b'/').filter(|name| !name.is_empty());
    left.extend(components.rev().map(<[u8]>::to_vec));
    Ok(path.ends_with(b"/"))
}
