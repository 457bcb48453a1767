//! A directory tree as one run of bytes, to be handed to a job as one descriptor.
//!
//! The host writes it from a directory of its user's without knowing what is in the files; a job
//! reads it. Eight bytes of [`MAGIC`], then entries, each one: its kind (one byte: 1 directory,
//! 2 file, 3 symbolic link, 0 the end), the length of its path (u16), the path, the length of its
//! content (u64), and the content: of a file its bytes, of a link its target, of a directory nothing.
//! Numbers are little-endian. The last entry is the single byte 0, and nothing follows. Paths are relative to
//! the root, without `.`, `..` and empty components; a directory comes before what is in it. Times,
//! owners and permissions are left out, so that equal trees make equal images where entries are written
//! in the order of their paths.

use std::{io::Write, ops::Range};

/// What an image starts with.
pub const MAGIC: [u8; 8] = *b"LZRTIMG1";

/// Entries of an image.
pub const ENTRIES_MAX: usize = 1 << 20;

/// Bytes of a path, and of a link's target.
pub const PATH_BYTES_MAX: usize = 4096;

/// What an entry is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Node<'a> {
    /// A directory.
    Directory,
    /// A file, and where its bytes lie in the image.
    File(Range<usize>),
    /// A symbolic link, and where it leads.
    Link(&'a [u8]),
}

/// One entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry<'a> {
    /// Relative to the root.
    pub path: &'a [u8],
    /// What it is.
    pub node: Node<'a>,
}

/// Writes an image, entry by entry.
pub struct Writer<W> {
    to: W,
    entries: usize,
}

/// Why an entry cannot be written.
#[derive(Debug, thiserror::Error)]
pub enum WriteError {
    /// The path, or the target of a link, is not one that an image may hold.
    #[error("not a path of an image: {}", String::from_utf8_lossy(.0))]
    Path(Vec<u8>),
    /// There are too many entries.
    #[error("more than {ENTRIES_MAX} entries")]
    Full,
    /// The file ended before the bytes it was said to have.
    #[error("{found} bytes where {announced} were announced")]
    Short {
        /// What was said.
        announced: u64,
        /// What came.
        found: u64,
    },
    /// Reading or writing failed.
    #[error("cannot copy bytes")]
    Io(#[from] std::io::Error),
}

impl<W: Write> Writer<W> {
    /// Begins an image.
    pub fn new(to: W) -> Result<Self, WriteError> {
        let mut this = Self { to, entries: 0 };
        this.to.write_all(&MAGIC)?;
        Ok(this)
    }

    /// Adds a directory.
    pub fn directory(&mut self, path: &[u8]) -> Result<(), WriteError> {
        self.entry(1, path, 0)
    }

    /// Adds a file of `bytes` bytes out of `from`. What `from` has beyond them is left.
    pub fn file(
        &mut self,
        path: &[u8],
        from: impl std::io::Read,
        bytes: u64,
    ) -> Result<(), WriteError> {
        self.entry(2, path, bytes)?;
        let found = std::io::copy(&mut from.take(bytes), &mut self.to)?;
        if found != bytes {
            return Err(WriteError::Short { announced: bytes, found });
        }
        Ok(())
    }

    /// Adds a symbolic link.
    pub fn link(&mut self, path: &[u8], target: &[u8]) -> Result<(), WriteError> {
        if target.is_empty() || target.len() > PATH_BYTES_MAX || target.contains(&0) {
            return Err(WriteError::Path(target.to_vec()));
        }
        self.entry(3, path, target.len() as u64)?;
        Ok(self.to.write_all(target)?)
    }

    /// Ends the image.
    pub fn finish(mut self) -> Result<W, WriteError> {
        self.to.write_all(&[0])?;
        self.to.flush()?;
        Ok(self.to)
    }

    fn entry(&mut self, kind: u8, path: &[u8], bytes: u64) -> Result<(), WriteError> {
        if !is_path(path) {
            return Err(WriteError::Path(path.to_vec()));
        }
        if self.entries == ENTRIES_MAX {
            return Err(WriteError::Full);
        }
        self.entries += 1;
        self.to.write_all(&[kind])?;
        self.to.write_all(&(path.len() as u16).to_le_bytes())?;
        self.to.write_all(path)?;
        Ok(self.to.write_all(&bytes.to_le_bytes())?)
    }
}

/// Whether a path is one that an image may hold.
fn is_path(path: &[u8]) -> bool {
    let is_name = |name: &[u8]| !matches!(name, b"" | b"." | b"..") && name.len() <= 255;
    path.len() <= PATH_BYTES_MAX && !path.contains(&0) && path.split(|b| *b == b'/').all(is_name)
}

/// Why bytes are not an image.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReadError {
    /// They do not start as one.
    #[error("not an image")]
    Magic,
    /// They end inside an entry or lack the end, or something follows it.
    #[error("the image is cut off, or something follows it")]
    Length,
    /// A kind, path or target that no image has.
    #[error("an entry of the image is not valid")]
    Entry,
    /// There are too many entries.
    #[error("more than {ENTRIES_MAX} entries")]
    Full,
}

/// Reads an image. After an error or the end nothing more comes.
pub struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
    entries: usize,
    ended: bool,
}

impl<'a> Reader<'a> {
    /// Begins to read.
    pub fn new(bytes: &'a [u8]) -> Result<Self, ReadError> {
        match bytes.starts_with(&MAGIC) {
            true => Ok(Self { bytes, at: MAGIC.len(), entries: 0, ended: false }),
            false => Err(ReadError::Magic),
        }
    }

    fn take(&mut self, bytes: u64) -> Result<Range<usize>, ReadError> {
        let left = self.bytes.len() - self.at;
        let bytes = usize::try_from(bytes).ok().filter(|bytes| *bytes <= left);
        let start = self.at;
        self.at += bytes.ok_or(ReadError::Length)?;
        Ok(start..self.at)
    }

    /// A little-endian number of so many bytes.
    fn number(&mut self, bytes: u64) -> Result<u64, ReadError> {
        let range = self.take(bytes)?;
        Ok(self.bytes[range].iter().rev().fold(0, |number, byte| number << 8 | u64::from(*byte)))
    }

    fn entry(&mut self) -> Result<Option<Entry<'a>>, ReadError> {
        let kind = self.number(1)?;
        if kind == 0 {
            let ends = self.at == self.bytes.len();
            return if ends { Ok(None) } else { Err(ReadError::Length) };
        }
        self.entries += 1;
        if self.entries > ENTRIES_MAX {
            return Err(ReadError::Full);
        }
        let path_bytes = self.number(2)?;
        let path = self.take(path_bytes)?;
        let path = &self.bytes[path];
        let content_bytes = self.number(8)?;
        let content = self.take(content_bytes)?;
        let target = &self.bytes[content.clone()];
        let node = match kind {
            1 if content.is_empty() => Node::Directory,
            2 => Node::File(content),
            3 if !target.is_empty() && target.len() <= PATH_BYTES_MAX && !target.contains(&0) => {
                Node::Link(target)
            }
            _ => return Err(ReadError::Entry),
        };
        if is_path(path) { Ok(Some(Entry { path, node })) } else { Err(ReadError::Entry) }
    }
}

impl<'a> Iterator for Reader<'a> {
    type Item = Result<Entry<'a>, ReadError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.ended {
            return None;
        }
        let next = self.entry().transpose();
        self.ended = !matches!(next, Some(Ok(_)));
        next
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn image() -> Vec<u8> {
        let mut writer = Writer::new(Vec::new()).unwrap();
        writer.directory(b"a").unwrap();
        writer.file(b"a/b", &b"content"[..], 7).unwrap();
        writer.link(b"c", b"a/b").unwrap();
        writer.finish().unwrap()
    }

    #[test]
    fn what_is_written_is_read() {
        let bytes = image();
        let entries: Vec<_> = Reader::new(&bytes).unwrap().map(Result::unwrap).collect();
        let paths: Vec<_> = entries.iter().map(|entry| entry.path).collect();
        assert_eq!(paths, [&b"a"[..], b"a/b", b"c"]);
        assert_eq!(entries[0].node, Node::Directory);
        let Node::File(range) = &entries[1].node else { panic!("{:?}", entries[1]) };
        assert_eq!(&bytes[range.clone()], b"content");
        assert_eq!(entries[2].node, Node::Link(b"a/b"));
    }

    #[test]
    fn a_truncated_or_changed_image_is_an_error_and_no_panic() {
        let bytes = image();
        let is_bad = |bytes: &[u8]| match Reader::new(bytes) {
            Ok(mut reader) => reader.any(|entry| entry.is_err()),
            Err(_) => true,
        };
        assert!(!is_bad(&bytes));
        for length in 0..bytes.len() {
            assert!(is_bad(&bytes[..length]), "{length}");
        }
        assert!(is_bad(&[&bytes[..], b"x"].concat()));
        for index in 0..bytes.len() {
            for bit in 0..8 {
                let mut changed = bytes.clone();
                changed[index] ^= 1 << bit;
                is_bad(&changed);
            }
        }
    }

    #[test]
    fn paths_that_leave_the_tree_are_neither_written_nor_read() {
        for path in [&b""[..], b"/a", b"a/", b"a//b", b".", b"a/../b", b"..", b"a\0"] {
            let mut writer = Writer::new(Vec::new()).unwrap();
            assert!(matches!(writer.directory(path), Err(WriteError::Path(_))));
            let mut bytes = MAGIC.to_vec();
            bytes.push(1);
            bytes.extend((path.len() as u16).to_le_bytes());
            bytes.extend(path);
            bytes.extend([0; 9]);
            let first = Reader::new(&bytes).unwrap().next();
            assert_eq!(first, Some(Err(ReadError::Entry)), "{path:?}");
        }
    }

    #[test]
    fn a_file_that_shrank_is_not_written_as_if_it_had_not() {
        let mut writer = Writer::new(Vec::new()).unwrap();
        let error = writer.file(b"a", &b"abc"[..], 4).unwrap_err();
        assert!(matches!(error, WriteError::Short { announced: 4, found: 3 }));
    }
}
