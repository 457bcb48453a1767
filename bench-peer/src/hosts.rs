//! Both hosts, and the engine alone, behind one call, so that a case is written once.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use crate::{
    in_process::InProcess,
    lazaret_host::Lazaret,
    peer::Peer,
    work::{Guest, Work},
};

/// Calls that may run at once, in either host.
pub(crate) const EXECUTE_WORKERS: usize = 2;
/// Preparations that may run at once, in either host.
pub(crate) const PREPARE_WORKERS: usize = 1;
/// The same, with those that a call waits for.
pub(crate) const PREPARE_WORKERS_WITH_CRITICAL: usize = 2;

/// Who is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Side {
    Peer,
    Lazaret,
    /// Lazaret's engine in this process, without a jail.
    InProcess,
}

impl Side {
    /// The two hosts.
    pub(crate) const HOSTS: &[Self] = &[Self::Peer, Self::Lazaret];
    /// One engine, in a jail and without.
    pub(crate) const JAILED_OR_NOT: [Self; 2] = [Self::Lazaret, Self::InProcess];
}

/// Both hosts, each over a cache directory of its own.
pub(crate) struct Hosts {
    pub(crate) peer: Peer,
    pub(crate) lazaret: Lazaret,
    pub(crate) in_process: InProcess,
    folder: PathBuf,
}

impl Hosts {
    /// Starts both with caches below `folder`.
    pub(crate) async fn start(folder: &Path) -> Result<Self, String> {
        let folder = folder.to_owned();
        let lazaret = Lazaret::start(&folder.join("lazaret")).await?;
        Ok(Self {
            peer: Peer::start(&folder.join("peer")).await?,
            in_process: InProcess::new(lazaret.engine_fingerprint())?,
            lazaret,
            folder,
        })
    }

    /// The cache directory of one side; the engine alone takes Lazaret's artifacts.
    pub(crate) fn cache(&self, side: Side) -> PathBuf {
        self.folder.join(match side {
            Side::Peer => "peer",
            Side::Lazaret | Side::InProcess => "lazaret",
        })
    }

    /// Prepares code that this side has not seen yet; what it took.
    pub(crate) async fn prepare(&self, side: Side, guest: &Guest) -> Result<Duration, String> {
        match side {
            Side::Peer => self.peer.prepare(guest).await,
            Side::Lazaret => self.lazaret.prepare(guest).await,
            Side::InProcess => self.in_process.load(guest, &self.cache(side)),
        }
    }

    /// Calls code once; what it took. Anything but the expected end is an error.
    pub(crate) async fn call(&self, side: Side, work: &Work) -> Result<Duration, String> {
        let (took, ended) = match side {
            Side::Peer => self.peer.call(work).await?,
            Side::Lazaret => self.lazaret.call(work).await?,
            Side::InProcess => self.in_process.call(work)?,
        };
        work.check(&format!("{side:?}"), &ended)?;
        Ok(took)
    }
}
