//! A read-only directory tree over bytes that somebody else holds.

use std::ops::Range;
use std::rc::Rc;

/// Directories, files and symbolic links under one root. Files are ranges of bytes that are shared and
/// never copied. The program that sees it cannot change it.
pub struct Tree {}

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
    pub fn new(_bytes: Rc<dyn AsRef<[u8]>>) -> Self {
        todo!()
    }

    /// Adds a directory. Its own directory must be there; paths are relative to the root.
    pub fn directory(&mut self, _path: &[u8]) -> Result<(), TreeError> {
        todo!()
    }

    /// Adds a file.
    pub fn file(&mut self, _path: &[u8], _range: Range<usize>) -> Result<(), TreeError> {
        todo!()
    }

    /// Adds a symbolic link. Where it leads is looked at only when it is followed.
    pub fn link(&mut self, _path: &[u8], _target: &[u8]) -> Result<(), TreeError> {
        todo!()
    }
}
