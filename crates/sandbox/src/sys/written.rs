//! The pages that this process has written to, and a memory file of them.

use std::ffi::c_int;
use std::io;
use std::ops::Range;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::ptr;

use rustix::io::pwrite;

use crate::job::WRITTEN_BYTES_MAX;
use crate::memfd;

use super::{LARGE_PAGE_BYTES, PAGE_BYTES, text};

/// Pages that are mapped alike.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Part {
    pages: Range<usize>,
    /// As in `mmap(2)`.
    access: c_int,
}

impl Part {
    /// Pages that can be written to.
    fn writable(pages: Range<usize>) -> Self {
        Self { pages, access: libc::PROT_READ | libc::PROT_WRITE }
    }
}

/// What the loader made of the writable segments of the program and its libraries: pages that can be written to,
/// and those that cannot any more (`PT_GNU_RELRO`).
pub(crate) fn segments() -> Vec<Part> {
    let mut found = Vec::new();
    text::each_object(|base, segments| {
        let pages = |segment: &libc::Elf64_Phdr| {
            let start = base + segment.p_vaddr as usize;
            (start, start + segment.p_memsz as usize)
        };
        let constant = segments.iter().find(|segment| segment.p_type == libc::PT_GNU_RELRO);
        // As the loader rounds it: what shares a page with others stays writable.
        let constant_end = constant.map_or(0, |segment| floor(pages(segment).1));
        for segment in segments {
            if segment.p_type == libc::PT_LOAD && segment.p_flags & libc::PF_W != 0 {
                let (start, end) = pages(segment);
                let (start, end) = (floor(start), end.next_multiple_of(PAGE_BYTES));
                let apart = constant_end.clamp(start, end);
                let read_only = Part { pages: start..apart, access: libc::PROT_READ };
                let parts = [read_only, Part::writable(apart..end)];
                found.extend(parts.into_iter().filter(|part| !part.pages.is_empty()));
            }
        }
    });
    found
}

fn place(address: usize) -> *mut u8 {
    ptr::with_exposed_provenance_mut(address)
}

fn floor(address: usize) -> usize {
    address - address % PAGE_BYTES
}

/// Copies to a memory file what is in those segments, and in the heap, if it is known where that begins; and maps the file
/// over them, private, so that they are what they were. Of a `large` one, what nobody writes to and would lie in large pages of it,
/// once gathered, is returned.
///
/// The process has one thread. What happens between copying and mapping writes to none of these pages: nothing is allocated,
/// and no call is made that keeps something in a variable but `errno`, which is a thread's.
///
/// # Errors
/// EFBIG of more than [`WRITTEN_BYTES_MAX`]; otherwise as `memfd_create(2)`, `pwrite(2)` and `mmap(2)`.
pub(crate) fn keep_in_file(
    segments: &[Part],
    heap_start: Option<usize>,
    large: bool,
) -> io::Result<Option<Range<usize>>> {
    let file = memfd::create("template")?;
    let file = file.as_fd();
    // SAFETY: an increment of zero changes nothing.
    let heap_end = unsafe { libc::sbrk(0) }.expose_provenance();
    let heap = heap_start.map(|start| Part::writable(start..heap_end));
    let parts = || segments.iter().chain(&heap);
    if parts().map(|part| part.pages.len() as u64).sum::<u64>() > WRITTEN_BYTES_MAX {
        return Err(io::Error::from_raw_os_error(libc::EFBIG));
    }
    let mut offset = 0;
    for Part { pages, .. } in parts() {
        let mut done = 0;
        while done < pages.len() {
            let (from, rest) = (place(pages.start + done), pages.len() - done);
            let to = (offset + done) as libc::off_t;
            // SAFETY: this is mapped: by the loader, or by the C library (brk(2)). It is only read.
            match unsafe { libc::pwrite(file.as_raw_fd(), from.cast(), rest, to) } {
                0 => return Err(io::ErrorKind::WriteZero.into()),
                written if written < 0 => return Err(io::Error::last_os_error()),
                written => done += written as usize,
            }
        }
        offset += pages.len();
    }
    let large_bytes = offset.next_multiple_of(LARGE_PAGE_BYTES);
    // It is to end where a large page does; if what was written does not, a zero there makes it.
    let can_be_large =
        large && (offset == large_bytes || pwrite(file, &[0], large_bytes as u64 - 1).is_ok());
    let mut large_pages = None;
    let mut offset = 0;
    for Part { pages, access } in parts() {
        // SAFETY: what is there afterwards is what was there before, as nobody has written to it since.
        unsafe {
            let start = place(pages.start).cast();
            text::map((start, libc::MAP_FIXED), pages.len(), *access, (file, offset))
        }?;
        if can_be_large && *access == libc::PROT_READ {
            let filled = fill_large_page(pages, (file, offset));
            large_pages = large_pages.or(filled.ok().flatten());
        }
        offset += pages.len();
    }
    Ok(large_pages)
}

/// Maps what is behind those pages in the file behind them in memory too, up to the end of their large page, if nothing is
/// there: the kernel maps a large page in one piece only where all of it is mapped. All of these pages, if so.
fn fill_large_page(
    Range { start, end }: &Range<usize>,
    (file, offset): (BorrowedFd<'_>, usize),
) -> io::Result<Option<Range<usize>>> {
    let large_end = end.next_multiple_of(LARGE_PAGE_BYTES);
    if start % LARGE_PAGE_BYTES != offset % LARGE_PAGE_BYTES || large_end - start < LARGE_PAGE_BYTES
    {
        return Ok(None);
    }
    let place = (place(*end).cast(), libc::MAP_FIXED_NOREPLACE);
    // SAFETY: with this flag nothing that is mapped is replaced, and nobody has a reference to what is not.
    unsafe { text::map(place, large_end - end, libc::PROT_READ, (file, offset + end - start)) }?;
    Ok(Some(*start..large_end))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pages_that_the_loader_has_relocated_are_found() {
        static RELOCATED: [&str; 8192] = ["a"; 8192];
        let address = std::hint::black_box(&RELOCATED).as_ptr().addr();
        let parts = segments();
        let part = parts.iter().find(|part| part.pages.contains(&address)).unwrap();
        assert_eq!(part.access, libc::PROT_READ);
        assert!(parts.iter().all(|part| part.pages.start.is_multiple_of(PAGE_BYTES)));
    }
}
