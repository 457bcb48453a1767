//! The workers of one role: started when first needed, each leased to one request, ended when idle for
//! long. Who gets the next one is for [`Queue`] to say.

use std::{
    collections::VecDeque,
    os::fd::BorrowedFd,
    sync::{Arc, Mutex, MutexGuard, OnceLock, Weak},
    thread,
    time::{Duration, Instant},
};

use lazaret_wire::{
    frame::Wake,
    work::{TEMPLATES_MAX, Work},
};
use rustix::thread::{sched_getaffinity, sched_getcpu};
use tokio::sync::oneshot;

use super::{
    backoff::Backoff,
    input_file::InputFile,
    process::{Afterwards, Answer, Facts, Process, Terms},
    spawner::Spawner,
};
use crate::{
    lanes::{Lane, Lanes},
    metrics::{Metrics, Of},
    queue::{Full, Queue, Room, Ticket},
    request::RequestId,
    verdict::Fault,
};

/// How often idle workers are looked at, in parts of the time that they may be idle.
const LOOKS_PER_IDLE_TIME: u32 = 4;
/// The worker used last stays, so that a rare call finds one.
const IDLE_KEPT: usize = 1;

/// The workers of one role. Cloning shares them.
#[derive(Clone)]
pub(crate) struct Pool {
    shared: Arc<Shared>,
}

/// How many wait and run.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct QueueState {
    /// The lanes by name, the most urgent first, and how many wait in each.
    pub waiting: Vec<(&'static str, usize)>,
    /// How many run.
    pub running: usize,
}

struct Shared {
    terms: Terms,
    spawner: Spawner,
    lanes: Lanes,
    metrics: Metrics,
    state: Mutex<State>,
}

struct State {
    queue: Queue<oneshot::Sender<Permit>>,
    /// The one used last is last.
    idle: Vec<Idle>,
    backoff: Backoff,
}

struct Idle {
    process: Process,
    since: Instant,
    near: NearTo,
}

/// The right to have a worker; given back when dropped.
struct Permit {
    pool: Pool,
    ticket: Ticket,
}

/// One worker for one request. Dropping it gives the worker back.
pub(crate) struct Lease {
    /// Always there until the worker is retired or given back.
    process: Option<Process>,
    permit: Permit,
    near: NearTo,
    wake: Wake,
}

/// The copy of an artifact that a worker is to call: one that has called it twice has a job ready that
/// has loaded it.
pub(crate) type Near = u64;

/// What a worker was leased for, the last first: as much as it can have ready.
#[derive(Default)]
struct NearTo(VecDeque<Near>);

/// How urgent a request is, which may rise while it waits or runs.
pub(crate) struct Urgency {
    place: Mutex<Place>,
}

struct Place {
    lane: Lane,
    /// Where it waits or runs, once it does.
    queued: Option<(Pool, Ticket)>,
    /// Since when it has a worker, or the right to one.
    begun: Option<Instant>,
}

impl Pool {
    /// Must be called inside a tokio runtime.
    pub(crate) fn new(
        terms: Terms,
        spawner: Spawner,
        lanes: Lanes,
        room: Room,
        idle_max: Duration,
        metrics: Metrics,
    ) -> Self {
        let queue = Queue::new(&lanes.terms(), room);
        let state = State { queue, idle: Vec::new(), backoff: Backoff::default() };
        let shared = Arc::new(Shared { terms, spawner, lanes, metrics, state: Mutex::new(state) });
        tokio::spawn(end_idle(Arc::downgrade(&shared), idle_max));
        Self { shared }
    }

    pub(crate) fn occupancy(&self) -> QueueState {
        let state = self.state();
        let names = self.shared.lanes.lanes.iter().map(|(name, _)| *name);
        QueueState {
            waiting: names.enumerate().map(|(n, name)| (name, state.queue.waiting(n))).collect(),
            running: state.queue.running(),
        }
    }

    /// Waits for a worker, starting one if none is idle and there may be one more. Of those that are
    /// idle it is one that was near the same last, if there is one; nobody waits for that.
    pub(crate) async fn lease(
        &self,
        urgency: &Urgency,
        near: Option<Near>,
    ) -> Result<Lease, Fault> {
        let permit = self.permit(urgency).await?;
        let (process, mut near_to) = match self.idle(near) {
            Some(idle) => (idle.process, idle.near),
            // On the heap: most calls find one.
            None => (Box::pin(self.start()).await?, NearTo::default()),
        };
        near_to.note(near);
        let wake = wake(self.state().queue.running(), &process);
        Ok(Lease { process: Some(process), permit, near: near_to, wake })
    }

    async fn permit(&self, urgency: &Urgency) -> Result<Permit, Fault> {
        let (grant, granted) = oneshot::channel();
        let waiting = Waiting::begin(self, urgency, grant)?;
        self.grant();
        let begin = Instant::now();
        let permit = granted.await.map_err(|_| Fault::ShuttingDown);
        urgency.place().begun = permit.is_ok().then(Instant::now);
        drop(waiting);
        let lane = self.shared.lanes.name(urgency.lane());
        self.shared.metrics.waited(self.of().role, lane, begin.elapsed());
        permit
    }

    /// Lets begin who may.
    fn grant(&self) {
        loop {
            let next = self.state().queue.pop();
            let Some((ticket, grant)) = next else { return };
            // Whoever asked may have gone; then the permit is dropped, which grants to the next.
            drop(grant.send(Permit { pool: self.clone(), ticket }));
        }
    }

    /// An idle worker that is still there. One that died, or that speaks without being asked, ends
    /// here and costs no request its try.
    fn idle(&self, near: Option<Near>) -> Option<Idle> {
        loop {
            let idle = self.state().take_idle(near)?;
            if idle.process.is_quiet() {
                return Some(idle);
            }
        }
    }

    async fn start(&self) -> Result<Process, Fault> {
        let wait = self.state().backoff.wait(Instant::now())?;
        // Tokio's shortest sleep takes up to a millisecond.
        if !wait.is_zero() {
            tokio::time::sleep(wait).await;
        }
        self.note("spawning");
        let started = Process::start(&self.shared.spawner, &self.shared.terms).await;
        self.note(if started.is_ok() { "spawned" } else { "failed" });
        self.state().backoff.note(started.as_ref().err(), Instant::now());
        started
    }

    /// Whose numbers these are.
    pub(crate) fn of(&self) -> Of {
        Of { role: self.shared.terms.role.word() }
    }

    fn note(&self, event: &'static str) {
        self.shared.metrics.worker(self.of(), event);
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.shared.state.lock().expect("no panic while locked")
    }
}

impl State {
    /// A worker that is near, or one that is near nothing, or the one used last.
    fn take_idle(&mut self, near: Option<Near>) -> Option<Idle> {
        let is_near = |near| self.idle.iter().rposition(|idle| idle.near.0.contains(&near));
        let is_near_nothing = || self.idle.iter().rposition(|idle| idle.near.0.is_empty());
        match near.and_then(|near| is_near(near).or_else(is_near_nothing)) {
            Some(place) => Some(self.idle.remove(place)),
            None => self.idle.pop(),
        }
    }
}

impl NearTo {
    fn note(&mut self, near: Option<Near>) {
        let Some(near) = near.filter(|near| self.0.front() != Some(near)) else { return };
        self.0.retain(|other| *other != near);
        self.0.truncate(TEMPLATES_MAX - 1);
        self.0.push_front(near);
    }
}

/// Where a job is to wake when so many run. Beside its worker, as long as there is another processor for each: the
/// one on which the next job is made. Where there is none to spare, each worker keeps to one.
fn wake(running: usize, process: &Process) -> Wake {
    static PROCESSORS: OnceLock<(usize, bool)> = OnceLock::new();
    let (processors, are_ours) = *PROCESSORS.get_or_init(processors);
    if 2 * running <= processors {
        // One whose number is no number of a processor is as good as none.
        Wake::BesideWorker { caller: sched_getcpu().try_into().unwrap_or(u16::MAX) }
    } else if running >= processors && are_ours {
        Wake::Apart { place: process.seat_number() }
    } else {
        Wake::Anywhere
    }
}

/// How many processors there are for this program, and whether those are all that it may run on: under a quota it shares
/// more of them with others, and which of them are free is for the kernel to see.
fn processors() -> (usize, bool) {
    let count = thread::available_parallelism().map_or(1, usize::from);
    let allowed = sched_getaffinity(None).map_or(0, |set| set.count() as usize);
    (count, count == allowed)
}

/// Ends workers that were idle for too long, for as long as there is a pool.
async fn end_idle(pool: Weak<Shared>, idle_max: Duration) {
    loop {
        tokio::time::sleep(idle_max / LOOKS_PER_IDLE_TIME).await;
        let Some(shared) = pool.upgrade() else { return };
        let pool = Pool { shared };
        let mut state = pool.state();
        let spare = state.idle.len().saturating_sub(IDLE_KEPT);
        let stale = state.idle[..spare].iter().take_while(|idle| idle.since.elapsed() >= idle_max);
        let stale = stale.count();
        let ended: Vec<_> = state.idle.drain(..stale).collect();
        drop(state);
        drop(ended);
    }
}

impl Urgency {
    pub(crate) fn new(lane: Lane) -> Self {
        Self { place: Mutex::new(Place { lane, queued: None, begun: None }) }
    }

    pub(crate) fn lane(&self) -> Lane {
        self.place().lane
    }

    /// Since when it has a worker, or the right to one.
    pub(crate) fn begun(&self) -> Option<Instant> {
        self.place().begun
    }

    fn place(&self) -> MutexGuard<'_, Place> {
        self.place.lock().expect("no panic while locked")
    }

    /// Makes it more urgent, if the lane is more urgent than its own.
    pub(crate) fn raise(&self, lane: Lane) {
        let mut place = self.place();
        if lane >= place.lane {
            return;
        }
        place.lane = lane;
        if let Some((pool, ticket)) = place.queued.clone() {
            drop(place);
            pool.state().queue.raise(ticket, lane.place());
            pool.grant();
        }
    }
}

/// A place in the queue, given up when dropped.
struct Waiting<'a> {
    pool: &'a Pool,
    ticket: Ticket,
}

impl<'a> Waiting<'a> {
    fn begin(
        pool: &'a Pool,
        urgency: &Urgency,
        grant: oneshot::Sender<Permit>,
    ) -> Result<Self, Fault> {
        let mut place = urgency.place();
        let pushed = pool.state().queue.push(place.lane.place(), grant);
        let ticket = pushed.map_err(|Full { waiting }| Fault::Busy { waiting })?;
        place.queued = Some((pool.clone(), ticket));
        place.begun = None;
        Ok(Self { pool, ticket })
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        // Nothing to take out if it was granted.
        self.pool.state().queue.remove(self.ticket);
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.pool.state().queue.finish(self.ticket);
        self.pool.grant();
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

    /// The input file of the leased worker, where there can be one.
    pub(crate) fn input_file(&self) -> Option<&InputFile> {
        self.process.as_ref()?.input_file()
    }

    /// Runs one piece of work on the leased worker. A worker that was lost is retired.
    pub(crate) async fn run(
        &mut self,
        request: Option<RequestId>,
        work: &Work,
        descriptors: &[BorrowedFd<'_>],
        withdrawn: &mut oneshot::Receiver<()>,
    ) -> Result<Answer, Fault> {
        let Some(process) = self.process.take() else {
            return Err(bug!("a lease without its worker"));
        };
        let (answer, afterwards) =
            process.run(request, (work, self.wake), descriptors, withdrawn).await?;
        match afterwards {
            Afterwards::Reuse => self.process = Some(process),
            Afterwards::Retire => self.permit.pool.note("retired"),
        }
        Ok(answer)
    }

    /// Ends the worker instead of giving it back.
    pub(crate) fn retire(mut self) {
        if self.process.take().is_some() {
            self.permit.pool.note("retired");
        }
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        if let Some(process) = self.process.take() {
            let near = std::mem::take(&mut self.near);
            let idle = Idle { process, since: Instant::now(), near };
            self.permit.pool.state().idle.push(idle);
        }
    }
}
