//! The pages of the program's own text and constants.

use std::ffi::{c_int, c_void};
use std::io;
use std::ops::Range;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::ptr;

use rustix::fs::fstat;

use super::{LARGE_PAGE_BYTES, PAGE_BYTES, zero_or_errno};

/// One of the program's segments that nobody writes to.
#[derive(Debug)]
pub(crate) struct Segment {
    /// Its pages in memory.
    pages: Range<usize>,
    /// How many bytes of them are the file's.
    bytes: usize,
    /// Where they begin in the program's file.
    offset: usize,
    /// How they are mapped, as in `mmap(2)`.
    access: c_int,
}

impl Segment {
    /// Whether it is machine code.
    pub(crate) fn is_text(&self) -> bool {
        self.access & libc::PROT_EXEC != 0
    }

    /// How many bytes all large pages have that hold something of it; an error if something else may be in them.
    fn large_bytes(&self) -> io::Result<usize> {
        let Range { start, end } = self.pages;
        match start.is_multiple_of(LARGE_PAGE_BYTES) && self.offset.is_multiple_of(LARGE_PAGE_BYTES)
        {
            true => Ok(end.next_multiple_of(LARGE_PAGE_BYTES) - start),
            false => Err(io::ErrorKind::Unsupported.into()),
        }
    }
}

/// Those of this program.
pub(crate) fn constant_segments() -> Vec<Segment> {
    let mut found = Vec::new();
    let mut is_the_program = true;
    each_object(|base, segments| {
        // It comes first.
        if !std::mem::take(&mut is_the_program) {
            return;
        }
        for segment in segments {
            if segment.p_type == libc::PT_LOAD && segment.p_flags & libc::PF_W == 0 {
                let start = base + segment.p_vaddr as usize;
                let end = start + segment.p_memsz as usize;
                let before = start % PAGE_BYTES;
                let execute = if segment.p_flags & libc::PF_X == 0 { 0 } else { libc::PROT_EXEC };
                found.push(Segment {
                    pages: start - before..end.next_multiple_of(PAGE_BYTES),
                    bytes: before + segment.p_filesz as usize,
                    offset: segment.p_offset as usize - before,
                    access: libc::PROT_READ | execute,
                });
            }
        }
    });
    found
}

/// Shows where each object that the loader has mapped begins, and its segments; the program's first.
pub(super) fn each_object(mut show: impl FnMut(usize, &[libc::Elf64_Phdr])) {
    type Show<'a> = &'a mut dyn FnMut(usize, &[libc::Elf64_Phdr]);
    unsafe extern "C" fn call(
        object: *mut libc::dl_phdr_info,
        _bytes: usize,
        show: *mut c_void,
    ) -> c_int {
        // SAFETY: `show` is given below, and nobody else holds it meanwhile; the object and its table are the
        // loader's and stay as they are.
        let (show, object, segments) = unsafe {
            let object = &*object;
            let segments = std::slice::from_raw_parts(object.dlpi_phdr, object.dlpi_phnum.into());
            (&mut *show.cast::<Show<'_>>(), object, segments)
        };
        show(object.dlpi_addr as usize, segments);
        0
    }
    let mut show: Show<'_> = &mut show;
    // SAFETY: dl_iterate_phdr(3) calls back before it returns and hands its last argument on.
    unsafe { libc::dl_iterate_phdr(Some(call), (&raw mut show).cast()) };
}

/// [`gather`] of the large pages that hold one of those segments in another file, where they lie as in the program's own;
/// an error if they hold other bytes or fewer.
pub(crate) fn gather_copy(segment: &Segment, file: BorrowedFd<'_>) -> io::Result<()> {
    let (length, bytes) = (segment.bytes, segment.large_bytes()?);
    // Behind a file's end nothing can be read.
    if (fstat(file)?.st_size.unsigned_abs() as usize) < segment.offset + bytes {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    let ours = ptr::with_exposed_provenance::<u8>(segment.pages.start);
    gather((file, segment.offset), bytes, |theirs| {
        // SAFETY: both are mapped, and nobody writes to either file: the one is sealed, and the other is being executed.
        unsafe {
            std::slice::from_raw_parts(theirs, length) == std::slice::from_raw_parts(ours, length)
        }
    })
}

/// `madvise(MADV_COLLAPSE)` of whole large pages of a sealed memory file, from this offset on, if they are right: the kernel keeps
/// what is in them side by side from now on, whoever maps it.
pub(crate) fn gather(
    (file, offset): (BorrowedFd<'_>, usize),
    bytes: usize,
    are_right: impl FnOnce(*const u8) -> bool,
) -> io::Result<()> {
    let reserved = super::reserve(bytes + LARGE_PAGE_BYTES);
    if reserved.is_null() {
        return Err(io::ErrorKind::OutOfMemory.into());
    }
    let place = reserved.map_addr(|address| address.next_multiple_of(LARGE_PAGE_BYTES));
    // SAFETY: nothing but the reservation is where this is mapped and unmapped, and nobody has a reference into it.
    unsafe {
        let mapped = map((place.cast(), libc::MAP_FIXED), bytes, libc::PROT_READ, (file, offset));
        let gathered = mapped.and_then(|()| match are_right(place) {
            true => zero_or_errno(libc::madvise(place.cast(), bytes, libc::MADV_COLLAPSE)),
            false => Err(io::ErrorKind::InvalidData.into()),
        });
        zero_or_errno(libc::munmap(reserved.cast(), bytes + LARGE_PAGE_BYTES))?;
        gathered
    }
}

/// Maps that file over one of those segments, and the rest of its last large page with it; all pages of that.
pub(crate) fn map_over(segment: &Segment, file: BorrowedFd<'_>) -> io::Result<Range<usize>> {
    let Range { start, .. } = segment.pages;
    let place = ptr::with_exposed_provenance_mut(start);
    let bytes = segment.large_bytes()?;
    // SAFETY: what is there afterwards is what was there before, as `gather` has compared; up to the next large page nothing
    // is behind it in a program that was linked so, and `large_bytes` refuses any other.
    unsafe {
        let place = (place, libc::MAP_FIXED);
        map(place, bytes, segment.access, (file, segment.offset))?;
    }
    Ok(start..start + bytes)
}

/// `mmap(2)` of a part of a file, private, in a place of one's choice: MAP_FIXED, or MAP_FIXED_NOREPLACE.
///
/// # Safety
/// As `mmap(2)` with that flag.
pub(super) unsafe fn map(
    (place, fixed): (*mut c_void, c_int),
    bytes: usize,
    access: c_int,
    (file, offset): (BorrowedFd<'_>, usize),
) -> io::Result<()> {
    let flags = libc::MAP_PRIVATE | fixed;
    let (fd, offset) = (file.as_raw_fd(), offset as libc::off_t);
    // SAFETY: the caller's promise.
    match unsafe { libc::mmap(place, bytes, access, flags, fd, offset) } {
        libc::MAP_FAILED => Err(io::Error::last_os_error()),
        _ => Ok(()),
    }
}

/// `madvise(MADV_DONTNEED)` of one of those segments.
pub(crate) fn let_go(segment: &Segment) -> io::Result<()> {
    let Range { start, end } = segment.pages;
    // SAFETY: a private mapping of the program's file that nobody writes to: its pages are read from
    // there again when they are touched.
    zero_or_errno(unsafe { libc::madvise(start as *mut _, end - start, libc::MADV_DONTNEED) })
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd;

    use super::*;
    use crate::memfd;

    #[test]
    fn a_copy_that_is_too_short_is_not_compared() {
        let pages = 0..LARGE_PAGE_BYTES;
        let segment = Segment { pages, offset: 0, bytes: PAGE_BYTES, access: libc::PROT_READ };
        let empty = memfd::create("test").unwrap();
        memfd::seal(empty.as_fd()).unwrap();
        let error = gather_copy(&segment, empty.as_fd()).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);
    }
}
