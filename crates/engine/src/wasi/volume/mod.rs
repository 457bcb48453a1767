//! Files in memory: the nodes of one mounted directory tree, read-only or with a byte limit.
//!
//! A volume knows nodes and names in directories; paths are walked by `paths`, descriptors are kept by
//! `descriptors`. A node lives while a name or a descriptor holds it.

mod directory;
mod names;

use std::ops::Range;
use std::rc::Rc;

use super::abi::{Errno, FileStat, FileType};
use directory::Directory;

/// A node of one volume.
pub(crate) type NodeId = u32;

/// The root directory of every volume.
pub(crate) const ROOT: NodeId = 0;

/// What each name costs beside its bytes, and with it the node that it names: about what it takes of
/// our memory.
pub(crate) const ENTRY_BYTES: u64 = 256;

/// The longest name.
pub(crate) const NAME_BYTES_MAX: usize = 255;

/// What the times of files in images are: 2000-01-01. Some programs do not like the years before 1980.
const IMAGE_TIME_NS: u64 = 946_684_800_000_000_000;

/// Nodes, names and, where it can be written, what is left of its bytes.
pub(crate) struct Volume {
    nodes: Vec<Option<Node>>,
    free: Vec<NodeId>,
    /// None is read-only.
    room: Option<Room>,
    shared: Rc<dyn AsRef<[u8]>>,
}

struct Room {
    used: u64,
    max: u64,
}

struct Node {
    content: Content,
    links: u64,
    /// Descriptors that hold it.
    holders: u32,
    times: Times,
}

/// Nanoseconds since 1970.
#[derive(Clone, Copy)]
pub(crate) struct Times {
    pub(crate) accessed: u64,
    pub(crate) modified: u64,
    pub(crate) changed: u64,
}

enum Content {
    Directory(Directory),
    /// A range of the shared bytes.
    Shared(Range<usize>),
    Owned(Vec<u8>),
    Link(Vec<u8>),
}

/// One entry of a directory, and its number there, which stays its own.
pub(crate) struct Entry<'a> {
    pub(crate) number: u64,
    pub(crate) name: &'a [u8],
    pub(crate) node: NodeId,
}

/// What a new node is.
pub(crate) enum New<'a> {
    Directory,
    File,
    Shared(Range<usize>),
    Link(&'a [u8]),
}

impl Volume {
    /// An empty read-only volume over bytes that its files share.
    pub(crate) fn image(shared: Rc<dyn AsRef<[u8]>>) -> Self {
        Self::with_root(shared, None, IMAGE_TIME_NS)
    }

    /// An empty volume that can be written.
    pub(crate) fn private(bytes_max: u64, now: u64) -> Self {
        Self::with_root(Rc::new([]), Some(Room { used: 0, max: bytes_max }), now)
    }

    fn with_root(shared: Rc<dyn AsRef<[u8]>>, room: Option<Room>, now: u64) -> Self {
        let content = Content::Directory(Directory::new(ROOT));
        let times = Times { accessed: now, modified: now, changed: now };
        let root = Node { content, links: 1, holders: 0, times };
        Self { nodes: vec![Some(root)], free: Vec::new(), room, shared }
    }

    pub(crate) fn is_writable(&self) -> bool {
        self.room.is_some()
    }

    pub(crate) fn nodes_count(&self) -> usize {
        self.nodes.len() - self.free.len()
    }

    fn node(&self, id: NodeId) -> Result<&Node, Errno> {
        self.nodes.get(id as usize).and_then(Option::as_ref).ok_or(Errno::NoEntry)
    }

    fn node_mut(&mut self, id: NodeId) -> Result<&mut Node, Errno> {
        self.nodes.get_mut(id as usize).and_then(Option::as_mut).ok_or(Errno::NoEntry)
    }

    fn directory(&self, id: NodeId) -> Result<&Directory, Errno> {
        match &self.node(id)?.content {
            Content::Directory(directory) => Ok(directory),
            _ => Err(Errno::NotDirectory),
        }
    }

    fn directory_mut(&mut self, id: NodeId) -> Result<&mut Directory, Errno> {
        match &mut self.node_mut(id)?.content {
            Content::Directory(directory) => Ok(directory),
            _ => Err(Errno::NotDirectory),
        }
    }

    pub(crate) fn file_type(&self, id: NodeId) -> Result<FileType, Errno> {
        Ok(match self.node(id)?.content {
            Content::Directory(_) => FileType::Directory,
            Content::Shared(_) | Content::Owned(_) => FileType::Regular,
            Content::Link(_) => FileType::SymbolicLink,
        })
    }

    pub(crate) fn stat(&self, id: NodeId, device: u64) -> Result<FileStat, Errno> {
        let node = self.node(id)?;
        let bytes = match &node.content {
            Content::Directory(_) => 0,
            Content::Shared(range) => range.len(),
            Content::Owned(bytes) | Content::Link(bytes) => bytes.len(),
        };
        Ok(FileStat {
            device,
            node: u64::from(id) + 1,
            file_type: self.file_type(id)?,
            links: node.links,
            bytes: bytes as u64,
            accessed_ns: node.times.accessed,
            modified_ns: node.times.modified,
            changed_ns: node.times.changed,
        })
    }

    /// What a directory has under a name.
    pub(crate) fn look_up(&self, directory: NodeId, name: &[u8]) -> Result<Option<NodeId>, Errno> {
        Ok(self.directory(directory)?.by_name.get(name).map(|(node, _)| *node))
    }

    /// The entry of a directory that follows those with a lower number.
    pub(crate) fn entry_from(
        &self,
        directory: NodeId,
        number: u64,
    ) -> Result<Option<Entry<'_>>, Errno> {
        let directory = self.directory(directory)?;
        let Some((number, name)) = directory.in_order.range(number..).next() else {
            return Ok(None);
        };
        let node = directory.by_name.get(name).map_or(ROOT, |(node, _)| *node);
        Ok(Some(Entry { number: *number, name, node }))
    }

    pub(crate) fn parent(&self, directory: NodeId) -> Result<NodeId, Errno> {
        Ok(self.directory(directory)?.parent)
    }

    pub(crate) fn target(&self, link: NodeId) -> Result<&[u8], Errno> {
        match &self.node(link)?.content {
            Content::Link(target) => Ok(target),
            _ => Err(Errno::Invalid),
        }
    }

    /// The bytes of a file.
    pub(crate) fn content(&self, file: NodeId) -> Result<&[u8], Errno> {
        match &self.node(file)?.content {
            Content::Owned(bytes) => Ok(bytes),
            Content::Shared(range) => {
                (*self.shared).as_ref().get(range.clone()).ok_or(Errno::Invalid)
            }
            Content::Directory(_) => Err(Errno::IsDirectory),
            Content::Link(_) => Err(Errno::Loop),
        }
    }

    /// Changes the size of a file; what is new is zero.
    pub(crate) fn resize(&mut self, file: NodeId, bytes: u64, now: u64) -> Result<(), Errno> {
        self.check_writable()?;
        let before = self.content(file)?.len() as u64;
        if bytes > before {
            self.take(bytes - before)?;
        }
        let node = self.node_mut(file)?;
        (node.times.modified, node.times.changed) = (now, now);
        let Content::Owned(content) = &mut node.content else { return Err(Errno::Invalid) };
        let more = (bytes as usize).saturating_sub(content.len());
        // Growing by a part of its size at a time makes many small writes cheap, and wastes less of
        // what a job may have than doubling.
        let with_spare = more.saturating_add(bytes as usize / 8);
        if more > content.capacity() - content.len()
            && content.try_reserve_exact(with_spare).is_err()
        {
            self.give_back(bytes - before);
            return Err(Errno::NoMemory);
        }
        content.resize(bytes as usize, 0);
        if bytes < before {
            content.shrink_to(bytes as usize + bytes as usize / 8);
            self.give_back(before - bytes);
        }
        Ok(())
    }

    /// Writes into a file, which grows as needed. Returns how much was written.
    pub(crate) fn write(
        &mut self,
        file: NodeId,
        at: u64,
        bytes: &[u8],
        now: u64,
    ) -> Result<usize, Errno> {
        self.check_writable()?;
        let end = at.checked_add(bytes.len() as u64).ok_or(Errno::FileTooLarge)?;
        if bytes.is_empty() {
            return Ok(0);
        }
        if end > self.content(file)?.len() as u64 {
            self.resize(file, end, now)?;
        }
        let node = self.node_mut(file)?;
        (node.times.modified, node.times.changed) = (now, now);
        let Content::Owned(content) = &mut node.content else { return Err(Errno::Invalid) };
        content[at as usize..end as usize].copy_from_slice(bytes);
        Ok(bytes.len())
    }

    pub(crate) fn set_times(
        &mut self,
        id: NodeId,
        change: impl FnOnce(&mut Times),
    ) -> Result<(), Errno> {
        self.check_writable()?;
        change(&mut self.node_mut(id)?.times);
        Ok(())
    }

    /// A descriptor holds the node from now on.
    pub(crate) fn hold(&mut self, id: NodeId) -> Result<(), Errno> {
        self.node_mut(id)?.holders += 1;
        Ok(())
    }

    /// A descriptor holds the node no more.
    pub(crate) fn let_go(&mut self, id: NodeId) {
        if let Ok(node) = self.node_mut(id) {
            node.holders -= 1;
            self.end_if_lost(id);
        }
    }

    fn end_if_lost(&mut self, id: NodeId) {
        let Ok(node) = self.node(id) else { return };
        if node.links > 0 || node.holders > 0 {
            return;
        }
        let bytes = match &node.content {
            Content::Owned(bytes) | Content::Link(bytes) => bytes.len() as u64,
            _ => 0,
        };
        self.give_back(bytes);
        self.nodes[id as usize] = None;
        self.free.push(id);
    }

    fn check_writable(&self) -> Result<(), Errno> {
        if self.is_writable() { Ok(()) } else { Err(Errno::ReadOnly) }
    }

    fn take(&mut self, bytes: u64) -> Result<(), Errno> {
        let Some(room) = &mut self.room else { return Ok(()) };
        match room.used.checked_add(bytes).filter(|used| *used <= room.max) {
            Some(used) => {
                room.used = used;
                Ok(())
            }
            None => Err(Errno::NoSpace),
        }
    }

    fn give_back(&mut self, bytes: u64) {
        if let Some(room) = &mut self.room {
            room.used -= bytes;
        }
    }
}
