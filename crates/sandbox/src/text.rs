//! The program's own text and constants in large pages.
//!
//! A job finds none of its program's pages mapped, since the kernel does not copy the mappings of a file at a fork, and of an
//! ordinary file each page fault maps 64 KiB. Of a memory file whose pages the kernel has gathered (`madvise(2)`,
//! MADV_COLLAPSE) it maps two megabytes. So a host hands its workers a copy of their program in such a file; its jobs map that
//! over what they run from. The worker does not: it needs few pages, and would have them counted by the two megabytes.
//!
//! That takes a program in which each segment lies in large pages of its own (`-z max-page-size`, ld(1)).

use std::io;
use std::os::fd::BorrowedFd;

use rustix::event::{Timespec, poll};
use rustix::fs::fcntl_get_seals;

use crate::fork::JobStart;
use crate::memfd;
use crate::sys::text::{self, Segment};

/// How often a segment is tried while the kernel says that something else is at its pages.
const GATHER_TRIES_MAX: u32 = 20;
/// How often it is looked whether the host has sealed the copy.
const SEAL_LOOKS_MAX: u32 = 200;
/// How long it is waited in between.
const PAUSE: Timespec = Timespec { tv_sec: 0, tv_nsec: 5_000_000 };

/// A copy of the program that this process runs, in a memory file.
#[derive(Debug)]
pub struct LargeText {
    segments: Vec<Segment>,
    /// Descriptor 1, which is the worker's and none of its jobs'.
    file: BorrowedFd<'static>,
    /// Whether it is known to be one, and lies in large pages.
    is_ready: bool,
}

impl LargeText {
    /// Looks at what the host has put in the place of standard output, which may still be filling it. Nothing if that is no memory
    /// file, or if it can be written to from here.
    pub fn given() -> Option<Self> {
        let file = rustix::stdio::stdout();
        memfd::check_read_only(file).ok()?;
        fcntl_get_seals(file).ok()?;
        Some(Self { segments: text::constant_segments(), file, is_ready: false })
    }

    /// Waits until the host has sealed it, compares it with what this process runs and has the kernel gather it, if that has not been
    /// done. It takes some milliseconds, so it is for when nobody waits.
    ///
    /// # Errors
    /// As `madvise(2)`, that it is not sealed in time, or that it holds other bytes or fewer, as the program's own file may have been
    /// overwritten meanwhile. Then nothing can run from there.
    pub fn make_ready(&mut self) -> io::Result<()> {
        if !self.is_ready {
            until_sealed(self.file)?;
            self.segments.iter().try_for_each(|segment| gather(segment, self.file))?;
            self.is_ready = true;
            // All of it was touched.
            let_go();
        }
        Ok(())
    }

    /// Whether that has been done.
    pub fn is_ready(&self) -> bool {
        self.is_ready
    }

    /// From now on this job, and what it forks, runs from there, if it is ready.
    ///
    /// # Errors
    /// As `mmap(2)`.
    pub fn map(&self, job: &mut JobStart) -> io::Result<()> {
        let segments = if self.is_ready { &*self.segments } else { &[] };
        segments.iter().try_for_each(|segment| {
            let pages = text::map_over(segment, self.file)?;
            // Of its constants a call reads one or two large pages.
            if segment.is_text() {
                job.ahead.add(pages);
            }
            Ok(())
        })
    }
}

fn until_sealed(file: BorrowedFd<'_>) -> io::Result<()> {
    let is_sealed = || memfd::check_sealed(file, u64::MAX).is_ok();
    for _ in 0..SEAL_LOOKS_MAX {
        if is_sealed() {
            return Ok(());
        }
        let _ = poll(&mut [], Some(&PAUSE));
    }
    Err(io::ErrorKind::TimedOut.into())
}

/// Tries again while another worker is at it, as two of one host begin with the same file.
fn gather(segment: &Segment, file: BorrowedFd<'_>) -> io::Result<()> {
    for _ in 1..GATHER_TRIES_MAX {
        match text::gather_copy(segment, file) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                let _ = poll(&mut [], Some(&PAUSE));
            }
            done => return done,
        }
    }
    text::gather_copy(segment, file)
}

/// Lets go of the pages of the program's own text and constants, which the kernel maps again from its cache of the
/// file as they are needed (`madvise(2)`, MADV_DONTNEED): what was needed once, to start, counts no
/// longer as this process's memory. Where that cannot be done nothing is changed.
pub fn let_go() {
    for segment in text::constant_segments() {
        let _ = text::let_go(&segment);
    }
}
