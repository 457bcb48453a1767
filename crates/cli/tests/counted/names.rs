//! System calls by name.

use libc as c;

macro_rules! names {
    ($($name:ident)*) => { &[$((c::$name, stringify!($name))),*] };
}

/// Those that a host, a worker or a job may make on their way.
const NAMES: &[(i64, &str)] = names! {
    SYS_read SYS_write SYS_readv SYS_writev SYS_pread64 SYS_pwrite64 SYS_lseek SYS_close
    SYS_close_range SYS_dup SYS_dup2 SYS_dup3 SYS_fcntl SYS_fstat SYS_newfstatat SYS_statx
    SYS_openat SYS_memfd_create SYS_ftruncate SYS_fallocate SYS_sendfile SYS_splice
    SYS_copy_file_range SYS_ioctl SYS_poll SYS_ppoll SYS_epoll_wait SYS_epoll_pwait SYS_epoll_ctl
    SYS_eventfd2 SYS_socketpair SYS_sendmsg SYS_recvmsg SYS_sendto SYS_recvfrom SYS_shutdown
    SYS_mmap SYS_mprotect SYS_munmap SYS_mremap SYS_madvise SYS_brk SYS_mseal SYS_clone SYS_clone3
    SYS_exit SYS_exit_group SYS_waitid SYS_wait4 SYS_pidfd_open SYS_pidfd_send_signal
    SYS_timer_create SYS_timer_settime SYS_timer_delete SYS_clock_gettime SYS_clock_nanosleep
    SYS_prlimit64 SYS_prctl SYS_arch_prctl SYS_seccomp SYS_capset SYS_capget SYS_setsid SYS_getpid
    SYS_gettid SYS_futex SYS_sched_yield SYS_rt_sigaction SYS_rt_sigprocmask SYS_rt_sigreturn
    SYS_sigaltstack SYS_getrandom SYS_set_robust_list SYS_rseq SYS_restart_syscall
    SYS_utimensat SYS_io_uring_enter SYS_sched_setaffinity SYS_setsockopt
};

pub(crate) fn name(number: i64) -> String {
    match NAMES.iter().find(|(known, _)| *known == number) {
        Some((_, name)) => name.trim_start_matches("SYS_").into(),
        None => format!("call {number}"),
    }
}
