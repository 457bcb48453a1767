//! The list of a template: that of a job that loads its work, and what it takes to copy itself.
//!
//! No guest runs under it. A copy has it too until the final list, with RLIMIT_NPROC at 0.

use libc as c;

use super::When::Is;
use super::{Row, loading, row, waiting};
use crate::sys;

/// What the loading list has not.
const ROWS: &[Row] = &[
    row(c::SYS_clone, &[Is(0, sys::COPY_CLONE_FLAGS)], "a copy, a child of the worker"),
    row(c::SYS_landlock_create_ruleset, &[], "copy: signals of nobody else, not even its template"),
    row(c::SYS_landlock_restrict_self, &[], "the same"),
    row(c::SYS_dup2, &[Is(1, 0)], "copy: its own channel becomes descriptor 0"),
    row(c::SYS_prctl, &[Is(0, c::PR_SET_PDEATHSIG as u64)], "copy: die with the worker"),
    waiting::CALL,
];

/// The rows, those of the loading and the final list included.
pub fn rows() -> impl Iterator<Item = Row> {
    loading::rows().chain(ROWS.iter().copied())
}
