//! The program that workers are.
//!
//! Linux can map a file's pages two megabytes at a time where the file is in memory, and a job, which finds none of its
//! program's pages mapped, then takes one page fault for them and not one for each 64 KiB. So a program that was
//! linked for it is copied into a memory file once for all workers of a host. A worker is executed from the program's own file and
//! given the copy, for its jobs, in the place of standard output, which it has no use for.

use std::{
    fs::File,
    io::{self, Read, Seek},
    os::fd::{AsRawFd, OwnedFd},
    path::{Path, PathBuf},
    process::Stdio,
};

use object::{
    Endianness, elf,
    read::elf::{FileHeader, ProgramHeader},
};
use rustix::{
    fs::{MemfdFlags, SealFlags, fcntl_add_seals, memfd_create},
    io::Errno,
};

/// The least of a large page of x86-64, in bytes.
const LARGE_PAGE_BYTES: u64 = 2 * 1024 * 1024;
/// The most of a program that is copied.
const PROGRAM_BYTES_MAX: u64 = 256 * 1024 * 1024;
/// Where the headers of a program's segments are looked for.
const HEADERS_BYTES_MAX: u64 = 64 * 1024;

/// An open file, whatever becomes of its name, and a copy of what is loaded of it.
pub(crate) struct Program {
    file: File,
    copy: Option<File>,
}

impl Program {
    /// Opens a program; the host's own if none is named.
    pub(crate) fn open(path: Option<&Path>) -> io::Result<Self> {
        let path = path.unwrap_or(Path::new("/proc/self/exe"));
        let file = File::open(path)?;
        let copy = in_memory(&file).unwrap_or_else(|error| {
            tracing::info!(%error, "the workers' program cannot be copied to memory");
            None
        });
        Ok(Self { file, copy })
    }

    /// A path by which this process and its children can execute it while it is open.
    pub(crate) fn path(&self) -> PathBuf {
        PathBuf::from(format!("/proc/self/fd/{}", self.file.as_raw_fd()))
    }

    /// The copy, as a worker is given it; nothing in its place if there is none.
    pub(crate) fn text(&self) -> Stdio {
        let copy = self.copy.as_ref().and_then(|copy| copy.try_clone().ok());
        copy.map_or_else(Stdio::null, Stdio::from)
    }
}

/// A sealed copy of what is loaded of a program and not written to, if it was linked so that large pages can hold that.
fn in_memory(mut program: &File) -> io::Result<Option<File>> {
    let mut headers = Vec::new();
    program.take(HEADERS_BYTES_MAX).read_to_end(&mut headers)?;
    let Some(bytes) = bytes_if_for_large_pages(&headers) else { return Ok(None) };
    program.rewind()?;
    let mut copy = File::from(memory_file()?);
    io::copy(&mut program.take(bytes), &mut copy)?;
    copy.set_len(bytes.next_multiple_of(LARGE_PAGE_BYTES))?;
    let seals = SealFlags::SEAL | SealFlags::SHRINK | SealFlags::GROW | SealFlags::WRITE;
    fcntl_add_seals(&copy, seals)?;
    Ok(Some(copy))
}

/// How much of a program's file is loaded and not written to, if its text begins at a large page in the file and in memory.
fn bytes_if_for_large_pages(headers: &[u8]) -> Option<u64> {
    let header = elf::FileHeader64::<Endianness>::parse(headers).ok()?;
    let endian = header.endian().ok()?;
    let segments = header.program_headers(endian, headers).ok()?;
    let constant = || {
        segments.iter().filter(|segment| {
            segment.p_type(endian) == elf::PT_LOAD && segment.p_flags(endian) & elf::PF_W == 0
        })
    };
    let is_for_large_pages = constant().any(|segment| {
        segment.p_flags(endian) & elf::PF_X != 0 && segment.p_align(endian) >= LARGE_PAGE_BYTES
    });
    let end = constant().map(|s| s.p_offset(endian).saturating_add(s.p_filesz(endian))).max()?;
    (is_for_large_pages && end <= PROGRAM_BYTES_MAX).then_some(end)
}

/// One that cannot be executed as a program; it is mapped over one.
fn memory_file() -> io::Result<OwnedFd> {
    let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
    match memfd_create("lazaret-program", flags | MemfdFlags::NOEXEC_SEAL) {
        // Before Linux 6.3.
        Err(Errno::INVAL) => Ok(memfd_create("lazaret-program", flags)?),
        made => Ok(made?),
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, os::fd::AsFd};

    use rustix::fs::fcntl_get_seals;

    use super::*;

    #[test]
    fn this_program_is_copied_and_the_copy_is_what_is_loaded_of_it() {
        let whole = fs::read("/proc/self/exe").unwrap();
        let bytes = bytes_if_for_large_pages(&whole).expect("build.rs has it linked for them");
        let program = Program::open(None).unwrap();
        let copy = program.copy.as_ref().unwrap();
        assert!(
            fcntl_get_seals(copy.as_fd()).unwrap().contains(SealFlags::WRITE | SealFlags::GROW)
        );
        let copied = fs::read(format!("/proc/self/fd/{}", copy.as_raw_fd())).unwrap();
        let (same, rest) = copied.split_at(bytes as usize);
        assert!(same == &whole[..bytes as usize] && rest.iter().all(|byte| *byte == 0));
        assert!((copied.len() as u64).is_multiple_of(LARGE_PAGE_BYTES));
        assert!(fs::read(program.path()).unwrap() == whole);
    }

    #[test]
    fn what_is_no_program_for_large_pages_is_not_copied() {
        let mut whole = fs::read("/proc/self/exe").unwrap();
        assert_eq!(bytes_if_for_large_pages(&whole[..100]), None);
        assert_eq!(bytes_if_for_large_pages(b"#!/bin/sh"), None);
        let header = elf::FileHeader64::<Endianness>::parse(&*whole).unwrap();
        let (at, entry, number) = (
            header.e_phoff(Endianness::Little) as usize,
            usize::from(header.e_phentsize(Endianness::Little)),
            usize::from(header.e_phnum(Endianness::Little)),
        );
        for entry in whole[at..].chunks_exact_mut(entry).take(number) {
            // `p_align`, of whatever it is.
            entry[48..56].copy_from_slice(&4096_u64.to_le_bytes());
        }
        assert_eq!(bytes_if_for_large_pages(&whole), None);
    }
}
