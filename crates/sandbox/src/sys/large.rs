//! Mappings for which the kernel is to use large pages, and pages that it is to find ahead.

use std::io;
use std::ops::Range;
use std::os::fd::BorrowedFd;
use std::ptr;

use super::raw::{self, Way};
use super::{LARGE_PAGE_BYTES, PAGE_BYTES, ReadMapping};

/// The most holes elsewhere that are filled so that a file is mapped where that is expected.
const HOLES_MAX: usize = 16;

/// Addresses that are kept, and given back when this is dropped.
#[derive(Debug)]
struct Kept(Range<usize>);

impl Drop for Kept {
    fn drop(&mut self) {
        unmap(&self.0);
    }
}

/// Where the next mapping of a whole file is expected.
#[derive(Debug)]
pub(crate) struct Gap {
    place: Range<usize>,
    _beyond: Kept,
    _holes: Vec<ReadMapping>,
}

impl Gap {
    /// Makes a gap of so many bytes, all that `file` has, that begins where a large page can, and fills what holes the kernel takes
    /// before it: so the next mapping of the file goes there, as one that is tried did. Nobody may rely on that.
    pub(crate) fn ready(file: BorrowedFd<'_>, bytes: usize) -> Option<Self> {
        // First, since it may be mapped as well.
        let mut holes = Vec::with_capacity(HOLES_MAX);
        let reserved = super::reserve(bytes + LARGE_PAGE_BYTES);
        if reserved.is_null() {
            return None;
        }
        let reserved = reserved.expose_provenance();
        let start = reserved.next_multiple_of(LARGE_PAGE_BYTES);
        let end = start + bytes.next_multiple_of(PAGE_BYTES);
        let beyond = Kept(end..(reserved + bytes + LARGE_PAGE_BYTES).next_multiple_of(PAGE_BYTES));
        unmap(&(reserved..end));
        while holes.len() < HOLES_MAX {
            let tried = super::map_unchanging(file, bytes).ok()?;
            if tried.as_ptr().addr() == start {
                return Some(Self { place: start..end, _beyond: beyond, _holes: holes });
            }
            holes.push(tried);
        }
        None
    }

    /// Whether those bytes are in that place.
    pub(crate) fn has(&self, bytes: &[u8]) -> bool {
        let Range { start, end } = addresses(bytes);
        self.place.start <= start && end <= self.place.end
    }

    /// Where this text of the file's lies, together with the page before it, if that is the file's first: then it is made executable
    /// too, since the kernel maps a large page in one piece only where all of it is mapped alike.
    pub(crate) fn with_header(&self, text: &[u8]) -> Range<usize> {
        let Range { start, end } = addresses(text);
        let joined = self.has(text)
            && start - self.place.start == PAGE_BYTES
            && make_executable(self.place.start).is_ok();
        if joined { self.place.start..end } else { start..end }
    }
}

/// Where these bytes lie.
pub(crate) fn addresses(bytes: &[u8]) -> Range<usize> {
    let Range { start, end } = bytes.as_ptr_range();
    start.addr()..end.addr()
}

/// `mprotect(2)` of a page of a file that is mapped, which can still be read.
fn make_executable(page: usize) -> io::Result<()> {
    let (page, access) =
        (ptr::with_exposed_provenance_mut(page), libc::PROT_READ | libc::PROT_EXEC);
    // SAFETY: this takes away no right that anybody's references need: nobody writes to it.
    super::zero_or_errno(unsafe { libc::mprotect(page, PAGE_BYTES, access) })
}

/// `munmap(2)` of what [`reserve`](super::reserve) gave, or a part of it.
fn unmap(reserved: &Range<usize>) {
    if !reserved.is_empty() {
        // SAFETY: nothing was ever put there, and nobody has a reference to it.
        unsafe { libc::munmap(ptr::with_exposed_provenance_mut(reserved.start), reserved.len()) };
    }
}

/// `madvise(MADV_POPULATE_READ)`: has the kernel find those pages as if each had been read.
pub(crate) fn find_ahead(way: Way, pages: &Range<usize>) -> io::Result<()> {
    advise(way, pages, libc::MADV_POPULATE_READ)
}

/// `madvise(MADV_POPULATE_WRITE)`: has the kernel find the pages that lie within these bytes as if each had been written to.
pub(crate) fn find_to_write(way: Way, bytes: &mut [u8]) -> io::Result<()> {
    let Range { start, end } = addresses(bytes);
    let start = start.next_multiple_of(PAGE_BYTES);
    let pages = start..(end - end % PAGE_BYTES).max(start);
    advise(way, &pages, libc::MADV_POPULATE_WRITE)
}

/// `madvise(MADV_COLLAPSE)`: has the kernel keep these pages of a memory file, which begin and end where large ones can, side by side.
pub(crate) fn gather(way: Way, pages: &Range<usize>) -> io::Result<()> {
    advise(way, pages, libc::MADV_COLLAPSE)
}

/// `madvise(2)`, of what changes nothing that can be seen.
fn advise(way: Way, pages: &Range<usize>, advice: libc::c_int) -> io::Result<()> {
    // SAFETY: no byte changes, and no right to one.
    unsafe { raw::call(way, libc::SYS_madvise, [pages.start, pages.len(), advice as usize]) }
        .map(drop)
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::os::fd::AsFd;

    use rustix::fs::{MemfdFlags, memfd_create};

    use super::*;

    /// Another thread may map something there, so that one time is enough.
    fn once(mut is_so: impl FnMut() -> bool) -> bool {
        (0..100).any(|_| is_so())
    }

    #[test]
    fn a_file_is_mapped_in_its_gap_which_begins_where_a_large_page_can() {
        for bytes in [LARGE_PAGE_BYTES, LARGE_PAGE_BYTES + 1, 3 * LARGE_PAGE_BYTES + 1] {
            let file = File::from(memfd_create(c"test", MemfdFlags::CLOEXEC).unwrap());
            file.set_len(bytes as u64).unwrap();
            let is_there = once(|| {
                let Some(gap) = Gap::ready(file.as_fd(), bytes) else { return false };
                let mapped = crate::sys::map_unchanging(file.as_fd(), bytes).unwrap();
                assert!(gap.place.start.is_multiple_of(LARGE_PAGE_BYTES));
                assert!(!gap.has(&[1]));
                gap.has(&mapped)
            });
            assert!(is_there, "{bytes} bytes were never mapped in the gap");
        }
    }

    #[test]
    fn a_hole_elsewhere_that_is_just_large_enough_is_filled() {
        let bytes = LARGE_PAGE_BYTES + PAGE_BYTES;
        let file = File::from(memfd_create(c"test", MemfdFlags::CLOEXEC).unwrap());
        file.set_len(bytes as u64).unwrap();
        let is_there = once(|| {
            let around = crate::sys::reserve(bytes + 2 * PAGE_BYTES).expose_provenance();
            let hole = around + PAGE_BYTES..around + PAGE_BYTES + bytes;
            let _around = [Kept(around..hole.start), Kept(hole.end..hole.end + PAGE_BYTES)];
            unmap(&hole);
            let Some(gap) = Gap::ready(file.as_fd(), bytes) else { return false };
            let mapped = crate::sys::map_unchanging(file.as_fd(), bytes).unwrap();
            !gap._holes.is_empty() && gap.has(&mapped)
        });
        assert!(is_there, "the file was never mapped in its gap, or only where there was no hole");
    }

    #[test]
    fn what_is_found_ahead_is_what_it_was_and_what_is_not_there_is_an_error() {
        static THERE: [u8; 3 * PAGE_BYTES] = [7; 3 * PAGE_BYTES];
        let start = std::hint::black_box(&THERE).as_ptr().addr().next_multiple_of(PAGE_BYTES);
        find_ahead(Way::Open, &(start..start + PAGE_BYTES)).unwrap();
        assert!(THERE.iter().all(|byte| *byte == 7));
        let nowhere = find_ahead(Way::Open, &(PAGE_BYTES..2 * PAGE_BYTES)).unwrap_err();
        assert_eq!(nowhere.raw_os_error(), Some(libc::ENOMEM));
    }
}
