//! Mappings for which the kernel is to use large pages, and pages that it is to find ahead.

use std::io;
use std::ops::Range;
use std::ptr;

use super::raw::{self, Way};
use super::{LARGE_PAGE_BYTES, PAGE_BYTES};

/// Addresses that are kept, and given back when this is dropped.
#[derive(Debug)]
struct Kept(Range<usize>);

impl Drop for Kept {
    fn drop(&mut self) {
        unmap(&self.0);
    }
}

/// Where a mapping is expected that was not asked for in any place.
#[derive(Debug)]
pub(crate) struct Gap {
    place: Range<usize>,
    _beyond: Kept,
}

impl Gap {
    /// Makes a gap of so many bytes that begins where a large page can, as the highest that is large enough: the next mapping of that
    /// length goes there, since the kernel takes the upper end of the highest gap (`vm_unmapped_area`). Nobody may rely on that.
    pub(crate) fn ready(bytes: usize) -> Option<Self> {
        let bytes = bytes.next_multiple_of(PAGE_BYTES);
        let reserved = super::reserve(bytes + LARGE_PAGE_BYTES);
        if reserved.is_null() {
            return None;
        }
        let reserved = reserved.expose_provenance();
        let start = reserved.next_multiple_of(LARGE_PAGE_BYTES);
        let end = start + bytes;
        unmap(&(reserved..end));
        Some(Self { place: start..end, _beyond: Kept(end..reserved + bytes + LARGE_PAGE_BYTES) })
    }

    /// Whether those bytes are in that place.
    pub(crate) fn has(&self, bytes: &[u8]) -> bool {
        let Range { start, end } = bytes.as_ptr_range();
        self.place.start <= start.addr() && end.addr() <= self.place.end
    }
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
    let advice = libc::MADV_POPULATE_READ as usize;
    // SAFETY: this changes nothing that can be seen.
    unsafe { raw::call(way, libc::SYS_madvise, [pages.start, pages.len(), advice]) }.map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gap_begins_where_a_large_page_can_and_is_as_long_as_it_has_to_be() {
        for bytes in [1, LARGE_PAGE_BYTES, 3 * LARGE_PAGE_BYTES + 1] {
            let gap = Gap::ready(bytes).unwrap();
            let Range { start, end } = gap.place;
            assert!(start.is_multiple_of(LARGE_PAGE_BYTES) && end - start >= bytes);
            assert!(end - start < bytes + PAGE_BYTES);
            assert!(!gap.has(&[1]));
        }
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
