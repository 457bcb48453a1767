//! The final list of an execute job whose program has standard streams.
//!
//! It holds the execute job's rows and those below: three descriptors more, each by its number. These
//! calls wait for whoever is at the other end of a pipe, so a job that made no progress on the clock may
//! have been kept waiting, and it is for the host, who holds those ends, to say by whom.

use libc as c;

use super::When::Is;
use super::{Row, execute, row};
use crate::job::{STDERR, STDIN, STDOUT};

/// What the execute job's list has not.
pub const STREAMS: &[Row] = &[
    row(c::SYS_read, &[Is(0, STDIN as u64)], "standard input, and nothing else"),
    row(c::SYS_write, &[Is(0, STDOUT as u64)], "standard output"),
    row(c::SYS_write, &[Is(0, STDERR as u64)], "standard error"),
];

/// The same where the real time was asked for. It waits for nothing and names nothing.
pub const CLOCKS: &[Row] = &[
    row(c::SYS_clock_gettime, &[Is(0, c::CLOCK_REALTIME as u64)], "the time of day, if asked for"),
    row(c::SYS_clock_gettime, &[Is(0, c::CLOCK_MONOTONIC as u64)], "a stopwatch, if asked for"),
];

/// What puts the streams in their places, before the final list.
pub(super) const PLACING: &[Row] = &[
    row(c::SYS_dup2, &[Is(1, STDIN as u64)], "standard input becomes this descriptor"),
    row(c::SYS_dup2, &[Is(1, STDOUT as u64)], "standard output becomes this one"),
    row(c::SYS_dup2, &[Is(1, STDERR as u64)], "standard error becomes this one"),
];

/// The rows without a clock.
pub fn rows() -> impl Iterator<Item = Row> {
    execute::ROWS.iter().chain(STREAMS).copied()
}

/// The rows with one.
pub fn rows_with_clocks() -> impl Iterator<Item = Row> {
    rows().chain(CLOCKS.iter().copied())
}
