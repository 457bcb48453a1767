//! A read-only directory tree over bytes that somebody else holds.

use std::ops::Range;
use std::rc::Rc;

use super::abi::{Errno, FileType};
use super::paths::PATH_BYTES_MAX;
use super::volume::{NAME_BYTES_MAX, New, NodeId, ROOT, Volume};

/// Directories, files and symbolic links under one root. Files are ranges of bytes that are shared and
/// never copied. The program that sees it cannot change it.
pub struct Tree {
    volume: Volume,
    bytes_len: usize,
}

/// Why something cannot be put into a tree.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TreeError {
    /// The path is empty, absolute, or has an empty, `.` or `..` component, or one above 255 bytes.
    #[error("not a path of a tree")]
    Path,
    /// The directory that it should lie in is not there yet, or is none.
    #[error("its directory is not there")]
    NoDirectory,
    /// Something of the name is there already.
    #[error("the name is taken")]
    Taken,
    /// The range lies outside the bytes.
    #[error("the range is outside the bytes")]
    Range,
    /// There are [`ENTRIES_MAX`](Tree::ENTRIES_MAX) entries.
    #[error("too many entries")]
    Full,
}

impl Tree {
    /// Entries a tree may have.
    pub const ENTRIES_MAX: usize = 1 << 20;

    /// An empty root, for files out of `bytes`.
    pub fn new(bytes: Rc<dyn AsRef<[u8]>>) -> Self {
        let bytes_len = (*bytes).as_ref().len();
        Self { volume: Volume::image(bytes), bytes_len }
    }

    /// Adds a directory. Its own directory must be there; paths are relative to the root.
    pub fn directory(&mut self, path: &[u8]) -> Result<(), TreeError> {
        self.add(path, New::Directory)
    }

    /// Adds a file.
    pub fn file(&mut self, path: &[u8], range: Range<usize>) -> Result<(), TreeError> {
        if range.start > range.end || range.end > self.bytes_len {
            return Err(TreeError::Range);
        }
        self.add(path, New::Shared(range))
    }

    /// Adds a symbolic link. Where it leads is looked at only when it is followed.
    pub fn link(&mut self, path: &[u8], target: &[u8]) -> Result<(), TreeError> {
        if target.len() > PATH_BYTES_MAX {
            return Err(TreeError::Path);
        }
        self.add(path, New::Link(target))
    }

    pub(super) fn into_volume(self) -> Volume {
        self.volume
    }

    fn add(&mut self, path: &[u8], new: New<'_>) -> Result<(), TreeError> {
        if self.volume.nodes_count() > Self::ENTRIES_MAX {
            return Err(TreeError::Full);
        }
        if path.len() > PATH_BYTES_MAX {
            return Err(TreeError::Path);
        }
        let mut names: Vec<_> = path.split(|byte| *byte == b'/').collect();
        let is_name = |name: &&[u8]| {
            !matches!(*name, b"" | b"." | b"..")
                && name.len() <= NAME_BYTES_MAX
                && !name.contains(&0)
        };
        if !names.iter().all(is_name) {
            return Err(TreeError::Path);
        }
        let name = names.pop().ok_or(TreeError::Path)?;
        let mut directory: NodeId = ROOT;
        for above in names {
            directory = match self.volume.look_up(directory, above) {
                Ok(Some(node)) => node,
                _ => return Err(TreeError::NoDirectory),
            };
        }
        if self.volume.file_type(directory) != Ok(FileType::Directory) {
            return Err(TreeError::NoDirectory);
        }
        match self.volume.create(directory, name, new, 0) {
            Ok(_) => Ok(()),
            Err(Errno::Exists) => Err(TreeError::Taken),
            Err(_) => Err(TreeError::NoDirectory),
        }
    }
}
