//! One namespace after another, so that the record says which of them the machine refuses.
//!
//! Must run inside the user namespace, and while `/proc` is still visible: each is verified by
//! seeing that the namespace is no longer the one it was.

use std::fs;

use rustix::system::{setdomainname, sethostname, uname};

use crate::layer::{During, Step, check};
use crate::sys;

/// Mounts made from here on are seen by nobody else.
pub(crate) fn leave_mounts() -> Step {
    leave(libc::CLONE_NEWNS, "/proc/self/ns/mnt", "unshare CLONE_NEWNS")
}

/// No shared memory segments and message queues of others.
pub(crate) fn leave_ipc() -> Step {
    leave(libc::CLONE_NEWIPC, "/proc/self/ns/ipc", "unshare CLONE_NEWIPC")
}

/// The control groups above cannot be named.
pub(crate) fn leave_cgroups() -> Step {
    leave(libc::CLONE_NEWCGROUP, "/proc/self/ns/cgroup", "unshare CLONE_NEWCGROUP")
}

/// No network. Once per worker, because it costs about a millisecond.
pub(crate) fn leave_network() -> Step {
    leave(libc::CLONE_NEWNET, "/proc/self/ns/net", "unshare CLONE_NEWNET")
}

/// The host's name is not to be learned.
pub(crate) fn leave_host_name() -> Step {
    leave(libc::CLONE_NEWUTS, "/proc/self/ns/uts", "unshare CLONE_NEWUTS")?;
    sethostname(b"").during("sethostname")?;
    setdomainname(b"").during("setdomainname")?;
    let names = uname();
    check(names.nodename().is_empty() && names.domainname().is_empty(), "an empty host name")
}

/// Namespaces are where a process gains capabilities again, so none of any kind may be made in
/// here but the pid namespaces of jobs (`namespaces(7)`, `/proc/sys/user`).
pub(crate) fn forbid_more() -> Step {
    for bound in [
        "/proc/sys/user/max_user_namespaces",
        "/proc/sys/user/max_mnt_namespaces",
        "/proc/sys/user/max_net_namespaces",
        "/proc/sys/user/max_ipc_namespaces",
        "/proc/sys/user/max_uts_namespaces",
        "/proc/sys/user/max_cgroup_namespaces",
        "/proc/sys/user/max_time_namespaces",
    ] {
        fs::write(bound, "0").during("write /proc/sys/user/max_*_namespaces")?;
    }
    let refused = sys::unshare(libc::CLONE_NEWUTS).err().and_then(|error| error.raw_os_error());
    check(refused == Some(libc::ENOSPC), "unshare fails with ENOSPC")
}

fn leave(namespace: sys::CloneFlags, link: &str, call: &'static str) -> Step {
    let before = fs::read_link(link).during("readlink /proc/self/ns")?;
    sys::unshare(namespace).during(call)?;
    let after = fs::read_link(link).during("readlink /proc/self/ns")?;
    check(before != after, call)
}
