//! Artifacts at hand: hot ones as sealed memfds, and preparations under way.
//!
//! Whoever needs an artifact asks [`Shelf::find`]. The first to ask for one that is not there is told
//! to prepare it; all others wait for that one preparation, which goes on even if the first goes away.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, MutexGuard,
        atomic::{AtomicU16, AtomicU64, Ordering},
    },
    time::Instant,
};

use tokio::sync::watch;

use super::{
    failures::{Failure, Failures, PrepareRetry},
    file::PrepareFacts,
    key::Key,
    terms::Terms,
};
use crate::{
    blob::Blob,
    lanes::{Lanes, preparation::HEADS_UP},
    verdict::{Doubt, Fault, Refusal},
    worker::Urgency,
};

/// Artifacts in memory at the most, however small: each is a descriptor, of which a process commonly
/// may have 1024.
const HOT_MAX: usize = 256;
/// Deterministic refusals remembered, so that hopeless code is not compiled again and again.
const REFUSALS_MAX: usize = 1024;

/// A page of memory, and of a file that is mapped.
const PAGE_BYTES: u32 = 4096;

/// A compiled program, verified, in memory.
#[derive(Debug)]
pub(crate) struct Artifact {
    pub(crate) blob: Blob,
    pub(crate) facts: PrepareFacts,
    /// No other copy in this process has it, not even of the same artifact.
    pub(crate) number: u64,
    /// Where in the first page of its worker's input file an input should begin, for all that is known.
    input_at: AtomicU16,
}

impl Artifact {
    pub(crate) fn new(blob: Blob, facts: PrepareFacts) -> Self {
        static NUMBER: AtomicU64 = AtomicU64::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        Self { blob, facts, number, input_at: AtomicU16::new(0) }
    }

    /// Where in the first page of its file an input of a call should begin.
    pub(crate) fn input_at(&self) -> u16 {
        self.input_at.load(Ordering::Relaxed)
    }

    /// Takes note of what a job said of an input that began at that place: by how much later it should have. It
    /// may be any number, as a claim is.
    pub(crate) fn note_input_shift(&self, at: u16, shift: u16) {
        if shift != 0 {
            let place = (u32::from(at) + u32::from(shift)) % PAGE_BYTES;
            self.input_at.store(place as u16, Ordering::Relaxed);
        }
    }
}

/// What came of a preparation; everyone who waited gets a copy.
#[derive(Clone, Debug)]
pub(crate) enum Preparation {
    /// The artifact, and whether it was found on disk.
    Ready(Arc<Artifact>, Origin),
    Refused(Refusal),
    Inconclusive(Doubt),
    Failed(Fault),
}

/// Where an artifact came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// It was in memory.
    Memory,
    /// It was in the cache directory, and verified.
    Disk,
    /// It was prepared for this request, or for one that waited with it.
    Prepared,
}

impl Origin {
    /// In lower case.
    pub fn word(self) -> &'static str {
        match self {
            Self::Memory => "memory",
            Self::Disk => "disk",
            Self::Prepared => "prepared",
        }
    }
}

/// How far the preparation of code is.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum PreparationState {
    /// Nobody asked for it lately. It may be in the cache directory all the same.
    Unknown,
    /// It waits for a worker, or its file is being read.
    Waiting {
        /// In which lane, as [`Host::preparations`](crate::Host::preparations) names them.
        lane: &'static str,
    },
    /// It is compiled.
    Compiling {
        /// Since then it has a worker.
        since: Instant,
    },
    /// The artifact is in memory.
    Ready,
    /// It was refused, for a reason that will be the same under the same limits.
    Refused(Refusal),
    /// It failed, and might not the next time ([`PrepareRetry`]).
    CoolingDown {
        /// How often it failed.
        tries: u32,
    },
}

/// What the shelf says to one who needs an artifact.
pub(crate) enum Found {
    /// Here it is, or here is why it will never be.
    Settled(Preparation),
    /// Someone prepares it: wait.
    UnderWay(Waiter),
    /// Prepare it, and settle the promise.
    Absent(Promise),
}

pub(crate) struct Shelf {
    slots: Mutex<Slots>,
    bytes_max: u64,
}

struct Slots {
    hot: HashMap<Key, Hot>,
    hot_bytes: u64,
    /// Counts looks; what was looked at last has the highest number.
    looks: u64,
    /// As many as there were when it was last told what was used.
    looks_told: u64,
    under_way: HashMap<(Key, Terms), Waiter>,
    /// By memory limit too, and under which terms.
    refused: HashMap<(Key, u32), (Refusal, Terms)>,
    failures: Failures,
}

struct Hot {
    artifact: Arc<Artifact>,
    last_look: u64,
}

impl Shelf {
    /// A shelf for at most `bytes_max` bytes of hot artifacts.
    pub(crate) fn new(bytes_max: u64, rules: PrepareRetry) -> Arc<Self> {
        let slots = Slots {
            hot: HashMap::new(),
            hot_bytes: 0,
            looks: 0,
            looks_told: 0,
            under_way: HashMap::new(),
            refused: HashMap::new(),
            failures: Failures::new(rules),
        };
        Arc::new(Self { slots: Mutex::new(slots), bytes_max })
    }

    /// Looks for an artifact. One that is hot may have been made under other terms: whether it would
    /// do is for [`Terms::refuse`]. A refusal may depend on the memory limit too.
    pub(crate) fn find(self: &Arc<Self>, key: Key, memory_pages: u32, terms: Terms) -> Found {
        let mut slots = self.lock();
        slots.looks += 1;
        let look = slots.looks;
        if let Some(hot) = slots.hot.get_mut(&key) {
            hot.last_look = look;
            return Found::Settled(Preparation::Ready(hot.artifact.clone(), Origin::Memory));
        }
        let refused = slots.refused.get(&(key, memory_pages));
        if let Some(refusal) =
            refused.and_then(|(refusal, earlier)| terms.inherit(earlier, refusal))
        {
            return Found::Settled(Preparation::Refused(refusal));
        }
        if let Some(waiter) = slots.under_way.get(&(key, terms)) {
            return Found::UnderWay(waiter.clone());
        }
        if let Some(failure) = slots.failures.stands(&(key, terms), Instant::now()) {
            return Found::Settled(failure.clone().into());
        }
        let (settle, result) = watch::channel(None);
        // The one that begins it says how urgent it is.
        let waiter = Waiter { result, urgency: Arc::new(Urgency::new(HEADS_UP)) };
        slots.under_way.insert((key, terms), waiter.clone());
        Found::Absent(Promise {
            shelf: self.clone(),
            key,
            memory_pages,
            terms,
            settle,
            waiter,
            is_kept: false,
        })
    }

    /// How far the preparation of an artifact is, under whatever terms it is furthest. Takes time with
    /// the number of preparations that are under way or failed.
    pub(crate) fn state(&self, key: &Key, memory_pages: u32) -> PreparationState {
        let slots = self.lock();
        if slots.hot.contains_key(key) {
            return PreparationState::Ready;
        }
        let of_key = slots.under_way.iter().filter(|((of, _), _)| of == key);
        let under_way: Vec<_> = of_key.map(|(_, waiter)| &waiter.urgency).collect();
        if let Some(since) = under_way.iter().filter_map(|urgency| urgency.begun()).min() {
            return PreparationState::Compiling { since };
        }
        if let Some(lane) = under_way.iter().map(|urgency| urgency.lane()).min() {
            return PreparationState::Waiting { lane: Lanes::of_preparation().name(lane) };
        }
        if let Some((refusal, _)) = slots.refused.get(&(*key, memory_pages)) {
            return PreparationState::Refused(refusal.clone());
        }
        match slots.failures.tries(key, Instant::now()) {
            Some(tries) => PreparationState::CoolingDown { tries },
            None => PreparationState::Unknown,
        }
    }

    /// Forgets the copy in memory, so that the next look reads and verifies the file again.
    pub(crate) fn drop_hot(&self, key: &Key) {
        let mut slots = self.lock();
        if let Some(hot) = slots.hot.remove(key) {
            slots.hot_bytes -= hot.artifact.blob.len();
        }
    }

    /// How many artifacts are in memory, and how many bytes they have.
    pub(crate) fn hot(&self) -> (usize, u64) {
        let slots = self.lock();
        (slots.hot.len(), slots.hot_bytes)
    }

    /// The artifacts in memory that somebody asked for since this was last asked.
    pub(crate) fn used_lately(&self) -> Vec<Key> {
        let mut slots = self.lock();
        let (since, looks) = (slots.looks_told, slots.looks);
        slots.looks_told = looks;
        let used = slots.hot.iter().filter(|(_, hot)| hot.last_look > since);
        used.map(|(key, _)| *key).collect()
    }

    fn lock(&self) -> MutexGuard<'_, Slots> {
        self.slots.lock().expect("no panic while locked")
    }
}

/// Waits for someone else's preparation.
#[derive(Clone)]
pub(crate) struct Waiter {
    result: watch::Receiver<Option<Preparation>>,
    /// How urgent the preparation is, to all who wait together.
    pub(crate) urgency: Arc<Urgency>,
}

impl Waiter {
    pub(crate) async fn settled(mut self) -> Preparation {
        match self.result.wait_for(Option::is_some).await {
            Ok(settled) => settled.clone().unwrap_or(Preparation::Failed(Fault::ShuttingDown)),
            // The promise was dropped unkept: its task was cancelled with its runtime.
            Err(_) => Preparation::Failed(Fault::ShuttingDown),
        }
    }
}

/// The duty to settle one preparation. Dropping it unkept frees the place for the next who asks.
pub(crate) struct Promise {
    shelf: Arc<Shelf>,
    key: Key,
    memory_pages: u32,
    terms: Terms,
    settle: watch::Sender<Option<Preparation>>,
    waiter: Waiter,
    is_kept: bool,
}

impl Promise {
    pub(crate) fn waiter(&self) -> Waiter {
        self.waiter.clone()
    }

    /// How urgent it is.
    pub(crate) fn urgency(&self) -> &Arc<Urgency> {
        &self.waiter.urgency
    }

    /// Puts the result on the shelf and wakes everyone who waits.
    pub(crate) fn settle(mut self, result: Preparation) {
        let mut slots = self.shelf.lock();
        let what = (self.key, self.terms);
        match &result {
            Preparation::Ready(artifact, _) => {
                slots.failures.forget(&what);
                slots.keep(self.key, artifact.clone(), self.shelf.bytes_max);
            }
            Preparation::Refused(refusal) if is_deterministic(refusal) => {
                if slots.refused.len() >= REFUSALS_MAX {
                    slots.refused.clear();
                }
                let refused = (refusal.clone(), self.terms);
                slots.refused.insert((self.key, self.memory_pages), refused);
            }
            Preparation::Refused(refusal) => {
                slots.failures.note(what, Failure::Refused(refusal.clone()), Instant::now());
            }
            Preparation::Inconclusive(doubt) => {
                slots.failures.note(what, Failure::Inconclusive(doubt.clone()), Instant::now());
            }
            // A fault of this machine may be gone any moment; workers that do not start have a pause
            // of their own.
            Preparation::Failed(_) => {}
        }
        // Before anyone wakes: who asks again after a failure must not be told of it once more.
        slots.under_way.remove(&what);
        self.is_kept = true;
        drop(slots);
        self.settle.send_replace(Some(result));
    }
}

impl Drop for Promise {
    fn drop(&mut self) {
        // A kept one has cleared its place, which may be another's by now.
        if !self.is_kept {
            self.shelf.lock().under_way.remove(&(self.key, self.terms));
        }
    }
}

impl Slots {
    fn keep(&mut self, key: Key, artifact: Arc<Artifact>, bytes_max: u64) {
        self.looks += 1;
        self.hot_bytes += artifact.blob.len();
        if let Some(old) = self.hot.insert(key, Hot { artifact, last_look: self.looks }) {
            self.hot_bytes -= old.artifact.blob.len();
        }
        while self.hot_bytes > bytes_max || self.hot.len() > HOT_MAX {
            let coldest = self.hot.iter().min_by_key(|(_, hot)| hot.last_look);
            let Some((&key, _)) = coldest else { return };
            if let Some(hot) = self.hot.remove(&key) {
                self.hot_bytes -= hot.artifact.blob.len();
            }
        }
    }
}

impl From<Failure> for Preparation {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Refused(refusal) => Self::Refused(refusal),
            Failure::Inconclusive(doubt) => Self::Inconclusive(doubt),
        }
    }
}

/// Time is not: the same code may be quick enough tomorrow.
fn is_deterministic(refusal: &Refusal) -> bool {
    matches!(refusal, Refusal::Code { .. } | Refusal::PrepareMemory { .. })
}

#[cfg(test)]
#[path = "shelf_table.rs"]
mod table;
