//! The way of a request, top to bottom: artifact, worker, job, judgement, retry, answer.

use std::{
    io,
    os::fd::AsFd,
    sync::Arc,
    time::{Instant, SystemTime},
};

use lazaret_wire::{
    evidence::{self, Stop},
    frame::Readiness,
    work::{Execute, Inspect, Prepare, Work},
};
use tokio::{sync::oneshot, time::timeout_at};
use tracing::Instrument;

use crate::{
    Answer, ArtifactUse, Code, Doubt, Fault, Inspection, LogLine, Origin, Params, PreparationState,
    PrepareFacts, PrepareLimits, Refusal, Retry, Usage, Verdict,
    artifacts::{Artifact, Found, Key, Preparation, Promise, Purpose, Source, Terms, Waiter},
    blob::Blob,
    breaker::is_death,
    canary,
    host::{Call, Shared},
    judge::{Asked, Judged, Outcome, Waiting, judge},
    lanes::{
        Lane,
        preparation::{ASKED, CRITICAL, HEADS_UP},
    },
    machine::MachineLoad,
    request::{Output, RequestId, or_never},
    retry::pause_before_retry,
    to_its_end::ToItsEnd,
    worker::{Pool, Urgency},
};

/// What came of one job, or of the try to have one.
struct Ran {
    concluded: Result<Judged, Fault>,
    usage: Usage,
    log: Vec<LogLine>,
    log_lines_dropped: u32,
    /// The memfd that came with it, if one did.
    blob: Option<Blob>,
}

/// What one job is to do.
struct Order<A> {
    request: Option<RequestId>,
    asked: Asked,
    work: Work,
    deadline: Option<Instant>,
    /// Gives the memfds that go with it, once there is a worker: what waits holds no descriptor.
    attached: A,
}

/// Code that is to be prepared, and under which limits.
#[derive(Clone)]
pub(crate) struct Wanted {
    /// Who wants it first, and is named in the log for all who share the preparation.
    pub(crate) request: Option<RequestId>,
    pub(crate) code: Code,
    pub(crate) purpose: Purpose,
    params: Params,
    limits: PrepareLimits,
}

impl Wanted {
    pub(crate) fn new(
        code: &Code,
        params: &Params,
        limits: &PrepareLimits,
        purpose: Purpose,
    ) -> Self {
        Self {
            request: None,
            code: code.clone(),
            purpose,
            params: params.clone(),
            limits: limits.clone(),
        }
    }

    fn terms(&self) -> Terms {
        Terms::new(self.purpose, &self.limits)
    }
}

/// Calls code once, and learns from how that ended.
pub(crate) async fn execute(host: Arc<Shared>, call: Call) -> Result<Answer<Output>, Fault> {
    let alive = timeout_at(or_never(call.deadline), canary::must_live(&host)).await;
    alive.map_err(|_| Fault::Deadline)??;
    let key = key(&host, &call.code, &call.params);
    let input = call.input.clone();
    let answer = self::call(host.clone(), call).await?;
    match &answer.verdict {
        Verdict::Returned(_) => host.breaker().lived(&key),
        Verdict::Inconclusive(doubt) if is_death(doubt) => {
            let input = input.digest();
            if host.breaker().died(key, input, Instant::now()) {
                make_anew(&host, key).await;
                // If the canary dies too, this death says nothing about the input.
                canary::try_now(&host).await?;
            }
        }
        Verdict::Refused(_) | Verdict::Inconclusive(_) => {}
    }
    Ok(answer)
}

/// Has the next call prepare the artifact again.
async fn make_anew(host: &Shared, key: Key) {
    tracing::warn!(target: "lazaret", %key, "jobs of an artifact die: it is made anew");
    host.shelf.drop_hot(&key);
    if let Some(store) = host.store.clone() {
        // Only the runtime's end keeps it from being done.
        let _ = tokio::task::spawn_blocking(move || store.remove(&key)).await;
    }
}

/// Calls code once.
pub(crate) async fn call(host: Arc<Shared>, call: Call) -> Result<Answer<Output>, Fault> {
    let input_bytes = call.input.len();
    if input_bytes > call.limits.input_bytes_max {
        let limit_bytes = call.limits.input_bytes_max;
        let refusal = Refusal::InputTooLarge { bytes: input_bytes, limit_bytes };
        return Ok(unrun(Verdict::Refused(refusal)));
    }
    let prepare_limits = call.prepare_limits.as_ref().unwrap_or(&host.prepare_limits);
    let wanted = Wanted::new(&call.code, &call.params, prepare_limits, Purpose::Execution);
    let wanted = Wanted { request: call.request, ..wanted };
    let mut attempt = 1;
    loop {
        // A preparation that is under way goes on without us.
        let prepared =
            timeout_at(or_never(call.deadline), artifact(&host, &wanted, CRITICAL)).await;
        let prepared = prepared.map_err(|_| Fault::Deadline)?;
        let (artifact, origin) = match prepared {
            Preparation::Ready(artifact, origin) => (artifact, origin),
            Preparation::Refused(refusal) => return Ok(unrun(Verdict::Refused(refusal))),
            Preparation::Inconclusive(doubt) => {
                let doubt = Doubt::Preparation(Box::new(doubt));
                return Ok(unrun(Verdict::Inconclusive(doubt)));
            }
            Preparation::Failed(fault) => return Err(fault),
        };
        if let Some(refusal) = wanted.terms().refuse(&artifact.facts) {
            return Ok(unrun(Verdict::Refused(refusal)));
        }
        let work = Work::Execute(Execute {
            artifact: artifact.number,
            input: call.input.form.clone(),
            params: call.params.clone(),
            limits: call.limits.for_execute(&call.params),
        });
        let order = Order {
            request: call.request,
            asked: Asked::Execute,
            work,
            deadline: call.deadline,
            attached: || Ok(vec![artifact.blob.clone(), call.input.to_blob()?]),
        };
        let ran = run(&host, &host.execute_workers, &Urgency::new(call.lane), order).await;
        if let Some(pause) = pause_before_retry(call.retry, attempt, &ran.concluded) {
            if let Ok(Judged::Inconclusive(Doubt::ArtifactUnusable(_))) = ran.concluded {
                // The job's word evicts nothing: the file is read and verified again instead.
                host.shelf.drop_hot(&key(&host, &call.code, &call.params));
            }
            host.metrics.retried(host.execute_workers.of());
            tokio::time::sleep(pause).await;
            attempt += 1;
            continue;
        }
        let verdict = match ran.concluded? {
            Judged::Returned { output, memory_pages } => {
                Verdict::Returned(Output { bytes: read_output(output, ran.blob)?, memory_pages })
            }
            Judged::Refused(refusal) => Verdict::Refused(refusal),
            Judged::Inconclusive(doubt) => Verdict::Inconclusive(doubt),
            Judged::Prepared(_) | Judged::Inspected(_) => {
                return Err(bug!("a call judged as something else"));
            }
        };
        return Ok(Answer {
            verdict,
            usage: ran.usage,
            attempts: attempt,
            artifact: Some(artifact_use(&artifact, origin)),
            log: ran.log,
            log_lines_dropped: ran.log_lines_dropped,
            security: None,
        });
    }
}

/// Prepares code, or finds that it is prepared.
pub(crate) async fn prepare(
    host: Arc<Shared>,
    wanted: Wanted,
) -> Result<Answer<PrepareFacts>, Fault> {
    let (artifact, origin) = match artifact(&host, &wanted, ASKED).await {
        Preparation::Ready(artifact, origin) => (artifact, origin),
        Preparation::Refused(refusal) => return Ok(unrun(Verdict::Refused(refusal))),
        Preparation::Inconclusive(doubt) => return Ok(unrun(Verdict::Inconclusive(doubt))),
        Preparation::Failed(fault) => return Err(fault),
    };
    // An artifact that was made under wider limits passes only if it would have under these.
    let verdict = match wanted.terms().refuse(&artifact.facts) {
        Some(refusal) => Verdict::Refused(refusal),
        None => Verdict::Returned(artifact.facts),
    };
    let artifact = Some(artifact_use(&artifact, origin));
    Ok(Answer { artifact, ..unrun(verdict) })
}

/// Begins to prepare code, if nobody has.
pub(crate) fn prepare_soon(host: &Arc<Shared>, wanted: &Wanted) {
    // Whether it is there already or under way, nobody waits.
    let _ = begin_artifact(host, wanted, HEADS_UP);
}

/// Says what code is.
pub(crate) async fn inspect(
    host: Arc<Shared>,
    wanted: Wanted,
) -> Result<Answer<Inspection>, Fault> {
    let Wanted { request, code, params, limits, .. } = wanted;
    let work = Work::Inspect(Inspect {
        params,
        code_bytes_max: limits.code_bytes_max,
        limits: limits.for_inspect(),
    });
    let attached = || Ok(vec![code.blob().clone()]);
    let order = Order { request, asked: Asked::Inspect, work, deadline: None, attached };
    let ran = run(&host, &host.prepare_workers, &Urgency::new(ASKED), order).await;
    let verdict = match ran.concluded? {
        Judged::Inspected(output) => {
            let bytes = read_output(output, ran.blob)?;
            match Inspection::decode(&bytes) {
                Some(inspection) => Verdict::Returned(inspection),
                None => Verdict::Inconclusive(Doubt::Unfitting),
            }
        }
        Judged::Refused(refusal) => Verdict::Refused(refusal),
        Judged::Inconclusive(doubt) => Verdict::Inconclusive(doubt),
        Judged::Returned { .. } | Judged::Prepared(_) => {
            return Err(bug!("an inspection judged as something else"));
        }
    };
    Ok(Answer { usage: ran.usage, ..unrun(verdict) })
}

/// The artifact of code under params: from memory, from disk, or prepared, once for all who ask.
async fn artifact(host: &Arc<Shared>, wanted: &Wanted, lane: Lane) -> Preparation {
    match begin_artifact(host, wanted, lane) {
        Ok(waiter) => waiter.settled().await,
        Err(settled) => settled,
    }
}

/// Sees to it that somebody prepares the artifact, at least as urgently as the lane says.
fn begin_artifact(host: &Arc<Shared>, wanted: &Wanted, lane: Lane) -> Result<Waiter, Preparation> {
    let key = key(host, &wanted.code, &wanted.params);
    match host.shelf.find(key, wanted.params.memory_pages_max, wanted.terms()) {
        Found::Settled(settled) => Err(settled),
        Found::UnderWay(waiter) => {
            waiter.urgency.raise(lane);
            Ok(waiter)
        }
        Found::Absent(promise) => {
            let waiter = promise.waiter();
            waiter.urgency.raise(lane);
            // A task of its own, so that it survives the request that began it.
            let kept = keep(promise, host.clone(), key, wanted.clone());
            tokio::spawn(kept.in_current_span());
            Ok(waiter)
        }
    }
}

async fn keep(promise: Promise, host: Arc<Shared>, key: Key, wanted: Wanted) {
    let urgency = promise.urgency().clone();
    let made = async {
        match load(&host, key).await {
            Some(artifact) => Ok(Preparation::Ready(artifact, Origin::Disk)),
            None => Ok(compile(&host, key, &wanted, &urgency).await),
        }
    };
    let settled = match host.gate.enter(None) {
        Ok(pass) => pass.while_inside(made).await,
        Err(fault) => Err(fault),
    };
    promise.settle(settled.unwrap_or_else(Preparation::Failed));
}

/// The artifact in the cache directory, if there is one that verifies.
async fn load(host: &Shared, key: Key) -> Option<Arc<Artifact>> {
    let store = host.store.clone()?;
    let loaded = tokio::task::spawn_blocking(move || store.load(&key)).await;
    let (blob, facts) = loaded.ok()?.ok()??;
    Some(Arc::new(Artifact::new(blob, facts)))
}

/// Compiles in a job and keeps what comes of it.
async fn compile(host: &Arc<Shared>, key: Key, wanted: &Wanted, urgency: &Urgency) -> Preparation {
    let Wanted { request, code, params, limits, purpose } = wanted;
    let request = *request;
    let asked = match purpose {
        Purpose::Precheck => Asked::Precheck,
        Purpose::Execution => Asked::PrepareToExecute,
    };
    let work = Work::Prepare(Prepare {
        params: params.clone(),
        code_bytes_max: limits.code_bytes_max,
        artifact_bytes_max: limits.artifact_bytes_max,
        limits: limits.for_prepare(limits.cpu(*purpose)),
    });
    let mut attempt = 1;
    loop {
        let attached = || Ok(vec![code.blob().clone()]);
        let order = Order { request, asked, work: work.clone(), deadline: None, attached };
        let ran = run(host, &host.prepare_workers, urgency, order).await;
        if let Some(pause) = pause_before_retry(Retry::Once, attempt, &ran.concluded) {
            host.metrics.retried(host.prepare_workers.of());
            tokio::time::sleep(pause).await;
            attempt += 1;
            continue;
        }
        return match ran.concluded {
            Err(fault) => Preparation::Failed(fault),
            Ok(Judged::Refused(refusal)) => Preparation::Refused(refusal),
            Ok(Judged::Inconclusive(doubt)) => Preparation::Inconclusive(doubt),
            Ok(Judged::Prepared(prepared)) => match ran.blob {
                None => Preparation::Failed(bug!("an artifact that did not come")),
                Some(blob) => {
                    let facts = PrepareFacts {
                        cpu_micros: ran.usage.cpu.as_micros() as u64,
                        wall_micros: ran.usage.wall.as_micros() as u64,
                        heap_bytes_peak: prepared.heap_bytes_peak,
                        code_bytes: prepared.code_bytes,
                    };
                    save(host, key, code, &blob, facts).await;
                    Preparation::Ready(Arc::new(Artifact::new(blob, facts)), Origin::Prepared)
                }
            },
            Ok(Judged::Returned { .. } | Judged::Inspected(_)) => {
                Preparation::Failed(bug!("a preparation judged as something else"))
            }
        };
    }
}

/// Writes the artifact to the cache directory. A cache that cannot be written costs the next host
/// time, and this request nothing.
async fn save(host: &Shared, key: Key, code: &Code, blob: &Blob, facts: PrepareFacts) {
    let Some(store) = host.store.clone() else { return };
    let blob = blob.clone();
    let source = Source::new(*code.digest(), host.engine_fingerprint, SystemTime::now());
    let saved = tokio::task::spawn_blocking(move || store.save(&key, source, &blob, facts));
    if let Ok(Err(fault)) = saved.await {
        tracing::warn!(target: "lazaret", error = %fault, "artifact not kept");
    }
}

/// Runs one job on a leased worker and judges it. When this future is dropped the work is withdrawn:
/// the conversation goes on in a task of its own just long enough to have the job killed and reaped.
async fn run<A>(host: &Shared, pool: &Pool, urgency: &Urgency, order: Order<A>) -> Ran
where
    A: FnOnce() -> io::Result<Vec<Blob>>,
{
    let Order { request, asked, work, deadline, attached } = order;
    if deadline.is_some_and(|deadline| deadline <= Instant::now()) {
        return Fault::Deadline.into();
    }
    let near = match &work {
        Work::Execute(execute) => Some(execute.artifact),
        Work::Prepare(_) | Work::Inspect(_) => None,
    };
    let mut lease = match timeout_at(or_never(deadline), pool.lease(urgency, near)).await {
        Ok(Ok(lease)) => lease,
        Ok(Err(fault)) => return fault.into(),
        Err(_) => return Fault::Deadline.into(),
    };
    let blobs = match attached() {
        Ok(blobs) => blobs,
        Err(error) => return Fault::Memory(error.into()).into(),
    };
    let limits = work.limits().clone();
    let (_still_wanted, mut withdrawn) = oneshot::channel();
    let conversation = async move {
        let descriptors: Vec<_> = blobs.iter().map(AsFd::as_fd).collect();
        let answer = lease.run(request, &work, &descriptors, &mut withdrawn).await;
        (answer, lease)
    };
    let (answer, lease) = match ToItsEnd::new(conversation.in_current_span()).await {
        (Ok(answer), lease) => (answer, lease),
        (Err(fault), _) => return fault.into(),
    };
    let mut ran = Ran { blob: answer.blob, ..Ran::from(Fault::ShuttingDown) };
    if let Outcome::Ended(ended, _) = &answer.outcome {
        ran.usage = ended.usage.into();
        host.metrics.job_begun(pool.of(), answer.readiness);
        host.metrics.job_ended(pool.of(), &ran.usage, ended.stop.map(Stop::word));
        tell_guest(request, &ended.log);
        ran.log.clone_from(&ended.log);
        ran.log_lines_dropped = ended.log_lines_dropped;
    }
    let waiting = match answer.readiness {
        // Until its last doors it held what its template did, the template's channel for one, and code of
        // an artifact that a compiler was made to forge could have waited there.
        Readiness::Loaded => Waiting::Possible,
        Readiness::Absent | Readiness::Standby => host.waiting,
    };
    ran.concluded = judge(asked, &limits, waiting, answer.outcome);
    if let Err(Fault::Stalled { turn, load, .. }) = &mut ran.concluded {
        *turn = answer.turn.unwrap_or_default();
        *load = MachineLoad::now();
    }
    if matches!(ran.concluded, Err(_) | Ok(Judged::Inconclusive(_))) {
        // Whatever it was may lie in the worker: the next try gets a fresh one.
        lease.retire();
    }
    ran
}

/// What a guest said, as the last words of its job came.
fn tell_guest(request: Option<RequestId>, log: &[LogLine]) {
    for LogLine { level, target: of, message } in log {
        tracing::debug!(target: "lazaret::guest", request, ?level, %of, "{message}");
    }
}

impl From<Fault> for Ran {
    fn from(fault: Fault) -> Self {
        Self {
            concluded: Err(fault),
            usage: Usage::default(),
            log: Vec::new(),
            log_lines_dropped: 0,
            blob: None,
        }
    }
}

/// How far the preparation of code is.
pub(crate) fn preparation(host: &Shared, code: &Code, params: &Params) -> PreparationState {
    host.shelf.state(&key(host, code, params), params.memory_pages_max)
}

fn key(host: &Shared, code: &Code, params: &Params) -> Key {
    Key::new(code.digest(), params, &host.engine_fingerprint)
}

fn read_output(output: evidence::Output, blob: Option<Blob>) -> Result<Vec<u8>, Fault> {
    match (output, blob) {
        (evidence::Output::Inline(bytes), _) => Ok(bytes),
        (evidence::Output::Attached(bytes), Some(blob)) if blob.len() == u64::from(bytes) => {
            blob.to_vec().map_err(|error| Fault::Memory(error.into()))
        }
        (evidence::Output::Attached(_), _) => Err(bug!("an output that did not come")),
    }
}

fn artifact_use(artifact: &Artifact, origin: Origin) -> ArtifactUse {
    ArtifactUse { origin, bytes: artifact.blob.len(), facts: artifact.facts }
}

/// An answer for which no job was run.
fn unrun<T>(verdict: Verdict<T>) -> Answer<T> {
    Answer {
        verdict,
        usage: Usage::default(),
        attempts: 0,
        artifact: None,
        log: Vec::new(),
        log_lines_dropped: 0,
        security: None,
    }
}
