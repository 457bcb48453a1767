//! What a template has written to, in a memory file.
//!
//! The kernel copies, at each fork, the place of every page that was written to, and puts it away again when the copy
//! ends: two hundred of them, which was a sixth of what a trivial call cost. Pages of a file it does not copy; whoever touches one
//! has it mapped then, with its neighbours. So a template, when it has loaded, moves what it and the worker before it wrote
//! (the heap, variables, what the loader has filled in) to a file that only it maps, and its copies.

use std::io;
use std::ops::Range;

use crate::maps;
use crate::sys::written::{self, Part};

/// Where that is in a worker and in all that it forks, but for how far the heap reaches.
#[derive(Debug)]
pub(crate) struct Written {
    /// Writable segments of the program and its libraries.
    segments: Vec<Part>,
    /// Where the heap begins; a process may have none.
    heap_start: Option<usize>,
}

impl Written {
    /// Finds it, while `/proc/self/maps` is there and the kernel's own library can be looked into.
    pub(crate) fn find() -> Self {
        let heap = maps::named(|name| name == "[heap]").unwrap_or_default();
        let heap_start = heap.first().map(|pages| pages.start);
        Self { segments: written::segments(), heap_start }
    }

    /// Moves it to a file, that can be in large pages if it is to be. What nobody writes to and would lie in such is
    /// returned.
    ///
    /// # Errors
    /// As `memfd_create(2)`, `pwrite(2)` and `mmap(2)`.
    pub(crate) fn keep_in_file(&self, large: bool) -> io::Result<Option<Range<usize>>> {
        written::keep_in_file(&self.segments, self.heap_start, large)
    }
}
