//! The list of an execute job while it takes and loads its work: from when it waits, confined, to
//! the final list. It is the first to touch an artifact, which a compiler that was taken over may
//! have written, so that is done with little more than the final list and not with the worker's.

use libc as c;

use super::When::{Is, With, Within};
use super::{Row, execute, row, wasi};
use crate::job::CHANNEL;
use crate::sys;

const READ_WRITE: u64 = (c::PROT_READ | c::PROT_WRITE) as u64;
const READ_EXEC: u64 = (c::PROT_READ | c::PROT_EXEC) as u64;
const PRIVATE: u64 = c::MAP_PRIVATE as u64;
const IMAGE_MAY: u64 = (c::MAP_FIXED | c::MAP_NORESERVE) as u64;

/// A loader begins with what it makes executable later as memory that is written.
pub(super) const MAPPING: Row = row(
    c::SYS_mmap,
    &[Within(2, READ_WRITE), With(3, PRIVATE, IMAGE_MAY)],
    "files: the artifact, the input, copy-on-write memory images",
);

/// Calls that are in another list too.
pub(super) const RECEIVING: Row = row(c::SYS_recvmsg, &[Is(0, CHANNEL as u64)], "the work");
pub(super) const LIMITS: Row = row(c::SYS_prlimit64, &[Is(0, 0)], "its limits");
pub(super) const CLOSING: [Row; 2] = [
    row(c::SYS_close, &[], "descriptors it is done with"),
    row(c::SYS_close_range, &[], "the rest of them"),
];

/// What the final list has not.
const ROWS: &[Row] = &[
    RECEIVING,
    LIMITS,
    row(c::SYS_fcntl, &[Is(1, c::F_GET_SEALS as u64)], "that what it was handed is sealed"),
    row(c::SYS_fcntl, &[Is(1, c::F_GETFD as u64)], "Rust's check of an owned descriptor"),
    row(c::SYS_fstat, &[], "how long it is"),
    row(c::SYS_newfstatat, &[Is(3, c::AT_EMPTY_PATH as u64)], "the same, as glibc asks for it"),
    row(c::SYS_statx, &[Is(2, c::AT_EMPTY_PATH as u64)], "the same, as Rust asks for it"),
    MAPPING,
    row(c::SYS_mprotect, &[Is(2, READ_EXEC)], "the artifact's text"),
    row(c::SYS_mseal, &[], "the text is final"),
    row(c::SYS_prctl, &[Is(0, c::PR_SET_MDWE as u64)], "no new executable memory"),
    row(c::SYS_prctl, &[Is(0, c::PR_SET_TSC as u64)], "no clock"),
    row(c::SYS_prctl, &[Is(0, c::PR_GET_TSC as u64)], "see that it is gone"),
    row(c::SYS_prctl, &[Is(0, c::PR_SET_SPECULATION_CTRL as u64)], "branch prediction"),
    row(c::SYS_prctl, &[Is(0, c::PR_SCHED_CORE as u64)], "a core of its own"),
    row(c::SYS_getpid, &[], "naming itself for a core of its own"),
    row(c::SYS_arch_prctl, &[Is(0, sys::ARCH_SET_CPUID)], "no cpuid"),
    CLOSING[0],
    CLOSING[1],
    row(c::SYS_prctl, &[Is(0, c::PR_SET_NO_NEW_PRIVS as u64)], "before the final filter"),
    row(
        c::SYS_seccomp,
        &[Is(0, c::SECCOMP_SET_MODE_FILTER as u64), Is(1, 0)],
        "the final filter; none with a listener, whose answers a job could wait for",
    ),
];

/// The rows, those of all its final lists included: a job has every list at once that it ever entered.
pub fn rows() -> impl Iterator<Item = Row> {
    let streams = wasi::STREAMS.iter().chain(wasi::CLOCKS).chain(wasi::PLACING);
    execute::ROWS.iter().chain(ROWS).chain(streams).copied()
}
