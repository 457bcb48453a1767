//! Control groups for jobs, where the host was given a place for them.
//!
//! ```text
//! place    where: a directory that was named, or what was delegated
//! group    one group as a directory
//! worker   the groups of one worker and its jobs, and their limits
//! events   memory.events: whether a job met its own limit
//!
//! PLACE/lazaret-PID-N          one host, locked while it lives
//!                    /worker-N       one worker is born here, then it is empty
//!                             /own        the worker
//!                             /jobs       its jobs, one after another, with limits
//! ```
//! The lock is what tells a dead host's groups from a living one's, also across pid namespaces.

mod events;
mod group;
mod place;
mod worker;

use std::{
    fs,
    os::fd::OwnedFd,
    path::PathBuf,
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

pub(crate) use group::Refusal;
use group::{During, Group};
pub(crate) use place::Place;
use rustix::fs::{FlockOperation, Mode, OFlags, flock, open};
pub(crate) use worker::{JobMemory, WorkerGroup};

const NAME_PREFIX: &str = "lazaret-";
/// Names that a host tries before it gives up.
const NAMES_MAX: u32 = 64;
/// Dead hosts whose groups one start removes.
const SWEPT_MAX: usize = 64;
/// How long the processes of a group may take to end once they are killed.
pub(crate) const EMPTY_MAX: Duration = Duration::from_secs(1);

/// Hosts that this process has started.
static STARTED: AtomicU64 = AtomicU64::new(0);

/// The groups of one host. Dropping it kills what is in them and removes them.
#[derive(Debug)]
pub(crate) struct HostGroup {
    group: Group,
    /// Released by the kernel when the host is gone, however it went.
    _lock: OwnedFd,
    /// Why jobs have no limits, if they have none.
    limits: Result<(), Refusal>,
    workers: AtomicU64,
}

impl HostGroup {
    /// Removes what dead hosts left, and makes a group for this one.
    pub(crate) fn make(place: &Place) -> Result<Self, Refusal> {
        let (base, limits) = place::find(place)?;
        sweep(&base);
        let (group, lock) = make_locked(&base)?;
        let limits = limits.and_then(|()| place::enable(&group));
        Ok(Self { group, _lock: lock, limits, workers: AtomicU64::new(0) })
    }

    /// Makes the groups of one more worker.
    pub(crate) fn worker(&self) -> Result<WorkerGroup, Refusal> {
        let number = self.workers.fetch_add(1, Ordering::Relaxed);
        let name = format!("worker-{number}");
        let group = self.group.make(&name).during("mkdir of a worker's control group")?;
        WorkerGroup::make(group, self.limits)
    }
}

impl Drop for HostGroup {
    fn drop(&mut self) {
        if let Err(error) = self.group.remove(EMPTY_MAX) {
            let group = self.group.path().display();
            tracing::warn!(target: "lazaret", %group, %error, "a control group is left behind");
        }
    }
}

fn make_locked(base: &Group) -> Result<(Group, OwnedFd), Refusal> {
    let mut refusal = Refusal::absent("a free name for a control group");
    for _ in 0..NAMES_MAX {
        let number = STARTED.fetch_add(1, Ordering::Relaxed);
        let name = format!("{NAME_PREFIX}{}-{number}", std::process::id());
        match base.make(&name).during("mkdir of a control group") {
            // If it cannot be locked, another host took it for a dead one's and is removing it.
            Ok(group) => match lock(&group) {
                Some(lock) => return Ok((group, lock)),
                None => continue,
            },
            Err(refused) => refusal = refused,
        }
        if refusal.errno != rustix::io::Errno::EXIST.raw_os_error() {
            break;
        }
    }
    Err(refusal)
}

/// Locks a group's directory, if nobody else has.
fn lock(group: &Group) -> Option<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let directory = open(group.path(), flags, Mode::empty()).ok()?;
    flock(&directory, FlockOperation::NonBlockingLockExclusive).ok()?;
    Some(directory)
}

/// Kills and removes what hosts left that were killed themselves.
fn sweep(base: &Group) {
    let Ok(entries) = fs::read_dir(base.path()) else { return };
    let is_a_hosts = |path: &PathBuf| {
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        let Some((pid, number)) =
            name.strip_prefix(NAME_PREFIX).and_then(|rest| rest.split_once('-'))
        else {
            return false;
        };
        pid.parse::<u32>().is_ok() && number.parse::<u64>().is_ok()
    };
    let groups = entries.flatten().map(|entry| entry.path()).filter(is_a_hosts);
    for group in groups.map(Group::at).take(SWEPT_MAX) {
        let Some(_lock) = lock(&group) else { continue };
        if let Err(error) = group.remove(EMPTY_MAX) {
            let group = group.path().display();
            tracing::warn!(target: "lazaret", %group, %error, "a dead host's control group stays");
        }
    }
}
