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

use crate::memfd;
use crate::sys::text::{self, Segment};

/// A copy of the program that this process runs, in a memory file.
#[derive(Debug)]
pub struct LargeText {
    segments: Vec<Segment>,
    /// Descriptor 1, which is the worker's and none of its jobs'.
    file: BorrowedFd<'static>,
}

impl LargeText {
    /// Looks at what the host has put in the place of standard output. Nothing if that is no sealed memory file, holds
    /// other bytes than this process runs (its own file may have been overwritten meanwhile), or cannot be gathered.
    pub fn given() -> Option<Self> {
        let file = rustix::stdio::stdout();
        memfd::check_sealed(file, u64::MAX).ok()?;
        let segments = text::constant_segments();
        segments.iter().try_for_each(|segment| text::gather_copy(segment, file)).ok()?;
        Some(Self { segments, file })
    }

    /// From now on this job, and what it forks, runs from there.
    ///
    /// # Errors
    /// As `mmap(2)`.
    pub fn map(&self) -> io::Result<()> {
        self.segments.iter().try_for_each(|segment| text::map_over(segment, self.file))
    }
}

/// Lets go of the pages of the program's own text and constants, which the kernel maps again from its cache of the
/// file as they are needed (`madvise(2)`, MADV_DONTNEED): what was needed once, to start, counts no
/// longer as this process's memory. Where that cannot be done nothing is changed.
pub fn let_go() {
    for segment in text::constant_segments() {
        let _ = text::let_go(&segment);
    }
}
