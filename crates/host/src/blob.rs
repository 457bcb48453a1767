//! Bytes as a sealed memfd: what code, input and artifacts are while they travel.
//!
//! A sealed memfd can be mapped by host, worker and job alike and changed by none of them
//! (memfd_create(2), `F_SEAL_WRITE`), so what the host digested is what the job maps.

use std::{
    ffi::CStr,
    fs::File,
    io::{self, Write},
    os::{
        fd::{AsFd, BorrowedFd, OwnedFd},
        unix::fs::FileExt,
    },
    sync::Arc,
};

use rustix::{
    fs::{MemfdFlags, SealFlags, fcntl_add_seals, fstat, memfd_create},
    io::Errno,
};

/// How many bytes are read at a time.
const PIECE_BYTES: usize = 256 * 1024;
/// No one can change the bytes, the length, or the seals.
const SEALS: SealFlags =
    SealFlags::SHRINK.union(SealFlags::GROW).union(SealFlags::WRITE).union(SealFlags::SEAL);

/// How often a seal is tried. The kernel refuses one (EBUSY) while somebody holds a page of the file, as it may do itself when it
/// moves pages, and waits before it says so, "about 150ms max" (`memfd_wait_for_pins` in its mm/memfd.c).
const SEAL_TRIES_MAX: u32 = 8;

/// Bytes that nobody can change any more. Cloning shares them.
#[derive(Clone, Debug)]
pub(crate) struct Blob {
    memfd: Arc<OwnedFd>,
    bytes: u64,
}

impl Blob {
    /// Copies `parts`, one after another.
    pub(crate) fn from_parts(parts: &[&[u8]]) -> io::Result<Self> {
        let mut file = File::from(create()?);
        for part in parts {
            file.write_all(part)?;
        }
        Self::seal(file.into())
    }

    /// Seals a memfd that nobody maps writable.
    pub(crate) fn seal(memfd: OwnedFd) -> io::Result<Self> {
        add_seals(&memfd)?;
        Self::from_sealed(memfd)
    }

    /// Takes a memfd from a worker, which must be sealed already.
    pub(crate) fn from_sealed(memfd: OwnedFd) -> io::Result<Self> {
        let seals = rustix::fs::fcntl_get_seals(&memfd)?;
        if !seals.contains(SEALS) {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "a memfd that is not sealed"));
        }
        let bytes = fstat(&memfd)?.st_size as u64;
        Ok(Self { memfd: Arc::new(memfd), bytes })
    }

    /// How many bytes there are.
    pub(crate) fn len(&self) -> u64 {
        self.bytes
    }

    /// A copy of the bytes.
    pub(crate) fn to_vec(&self) -> io::Result<Vec<u8>> {
        let mut bytes = vec![0; self.bytes as usize];
        self.file()?.read_exact_at(&mut bytes, 0)?;
        Ok(bytes)
    }

    /// The BLAKE3 digest of the bytes.
    pub(crate) fn digest(&self) -> io::Result<[u8; 32]> {
        let mut hasher = blake3::Hasher::new();
        self.for_each_piece(|piece| {
            hasher.update(piece);
            Ok(())
        })?;
        Ok(*hasher.finalize().as_bytes())
    }

    /// Hands out all bytes in order, in pieces.
    pub(crate) fn for_each_piece(
        &self,
        mut take: impl FnMut(&[u8]) -> io::Result<()>,
    ) -> io::Result<()> {
        let file = self.file()?;
        let mut piece = vec![0; PIECE_BYTES.min(self.bytes as usize)];
        let mut offset = 0;
        while offset < self.bytes {
            let read = file.read_at(&mut piece, offset)?;
            if read == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            take(&piece[..read])?;
            offset += read as u64;
        }
        Ok(())
    }

    /// A second descriptor for the same bytes.
    pub(crate) fn file(&self) -> io::Result<File> {
        self.memfd.try_clone().map(File::from)
    }
}

/// What goes to a job beside its order.
#[derive(Debug)]
pub(crate) enum Attached {
    /// Bytes.
    Blob(Blob),
    /// The worker's input file, for those who may only read.
    InputFile(Arc<File>),
    /// The job's end of a pipe.
    Pipe(OwnedFd),
}

impl AsFd for Attached {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::Blob(blob) => blob.as_fd(),
            Self::InputFile(file) => file.as_fd(),
            Self::Pipe(end) => end.as_fd(),
        }
    }
}

impl AsFd for Blob {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.memfd.as_fd()
    }
}

fn add_seals(memfd: &OwnedFd) -> io::Result<()> {
    for _ in 1..SEAL_TRIES_MAX {
        match fcntl_add_seals(memfd, SEALS) {
            Err(Errno::BUSY) => {}
            sealed => return Ok(sealed?),
        }
    }
    Ok(fcntl_add_seals(memfd, SEALS)?)
}

/// An empty memfd that can be sealed.
pub(crate) fn create() -> io::Result<OwnedFd> {
    create_named(c"lazaret")
}

/// The same with a name of its own in `/proc/PID/fd`. `MFD_NOEXEC_SEAL` is asked for where the kernel knows it
/// (Linux 6.3): nobody executes these files, jobs only map them.
pub(crate) fn create_named(name: &CStr) -> io::Result<OwnedFd> {
    let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
    match memfd_create(name, flags | MemfdFlags::NOEXEC_SEAL) {
        Err(Errno::INVAL) => Ok(memfd_create(name, flags)?),
        created => Ok(created?),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_blob_cannot_be_written_or_resized() {
        let blob = Blob::from_parts(&[b"ab", b"c"]).unwrap();
        let mut file = blob.file().unwrap();
        assert!(file.write_all(b"x").is_err());
        assert!(file.set_len(1).is_err() && file.set_len(9).is_err());
        assert_eq!(blob.to_vec().unwrap(), b"abc");
        assert_eq!(blob.digest().unwrap(), *blake3::hash(b"abc").as_bytes());
    }

    #[test]
    fn an_unsealed_memfd_is_not_taken() {
        assert!(Blob::from_sealed(create().unwrap()).is_err());
    }
}
