//! The final list of an execute job that enters it before its call comes.
//!
//! It holds the execute job's rows and the one below. Behind the call the worker shuts its side of the
//! channel, so that who reads again finds the end and cannot wait for it.

use libc as c;

use super::When::Is;
use super::{Row, execute, row};
use crate::job::CHANNEL;

/// What the execute job's list has not.
pub(super) const CALL: Row = row(c::SYS_read, &[Is(0, CHANNEL as u64)], "its call");

/// The rows.
pub fn rows() -> impl Iterator<Item = Row> {
    execute::ROWS.iter().copied().chain([CALL])
}
