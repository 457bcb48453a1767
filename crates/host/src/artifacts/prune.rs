//! What is removed from a cache directory: what a crash left behind, what went unused, and the least
//! recently used beyond a size.
//!
//! The directory may be of any size, so it is read as a stream; what is remembered of it is bounded.
//! Other hosts may use it meanwhile: a file that one of them has open stays with it until it closes it,
//! and one that was used since it was looked at stays. Only names that are ours are touched.

use std::{
    collections::BinaryHeap,
    fs::{self, Metadata},
    io,
    time::{Duration, SystemTime},
};

use super::{
    key::Key,
    proof,
    store::{SUFFIX, Store, TEMPORARY},
};

/// Bytes of all artifacts together before the least recently used go.
const CACHE_BYTES_MAX_DEFAULT: u64 = 10 * 1024 * 1024 * 1024;
/// How long an artifact may go unused.
const CACHE_UNUSED_MAX_DEFAULT: Duration = Duration::from_secs(24 * 60 * 60);
/// How old a temporary file must be before it counts as left behind by a crash.
pub(super) const ABANDONED_AFTER: Duration = Duration::from_secs(60 * 60);
/// How far in the future a file may be dated by a clock that is merely not quite ours.
const CLOCK_SKEW_MAX: Duration = Duration::from_secs(60);
/// Files remembered in one pass over the directory, the least recently used ones.
const REMEMBERED_MAX: usize = 4096;
/// Passes over the directory at the most, so many times [`REMEMBERED_MAX`] files in all. What is too
/// much after that goes the next time.
const PASSES_MAX: usize = 64;

/// How much a cache directory may hold, and for how long.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct CacheLimits {
    /// Bytes of all artifacts together before the least recently used go; 10 GiB by default.
    pub bytes_max: u64,
    /// How long an artifact may go unused; 24 hours by default.
    pub unused_max: Duration,
}

impl Default for CacheLimits {
    fn default() -> Self {
        Self { bytes_max: CACHE_BYTES_MAX_DEFAULT, unused_max: CACHE_UNUSED_MAX_DEFAULT }
    }
}

/// Why a file was removed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum PruneReason {
    /// Nobody used it for longer than the limit.
    Unused,
    /// There was too much, and it was the least recently used.
    Room,
    /// A crash left it behind half written.
    Abandoned,
}

impl PruneReason {
    /// In kebab case.
    pub fn word(self) -> &'static str {
        match self {
            Self::Unused => "unused",
            Self::Room => "room",
            Self::Abandoned => "abandoned",
        }
    }
}

/// A file that was removed.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct PrunedFile {
    /// Its name in the directory.
    pub name: String,
    /// Bytes that it had.
    pub bytes: u64,
    /// Why it was removed.
    pub reason: PruneReason,
}

/// What pruning came to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Pruned {
    /// Files that were removed.
    pub files_removed: u64,
    /// Bytes that they had.
    pub bytes_removed: u64,
    /// Artifacts that are left.
    pub files_left: u64,
    /// Bytes that they have.
    pub bytes_left: u64,
}

/// A file that may have to go, ordered by its last use.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Candidate {
    used: SystemTime,
    bytes: u64,
    name: String,
}

/// What is being counted and told while files are removed.
struct Account<'a> {
    now: SystemTime,
    pruned: Pruned,
    tell: &'a mut dyn FnMut(&PrunedFile),
}

impl Store {
    /// Keeps within the limits. Size counts the bytes of the files themselves.
    pub(crate) fn prune(
        &self,
        now: SystemTime,
        limits: &CacheLimits,
        tell: &mut dyn FnMut(&PrunedFile),
    ) -> io::Result<Pruned> {
        self.prune_down_to(limits.bytes_max, now, limits, tell)
    }

    /// The same, but if there is too much, no more than `bytes_left_max` is left, so that it takes a
    /// while until there is too much again.
    pub(super) fn prune_down_to(
        &self,
        bytes_left_max: u64,
        now: SystemTime,
        limits: &CacheLimits,
        tell: &mut dyn FnMut(&PrunedFile),
    ) -> io::Result<Pruned> {
        let mut account = Account { now, pruned: Pruned::default(), tell };
        let mut bytes_max = limits.bytes_max;
        for _ in 0..PASSES_MAX {
            let candidates = self.look_around(limits.unused_max, &mut account)?;
            if account.pruned.bytes_left <= bytes_max {
                break;
            }
            bytes_max = bytes_left_max;
            let before = account.pruned.files_left;
            for candidate in candidates {
                if account.pruned.bytes_left <= bytes_left_max {
                    return Ok(account.pruned);
                }
                self.make_room(&candidate, &mut account);
            }
            if account.pruned.files_left == before {
                break;
            }
        }
        Ok(account.pruned)
    }

    /// Removes what is too old, counts what is left, and gives the least recently used of it, oldest
    /// first.
    fn look_around(
        &self,
        unused_max: Duration,
        account: &mut Account<'_>,
    ) -> io::Result<Vec<Candidate>> {
        (account.pruned.files_left, account.pruned.bytes_left) = (0, 0);
        let mut oldest = BinaryHeap::new();
        for entry in fs::read_dir(&self.directory)? {
            let entry = entry?;
            let Ok(name) = entry.file_name().into_string() else { continue };
            let (kept_for, reason) = match kind(&name) {
                Some(Kind::Artifact(_)) => (unused_max, PruneReason::Unused),
                Some(Kind::Temporary) => (ABANDONED_AFTER, PruneReason::Abandoned),
                None => continue,
            };
            // Gone since it was listed.
            let Ok(metadata) = entry.metadata() else { continue };
            let used = self.used(&name, &metadata, account.now);
            let age = used.map(|used| account.now.duration_since(used).unwrap_or_default());
            match (age, used) {
                (Some(age), Some(used)) if age <= kept_for => {
                    if reason == PruneReason::Unused {
                        account.pruned.files_left += 1;
                        account.pruned.bytes_left += metadata.len();
                        oldest.push(Candidate { used, bytes: metadata.len(), name });
                    }
                }
                _ => self.remove_counted(name, metadata.len(), reason, account),
            }
            if oldest.len() > REMEMBERED_MAX {
                oldest.pop();
            }
        }
        Ok(oldest.into_sorted_vec())
    }

    /// When a file was last used. One that is dated in the future, because the clock was wrong then or
    /// is wrong now, is dated anew: from now on it ages like any other. `None` if that cannot be done,
    /// or it would live for ever.
    fn used(&self, name: &str, metadata: &Metadata, now: SystemTime) -> Option<SystemTime> {
        let used = metadata.modified().ok()?;
        if used <= now + CLOCK_SKEW_MAX {
            return Some(used);
        }
        let file = proof::open(&self.directory.join(name)).ok()?;
        file.set_modified(now).ok().map(|()| now)
    }

    /// Removes a file unless it was used since.
    fn make_room(&self, candidate: &Candidate, account: &mut Account<'_>) {
        let path = self.directory.join(&candidate.name);
        let now_used = fs::symlink_metadata(&path).and_then(|metadata| metadata.modified());
        match now_used {
            Ok(used) if used > candidate.used => return,
            Ok(_) => {
                let (name, bytes) = (candidate.name.clone(), candidate.bytes);
                self.remove_counted(name, bytes, PruneReason::Room, account);
            }
            Err(_) => {}
        }
        if fs::symlink_metadata(&path).is_err() {
            account.pruned.files_left -= 1;
            account.pruned.bytes_left -= candidate.bytes;
        }
    }

    fn remove_counted(
        &self,
        name: String,
        bytes: u64,
        reason: PruneReason,
        account: &mut Account<'_>,
    ) {
        if self.discard(&self.directory.join(&name)) {
            account.pruned.files_removed += 1;
            account.pruned.bytes_removed += bytes;
            (account.tell)(&PrunedFile { name, bytes, reason });
        }
    }
}

/// What a name in the directory says. All others are not ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Artifact(Key),
    Temporary,
}

pub(super) fn kind(name: &str) -> Option<Kind> {
    if let Some(digits) = name.strip_suffix(SUFFIX) {
        return Key::from_hex(digits).map(Kind::Artifact);
    }
    let (digits, number) = name.strip_suffix(TEMPORARY)?.split_once('.')?;
    let is_number = number.len() == 16 && number.bytes().all(|byte| byte.is_ascii_hexdigit());
    (is_number && Key::from_hex(digits).is_some()).then_some(Kind::Temporary)
}

#[cfg(test)]
#[path = "prune_table.rs"]
mod table;
