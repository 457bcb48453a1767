//! Whether an artifact's file is what its name says: opened without waiting or following, its header
//! read, and its bytes digested. What the bytes mean is for a job to find out.

use std::{
    fs::File,
    io::{self, Read},
    path::Path,
    sync::Arc,
};

use rustix::{
    fs::{Mode, OFlags},
    io::Errno,
};

use super::file::{HEADER_BYTES, Header};

/// Bytes that are read at a time.
const PIECE_BYTES: usize = 256 * 1024;

/// What is wrong with the file of an artifact.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Damage {
    /// A directory, link, FIFO, socket or device stands in its place.
    #[error("not a regular file")]
    NotAFile,
    /// It cannot be opened or read to its end.
    #[error("cannot be read: {0}")]
    Unreadable(#[source] Arc<io::Error>),
    /// It is too short for a header, of another format, or its header is not proven by its own digest.
    #[error("the header is not ours")]
    Header,
    /// Its header is that of another artifact.
    #[error("the header is of another artifact than the name")]
    OtherKey,
    /// It has more or fewer bytes than its header says.
    #[error("the length is not the header's")]
    Length,
    /// Its bytes are others than its header says.
    #[error("the digest is not the header's")]
    Digest,
}

impl From<io::Error> for Damage {
    fn from(error: io::Error) -> Self {
        Self::Unreadable(error.into())
    }
}

/// Opens what stands there: a FIFO, device or link without waiting and without following.
pub(super) fn open(path: &Path) -> Result<File, Errno> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    rustix::fs::open(path, flags, Mode::empty()).map(File::from)
}

/// The header of a file that could be one as a whole. The artifact is left to be read.
pub(super) fn header(mut file: &File) -> Result<Header, Damage> {
    let metadata = file.metadata()?;
    if !metadata.is_file() {
        return Err(Damage::NotAFile);
    }
    let mut bytes = [0; HEADER_BYTES];
    file.read_exact(&mut bytes).map_err(|error| match error.kind() {
        io::ErrorKind::UnexpectedEof => Damage::Header,
        _ => error.into(),
    })?;
    let header = Header::read(&bytes).ok_or(Damage::Header)?;
    match header.artifact_bytes.checked_add(HEADER_BYTES as u64) {
        Some(bytes) if bytes == metadata.len() => Ok(header),
        _ => Err(Damage::Length),
    }
}

/// Reads the artifact behind `header` to its end, hands on every piece, and compares the digest. An
/// error of `take` comes back in the inner result.
pub(super) fn artifact<E>(
    mut file: &File,
    header: &Header,
    mut take: impl FnMut(&[u8]) -> Result<(), E>,
) -> Result<Result<(), E>, Damage> {
    let mut hasher = blake3::Hasher::new();
    let mut piece = vec![0; PIECE_BYTES];
    loop {
        let read = file.read(&mut piece)?;
        if read == 0 {
            break;
        }
        hasher.update(&piece[..read]);
        if let Err(error) = take(&piece[..read]) {
            return Ok(Err(error));
        }
    }
    match *hasher.finalize().as_bytes() == header.artifact_digest {
        true => Ok(Ok(())),
        false => Err(Damage::Digest),
    }
}
