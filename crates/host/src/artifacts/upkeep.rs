//! The cache directory of a host, kept within its limits: pruned at the start, then now and then, and
//! whenever more was written than there is room for.

use std::{
    path::Path,
    sync::{Arc, Mutex, MutexGuard, Weak},
    time::{Duration, SystemTime},
};

use super::{
    file::{PrepareFacts, Source},
    key::Key,
    prune::CacheLimits,
    shelf::Shelf,
    store::Store,
};
use crate::{blob::Blob, metrics::Metrics, verdict::Fault};

/// How often the directory is looked through although there should be room.
const PRUNE_INTERVAL: Duration = Duration::from_secs(10 * 60);
/// And how often at the least in the time that an artifact may go unused.
const LOOKS_PER_UNUSED_TIME: u32 = 4;
/// However short that time is.
const PRUNE_INTERVAL_MIN: Duration = Duration::from_secs(1);
/// The part of the limit that is made free when it is passed, or every later write would pass it.
const FREED_PART: u64 = 10;

/// A cache directory that is looked after. Cloning shares it.
#[derive(Clone)]
pub(crate) struct Kept {
    store: Store,
    limits: CacheLimits,
    room: Arc<Mutex<Room>>,
    metrics: Metrics,
}

/// What is known of the room in the directory without looking. Other hosts may write there too; what
/// they wrote is known after the next look.
#[derive(Debug, PartialEq, Eq)]
struct Room {
    bytes_max: u64,
    /// Bytes known to be there.
    known: u64,
    /// Bytes at which to look again.
    prune_at: u64,
    /// Somebody looks now, and so many bytes were written since.
    looking: Option<u64>,
}

impl Room {
    fn new(bytes_max: u64) -> Self {
        Self { bytes_max, known: 0, prune_at: bytes_max, looking: None }
    }

    /// Whether whoever asks is to look now.
    fn begin(&mut self) -> bool {
        let begins = self.looking.is_none();
        self.looking.get_or_insert(0);
        begins
    }

    /// Notes a write, and says whether it was one too many.
    fn wrote(&mut self, bytes: u64) -> bool {
        self.known = self.known.saturating_add(bytes);
        match &mut self.looking {
            Some(meanwhile) => {
                *meanwhile = meanwhile.saturating_add(bytes);
                false
            }
            None => self.known > self.prune_at,
        }
    }

    /// Notes what a look left. Files that cannot be removed must not have every write look again.
    fn ended(&mut self, bytes_left: u64) {
        let meanwhile = self.looking.take().unwrap_or_default();
        self.known = bytes_left.saturating_add(meanwhile);
        let beyond = bytes_left.saturating_add(self.bytes_max / FREED_PART);
        self.prune_at = self.bytes_max.max(beyond);
    }
}

impl Kept {
    pub(crate) fn open(
        directory: &Path,
        limits: CacheLimits,
        metrics: Metrics,
    ) -> Result<Self, Fault> {
        let room = Arc::new(Mutex::new(Room::new(limits.bytes_max)));
        Ok(Self { store: Store::open(directory)?, limits, room, metrics })
    }

    /// See [`Store::load`].
    pub(crate) fn load(&self, key: &Key) -> Result<Option<(Blob, PrepareFacts)>, Fault> {
        self.store.load(key)
    }

    /// See [`Store::remove`].
    pub(crate) fn remove(&self, key: &Key) {
        self.store.remove(key);
    }

    /// See [`Store::save`]. Makes room if this was too much.
    pub(crate) fn save(
        &self,
        key: &Key,
        source: Source,
        artifact: &Blob,
        facts: PrepareFacts,
    ) -> Result<(), Fault> {
        let bytes = self.store.save(key, source, artifact, facts)?;
        if self.room().wrote(bytes) {
            self.prune();
        }
        Ok(())
    }

    /// Keeps within the limits, unless somebody is at it.
    fn prune(&self) {
        if !self.room().begin() {
            return;
        }
        let CacheLimits { bytes_max, .. } = self.limits;
        let down_to = bytes_max - bytes_max / FREED_PART;
        let pruned =
            self.store.prune_down_to(down_to, SystemTime::now(), &self.limits, &mut |file| {
                tracing::debug!(target: "lazaret", name = %file.name, reason = ?file.reason, "pruned");
                self.metrics.pruned(file);
            });
        let bytes_left = pruned.as_ref().map_or(0, |pruned| pruned.bytes_left);
        self.room().ended(bytes_left);
        if let Err(error) = pruned {
            tracing::warn!(target: "lazaret", %error, "cannot look through the artifact cache");
        }
    }

    fn room(&self) -> MutexGuard<'_, Room> {
        self.room.lock().expect("no panic while locked")
    }
}

/// Prunes at once and then every now and then, for as long as there is a shelf. What was used from
/// memory was used too, which its file learns here.
pub(crate) async fn look_after(kept: Kept, shelf: Weak<Shelf>) {
    let interval = interval(kept.limits.unused_max);
    while let Some(shelf) = shelf.upgrade() {
        let (kept, in_use) = (kept.clone(), shelf.used_lately());
        drop(shelf);
        let looked = tokio::task::spawn_blocking(move || {
            kept.store.touch(&in_use, SystemTime::now());
            kept.prune();
        });
        // Only the runtime's end keeps it from being done.
        let _ = looked.await;
        tokio::time::sleep(interval).await;
    }
}

fn interval(unused_max: Duration) -> Duration {
    (unused_max / LOOKS_PER_UNUSED_TIME).clamp(PRUNE_INTERVAL_MIN, PRUNE_INTERVAL)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_directory_is_looked_through_only_when_more_was_written_than_there_is_room_for() {
        let mut room = Room::new(100);
        assert!(room.begin());
        room.ended(40);
        assert!(!room.wrote(60));
        assert!(room.wrote(1) && room.begin());
        room.ended(90);
        assert!(!room.wrote(10));
        assert!(room.wrote(1));
    }

    #[test]
    fn only_one_looks_and_what_is_written_meanwhile_counts() {
        let mut room = Room::new(100);
        assert!(room.begin() && !room.begin());
        assert!(!room.wrote(1000));
        room.ended(50);
        assert_eq!(room.known, 1050);
        assert!(room.wrote(1));
    }

    #[test]
    fn files_that_cannot_be_removed_do_not_have_every_write_look() {
        let mut room = Room::new(100);
        assert!(room.begin());
        room.ended(500);
        assert!(!room.wrote(10));
        assert!(room.wrote(1), "a tenth of the limit more is a reason to try again");
    }

    #[test]
    fn looks_come_often_enough_for_the_time_that_an_artifact_may_go_unused() {
        assert_eq!(interval(Duration::from_secs(24 * 60 * 60)), PRUNE_INTERVAL);
        assert_eq!(interval(Duration::from_secs(60)), Duration::from_secs(15));
        assert_eq!(interval(Duration::ZERO), PRUNE_INTERVAL_MIN);
    }

    #[test]
    fn a_write_beyond_the_limit_makes_room_at_once() {
        let folder = tempfile::tempdir().unwrap();
        let limits = CacheLimits { bytes_max: 10_000, ..CacheLimits::default() };
        let kept = Kept::open(&folder.path().join("cache"), limits, Metrics::default()).unwrap();
        let source = Source { code_digest: [0; 32], engine_fingerprint: [0; 32], prepared_at: 0 };
        let bytes_there = || -> u64 {
            let files = std::fs::read_dir(folder.path().join("cache")).unwrap().flatten();
            files.map(|file| file.metadata().unwrap().len()).sum()
        };
        for n in 0..30 {
            let artifact = Blob::from_parts(&[&[n; 1000]]).unwrap();
            let key = Key::new(&[n; 32], &Default::default(), &[0; 32]);
            kept.save(&key, source, &artifact, PrepareFacts::default()).unwrap();
            assert!(bytes_there() <= 10_000, "after {n}");
            assert!(kept.load(&key).unwrap().is_some() || n > 8, "the newest went");
        }
        assert!(bytes_there() > 5_000, "more was removed than was too much");
    }
}
