//! Giving names to nodes of a volume, moving them and taking them away.

use super::directory::Directory;
use super::{
    Content, ENTRY_BYTES, IMAGE_TIME_NS, NAME_BYTES_MAX, New, Node, NodeId, ROOT, Times, Volume,
};
use crate::wasi::abi::{Errno, FileType};

impl Volume {
    /// Makes a node and gives it a name. Of an image only its maker may.
    pub(crate) fn create(
        &mut self,
        directory: NodeId,
        name: &[u8],
        new: New<'_>,
        now: u64,
    ) -> Result<NodeId, Errno> {
        self.check_free(directory, name)?;
        let own_bytes = if let New::Link(target) = new { target.len() as u64 } else { 0 };
        self.take(ENTRY_BYTES + name.len() as u64 + own_bytes)?;
        let content = match new {
            New::Directory => Content::Directory(Directory::new(directory)),
            New::File => Content::Owned(Vec::new()),
            New::Shared(range) => Content::Shared(range),
            New::Link(target) => Content::Link(target.to_vec()),
        };
        let now = if self.is_writable() { now } else { IMAGE_TIME_NS };
        let times = Times { accessed: now, modified: now, changed: now };
        let node = Some(Node { content, links: 1, holders: 0, times });
        let id = match self.free.pop() {
            Some(id) => {
                self.nodes[id as usize] = node;
                id
            }
            None => {
                self.nodes.push(node);
                (self.nodes.len() - 1) as NodeId
            }
        };
        self.directory_mut(directory)?.insert(name, id);
        self.touch(directory, now)?;
        Ok(id)
    }

    /// Gives a file or link another name.
    pub(crate) fn link(
        &mut self,
        directory: NodeId,
        name: &[u8],
        node: NodeId,
        now: u64,
    ) -> Result<(), Errno> {
        self.check_writable()?;
        if self.file_type(node)? == FileType::Directory {
            return Err(Errno::NotPermitted);
        }
        self.check_free(directory, name)?;
        self.take(ENTRY_BYTES + name.len() as u64)?;
        self.directory_mut(directory)?.insert(name, node);
        self.node_mut(node)?.links += 1;
        self.touch(directory, now)
    }

    /// Takes a name away, and its node if nothing else holds it. Of a directory only if it is empty.
    pub(crate) fn unlink(&mut self, directory: NodeId, name: &[u8], now: u64) -> Result<(), Errno> {
        self.check_writable()?;
        let id = self.look_up(directory, name)?.ok_or(Errno::NoEntry)?;
        if let Content::Directory(entries) = &self.node(id)?.content
            && !entries.by_name.is_empty()
        {
            return Err(Errno::NotEmpty);
        }
        self.directory_mut(directory)?.remove(name);
        self.give_back(ENTRY_BYTES + name.len() as u64);
        let node = self.node_mut(id)?;
        node.links -= 1;
        node.times.changed = now;
        self.end_if_lost(id);
        self.touch(directory, now)
    }

    /// Moves a name, replacing what the new one named.
    pub(crate) fn rename(
        &mut self,
        (from, name): (NodeId, &[u8]),
        (to, new_name): (NodeId, &[u8]),
        now: u64,
    ) -> Result<(), Errno> {
        self.check_writable()?;
        let id = self.look_up(from, name)?.ok_or(Errno::NoEntry)?;
        let is_directory = self.file_type(id)? == FileType::Directory;
        if is_directory && self.lies_in(to, id)? {
            return Err(Errno::Invalid);
        }
        if let Some(there) = self.look_up(to, new_name)? {
            if there == id {
                return Ok(());
            }
            match (is_directory, self.file_type(there)? == FileType::Directory) {
                (true, false) => return Err(Errno::NotDirectory),
                (false, true) => return Err(Errno::IsDirectory),
                _ => self.unlink(to, new_name, now)?,
            }
        }
        self.check_free(to, new_name)?;
        self.take((new_name.len() as u64).saturating_sub(name.len() as u64))?;
        self.give_back((name.len() as u64).saturating_sub(new_name.len() as u64));
        self.directory_mut(from)?.remove(name);
        self.directory_mut(to)?.insert(new_name, id);
        if is_directory {
            self.directory_mut(id)?.parent = to;
        }
        self.node_mut(id)?.times.changed = now;
        self.touch(from, now)?;
        self.touch(to, now)
    }

    /// Whether a directory is another one, or lies in it at any depth.
    fn lies_in(&self, mut directory: NodeId, other: NodeId) -> Result<bool, Errno> {
        while directory != other {
            if directory == ROOT {
                return Ok(false);
            }
            directory = self.parent(directory)?;
        }
        Ok(true)
    }

    /// Whether a directory, which must still have a name itself, can take an entry.
    fn check_free(&self, directory: NodeId, name: &[u8]) -> Result<(), Errno> {
        if name.len() > NAME_BYTES_MAX {
            return Err(Errno::NameTooLong);
        }
        if self.node(directory)?.links == 0 {
            return Err(Errno::NoEntry);
        }
        match self.look_up(directory, name)? {
            Some(_) => Err(Errno::Exists),
            None => Ok(()),
        }
    }

    fn touch(&mut self, directory: NodeId, now: u64) -> Result<(), Errno> {
        let times = &mut self.node_mut(directory)?.times;
        (times.modified, times.changed) = (now, now);
        Ok(())
    }
}
