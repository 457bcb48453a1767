//! What the cases share: both hosts, and which code they have prepared. Code is prepared when the
//! first case needs it, at both hosts in turn, and the clock runs: the case of preparation reads it.

use std::{collections::HashMap, path::PathBuf, sync::Arc, time::Duration};

use tempfile::TempDir;

use crate::{
    hosts::{Hosts, Side},
    made, peer,
    turns::Plan,
    work::{Guest, Work},
};

/// Small guests beside the real ones, so that there are 50.
const FILLER_BYTES: usize = 500_000;
/// How many artifacts a cache holds for the cases that want many.
pub(crate) const ARTIFACTS: usize = 50;

/// What preparing code took, and what became of it.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Prepared {
    pub(crate) peer: Duration,
    pub(crate) lazaret: Duration,
    pub(crate) peer_bytes: u64,
    pub(crate) lazaret_bytes: u64,
}

/// Both hosts at work.
pub(crate) struct Stage {
    pub(crate) hosts: Arc<Hosts>,
    /// Where the real blocks come from.
    pub(crate) data: PathBuf,
    /// Turns of each host in every case.
    pub(crate) rounds: usize,
    pub(crate) real: Vec<Work>,
    prepared: HashMap<String, Prepared>,
    /// Scratch space of cases, removed at the end.
    pub(crate) folder: TempDir,
}

impl Stage {
    /// Starts both hosts over empty caches.
    pub(crate) async fn set(data: PathBuf, real: Vec<Work>, rounds: usize) -> Result<Self, String> {
        let folder = tempfile::tempdir().map_err(|error| error.to_string())?;
        let hosts = Arc::new(Hosts::start(folder.path()).await?);
        let mut stage = Self { hosts, data, rounds, real, prepared: HashMap::new(), folder };
        // The first preparation of each host also starts its worker, and is not looked at.
        stage.ready(&made::trivial()?.guest).await?;
        Ok(stage)
    }

    /// Prepares code at both hosts, if that was not done yet.
    pub(crate) async fn ready(&mut self, guest: &Guest) -> Result<Prepared, String> {
        if let Some(prepared) = self.prepared.get(&guest.name) {
            return Ok(*prepared);
        }
        let plan = Plan { sides: Side::HOSTS, rounds: 1, calls: 1 };
        let mut prepared = Prepared::default();
        for side in plan.order(self.prepared.len()) {
            let before = self.peer_bytes()?;
            let took = self.hosts.prepare(side, guest).await?;
            match side {
                Side::Peer => {
                    (prepared.peer, prepared.peer_bytes) = (took, self.peer_bytes()? - before);
                }
                _ => {
                    prepared.lazaret = took;
                    prepared.lazaret_bytes = self.hosts.lazaret.artifact_bytes(guest).await?;
                }
            }
        }
        self.prepared.insert(guest.name.clone(), prepared);
        Ok(prepared)
    }

    /// Prepares every real runtime; what each took.
    pub(crate) async fn ready_real(&mut self) -> Result<Vec<Prepared>, String> {
        let guests: Vec<_> = self.real.iter().map(|work| work.guest.clone()).collect();
        let mut prepared = Vec::new();
        for (number, guest) in guests.iter().enumerate() {
            if !self.prepared.contains_key(&guest.name) {
                eprintln!("preparing {} of {}: {}", number + 1, guests.len(), guest.name);
            }
            prepared.push(self.ready(guest).await?);
        }
        Ok(prepared)
    }

    /// Prepares as many guests beside the real ones as there must be for 50.
    pub(crate) async fn ready_fillers(&mut self) -> Result<(), String> {
        for filler in fillers(self.real.len()) {
            self.ready(&filler?.guest).await?;
        }
        Ok(())
    }

    /// The sides of a case, over all rounds.
    pub(crate) fn plan(&self, calls: usize) -> Plan<'static> {
        Plan { sides: Side::HOSTS, rounds: self.rounds, calls }
    }

    /// A directory of this name in the scratch space.
    pub(crate) fn scratch(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn peer_bytes(&self) -> Result<u64, String> {
        peer::artifact_bytes(&self.hosts.cache(Side::Peer))
    }
}

/// Guests that make so many real ones 50, one at a time.
pub(crate) fn fillers(real: usize) -> impl Iterator<Item = Result<Work, String>> {
    let seeds = 0..ARTIFACTS.saturating_sub(real) as u64;
    seeds.map(|seed| made::sized(FILLER_BYTES, seed))
}
