//! The final list of an execute job: what calling an instance takes.
//!
//! None of these calls waits for anything but the reader of the reply, gives a descriptor, names
//! a path or another process, or makes memory executable. A job that made no progress on the
//! clock was therefore starved by the machine.

use libc as c;

use super::When::{Is, With, Within};
use super::{Row, row};
use crate::job::CHANNEL;

const READ_WRITE: u64 = (c::PROT_READ | c::PROT_WRITE) as u64;
const ANONYMOUS: u64 = (c::MAP_PRIVATE | c::MAP_ANONYMOUS) as u64;
const ANONYMOUS_MAY: u64 =
    (c::MAP_FIXED | c::MAP_FIXED_NOREPLACE | c::MAP_NORESERVE | c::MAP_STACK) as u64;

/// The rows.
pub const ROWS: &[Row] = &[
    row(c::SYS_write, &[Is(0, CHANNEL as u64)], "the reply, and nowhere else"),
    row(
        c::SYS_mmap,
        &[Within(2, READ_WRITE), With(3, ANONYMOUS, ANONYMOUS_MAY)],
        "allocations, Wasm memories and stacks: private, never executable, never populated",
    ),
    row(c::SYS_mprotect, &[Within(2, READ_WRITE)], "memory.grow, heap growth"),
    row(c::SYS_munmap, &[], "freeing"),
    row(c::SYS_mremap, &[Within(3, c::MREMAP_MAYMOVE as u64)], "realloc of large blocks"),
    row(c::SYS_brk, &[], "malloc"),
    row(c::SYS_madvise, &[Is(2, c::MADV_DONTNEED as u64)], "giving memory back"),
    row(c::SYS_madvise, &[Is(2, c::MADV_HUGEPAGE as u64)], "the place of a large input"),
    row(
        c::SYS_madvise,
        &[Is(2, c::MADV_POPULATE_WRITE as u64)],
        "memory that the guest is about to use",
    ),
    row(c::SYS_sigaltstack, &[], "Wasmtime's stack for trap signals"),
    row(c::SYS_rt_sigreturn, &[], "coming back from a trap signal"),
    row(c::SYS_exit_group, &[], "the end"),
];
