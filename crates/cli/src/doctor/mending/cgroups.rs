//! What mends the layers that rest on a control group of the host's: being given one, alone in it, with
//! the controllers that bound memory and processes.

use super::{
    DOCKER_PROFILE, EACCES, ENODEV, ENOSYS, EPERM, EROFS, Mending, Off, SYSTEMD_UNIT, UNKNOWN,
    hopeless, mend,
};

// errno(3), as Linux has them on x86-64.
const ENOENT: i32 = 2;
const EBUSY: i32 = 16;

pub(super) fn mending(off: &Off<'_>) -> Mending {
    match (off.errno, off.call) {
        (ENODEV, "a delegated control group") => mend(
            "no control group was delegated to this program; a job is bounded by its own limits alone",
            "Delegate=",
            "in a service: Delegate=memory pids; by hand: systemd-run --user --scope -p Delegate=yes \
             lazaret ..., or as root: mkdir /sys/fs/cgroup/lazaret && lazaret --cgroup \
             /sys/fs/cgroup/lazaret ...",
        )
        .with(SYSTEMD_UNIT),
        (ENODEV, "being alone in the delegated control group") => mend(
            "other processes stand in the control group that was delegated, and one with processes \
             cannot hand its controllers down",
            "DelegateSubgroup=",
            "in a service: DelegateSubgroup=program (systemd 254), or start lazaret directly and not \
             by a shell that waits for it; by hand: lazaret --cgroup DIR with a group of its own",
        ),
        (ENODEV, "memory and pids in cgroup.controllers") => mend(
            "the control group has no controllers to bound memory and processes with: they were not \
             handed down to it, or the machine uses them in control groups of version 1",
            "cgroup.controllers",
            "in a service: Delegate=memory pids; by hand: echo '+memory +pids' | sudo tee \
             /sys/fs/cgroup/cgroup.subtree_control (and in each group below it); version 1: start the \
             kernel with systemd.unified_cgroup_hierarchy=1",
        ),
        (ENODEV, "a control group of the jobs") => {
            hopeless("it is the jobs' control group that would be bounded", "job-cgroup")
        }
        (ENODEV, "the host was told to use none") => {
            hopeless("the program that embeds the host wants none", "Builder::without_cgroup")
        }
        (ENOSYS, _) => mend(
            "the kernel is older than Linux 5.7, or a filter around this program hides clone3 or \
             fsopen, as Docker's default profile and systemd's RestrictNamespaces= do",
            "clone3",
            "allow clone3, fsopen, fsconfig and fsmount in the profile of the container; leave \
             RestrictNamespaces= out of the unit",
        )
        .with(DOCKER_PROFILE),
        (
            _,
            "fsopen cgroup2"
            | "fsmount cgroup2"
            | "open the jobs' cgroup"
            | "a cgroup namespace of its own",
        ) => hopeless(
            "without a user and a cgroup namespace of its own the worker cannot mount its groups: it \
             comes with those",
            "user-namespace, cgroup-namespace",
        ),
        (EBUSY, _) => mend(
            "there are processes in the directory of --cgroup, and a group with processes cannot hand \
             its controllers down",
            "--cgroup",
            "make a directory in it and start lazaret from that one: mkdir DIR/program && echo $$ | \
             sudo tee DIR/program/cgroup.procs",
        ),
        (EPERM | EACCES | EROFS, _) => mend(
            "this user may not make control groups there, or not move its own processes to it: it has \
             to be the owner of a group above both; containers mount cgroup2 read-only",
            "owner of cgroup.procs",
            "in a service: Delegate=memory pids with User=; in a container: leave --cgroup out",
        ),
        (0 | ENOENT, _) => mend(
            "what --cgroup names is no directory of cgroup2",
            "--cgroup",
            "name one: mount -t cgroup2 (shows where it is mounted), then mkdir in it",
        ),
        _ => UNKNOWN,
    }
}
