//! Sealed memory files: how code, artifacts, inputs and large outputs travel.
//!
//! Called by worker and job. A descriptor that came from elsewhere is believed nothing: its
//! seals are asked of the kernel before a byte of it is read. The host does not use this module
//! (it does not depend on this crate) but makes files with the same seals.

use std::io;
use std::ops::{Deref, Range};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{
    MemfdFlags, OFlags, SealFlags, fcntl_add_seals, fcntl_get_seals, fcntl_getfl, fstat,
    memfd_create,
};
use rustix::io::Errno;

use crate::sys;

/// The seals of a file whose content and length can never change.
pub const SEALS: SealFlags =
    SealFlags::SEAL.union(SealFlags::SHRINK).union(SealFlags::GROW).union(SealFlags::WRITE);

/// How often a seal is tried. The kernel refuses one (EBUSY) while somebody holds a page of the file, as it may do itself when it
/// moves pages, and waits before it says so, "about 150ms max" (`memfd_wait_for_pins` in its mm/memfd.c).
const SEAL_TRIES_MAX: u32 = 8;

/// Why a descriptor was not accepted as a sealed file.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Not a memfd at all, or one that cannot be sealed.
    #[error("the descriptor is not a memory file")]
    NotMemfd(#[source] Errno),
    /// A seal is missing, so its content could change while it is read.
    #[error("the memory file has seals {found:?}, not all of {SEALS:?}")]
    NotSealed {
        /// The seals it has.
        found: SealFlags,
    },
    /// Its length could not be asked.
    #[error("the memory file's length cannot be read")]
    Length(#[source] Errno),
    /// It is longer than the reader takes.
    #[error("the memory file has {bytes} bytes, more than {bytes_max}")]
    TooLong {
        /// Its length.
        bytes: u64,
        /// The most that was allowed.
        bytes_max: u64,
    },
    /// It is shorter than what should be in it.
    #[error("the memory file has {bytes} bytes, fewer than {bytes_min}")]
    TooShort {
        /// Its length.
        bytes: u64,
        /// How many there should be.
        bytes_min: u64,
    },
    /// It could not be mapped.
    #[error("the memory file cannot be mapped")]
    Map(#[source] io::Error),
}

/// Makes an empty memory file that can be sealed (`memfd_create(2)`).
///
/// Where the kernel has it (Linux 6.3), the file can never be executed as a program; mapping it
/// executable, which is what loading an artifact is, stays allowed.
///
/// # Errors
/// As `memfd_create(2)`.
pub fn create(name: &str) -> io::Result<OwnedFd> {
    let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
    match memfd_create(name, flags | MemfdFlags::NOEXEC_SEAL) {
        Err(Errno::INVAL) => Ok(memfd_create(name, flags)?),
        made => Ok(made?),
    }
}

/// Makes the file's content and length final.
///
/// # Errors
/// EBUSY if it is mapped writable somewhere, or somebody goes on holding its pages; EPERM if it is sealed against sealing.
pub fn seal(file: BorrowedFd<'_>) -> io::Result<()> {
    for _ in 1..SEAL_TRIES_MAX {
        match fcntl_add_seals(file, SEALS) {
            Err(Errno::BUSY) => {}
            sealed => return Ok(sealed?),
        }
    }
    Ok(fcntl_add_seals(file, SEALS)?)
}

/// Checks that the descriptor is a memory file with [`SEALS`], of at most `bytes_max` bytes, and
/// gives its length.
///
/// # Errors
/// The first property that it lacks.
pub fn check_sealed(file: BorrowedFd<'_>, bytes_max: u64) -> Result<u64, OpenError> {
    let found = fcntl_get_seals(file).map_err(OpenError::NotMemfd)?;
    if !found.contains(SEALS) {
        return Err(OpenError::NotSealed { found });
    }
    let bytes = fstat(file).map_err(OpenError::Length)?.st_size.unsigned_abs();
    if bytes > bytes_max {
        return Err(OpenError::TooLong { bytes, bytes_max });
    }
    Ok(bytes)
}

/// Checks that nobody can write to the file through this descriptor, nor change its length or seals.
///
/// # Errors
/// EPERM if somebody could; otherwise as `fcntl(2)`.
pub fn check_read_only(file: BorrowedFd<'_>) -> io::Result<()> {
    match fcntl_getfl(file)? & OFlags::RWMODE {
        OFlags::RDONLY => Ok(()),
        _ => Err(Errno::PERM.into()),
    }
}

/// Has the kernel keep the bytes of a sealed file in large pages from now on (`madvise(2)`, MADV_COLLAPSE), so that
/// whoever maps it takes fewer page faults. The last ones stay as they are if they would leave more than half of theirs empty.
///
/// # Errors
/// EINVAL where the kernel has no large pages for memory files; otherwise as `madvise(2)` and `mmap(2)`. The file can be used
/// as before.
pub fn gather(file: BorrowedFd<'_>) -> io::Result<()> {
    let bytes = check_sealed(file, u64::MAX).map_err(io::Error::other)? as usize;
    let large = sys::LARGE_PAGE_BYTES;
    match (bytes + large / 2) / large * large {
        0 => Ok(()),
        gathered => sys::text::gather((file, 0), gathered, |_| true),
    }
}

/// Where the next mapping of a whole file is expected: it begins where a large page can, so that the kernel maps those of a file
/// that was [gathered](gather) in one piece. Kept until it is mapped.
#[derive(Debug)]
pub struct LargePlace(sys::large::Gap);

impl LargePlace {
    /// Sees to it for a file of whoever maps it without asking for a place, as a loader of the engine's. Nothing if the file has no
    /// large page, or there is no such place.
    pub fn ready(file: impl AsFd) -> Option<Self> {
        let bytes = fstat(&file).ok()?.st_size as usize;
        let has_large_pages = bytes >= sys::LARGE_PAGE_BYTES;
        has_large_pages.then(|| sys::large::Gap::ready(file.as_fd(), bytes)).flatten().map(Self)
    }

    /// Whether that is where these bytes were mapped.
    pub fn has(&self, bytes: &[u8]) -> bool {
        self.0.has(bytes)
    }

    /// Where this text lies that is to be sealed: with the file's header, where that can be executable too, so that both share a large
    /// page. Whoever wrote the one wrote the other, and a compiler that nobody took over writes nothing of a guest's before the text.
    pub(crate) fn with_header(&self, text: &[u8]) -> Range<usize> {
        self.0.with_header(text)
    }
}

/// A file's bytes, mapped private and read-only until dropped.
#[derive(Debug)]
pub struct Mapped(Option<sys::ReadMapping>);

impl Mapped {
    /// Checks the file as [`check_sealed`] does and maps it. The descriptor may be closed
    /// afterwards.
    ///
    /// # Errors
    /// The property that it lacks, or that it cannot be mapped.
    pub fn open(file: impl AsFd, bytes_max: u64) -> Result<Self, OpenError> {
        let bytes = check_sealed(file.as_fd(), bytes_max)?;
        Self::map(file.as_fd(), bytes)
    }

    /// Maps the first bytes of a file that is not sealed but has one writer, who keeps to a rule: while somebody
    /// has them mapped they are there and stay as they are. The descriptor may be closed afterwards.
    ///
    /// # Errors
    /// That there are fewer, or that they cannot be mapped.
    pub fn open_first(file: impl AsFd, bytes: u64) -> Result<Self, OpenError> {
        let found = fstat(&file).map_err(OpenError::Length)?.st_size.unsigned_abs();
        if found < bytes {
            return Err(OpenError::TooShort { bytes: found, bytes_min: bytes });
        }
        Self::map(file.as_fd(), bytes)
    }

    /// Makes `to` what `part`, a part of these bytes, is. What makes whole pages in both is mapped once more and not
    /// copied until somebody writes to it; for that `part` has to lie in the file as `to` lies in
    /// memory, counted from the beginning of a page. `file` is the one that is mapped here.
    ///
    /// # Errors
    /// As `mmap(2)`; then nothing can be said of what is in `to`, or whether it is there.
    pub fn put(&self, file: impl AsFd, part: &[u8], to: &mut [u8]) -> io::Result<()> {
        let (first, pages) = whole_pages(to);
        if pages == 0 || self.shift(part, to) != 0 {
            to.copy_from_slice(part);
            return Ok(());
        }
        let (before, rest) = to.split_at_mut(first);
        let (within, after) = rest.split_at_mut(pages);
        before.copy_from_slice(&part[..first]);
        after.copy_from_slice(&part[first + pages..]);
        sys::map_over(within, file.as_fd(), (self.offset(part) + first) as u64)
    }

    /// By how many bytes later in the file `part` would have to lie for [`put`](Self::put) to copy nothing: fewer than
    /// there are in a page.
    pub fn shift(&self, part: &[u8], to: &[u8]) -> u16 {
        let apart = to.as_ptr().addr().wrapping_sub(self.offset(part));
        (apart % sys::PAGE_BYTES) as u16
    }

    /// Where in the file a part of these bytes begins.
    fn offset(&self, part: &[u8]) -> usize {
        part.as_ptr().addr() - self.as_ptr().addr()
    }

    fn map(file: BorrowedFd<'_>, bytes: u64) -> Result<Self, OpenError> {
        let Ok(length) = usize::try_from(bytes) else {
            return Err(OpenError::TooLong { bytes, bytes_max: usize::MAX as u64 });
        };
        // mmap(2) refuses a length of zero.
        if length == 0 {
            return Ok(Mapped(None));
        }
        Ok(Mapped(Some(sys::map_unchanging(file, length).map_err(OpenError::Map)?)))
    }
}

impl Deref for Mapped {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        self.0.as_deref().unwrap_or_default()
    }
}

/// Where in these bytes the first whole page begins, and how many bytes all of them have.
fn whole_pages(bytes: &[u8]) -> (usize, usize) {
    let start = bytes.as_ptr().addr();
    let first = start.next_multiple_of(sys::PAGE_BYTES) - start;
    let pages = bytes.len().saturating_sub(first) / sys::PAGE_BYTES * sys::PAGE_BYTES;
    (first.min(bytes.len()), pages)
}

#[cfg(test)]
mod tests {
    use std::{fs::File, os::fd::AsRawFd};

    use super::*;

    fn sealed(content: &[u8]) -> OwnedFd {
        let file = create("test").unwrap();
        rustix::io::write(&file, content).unwrap();
        seal(file.as_fd()).unwrap();
        file
    }

    #[test]
    fn a_sealed_file_reads_as_it_was_written() {
        assert_eq!(&*Mapped::open(sealed(b"lazaret"), 7).unwrap(), b"lazaret");
        assert_eq!(&*Mapped::open(sealed(b""), 0).unwrap(), b"");
    }

    #[test]
    fn a_file_that_is_long_enough_is_mapped_where_a_large_page_can_begin() {
        let file = sealed(&vec![7; sys::LARGE_PAGE_BYTES + 1]);
        // Another thread may map something there, so that one time is enough.
        let is_there = (0..100).any(|_| {
            let Some(place) = LargePlace::ready(&file) else { return false };
            let mapped = Mapped::open(&file, u64::MAX).unwrap();
            place.has(&mapped) && mapped.as_ptr().addr().is_multiple_of(sys::LARGE_PAGE_BYTES)
        });
        assert!(is_there, "the kernel never took the gap that was made");
        assert!(LargePlace::ready(sealed(b"lazaret")).is_none());
    }

    #[test]
    fn a_sealed_file_cannot_change() {
        let file = sealed(b"lazaret");
        assert_eq!(rustix::io::pwrite(&file, b"x", 0), Err(Errno::PERM));
        assert_eq!(rustix::fs::ftruncate(&file, 0), Err(Errno::PERM));
        assert_eq!(fcntl_add_seals(&file, SealFlags::FUTURE_WRITE), Err(Errno::PERM));
    }

    #[test]
    fn of_a_file_that_is_not_sealed_the_first_bytes_are_mapped_if_they_are_there() {
        let file = create("test").unwrap();
        for written in [&b"lazaret"[..], b"jail"] {
            rustix::io::pwrite(&file, written, 0).unwrap();
            assert_eq!(&*Mapped::open_first(&file, written.len() as u64).unwrap(), written);
        }
        assert_eq!(&*Mapped::open_first(&file, 0).unwrap(), b"");
        assert!(matches!(Mapped::open_first(&file, 8), Err(OpenError::TooShort { bytes: 7, .. })));
    }

    #[test]
    fn what_is_put_is_there_and_can_be_changed_whether_it_was_mapped_or_copied() {
        const PAGE: usize = sys::PAGE_BYTES;
        let content: Vec<_> = (0..5 * PAGE).map(|n| (n % 251) as u8).collect();
        let file = sealed(&content);
        let mapped = Mapped::open(&file, u64::MAX).unwrap();
        // A whole mapping, so that nothing else is in its pages.
        let mut memory = vec![0; 40 * PAGE];
        let first = whole_pages(&memory).0;
        for (at, from, bytes) in [
            (0, 0, 5 * PAGE),
            (7, 7, 4 * PAGE),
            (PAGE + 7, 7, 3 * PAGE - 7),
            (7, 7, PAGE - 8),
            (9, 7, 4 * PAGE),
            (7, 9, 4 * PAGE),
            (0, 0, 0),
            (3, PAGE, 1),
        ] {
            let to = &mut memory[first + PAGE + at..][..bytes];
            let part = &mapped[from..from + bytes];
            assert_eq!(usize::from(mapped.shift(part, to)), (PAGE + at - from) % PAGE);
            mapped.put(&file, part, to).unwrap();
            assert_eq!(to, part);
            to.fill(1);
            assert_eq!(*mapped, *content);
            assert_eq!(memory[first + PAGE + at + bytes], 0);
            memory.fill(0);
        }
    }

    #[test]
    fn a_descriptor_that_can_write_is_told_from_one_that_cannot() {
        let file = create("test").unwrap();
        assert!(check_read_only(file.as_fd()).is_err());
        let path = format!("/proc/self/fd/{}", file.as_raw_fd());
        let read_only = File::open(path).unwrap();
        check_read_only(read_only.as_fd()).unwrap();
        assert!(rustix::io::pwrite(&read_only, b"x", 0).is_err());
        assert!(rustix::fs::ftruncate(&read_only, 1).is_err());
        assert!(fcntl_add_seals(&read_only, SealFlags::GROW).is_err());
    }

    #[test]
    fn an_unsealed_file_a_long_one_and_a_pipe_are_refused() {
        let open = create("test").unwrap();
        assert!(matches!(Mapped::open(&open, 9), Err(OpenError::NotSealed { .. })));
        assert!(matches!(Mapped::open(sealed(b"ab"), 1), Err(OpenError::TooLong { .. })));
        let (pipe, _end) = rustix::pipe::pipe().unwrap();
        assert!(matches!(Mapped::open(pipe, 9), Err(OpenError::NotMemfd(_))));
    }
}
