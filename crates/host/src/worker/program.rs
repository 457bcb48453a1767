//! The program that workers are.
//!
//! Linux can map a file's pages two megabytes at a time where the file is in memory, and a job, which finds none of its
//! program's pages mapped, then takes one page fault for them and not one for each 64 KiB. So a program that was
//! linked for it is copied into a memory file once for all workers of a host. A worker is executed from the program's own file and
//! given the copy, for its jobs, in the place of standard output, which it has no use for.
//!
//! Copying takes longer than the start of a worker, and no worker needs it before many jobs are to run. So nobody waits for it: a worker
//! is given a descriptor that cannot write, and looks for the seals, which come when all is there, whenever it has time for the copy.

use std::{
    fs::File,
    io::{self, Read, Seek},
    os::fd::{AsRawFd, OwnedFd},
    path::{Path, PathBuf},
    process::Stdio,
    thread,
};

use object::{
    Endianness, elf,
    read::elf::{FileHeader, ProgramHeader},
};

use crate::blob::{self, Blob};

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

/// A copy that is to be made.
struct Copying {
    program: File,
    bytes: u64,
    to: OwnedFd,
}

impl Program {
    /// Opens a program, the host's own if none is named, and begins to copy it.
    pub(crate) fn open(path: Option<&Path>) -> io::Result<Self> {
        let path = path.unwrap_or(Path::new("/proc/self/exe"));
        let file = File::open(path)?;
        let copy = begin_to_copy(&file).unwrap_or_else(|error| {
            not_copied(&error);
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

/// The copy for those who may only read, if the program was linked so that large pages can hold it.
fn begin_to_copy(program: &File) -> io::Result<Option<File>> {
    let Some(copying) = Copying::of(program)? else { return Ok(None) };
    let read_only = copying.read_only()?;
    let finish = || {
        let _ = copying.finish().inspect_err(not_copied);
    };
    thread::Builder::new().name("lazaret-copier".into()).spawn(finish)?;
    Ok(Some(read_only))
}

fn not_copied(error: &io::Error) {
    tracing::info!(%error, "the workers' program cannot be copied to memory");
}

impl Copying {
    /// Of what is loaded of a program and not written to.
    fn of(program: &File) -> io::Result<Option<Self>> {
        let mut headers = Vec::new();
        program.take(HEADERS_BYTES_MAX).read_to_end(&mut headers)?;
        let Some(bytes) = bytes_if_for_large_pages(&headers) else { return Ok(None) };
        let to = blob::create_named(c"lazaret-program")?;
        Ok(Some(Self { program: program.try_clone()?, bytes, to }))
    }

    /// Needs `/proc`: to open a file anew is what gives a descriptor that cannot write.
    fn read_only(&self) -> io::Result<File> {
        File::open(format!("/proc/self/fd/{}", self.to.as_raw_fd()))
    }

    fn finish(mut self) -> io::Result<Blob> {
        let mut to = File::from(self.to);
        self.program.rewind()?;
        io::copy(&mut self.program.take(self.bytes), &mut to)?;
        to.set_len(self.bytes.next_multiple_of(LARGE_PAGE_BYTES))?;
        Blob::seal(to.into())
    }
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
        let copying = Copying::of(&File::open("/proc/self/exe").unwrap()).unwrap().unwrap();
        let copied = copying.finish().unwrap().to_vec().unwrap();
        let (same, rest) = copied.split_at(bytes as usize);
        assert!(same == &whole[..bytes as usize] && rest.iter().all(|byte| *byte == 0));
        assert!((copied.len() as u64).is_multiple_of(LARGE_PAGE_BYTES));
    }

    #[test]
    fn what_workers_are_given_is_there_at_once_and_cannot_be_written_to() {
        let program = Program::open(None).unwrap();
        let mut copy = program.copy.as_ref().unwrap();
        assert!(copy.write(b"x").is_err() && copy.set_len(1).is_err());
        assert!(fs::read(program.path()).unwrap() == fs::read("/proc/self/exe").unwrap());
    }

    #[test]
    fn who_was_given_a_copy_before_it_was_whole_sees_the_seals_when_it_is() {
        let copying = Copying::of(&File::open("/proc/self/exe").unwrap()).unwrap().unwrap();
        let read_only = copying.read_only().unwrap();
        let given = || Blob::from_sealed(read_only.try_clone().unwrap().into());
        assert!(given().is_err());
        let copied = copying.finish().unwrap();
        assert!(given().unwrap().to_vec().unwrap() == copied.to_vec().unwrap());
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
