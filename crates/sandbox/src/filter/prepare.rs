//! The final list of a prepare job: compiling on one thread, writing the artifact into a memory
//! file it was given, loading it to see that it can be.
//!
//! It holds the execute job's rows and those below. It can make memory executable, which a
//! compiler that loads its own output must, but never memory that is writable at the same time.

use libc as c;

use super::When::{Is, With, Within};
use super::{Row, execute, loading, row};

const READ_EXEC: u64 = (c::PROT_READ | c::PROT_EXEC) as u64;
const FUTEX_WAKE_PRIVATE: u64 = (c::FUTEX_WAKE | c::FUTEX_PRIVATE_FLAG) as u64;

const MORE: &[Row] = &[
    row(c::SYS_write, &[], "the reply and the artifact; it has no other descriptor"),
    row(c::SYS_pwrite64, &[], "the artifact's header, once the rest is written"),
    row(c::SYS_ftruncate, &[], "the artifact's length; bounded by RLIMIT_FSIZE"),
    row(c::SYS_lseek, &[], "the artifact"),
    row(c::SYS_fstat, &[], "the artifact's length"),
    row(c::SYS_statx, &[Is(2, c::AT_EMPTY_PATH as u64)], "the same, as Rust asks for it"),
    row(c::SYS_close, &[], "descriptors it is done with"),
    row(c::SYS_mprotect, &[Is(2, READ_EXEC)], "loading what was compiled, to check it"),
    row(
        c::SYS_mmap,
        &[Within(2, READ_EXEC), With(3, c::MAP_PRIVATE as u64, c::MAP_FIXED as u64)],
        "loading what was compiled out of its file, never writable and executable at once",
    ),
    loading::MAPPING,
    row(c::SYS_getrandom, &[], "the keys of Rust's hash maps"),
    row(c::SYS_futex, &[Is(1, FUTEX_WAKE_PRIVATE)], "releasing a lock; nobody waits for one"),
    row(c::SYS_sched_yield, &[], "a spin of the allocator"),
];

/// The rows: the execute job's, except for its narrower `write`, and those of compilation.
pub fn rows() -> impl Iterator<Item = Row> {
    let shared = execute::ROWS.iter().filter(|row| row.call != c::SYS_write);
    shared.chain(MORE).copied()
}
