//! Landlock: every right it can take away, and no rule that gives one back.
//!
//! The root is empty already; this holds if a path or a descriptor leads out of it after all.
//! Must run after `no_new_privs`. It does not stop chmod or setxattr at any version, which is
//! one more reason to hold no path.

use std::os::fd::{AsFd, OwnedFd};

use landlock::{
    ABI, Access, AccessFs, AccessNet, CompatLevel, Compatible, Ruleset, RulesetAttr, RulesetStatus,
    Scope,
};
use rustix::fs::{CWD, Mode, OFlags, openat};
use rustix::io::Errno;

use crate::layer::{During, Refusal, Step, check};
use crate::sys::{self, Way};

/// The newest version whose rights this code has been tried with. An older kernel takes what
/// it knows of it.
const NEWEST: ABI = ABI::V7;

/// Denies every file, network and scope right that this kernel can deny.
pub(crate) fn deny_everything() -> Step {
    sys::landlock_version().during("landlock_create_ruleset")?;
    let status = restrict().map_err(|_| Refusal { call: "landlock_restrict_self", errno: 0 })?;
    check(status != RulesetStatus::NotEnforced, "landlock_restrict_self")?;
    // Even the empty root may not be listed any more.
    let root =
        openat(CWD, "/", OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty());
    check(root.err() == Some(Errno::ACCESS), "opening / fails with EACCES")
}

/// What puts a job into a domain of its own, so that it can signal none but itself: jobs of a worker share a pid
/// namespace, and the worker's domain.
#[derive(Debug)]
pub(crate) struct OwnScope(OwnedFd);

impl OwnScope {
    /// A kernel that knows no scopes (before Linux 6.12) refuses with E2BIG.
    pub(crate) fn new(way: Way) -> Result<Self, Refusal> {
        sys::landlock_scope(way).map(Self).during("landlock_create_ruleset with a scope")
    }

    /// Only this process is in it then, and those that it forks until they enter one of their own.
    pub(crate) fn enter(&self, way: Way) -> Step {
        let entered = sys::landlock_restrict_self(way, self.0.as_fd());
        entered.during("landlock_restrict_self with a scope")
    }

    /// Closes it, in the way in which it was entered.
    pub(crate) fn close(self, way: Way) {
        sys::close(way, self.0);
    }
}

/// Makes one, enters it and closes it.
pub(crate) fn scope_to_self(way: Way) -> Step {
    let scope = OwnScope::new(way)?;
    let entered = scope.enter(way);
    scope.close(way);
    entered
}

fn restrict() -> Result<RulesetStatus, landlock::RulesetError> {
    let status = Ruleset::default()
        .set_compatibility(CompatLevel::BestEffort)
        .handle_access(AccessFs::from_all(NEWEST))?
        .handle_access(AccessNet::from_all(NEWEST))?
        .scope(Scope::from_all(NEWEST))?
        .create()?
        .restrict_self()?;
    Ok(status.ruleset)
}
