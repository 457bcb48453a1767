//! The program that workers are.
//!
//! Linux can map a file's pages two megabytes at a time where the file is in memory, and a job, which finds none of its
//! program's pages mapped, then takes one page fault for them and not one for each 64 KiB. So a program that was
//! linked for it is copied into a memory file once for all workers of a host. A worker is executed from the program's own file and
//! given the copy, for its jobs, in the place of standard output, which it has no use for.
//!
//! Copying takes longer than the start of a worker, and no worker needs it before many jobs are to run. So it begins when a host has
//! usually given its first verdict: a worker is given a descriptor that cannot write, and waits for the seals, which come when all is
//! there, before it makes its first template.

use std::{
    fs::File,
    io::{self, Read, Seek},
    os::fd::{AsRawFd, OwnedFd},
    path::{Path, PathBuf},
    process::Stdio,
    thread,
    time::Duration,
};

use object::{
    Endianness, elf,
    read::elf::{FileHeader, ProgramHeader},
};

use crate::blob::{self, Blob};

/// How long a host is given to its first verdict of what it has in its cache. With the copying beside it that takes a fifth longer.
const AFTER: Duration = Duration::from_millis(40);
/// The least of a large page of x86-64, in bytes.
const LARGE_PAGE_BYTES: u64 = 2 * 1024 * 1024;
/// The most of a program that is copied.
const PROGRAM_BYTES_MAX: u64 = 256 * 1024 * 1024;
/// Where the headers of a program's segments are looked for.
const HEADERS_BYTES_MAX: u64 = 64 * 1024;

/// An open file, whatever becomes of its name, and a copy of what is loaded of it.
pub(crate) struct Program {
    file: File,
    /// For those who may only read. Sealed once it is whole.
    copy: Option<File>,
}

/// A copy that is to be made, by whoever has time for it.
pub(crate) struct Copying {
    program: File,
    bytes: u64,
    to: OwnedFd,
}

impl Program {
    /// Opens a program, the host's own if none is named; with what is left to be done for its copy, if it can have one.
    pub(crate) fn open(path: Option<&Path>) -> io::Result<(Self, Option<Copying>)> {
        let path = path.unwrap_or(Path::new("/proc/self/exe"));
        let file = File::open(path)?;
        let copying = Copying::of(&file).unwrap_or_else(|error| {
            not_copied(&error);
            None
        });
        let (copy, copying) = copying.unzip();
        Ok((Self { file, copy }, copying))
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

impl Copying {
    /// Of what is loaded of a program and not written to, if the program was linked so that large pages can hold that; with
    /// the file for those who may only read. Needs `/proc`: to open a file anew is what gives a descriptor that cannot write.
    fn of(program: &File) -> io::Result<Option<(File, Self)>> {
        let mut headers = Vec::new();
        program.take(HEADERS_BYTES_MAX).read_to_end(&mut headers)?;
        let Some(bytes) = bytes_if_for_large_pages(&headers) else { return Ok(None) };
        let to = blob::create_named(c"lazaret-program")?;
        let read_only = File::open(format!("/proc/self/fd/{}", to.as_raw_fd()))?;
        Ok(Some((read_only, Self { program: program.try_clone()?, bytes, to })))
    }

    /// Makes the copy after a while and seals it.
    pub(crate) fn finish(self) {
        thread::sleep(AFTER);
        let _ = self.sealed().inspect_err(not_copied);
    }

    /// What cannot be copied is sealed with nothing in it, so that nobody waits for more.
    fn sealed(self) -> io::Result<Blob> {
        let to = File::from(self.to);
        if let Err(error) = fill(&to, self.program, self.bytes) {
            not_copied(&error);
            to.set_len(0)?;
        }
        Blob::seal(to.into())
    }
}

fn fill(mut to: &File, mut program: File, bytes: u64) -> io::Result<()> {
    program.rewind()?;
    io::copy(&mut program.take(bytes), &mut to)?;
    to.set_len(bytes.next_multiple_of(LARGE_PAGE_BYTES))
}

fn not_copied(error: &io::Error) {
    tracing::info!(%error, "the workers' program cannot be copied to memory");
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

#[cfg(test)]
mod tests {
    use std::{fs, io::Write};

    use super::*;

    #[test]
    fn this_program_is_copied_and_the_copy_is_what_is_loaded_of_it() {
        let whole = fs::read("/proc/self/exe").unwrap();
        let bytes = bytes_if_for_large_pages(&whole).expect("build.rs has it linked for them");
        let (program, copying) = Program::open(None).unwrap();
        let copied = copying.unwrap().sealed().unwrap().to_vec().unwrap();
        let (same, rest) = copied.split_at(bytes as usize);
        assert!(same == &whole[..bytes as usize] && rest.iter().all(|byte| *byte == 0));
        assert!((copied.len() as u64).is_multiple_of(LARGE_PAGE_BYTES));
        assert!(fs::read(program.path()).unwrap() == whole);
    }

    #[test]
    fn what_workers_are_given_they_cannot_write_to_and_see_sealed_when_it_is_whole() {
        let (program, copying) = Program::open(None).unwrap();
        let mut copy = program.copy.unwrap();
        let given = || Blob::from_sealed(copy.try_clone().unwrap().into());
        assert!(given().is_err());
        let copied = copying.unwrap().sealed().unwrap();
        assert!(given().unwrap().to_vec().unwrap() == copied.to_vec().unwrap());
        assert!(copy.write(b"x").is_err() && copy.set_len(1).is_err());
    }

    #[test]
    fn what_cannot_be_copied_is_sealed_with_nothing_in_it() {
        let (program, copying) = Program::open(None).unwrap();
        let folder = File::open("/").unwrap();
        let copied = Copying { program: folder, ..copying.unwrap() }.sealed().unwrap();
        assert_eq!(copied.len(), 0);
        assert!(Blob::from_sealed(program.copy.unwrap().into()).is_ok());
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
