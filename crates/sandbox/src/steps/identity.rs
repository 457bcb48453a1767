//! Who the worker is: one thread, nobody's session, an id that owns nothing, a parent that must
//! live.
//!
//! Must run while `/proc` is still visible.

use std::fs;

use rustix::process::{
    DumpableBehavior, Gid, Pid, Signal, Uid, getegid, geteuid, getpid, getppid,
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

/// Leaves the terminal and the process group of whoever started the host, and what signals that
/// one ignores: with SIGCHLD ignored, a job would be gone before it could be waited for.
pub(crate) fn lead_own_session() -> Step {
    sys::stop_ignoring_children().during("sigaction SIGCHLD")?;
    // Not rustix's getsid: in a pid namespace whose session leader is outside of it the number is
    // 0, which rustix has no type for.
    if sys::session().during("getsid")? == getpid().as_raw_nonzero().get() {
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
/// owns nothing. Root of a namespace that maps no such id *is* the ordinary user who made that
/// namespace, and stays as it is.
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
    let users = fs::read_to_string("/proc/self/uid_map").during("read /proc/self/uid_map")?;
    let Some(id) = [UNUSED_ID, UNUSED_ID_IN_CONTAINER].into_iter().find(|&id| maps(&users, id))
    else {
        return Ok(());
    };
    set_thread_groups(&[]).during("setgroups")?;
    become_id(id)?;
    // The change of ids gave /proc/self to root; its id maps are written by this process.
    set_dumpable_behavior(DumpableBehavior::Dumpable).during("prctl PR_SET_DUMPABLE")
}

fn become_id(id: u32) -> Result<(), Refusal> {
    let (group, user) = (Gid::from_raw(id), Uid::from_raw(id));
    set_thread_res_gid(group, group, group).during("setresgid")?;
    set_thread_res_uid(user, user, user).during("setresuid")
}

/// Whether a map of `user_namespaces(7)` (lines of first id inside, first id outside, count) has
/// the id on its inside.
fn maps(id_map: &str, id: u32) -> bool {
    id_map.lines().any(|line| {
        let numbers: Vec<u64> = line.split_whitespace().filter_map(|n| n.parse().ok()).collect();
        let &[first, _, count] = numbers.as_slice() else { return false };
        (first..first.saturating_add(count)).contains(&u64::from(id))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_map_says_which_ids_there_are() {
        let machine = "         0          0 4294967295\n";
        let container = "0 100000 65536\n";
        let one_user = "0 1000 1\n";
        assert!(maps(machine, UNUSED_ID) && maps(container, UNUSED_ID_IN_CONTAINER));
        assert!(!maps(container, UNUSED_ID) && !maps(one_user, UNUSED_ID_IN_CONTAINER));
        assert!(!maps("", 0) && !maps("nonsense", 0));
    }
}
