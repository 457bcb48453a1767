//! The host: what a program that runs untrusted code holds.

use std::{
    pin::pin,
    sync::{
        Arc, Mutex, MutexGuard,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use lazaret_wire::{
    greeting::{Layer, LayerState, Role},
    work::ARTIFACT_BYTES_MAX,
};

use tracing::Instrument;

use crate::{
    Answer, Builder, Code, Fault, Group, Inspection, JailLevel, Lane, Lanes, Limits, Params,
    PreparationState, PrepareFacts, PrepareLimits, Retry, Usage,
    artifacts::{Kept, Purpose, Shelf, look_after},
    breaker::Breaker,
    builder::Workers,
    canary::Canary,
    cgroup::{HostGroup, Refusal},
    cpus::Places,
    gate::Gate,
    judge::Waiting,
    metrics::Metrics,
    pipeline::{self, Wanted},
    program::SharedOutside,
    request::{Input, Output, RequestId},
    worker::{Pool, QueueState, Spawner, Terms, Urgency},
};

/// Runs untrusted code. Cloning shares it; when the last clone is gone, its workers are killed. Where
/// it has control groups, that waits until they are dead, a second at the most.
#[derive(Clone)]
pub struct Host {
    pub(crate) shared: Arc<Shared>,
}

pub(crate) struct Shared {
    pub(crate) execute_workers: Pool,
    pub(crate) prepare_workers: Pool,
    pub(crate) gate: Arc<Gate>,
    pub(crate) metrics: Metrics,
    /// How many there were: the next one's id in the log.
    requests: AtomicU64,
    pub(crate) breaker: Mutex<Breaker>,
    pub(crate) canary: Canary,
    pub(crate) shelf: Arc<Shelf>,
    pub(crate) store: Option<Kept>,
    pub(crate) prepare_limits: PrepareLimits,
    pub(crate) engine_fingerprint: [u8; 32],
    pub(crate) waiting: Waiting,
    security: Arc<Security>,
    /// Ends with the host, which is how those hear of it who hold no clone.
    #[cfg(feature = "metrics-http")]
    pub(crate) presence: tokio::sync::watch::Sender<()>,
    /// After the workers, so that they are killed before their control groups are removed.
    _cgroup: Arc<Result<HostGroup, Refusal>>,
}

/// What protects this machine from the guests of a host.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Security {
    /// The level that was asked for.
    pub level: JailLevel,
    /// Every layer in the order of its steps, as the first worker found them.
    pub layers: Vec<Layer>,
}

/// Everything that one call depends on.
#[derive(Clone, Debug)]
pub(crate) struct Call {
    /// Given when it is let in.
    pub(crate) request: Option<RequestId>,
    pub(crate) code: Code,
    pub(crate) params: Params,
    pub(crate) input: Input,
    pub(crate) limits: Limits,
    /// The wall-clock limit, if it is not to follow from the CPU limit.
    pub(crate) wall: Option<Duration>,
    /// What a program reads and writes meanwhile.
    pub(crate) streams: Option<SharedOutside>,
    /// Those of the host, if it brings none.
    pub(crate) prepare_limits: Option<PrepareLimits>,
    pub(crate) retry: Retry,
    pub(crate) deadline: Option<Instant>,
    pub(crate) lane: Lane,
    pub(crate) group: Option<Group>,
}

impl Shared {
    pub(crate) fn breaker(&self) -> MutexGuard<'_, Breaker> {
        self.breaker.lock().expect("no panic while locked")
    }
}

impl Host {
    /// Settings to start a host with.
    pub fn builder() -> Builder {
        Builder::default()
    }

    pub(crate) async fn start(settings: Builder) -> Result<Self, Fault> {
        let spawner = Spawner::new(settings.worker_program.as_deref())
            .map_err(|error| Fault::Spawn(error.into()))?;
        let place = settings.cgroup;
        // The groups of dead hosts are waited for.
        let made = tokio::task::spawn_blocking(move || HostGroup::make(&place)).await;
        let cgroup = Arc::new(made.unwrap_or(Err(Refusal::absent("making a control group"))));
        let metrics = Metrics::default();
        let callers = settings.execute_workers.room(0).hard as u64;
        let kept_by_workers = ARTIFACT_BYTES_MAX.saturating_mul(callers.saturating_add(1));
        let pool = |role, lanes: Lanes, workers: Workers| {
            let terms = Terms {
                role,
                jail: settings.jail,
                patience: settings.patience,
                cgroup: cgroup.clone(),
                places: match role {
                    Role::Execute => Places::new(&settings.execute_cpus),
                    Role::Prepare => Places::new(&[]),
                },
                kept_bytes_max: match role {
                    // An artifact is charged to the group of the job that wrote it, for as long as
                    // it is kept: here, and one by each worker that calls.
                    Role::Prepare => settings.hot_bytes_max.saturating_add(kept_by_workers),
                    Role::Execute => 0,
                },
            };
            let room = workers.room(settings.waiting_max);
            Pool::new(terms, spawner.clone(), lanes, room, settings.idle_max, metrics.clone())
        };
        let execute_workers = pool(Role::Execute, settings.lanes, settings.execute_workers);
        let prepare_workers =
            pool(Role::Prepare, Lanes::of_preparation(), settings.prepare_workers);
        let open =
            |directory| Kept::open(directory, settings.cache_limits.clone(), metrics.clone());
        let store = settings.cache_dir.as_deref().map(open).transpose()?;
        let shelf = Shelf::new(settings.hot_bytes_max, settings.prepare_retry);
        if let Some(store) = store.clone() {
            tokio::spawn(look_after(store, Arc::downgrade(&shelf)));
        }
        let urgency = Urgency::new(Lane::default());
        let facts = execute_workers.lease(&urgency, None).await?.facts()?.clone();
        let filter_is_on = facts
            .layers
            .iter()
            .any(|layer| layer.name.as_str() == "job-filter" && layer.state == LayerState::On);
        let shared = Shared {
            execute_workers,
            prepare_workers,
            gate: Arc::default(),
            metrics,
            requests: AtomicU64::new(1),
            breaker: Mutex::new(Breaker::new(settings.deaths_max)),
            canary: Canary::default(),
            shelf,
            store,
            prepare_limits: settings.prepare_limits,
            engine_fingerprint: facts.engine_fingerprint,
            waiting: if filter_is_on { Waiting::Impossible } else { Waiting::Possible },
            security: Arc::new(Security { level: settings.jail, layers: facts.layers }),
            #[cfg(feature = "metrics-http")]
            presence: tokio::sync::watch::Sender::default(),
            _cgroup: cgroup,
        };
        Ok(Self { shared: Arc::new(shared) })
    }

    /// How many calls wait and run now, in each lane.
    pub fn calls(&self) -> QueueState {
        self.shared.execute_workers.occupancy()
    }

    /// The same for preparations, whose lanes are what a call waits for, what somebody asked for, and
    /// what may be needed soon.
    pub fn preparations(&self) -> QueueState {
        self.shared.prepare_workers.occupancy()
    }

    /// Which layers of the jail are on.
    pub fn security(&self) -> &Security {
        &self.shared.security
    }

    /// Identifies the engine of this host's workers: its version and settings, the target, and the
    /// features of this CPU. Artifacts of another engine are not used.
    pub fn engine_fingerprint(&self) -> [u8; 32] {
        self.shared.engine_fingerprint
    }

    /// Calls code once with one input, preparing the code first if need be. Dropping the future
    /// withdraws the call and kills its job; a preparation goes on for whoever else needs it.
    pub(crate) async fn execute(&self, call: Call) -> Result<Answer<Output>, Fault> {
        self.shared.metrics.input(call.input.len());
        let (host, id) = (self.shared.clone(), self.next_id());
        let (group, call) = (call.group, Call { request: Some(id), ..call });
        // Where it is it stays: each of those below would move kilobytes.
        let work = pin!(pipeline::execute(host, call));
        self.admit((id, "execute"), group, work).await
    }

    /// Ends every call of these groups with [`Fault::Withdrawn`], whether it waits or runs, and says how
    /// many those were.
    pub fn withdraw(&self, groups: &[Group]) -> usize {
        self.shared.gate.withdraw(|group| groups.contains(group))
    }

    /// Ends every call that is of some other group than these; calls of no group go on. For a
    /// validator: the active leaves and their ancestors are what is still wanted.
    pub fn withdraw_all_but(&self, groups: &[Group]) -> usize {
        self.shared.gate.withdraw(|group| !groups.contains(group))
    }

    /// Lets no more requests in, and waits until those inside have their answers. Those that have none
    /// after `patience` end with [`Fault::ShuttingDown`] and their jobs are killed.
    pub async fn shut_down(&self, patience: Duration) {
        self.shared.gate.close(patience).await;
    }

    /// Prepares code under the limits of execution, so that a later call finds its artifact.
    pub async fn prepare(
        &self,
        code: &Code,
        params: &Params,
    ) -> Result<Answer<PrepareFacts>, Fault> {
        self.prepare_with(code, params, &self.shared.prepare_limits).await
    }

    /// The same under limits of this request's own. An artifact that is there is refused as it would be
    /// if it were made now, but for the time that it took.
    pub async fn prepare_with(
        &self,
        code: &Code,
        params: &Params,
        limits: &PrepareLimits,
    ) -> Result<Answer<PrepareFacts>, Fault> {
        self.make(Wanted::new(code, params, limits, Purpose::Execution)).await
    }

    /// Prepares code soon, because a call of it is to be expected. Nobody waits for it, and it waits
    /// for everybody else; a call that comes meanwhile makes it urgent. Must be called inside a tokio
    /// runtime.
    pub fn heads_up(&self, code: &Code, params: &Params) {
        self.heads_up_with(code, params, &self.shared.prepare_limits);
    }

    /// The same under limits of this request's own. Give those of the call that is to be expected: a
    /// call under others does not wait for this preparation, but begins its own.
    pub fn heads_up_with(&self, code: &Code, params: &Params, limits: &PrepareLimits) {
        let wanted = Wanted::new(code, params, limits, Purpose::Execution);
        pipeline::prepare_soon(&self.shared, &wanted);
    }

    /// How far the preparation of code is, whoever asked for it. For people who wait; a call need not ask.
    pub fn preparation(&self, code: &Code, params: &Params) -> PreparationState {
        pipeline::preparation(&self.shared, code, params)
    }

    /// Says whether code may be accepted at all: prepares it under the stricter limits.
    pub async fn precheck(
        &self,
        code: &Code,
        params: &Params,
    ) -> Result<Answer<PrepareFacts>, Fault> {
        self.precheck_with(code, params, &self.shared.prepare_limits).await
    }

    /// The same under limits of this request's own, as
    /// [`ExecutorParams::prepare_limits`](crate::pvf::ExecutorParams::prepare_limits) gives them. The
    /// answer is that of a preparation under these limits, also where an artifact is there that was made
    /// under others.
    pub async fn precheck_with(
        &self,
        code: &Code,
        params: &Params,
        limits: &PrepareLimits,
    ) -> Result<Answer<PrepareFacts>, Fault> {
        self.make(Wanted::new(code, params, limits, Purpose::Precheck)).await
    }

    async fn make(&self, mut wanted: Wanted) -> Result<Answer<PrepareFacts>, Fault> {
        self.shared.metrics.code(wanted.code.len());
        let kind = match wanted.purpose {
            Purpose::Execution => "prepare",
            Purpose::Precheck => "precheck",
        };
        let (host, id) = (self.shared.clone(), self.next_id());
        wanted.request = Some(id);
        self.admit((id, kind), None, pipeline::prepare(host, wanted)).await
    }

    fn next_id(&self) -> RequestId {
        self.shared.requests.fetch_add(1, Ordering::Relaxed)
    }

    /// Lets a request in, and counts it and its end.
    async fn admit<T>(
        &self,
        (id, kind): (RequestId, &'static str),
        group: Option<Group>,
        work: impl Future<Output = Result<Answer<T>, Fault>>,
    ) -> Result<Answer<T>, Fault> {
        self.shared.metrics.enqueued(kind);
        let span = tracing::info_span!(target: "lazaret", "request", id, kind);
        let mut ended = match self.shared.gate.enter(group) {
            Ok(pass) => pass.while_inside(work).instrument(span.clone()).await,
            Err(fault) => Err(fault),
        };
        if let Ok(answer) = &mut ended {
            answer.security = Some(self.shared.security.clone());
        }
        self.shared.metrics.concluded(kind, &ended);
        span.in_scope(|| tell(id, &ended));
        ended
    }

    /// Says what code is, without compiling it. The code is read in a jailed job, as always.
    pub async fn inspect(&self, code: &Code, params: &Params) -> Result<Answer<Inspection>, Fault> {
        self.inspect_with(code, params, &self.shared.prepare_limits).await
    }

    /// The same under limits of this request's own: those of a precheck, without an artifact.
    pub async fn inspect_with(
        &self,
        code: &Code,
        params: &Params,
        limits: &PrepareLimits,
    ) -> Result<Answer<Inspection>, Fault> {
        let (host, id) = (self.shared.clone(), self.next_id());
        let mut wanted = Wanted::new(code, params, limits, Purpose::Precheck);
        wanted.request = Some(id);
        self.admit((id, "inspect"), None, pipeline::inspect(host, wanted)).await
    }
}

/// The end of a request in the log.
fn tell<T>(request: RequestId, ended: &Result<Answer<T>, Fault>) {
    match ended {
        Ok(answer) => {
            let (verdict, reason) = (answer.verdict.word(), answer.verdict.reason_word());
            let Usage { cpu, wall, .. } = answer.usage;
            tracing::debug!(target: "lazaret", request, verdict, reason, ?cpu, ?wall, "answered");
        }
        // Whose end it was knows already.
        Err(fault @ Fault::Stream { .. }) => {
            tracing::debug!(target: "lazaret", request, %fault, "not answered");
        }
        Err(fault) => tracing::warn!(target: "lazaret", request, %fault, "not answered"),
    }
}

impl std::fmt::Debug for Host {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Host").field("security", &self.shared.security.level).finish()
    }
}
