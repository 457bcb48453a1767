//! Who the worker is: one thread, nobody's session, an id that owns nothing, a parent that must
//! live.
//!
//! Must run while `/proc` is still visible.

use std::fs;

use rustix::process::{
    DumpableBehavior, Gid, Pid, Signal, Uid, getegid, geteuid, getpid, getppid, getsid,
    set_dumpable_behavior, set_parent_process_death_signal, setsid,
};
use rustix::thread::{set_thread_groups, set_thread_res_gid, set_thread_res_uid};

use crate::layer::{During, Refusal, Step, check};
use crate::sys;

/// What a worker started by root becomes: beyond every range that systemd, container managers
/// and distributions hand out, so no file and no other process has it.
const UNUSED_ID: u32 = 2_000_000_000;
/// The same inside containers that map only the first 65536 ids; 65534 is `nobody`, which is
/// used.
const UNUSED_ID_IN_CONTAINER: u32 = 65_533;
/// The one id that exists inside the worker's user namespace. Not 0, so that nothing in there
/// is root by number.
const INSIDE_ID: u32 = 65_532;

/// A fork copies one thread only; the others' locks would stay locked for ever.
pub(crate) fn be_single_threaded() -> Step {
    let threads = fs::read_dir("/proc/self/task").during("read /proc/self/task")?.count();
    check(threads == 1, "one thread in /proc/self/task")
}

/// Leaves the terminal and the process group of whoever started the host.
pub(crate) fn lead_own_session() -> Step {
    if getsid(None).during("getsid")? == getpid() {
        return Ok(());
    }
    setsid().during("setsid").map(drop)
}

/// The same for a job, which has just been forked and so leads nothing yet.
pub(crate) fn leave_workers_session() -> Step {
    setsid().during("setsid").map(drop)
}

/// Dies with the host. Cleared by every change of credentials, so it is set after the last one;
/// the parent is checked after that, because it may have died before.
pub(crate) fn die_with(parent: Pid) -> Step {
    set_parent_process_death_signal(Some(Signal::KILL)).during("prctl PR_SET_PDEATHSIG")?;
    check(getppid() == Some(parent), "the expected parent is still the parent")
}

/// Enters a user namespace in which one unused id exists.
///
/// Root goes the same way as anybody: it first becomes an ordinary user without groups, so
/// that nothing depends on what root could do, and a hole in the namespace leads to an id that
/// owns nothing.
pub(crate) fn enter_user_namespace() -> Step {
    if geteuid().is_root() {
        become_nobody_in_particular()?;
    }
    let (user, group) = (geteuid().as_raw(), getegid().as_raw());
    sys::unshare(libc::CLONE_NEWUSER).during("unshare CLONE_NEWUSER")?;
    // gid_map can be written by an ordinary user only after setgroups has been denied.
    fs::write("/proc/self/setgroups", "deny").during("write /proc/self/setgroups")?;
    fs::write("/proc/self/uid_map", format!("{INSIDE_ID} {user} 1"))
        .during("write /proc/self/uid_map")?;
    fs::write("/proc/self/gid_map", format!("{INSIDE_ID} {group} 1"))
        .during("write /proc/self/gid_map")?;
    check(geteuid().as_raw() == INSIDE_ID, "the mapped user id")?;
    check(getegid().as_raw() == INSIDE_ID, "the mapped group id")
}

fn become_nobody_in_particular() -> Step {
    set_thread_groups(&[]).during("setgroups")?;
    become_id(UNUSED_ID).or_else(|_| become_id(UNUSED_ID_IN_CONTAINER))?;
    // The change of ids gave /proc/self to root; its id maps are written by this process.
    set_dumpable_behavior(DumpableBehavior::Dumpable).during("prctl PR_SET_DUMPABLE")
}

fn become_id(id: u32) -> Result<(), Refusal> {
    let (group, user) = (Gid::from_raw(id), Uid::from_raw(id));
    set_thread_res_gid(group, group, group).during("setresgid")?;
    set_thread_res_uid(user, user, user).during("setresuid")
}
