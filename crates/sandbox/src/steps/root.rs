//! An empty root that cannot be written.
//!
//! Must run in a user and a mount namespace of its own. After it, no path leads anywhere.

use std::fs;
use std::path::Path;

use rustix::fs::{CWD, Mode, OFlags, StatVfsMountFlags, mkdirat, openat, stat, statvfs};
use rustix::io::Errno;
use rustix::mount::{
    MountFlags, MountPropagationFlags, UnmountFlags, mount, mount_change, mount_remount, unmount,
};
use rustix::process::{chdir, pivot_root};

use crate::layer::{During, Refusal, Step, check};

/// Where the new root is mounted for a moment. It has to exist on every machine, and the steps
/// before this one could not have run without it.
const MOUNT_POINT: &str = "/proc";
/// The smallest tmpfs there is: one page, and one inode, which the root directory takes. Zero
/// would mean no bound.
const SMALLEST: &std::ffi::CStr = c"size=4096,nr_inodes=1,mode=0555";

/// Replaces the root by an empty, read-only tmpfs, detaches the old one, and tries it.
pub(crate) fn empty_root() -> Step {
    // Without this, what is mounted below would travel back to the machine's own mounts.
    mount_change("/", MountPropagationFlags::PRIVATE | MountPropagationFlags::REC)
        .during("mount MS_PRIVATE /")?;
    mount_tmpfs()?;
    chdir(MOUNT_POINT).during("chdir to the new root")?;
    // With both arguments the same, the old root lands on top of the new one and can be
    // detached without a directory to put it in (pivot_root(2), NOTES).
    pivot_root(".", ".").during("pivot_root")?;
    unmount(".", UnmountFlags::DETACH).during("umount2 MNT_DETACH")?;
    chdir("/").during("chdir /")?;
    verify()
}

fn mount_tmpfs() -> Step {
    let hardening = MountFlags::NOEXEC | MountFlags::NODEV | MountFlags::NOSUID;
    mount("none", MOUNT_POINT, "tmpfs", hardening, SMALLEST).during("mount tmpfs")?;
    // Read-only by a second call: the kernel silently drops flags of some first mounts.
    mount_remount(MOUNT_POINT, hardening | MountFlags::RDONLY, SMALLEST)
        .during("mount MS_REMOUNT read-only")
}

/// Uses the root rather than believing the calls that made it.
fn verify() -> Step {
    let entries = fs::read_dir("/").during("read /")?.count();
    check(entries == 0, "/ is empty")?;
    let create = OFlags::CREATE | OFlags::WRONLY | OFlags::CLOEXEC;
    let created = openat(CWD, "/f", create, Mode::RUSR).map(drop);
    refused(created, "open O_CREAT in / fails with EROFS")?;
    refused(mkdirat(CWD, "/d", Mode::RWXU), "mkdir in / fails with EROFS")?;
    check(!Path::new("/proc").exists(), "the old root is gone")?;

    let (root, above) = (stat("/").during("stat /")?, stat("/..").during("stat /..")?);
    check((root.st_dev, root.st_ino) == (above.st_dev, above.st_ino), "nothing above /")?;
    let wanted = StatVfsMountFlags::RDONLY
        | StatVfsMountFlags::NOEXEC
        | StatVfsMountFlags::NODEV
        | StatVfsMountFlags::NOSUID;
    let flags = statvfs("/").during("statvfs /")?.f_flag;
    check(flags.contains(wanted), "/ is ro, noexec, nodev, nosuid")
}

fn refused(outcome: Result<(), Errno>, call: &'static str) -> Result<(), Refusal> {
    match outcome {
        Err(Errno::ROFS) => Ok(()),
        Err(other) => Err(Refusal { call, errno: other.raw_os_error() }),
        Ok(()) => Err(Refusal { call, errno: 0 }),
    }
}
