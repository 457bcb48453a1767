//! The list of the keeper of a pid namespace: it says a word and waits.

use libc as c;

use super::When::Is;
use super::{Row, row};
use crate::job::CHANNEL;

pub(super) const ROWS: &[Row] = &[
    row(c::SYS_getpid, &[], "whether it is the first"),
    row(c::SYS_write, &[Is(0, CHANNEL as u64)], "saying so"),
    row(c::SYS_read, &[Is(0, CHANNEL as u64)], "waiting for the worker's end"),
    row(c::SYS_restart_syscall, &[], "how the kernel resumes a wait after SIGSTOP and SIGCONT"),
    row(c::SYS_exit_group, &[], "the end"),
];
