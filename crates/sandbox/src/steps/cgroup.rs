//! A control group of their own for jobs, below the one that the worker is born in (`cgroups(7)`).
//!
//! The host made two groups below that one, `own` and `jobs`. The root of the worker's cgroup namespace
//! is above both, and the kernel lets no process across it. The worker enters its own, because a
//! group with controllers may have processes only at its ends.

use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::{Mode, OFlags, openat};
use rustix::mount::{FsMountFlags, FsOpenFlags, MountAttrFlags, fsconfig_create, fsmount, fsopen};

use crate::fork::ForkWay;
use crate::layer::{During, Refusal, check};
use crate::probe::{self, ProbeFailure};
use crate::sys::{self, CloneArgs};
use crate::watch::End;

/// Enters the worker's own group and gives the directory of the jobs', open as a path only.
///
/// Through a mount that is attached nowhere and begins at the worker's birthplace: from what is open
/// here no path leads further up. Must run in the worker's mount and cgroup namespaces, and before
/// Landlock, which would deny it.
pub(crate) fn enter_own() -> Result<OwnedFd, Refusal> {
    let context = fsopen("cgroup2", FsOpenFlags::FSOPEN_CLOEXEC).during("fsopen cgroup2")?;
    fsconfig_create(context.as_fd()).during("fsconfig cgroup2")?;
    let hardening = MountAttrFlags::MOUNT_ATTR_NOEXEC
        | MountAttrFlags::MOUNT_ATTR_NODEV
        | MountAttrFlags::MOUNT_ATTR_NOSUID;
    let born_in = fsmount(context.as_fd(), FsMountFlags::FSMOUNT_CLOEXEC, hardening)
        .during("fsmount cgroup2")?;
    let open = |name, flags| openat(&born_in, name, flags | OFlags::CLOEXEC, Mode::empty());
    let jobs = open("jobs", OFlags::PATH | OFlags::DIRECTORY).during("open the jobs' cgroup")?;
    let own = open("own/cgroup.procs", OFlags::WRONLY).during("open the worker's cgroup.procs")?;
    // 0 is the writer itself.
    rustix::io::write(&own, b"0").during("write cgroup.procs")?;
    Ok(jobs)
}

/// Sees that jobs can be born in their group.
pub(crate) fn separate_jobs(jobs: OwnedFd) -> Result<ForkWay, ProbeFailure> {
    let args =
        CloneArgs::fix(sys::JOB_CLONE_FLAGS, jobs.as_fd()).during("fixing clone3's arguments")?;
    let way = ForkWay::IntoCgroup { args, _group: jobs };
    let end = probe::end_of(|| way.fork(), "clone3 CLONE_INTO_CGROUP", || 0)?;
    check(end == End::Exited(0), "a job in a cgroup ends by itself")?;
    Ok(way)
}
