//! The worker's list: its own loop, and everything a job does before its final filter, because
//! a job has both filters at once.
//!
//! Every row has a reason; a new need of the worker is a new row here, and a line in the test
//! `tests/jail/work.rs`. No row names a path, so whatever looks into `/proc` or `/sys` kills the
//! worker: `std::thread::available_parallelism`, for one, reads `/proc/self/cgroup`.

use libc as c;

use super::When::{Is, With, Within};
use super::{Row, row, wasi};
use crate::sys;

/// Making a job, with exactly these flags.
pub(crate) const FORK: Row = row(c::SYS_clone, &[Is(0, sys::JOB_CLONE_FLAGS)], "one job");

/// Making a job in a control group. The filter cannot look into the arguments, but they stand at
/// this one address and can be changed by nobody.
pub(crate) fn fork_into_cgroup(args: &sys::CloneArgs) -> Row {
    // Once in the life of a worker.
    let when = Box::leak(Box::new([Is(0, args.address()), Is(1, sys::CloneArgs::BYTES as u64)]));
    row(c::SYS_clone3, when, "one job, in a control group apart")
}

const READ_WRITE: u64 = (c::PROT_READ | c::PROT_WRITE) as u64;
const READ_EXEC: u64 = (c::PROT_READ | c::PROT_EXEC) as u64;
const MAP_MAY: u64 =
    (c::MAP_ANONYMOUS | c::MAP_FIXED | c::MAP_FIXED_NOREPLACE | c::MAP_NORESERVE | c::MAP_STACK)
        as u64;
const UNIX: u64 = c::AF_UNIX as u64;

/// Talking to the host and to jobs.
const TALK: &[Row] = &[
    row(c::SYS_read, &[], "a job's reply"),
    row(c::SYS_write, &[], "the log, a job's reply, the artifact"),
    row(c::SYS_writev, &[], "a log line"),
    row(c::SYS_recvmsg, &[], "frames with descriptors from the host, work from the worker"),
    row(c::SYS_sendmsg, &[], "frames with descriptors"),
    row(c::SYS_recvfrom, &[], "frames and replies"),
    row(c::SYS_sendto, &[Is(4, 0), Is(5, 0)], "frames and replies, to the connected peer only"),
    row(c::SYS_poll, &[], "waiting for host and job at once"),
    row(c::SYS_ppoll, &[], "the same with a precise time-out"),
    row(c::SYS_restart_syscall, &[], "how the kernel resumes a wait after SIGSTOP and SIGCONT"),
    row(c::SYS_socketpair, &[Is(0, UNIX)], "a job's channel"),
    row(
        c::SYS_setsockopt,
        &[Is(1, c::SOL_SOCKET as u64), Is(2, c::SO_PASSCRED as u64)],
        "a copy's pid, by the kernel's word",
    ),
    row(c::SYS_pipe2, &[], "a job's reply where one way is enough"),
    row(c::SYS_shutdown, &[], "ending one direction of a channel"),
    row(c::SYS_close, &[], "descriptors it is done with"),
];

/// Watching a job and ending it.
const WATCH: &[Row] = &[
    row(c::SYS_waitid, &[Is(0, c::P_PIDFD as u64)], "reaping the job with its resource usage"),
    row(c::SYS_waitid, &[Is(0, c::P_ALL as u64)], "whether a copy died unannounced"),
    row(c::SYS_waitid, &[Is(0, c::P_PID as u64)], "reaping that"),
    row(c::SYS_pidfd_open, &[], "watching a copy, which its template made"),
    row(c::SYS_pidfd_send_signal, &[Is(1, c::SIGKILL as u64)], "killing the job, nothing milder"),
    row(c::SYS_ioctl, &[Is(1, c::SECCOMP_IOCTL_NOTIF_RECV)], "that a job asks before it ends"),
    row(c::SYS_ioctl, &[Is(1, c::SECCOMP_IOCTL_NOTIF_SEND)], "that it may"),
    row(c::SYS_sched_setaffinity, &[], "where a job wakes"),
    row(c::SYS_getcpu, &[], "the same, where the C library does not know without asking"),
    row(c::SYS_clock_gettime, &[], "the job's CPU time; wall clock where the vdso has none"),
];

/// Memory files and what is mapped out of them.
const FILES: &[Row] = &[
    row(c::SYS_memfd_create, &[], "artifacts and outputs"),
    row(c::SYS_ftruncate, &[], "their length; bounded by RLIMIT_FSIZE"),
    row(c::SYS_pwrite64, &[], "writing them"),
    row(c::SYS_pread64, &[], "reading them"),
    row(c::SYS_lseek, &[], "reading them"),
    row(c::SYS_fstat, &[], "their length"),
    row(
        c::SYS_newfstatat,
        &[With(3, c::AT_EMPTY_PATH as u64, 0)],
        "their length, as newer C libraries ask for it",
    ),
    row(
        c::SYS_statx,
        &[With(2, c::AT_EMPTY_PATH as u64, 0)],
        "their length, as Rust's File::metadata asks for it",
    ),
    row(c::SYS_fcntl, &[Is(1, c::F_ADD_SEALS as u64)], "sealing them"),
    row(c::SYS_fcntl, &[Is(1, c::F_GET_SEALS as u64)], "checking the seals of one received"),
    row(c::SYS_fcntl, &[Is(1, c::F_GETFD as u64)], "Rust's check of an owned descriptor"),
    row(c::SYS_fcntl, &[Is(1, c::F_SETFD as u64)], "close-on-exec"),
    row(c::SYS_fcntl, &[Is(1, c::F_GETFL as u64)], "non-blocking replies"),
    row(c::SYS_fcntl, &[Is(1, c::F_SETFL as u64)], "non-blocking replies"),
    row(c::SYS_fcntl, &[Is(1, c::F_DUPFD_CLOEXEC as u64)], "a second handle on a memory file"),
];

/// Memory. Executable mappings are made here, before a job's own filter, and only of what is
/// not writable at the same time.
const MEMORY: &[Row] = &[
    row(
        c::SYS_mmap,
        &[Within(2, READ_WRITE), With(3, c::MAP_PRIVATE as u64, MAP_MAY)],
        "allocations, Wasm memories, memory files",
    ),
    row(
        c::SYS_mmap,
        &[Is(2, READ_EXEC), With(3, c::MAP_PRIVATE as u64, MAP_MAY)],
        "an artifact's text",
    ),
    row(c::SYS_mprotect, &[Within(2, READ_WRITE)], "memory that grows"),
    row(c::SYS_mprotect, &[Is(2, READ_EXEC)], "an artifact's text"),
    row(c::SYS_munmap, &[], "freeing"),
    row(c::SYS_mremap, &[Within(3, c::MREMAP_MAYMOVE as u64)], "realloc of large blocks"),
    row(c::SYS_brk, &[], "malloc"),
    row(c::SYS_madvise, &[], "giving memory back; keeping it out of jobs (MADV_DONTFORK)"),
    row(c::SYS_mseal, &[], "job: the text is final"),
];

/// What a job does to itself on its way to the final filter.
const CONFINE: &[Row] = &[
    row(
        c::SYS_clone,
        &[Is(0, sys::COPY_CLONE_FLAGS)],
        "template: a copy of itself, a child of the worker",
    ),
    row(c::SYS_capset, &[], "job: drop every capability, should there be one"),
    row(c::SYS_capget, &[], "job: see that none is left"),
    row(c::SYS_landlock_create_ruleset, &[], "job: signals of nobody else"),
    row(c::SYS_landlock_restrict_self, &[], "the same"),
    row(c::SYS_setsid, &[], "job: a process group of its own"),
    row(c::SYS_dup2, &[Is(1, 0)], "job: the channel becomes descriptor 0"),
    row(c::SYS_close_range, &[], "job: close everything else"),
    row(c::SYS_prlimit64, &[Is(0, 0)], "job: its limits"),
    row(c::SYS_prctl, &[Is(0, c::PR_SET_PDEATHSIG as u64)], "job: die with the worker"),
    row(c::SYS_prctl, &[Is(0, c::PR_SET_NO_NEW_PRIVS as u64)], "job: before its filter"),
    row(c::SYS_prctl, &[Is(0, c::PR_SET_TSC as u64)], "job: no clock"),
    row(c::SYS_prctl, &[Is(0, c::PR_GET_TSC as u64)], "job: see that it is gone"),
    row(c::SYS_prctl, &[Is(0, c::PR_SET_MDWE as u64)], "job: no new executable memory"),
    row(c::SYS_prctl, &[Is(0, c::PR_SET_SPECULATION_CTRL as u64)], "job: branch prediction"),
    row(c::SYS_prctl, &[Is(0, c::PR_SCHED_CORE as u64)], "job: a core of its own"),
    row(c::SYS_arch_prctl, &[Is(0, sys::ARCH_SET_CPUID)], "job: no cpuid"),
    row(c::SYS_seccomp, &[Is(0, c::SECCOMP_SET_MODE_FILTER as u64)], "job: the final filter"),
    row(c::SYS_getpid, &[], "job: naming itself for a core of its own"),
];

/// What Rust, the C library and Wasmtime do by themselves.
const RUNTIME: &[Row] = &[
    row(c::SYS_rt_sigaction, &[], "Wasmtime's trap signals, markers"),
    row(c::SYS_rt_sigprocmask, &[], "around traps; abort()"),
    row(c::SYS_rt_sigreturn, &[], "coming back from a trap signal"),
    row(c::SYS_sigaltstack, &[], "a stack for trap signals"),
    row(c::SYS_getrandom, &[], "the keys of Rust's hash maps"),
    row(c::SYS_futex, &[], "locks, never contended"),
    row(c::SYS_sched_yield, &[], "a spin of the allocator"),
    row(c::SYS_gettid, &[], "abort()"),
    row(c::SYS_tgkill, &[Is(2, c::SIGABRT as u64)], "abort()"),
    row(c::SYS_exit_group, &[], "the end"),
];

/// The rows, without the fork.
pub fn rows() -> impl Iterator<Item = Row> {
    [TALK, WATCH, FILES, MEMORY, CONFINE, wasi::PLACING, RUNTIME].into_iter().flatten().copied()
}
