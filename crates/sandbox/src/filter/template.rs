//! The list of a template: that of a job that loads its work, and what it takes to copy itself.
//!
//! No guest runs under it. A copy has it too until the final list, with RLIMIT_NPROC at 0.

use libc as c;

use super::When::Is;
use super::{Row, loading, row, waiting};
use crate::sys;

const BESIDE: u64 = (c::MAP_PRIVATE | c::MAP_FIXED_NOREPLACE) as u64;

/// What copying itself takes.
const COPYING: &[Row] = &[
    row(c::SYS_clone, &[Is(0, sys::COPY_CLONE_FLAGS)], "a copy, a child of the worker"),
    row(c::SYS_sched_yield, &[], "template: a copy gets ready before the next is made"),
    row(c::SYS_landlock_restrict_self, &[], "copy: signals of nobody else, not even its template"),
    row(c::SYS_dup2, &[Is(1, 0)], "copy: its own channel becomes descriptor 0"),
    row(c::SYS_prctl, &[Is(0, c::PR_SET_PDEATHSIG as u64)], "copy: die with the worker"),
    row(
        c::SYS_madvise,
        &[Is(2, c::MADV_POPULATE_READ as u64)],
        "copy: pages that it will read, before its call",
    ),
    row(
        c::SYS_madvise,
        &[Is(2, c::MADV_COLLAPSE as u64)],
        "the artifact, and what it has written to, in large pages",
    ),
];

/// What this list has besides. The pass is drawn under it.
const ROWS: &[Row] = &[
    waiting::CALL,
    row(c::SYS_landlock_create_ruleset, &[], "what its copies, or each of them, enter"),
    row(c::SYS_getrandom, &[], "the pass of its copies"),
    row(c::SYS_memfd_create, &[], "what it has written to, as a file"),
    row(c::SYS_pwrite64, &[], "the same; bounded by RLIMIT_FSIZE"),
    row(
        c::SYS_mmap,
        &[Is(2, c::PROT_READ as u64), Is(3, BESIDE)],
        "the rest of a large page of that file, where nothing is",
    ),
];

/// The rows, those of the loading and the final list included.
pub fn rows() -> impl Iterator<Item = Row> {
    loading::rows().chain(COPYING.iter().chain(ROWS).copied())
}

/// What a template that has loaded, and a copy that is not ready yet, may do with a pass. Without one they have the final
/// list of a copy that waits, so that this is all that a copy has as soon as it has forgotten the pass.
pub fn rows_with_pass() -> impl Iterator<Item = Row> {
    let taking = [loading::RECEIVING, loading::LIMITS].into_iter().chain(loading::CLOSING);
    COPYING.iter().copied().chain(taking)
}
