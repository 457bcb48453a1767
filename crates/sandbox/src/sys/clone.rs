//! `clone(2)` and `clone3(2)` as forks: of a job by its worker, of a copy by its template.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::ptr;

use super::{PAGE_BYTES, Way, raw, seal_pages, zero_or_errno};

/// The flags with which a job is made. The worker's filter allows these and the next, and no others.
pub(crate) const JOB_CLONE_FLAGS: u64 = (libc::CLONE_PIDFD | libc::SIGCHLD) as u64;
/// The flags with which a template copies itself: the copy is a child of the worker, not its own.
pub(crate) const COPY_CLONE_FLAGS: u64 = (libc::CLONE_PARENT | libc::SIGCHLD) as u64;
/// `clone3(2)` only; libc's constant of that name is too narrow for it.
const CLONE_INTO_CGROUP: u64 = 0x2_0000_0000;
/// Which side of [`clone_process`] this is.
pub(crate) enum Cloned {
    Child,
    Parent { pid: libc::pid_t, pidfd: OwnedFd },
}

/// `clone(2)` as a fork, with a copy of the whole address space and `flags`.
///
/// The caller has established that the process has one thread; with more, the child would hold
/// locks that nobody releases, though its memory would still be its own.
pub(crate) fn clone_process(flags: u64) -> io::Result<Cloned> {
    let mut pidfd: libc::c_int = -1;
    // SAFETY: clone(2) without CLONE_VM and with a null stack is a fork: the child goes on with
    // its own copy of this stack. CLONE_PIDFD writes one int through the third argument, which
    // points to `pidfd`. No flag asks for the last two arguments.
    let pid =
        unsafe { libc::syscall(libc::SYS_clone, flags, 0usize, &raw mut pidfd, 0usize, 0usize) };
    match pid {
        -1 => Err(io::Error::last_os_error()),
        0 => Ok(Cloned::Child),
        pid => {
            // SAFETY: the kernel has just made this descriptor for this process, and nobody
            // else knows of it.
            let pidfd = unsafe { OwnedFd::from_raw_fd(pidfd) };
            Ok(Cloned::Parent { pid: pid as libc::pid_t, pidfd })
        }
    }
}

/// Whether this is the copy that [`clone_copy`] made, or who made it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Side {
    Copy,
    Original,
}

/// `clone(2)` as a fork whose child is a child of the caller's parent. The same holds as for
/// [`clone_process`].
pub(crate) fn clone_copy(way: Way) -> io::Result<Side> {
    // SAFETY: as in `clone_process`; no flag asks for any of the other arguments.
    match unsafe { raw::call(way, libc::SYS_clone, [COPY_CLONE_FLAGS as usize]) }? {
        0 => Ok(Side::Copy),
        _ => Ok(Side::Original),
    }
}

/// `sched_yield(2)`: whoever else can run on this processor does first.
pub(crate) fn let_others_run(way: Way) {
    // SAFETY: it takes nothing and touches no memory. It cannot fail (sched_yield(2)).
    let _ = unsafe { raw::call(way, libc::SYS_sched_yield, []) };
}

/// The arguments of a `clone3(2)` into a control group, in a page that nobody can change.
///
/// A filter sees the address of these arguments and not what is in them. So the filter allows
/// one address, and what is there stays as it is: the page is read-only and sealed. A kernel
/// without `mseal(2)` leaves it read-only.
#[derive(Debug)]
pub(crate) struct CloneArgs {
    page: *const libc::clone_args,
    /// Where the kernel writes the pidfd; elsewhere, because the page cannot be written.
    pidfd: *mut libc::c_int,
}

impl CloneArgs {
    /// What the kernel is told to read.
    pub(crate) const BYTES: usize = size_of::<libc::clone_args>();

    /// Writes them down for good. `cgroup` has to stay open under its number.
    pub(crate) fn fix(flags: u64, cgroup: BorrowedFd<'_>) -> io::Result<Self> {
        let pidfd: *mut libc::c_int = Box::leak(Box::new(-1));
        // SAFETY: all zeros is a valid clone_args.
        let mut args: libc::clone_args = unsafe { std::mem::zeroed() };
        // The signal has a field of its own here; in clone(2) it is a part of the flags.
        args.flags = (flags & !(libc::SIGCHLD as u64)) | CLONE_INTO_CGROUP;
        args.pidfd = pidfd.expose_provenance() as u64;
        args.exit_signal = libc::SIGCHLD as u64;
        args.cgroup = cgroup.as_raw_fd() as u64;
        let (access, flags) =
            (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS);
        // SAFETY: a null hint makes mmap(2) choose unused addresses. A page has room for the
        // arguments and is aligned for them; it is never unmapped.
        unsafe {
            let page = libc::mmap(ptr::null_mut(), PAGE_BYTES, access, flags, -1, 0);
            if page == libc::MAP_FAILED {
                return Err(io::Error::last_os_error());
            }
            page.cast::<libc::clone_args>().write(args);
            zero_or_errno(libc::mprotect(page, PAGE_BYTES, libc::PROT_READ))?;
            match seal_pages(&(page.addr()..page.addr() + PAGE_BYTES)) {
                Err(error) if error.raw_os_error() != Some(libc::ENOSYS) => Err(error),
                _ => Ok(CloneArgs { page: page.cast(), pidfd }),
            }
        }
    }

    /// Where they are.
    pub(crate) fn address(&self) -> u64 {
        self.page.addr() as u64
    }
}

/// `clone3(2)` as a fork, straight into a control group. The same holds as for
/// [`clone_process`].
pub(crate) fn clone_into_cgroup(args: &CloneArgs) -> io::Result<Cloned> {
    // SAFETY: clone3(2) without CLONE_VM and without a stack is a fork. It reads the page of
    // the arguments and writes one int to where `pidfd` points; both live for good.
    match unsafe { libc::syscall(libc::SYS_clone3, args.page, CloneArgs::BYTES) } {
        -1 => Err(io::Error::last_os_error()),
        0 => Ok(Cloned::Child),
        pid => {
            // SAFETY: the kernel has just written a descriptor there that it made for this
            // process, and nobody else knows of it.
            let pidfd = unsafe { OwnedFd::from_raw_fd(args.pidfd.read_volatile()) };
            Ok(Cloned::Parent { pid: pid as libc::pid_t, pidfd })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_arguments_of_clone3_cannot_be_changed_any_more() {
        let args = CloneArgs::fix(JOB_CLONE_FLAGS, rustix::stdio::stderr()).unwrap();
        let page = args.page.cast_mut().cast();
        // SAFETY: mprotect(2) and munmap(2) fail on a sealed page; if one does not, the test ends.
        let refused = unsafe {
            [libc::mprotect(page, PAGE_BYTES, libc::PROT_WRITE), libc::munmap(page, PAGE_BYTES)]
        };
        assert!(refused == [-1, -1] || !kernel_has_mseal(), "{refused:?}");
    }

    fn kernel_has_mseal() -> bool {
        // SAFETY: mseal(2) of no bytes touches nothing.
        unsafe { libc::syscall(libc::SYS_mseal, 0usize, 0usize, 0usize) == 0 }
    }
}
