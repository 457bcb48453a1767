//! A filter that lets nothing happen but asks first (`seccomp_unotify(2)`): whether a job may end.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

use super::filter::{AND, IF_EQUAL, LOAD, NUMBER, RETURN, argument, step};
use super::{Way, raw, zero_or_errno};

/// In a status: the job asks. The kernel takes the lowest eight bits of a status and no more (`exit_group(2)`).
pub(crate) const ASKING: i32 = 1 << 16;
/// What of a status is the status.
const STATUS: u32 = 0xff;

/// Installs it, for this process and all that it forks from now on, and gives the descriptor at which those who
/// ask are heard.
pub(crate) fn listen() -> io::Result<OwnedFd> {
    let mut program = [
        step(LOAD, NUMBER, 0, 0),
        step(IF_EQUAL, libc::SYS_exit_group as u32, 0, 3),
        step(LOAD, argument(0), 0, 0),
        step(AND, !STATUS, 0, 0),
        step(IF_EQUAL, ASKING as u32, 1, 0),
        step(RETURN, libc::SECCOMP_RET_ALLOW, 0, 0),
        step(RETURN, libc::SECCOMP_RET_USER_NOTIF, 0, 0),
    ];
    let program =
        libc::sock_fprog { len: program.len() as libc::c_ushort, filter: program.as_mut_ptr() };
    // Whoever was heard goes on asking whatever signal comes, unless it dies of it.
    let flags =
        libc::SECCOMP_FILTER_FLAG_NEW_LISTENER | libc::SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV;
    let program = (&raw const program).expose_provenance();
    let mode = libc::SECCOMP_SET_MODE_FILTER as usize;
    // SAFETY: seccomp(2) reads the program, which is there, and gives a descriptor that nobody else knows of.
    let listener = unsafe {
        let made = raw::call(Way::Open, libc::SYS_seccomp, [mode, flags as usize, program])?;
        OwnedFd::from_raw_fd(made as RawFd)
    };
    // Who asks wakes who listens on its own processor, since it waits from then on. Before Linux 6.6 where it will.
    const SYNC_WAKE_UP: u64 = 1;
    // SAFETY: this request takes a number in the place of an address.
    unsafe {
        libc::ioctl(listener.as_raw_fd(), libc::SECCOMP_IOCTL_NOTIF_SET_FLAGS, SYNC_WAKE_UP);
    }
    Ok(listener)
}

/// Who asks, and with which status. Nothing if that has died meanwhile. Called when the descriptor is readable; only
/// then it does not wait.
pub(crate) fn hear(listener: BorrowedFd<'_>) -> io::Result<Option<(libc::pid_t, i32, u64)>> {
    // SAFETY: all zeros is a valid seccomp_notif, and what the kernel asks for.
    let mut asking: libc::seccomp_notif = unsafe { std::mem::zeroed() };
    let (request, place) = (libc::SECCOMP_IOCTL_NOTIF_RECV, &raw mut asking);
    // SAFETY: the kernel writes one seccomp_notif, for which there is room.
    match zero_or_errno(unsafe { libc::ioctl(listener.as_raw_fd(), request, place) }) {
        Ok(()) => {
            let status = asking.data.args[0] as u32 & STATUS;
            Ok(Some((asking.pid as libc::pid_t, status as i32, asking.id)))
        }
        Err(error) => match error.raw_os_error() {
            Some(libc::ENOENT | libc::EINTR) => Ok(None),
            _ => Err(error),
        },
    }
}

/// Lets one who asked end, which nothing else can come of any more.
pub(crate) fn allow(listener: BorrowedFd<'_>, id: u64) -> io::Result<()> {
    let flags = libc::SECCOMP_USER_NOTIF_FLAG_CONTINUE as u32;
    let mut answer = libc::seccomp_notif_resp { id, val: 0, error: 0, flags };
    let (request, place) = (libc::SECCOMP_IOCTL_NOTIF_SEND, &raw mut answer);
    // SAFETY: the kernel reads one seccomp_notif_resp, which is there.
    zero_or_errno(unsafe { libc::ioctl(listener.as_raw_fd(), request, place) })
}
