//! The workers of one role: at most so many, started when first needed, each leased to one request.
//!
//! Requests wait in the order in which they came. Lanes with weights will stand here.

use std::{
    os::fd::BorrowedFd,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
};

use lazaret_wire::work::Work;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};

use super::{
    process::{Afterwards, Answer, Facts, Process, Terms},
    spawner::Spawner,
};
use crate::verdict::Fault;

/// The workers of one role. Cloning shares them.
#[derive(Clone)]
pub(crate) struct Pool {
    shared: Arc<Shared>,
}

struct Shared {
    terms: Terms,
    spawner: Spawner,
    /// One permit for each worker there may be.
    permits: Arc<Semaphore>,
    idle: Mutex<Vec<Process>>,
    waiting: AtomicUsize,
    waiting_max: usize,
}

/// One worker for one request. Dropping it gives the worker back.
pub(crate) struct Lease {
    /// Always there until the worker is retired or given back.
    process: Option<Process>,
    pool: Pool,
    _permit: OwnedSemaphorePermit,
}

impl Pool {
    pub(crate) fn new(
        terms: Terms,
        spawner: Spawner,
        workers_max: usize,
        waiting_max: usize,
    ) -> Self {
        let permits = Arc::new(Semaphore::new(workers_max));
        let idle = Mutex::default();
        let waiting = AtomicUsize::new(0);
        let shared = Shared { terms, spawner, permits, idle, waiting, waiting_max };
        Self { shared: Arc::new(shared) }
    }

    /// Waits for a worker, starting one if none is idle and there may be one more.
    pub(crate) async fn lease(&self) -> Result<Lease, Fault> {
        let permit = self.permit().await?;
        let process = match self.idle() {
            Some(process) => process,
            None => Process::start(&self.shared.spawner, &self.shared.terms).await?,
        };
        Ok(Lease { process: Some(process), pool: self.clone(), _permit: permit })
    }

    /// An idle worker that is still there. One that died, or that speaks without being asked, ends
    /// here and costs no request its try.
    fn idle(&self) -> Option<Process> {
        loop {
            let process = self.shared.idle.lock().expect("no panic while locked").pop()?;
            if process.is_quiet() {
                return Some(process);
            }
        }
    }

    async fn permit(&self) -> Result<OwnedSemaphorePermit, Fault> {
        let permits = self.shared.permits.clone();
        if let Ok(permit) = permits.clone().try_acquire_owned() {
            return Ok(permit);
        }
        let _place = Place::take(&self.shared)?;
        permits.acquire_owned().await.map_err(|_| Fault::ShuttingDown)
    }
}

/// A place among those who wait.
struct Place<'a>(&'a AtomicUsize);

impl<'a> Place<'a> {
    fn take(shared: &'a Shared) -> Result<Self, Fault> {
        let waiting = shared.waiting.fetch_add(1, Ordering::Relaxed);
        let place = Self(&shared.waiting);
        if waiting >= shared.waiting_max { Err(Fault::Busy { waiting }) } else { Ok(place) }
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Lease {
    /// What the worker said in its greeting.
    pub(crate) fn facts(&self) -> Result<&Facts, Fault> {
        match &self.process {
            Some(process) => Ok(&process.facts),
            None => Err(bug!("a lease without its worker")),
        }
    }

    /// Runs one piece of work on the leased worker. A worker that was lost is retired.
    pub(crate) async fn run(
        &mut self,
        work: &Work,
        descriptors: &[BorrowedFd<'_>],
        withdrawn: &mut oneshot::Receiver<()>,
    ) -> Result<Answer, Fault> {
        let Some(process) = self.process.take() else {
            return Err(bug!("a lease without its worker"));
        };
        let (answer, afterwards) = process.run(work, descriptors, withdrawn).await?;
        if afterwards == Afterwards::Reuse {
            self.process = Some(process);
        }
        Ok(answer)
    }

    /// Ends the worker instead of giving it back.
    pub(crate) fn retire(mut self) {
        self.process = None;
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        if let Some(process) = self.process.take() {
            self.pool.shared.idle.lock().expect("no panic while locked").push(process);
        }
    }
}
