//! The way of a request, top to bottom: artifact, worker, job, judgement, retry, answer.

use std::{
    io,
    sync::Arc,
    time::{Instant, SystemTime},
};

use lazaret_wire::{
    evidence,
    params::Profile,
    work::{self, Execute, Inspect, Prepare, Work},
};
use tokio::time::timeout_at;
use tracing::Instrument;

use crate::{
    Answer, ArtifactUse, Code, Doubt, Fault, Inspection, Origin, Params, PreparationState,
    PrepareFacts, PrepareLimits, Refusal, Retry, Usage, Verdict,
    artifacts::{Artifact, Found, Key, Preparation, Promise, Purpose, Source, Terms, Waiter},
    blob::{Attached, Blob},
    breaker::is_death,
    canary,
    host::{Call, Shared},
    judge::{Asked, Judged, Outcome, Waiting, judge},
    lanes::{
        Lane,
        preparation::{ASKED, CRITICAL, HEADS_UP},
    },
    one_job::{Order, Ran, run},
    program::Relayed,
    request::{Output, RequestId, Written, or_never, wall_micros},
    retry::pause_before_retry,
    worker::{Lease, Urgency},
};

/// What an element of a table takes, and as much again while the table grows.
const TABLE_ELEMENT_BYTES: u64 = 32;

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
        let (ran, relayed) = self::attempt(&host, &call, &artifact).await;
        let pause = pause_before_retry(call.retry, attempt, &ran.concluded);
        if let Some(pause) = pause.filter(|_| relayed.can_begin_anew) {
            if ran.found_artifact_unusable() {
                // The job's word evicts nothing: the file is read and verified again instead.
                host.shelf.drop_hot(&key(&host, &call.code, &call.params));
            }
            host.metrics.retried(host.execute_workers.of());
            tokio::time::sleep(pause).await;
            attempt += 1;
            continue;
        }
        return Ok(Answer {
            verdict: verdict(ran.concluded?, ran.blob)?,
            usage: ran.usage,
            attempts: attempt,
            artifact: Some(artifact_use(&artifact, origin)),
            log: ran.log,
            log_lines_dropped: ran.log_lines_dropped,
            written: relayed.written,
            security: None,
        });
    }
}

/// One job that calls the artifact, and what its streams did meanwhile.
async fn attempt(host: &Shared, call: &Call, artifact: &Artifact) -> (Ran, Relayed) {
    let tmp_bytes = match &call.input.form {
        work::Input::Wasi(wasi) => wasi.tmp_bytes_max,
        _ => 0,
    };
    let table_bytes = u64::from(call.params.table_elements_max) * TABLE_ELEMENT_BYTES;
    let mut limits = call.limits.for_execute(&call.params, tmp_bytes.saturating_add(table_bytes));
    limits.wall_micros = call.wall.map_or(limits.wall_micros, wall_micros);
    let work = Work::Execute(Execute {
        artifact: artifact.number,
        given: call.input.given(),
        input: call.input.form.clone(),
        params: call.params.clone(),
        limits,
    });
    let asked = match call.params.profile {
        Profile::Pvf => Asked::Execute,
        Profile::Plain | Profile::Wasi => Asked::Run,
    };
    let input_at = artifact.input_at();
    let files = |lease: &Lease, work: &mut Work| {
        let mut attached = vec![Attached::Blob(artifact.blob.clone())];
        if let Work::Execute(execute) = work
            && execute.given.is_in_a_file()
        {
            let (given, input) = call.input.in_a_file(lease.input_file(), input_at)?;
            execute.given = given;
            attached.push(input);
        }
        attached.extend(call.input.image.clone().map(Attached::Blob));
        io::Result::Ok(attached)
    };
    let (pool, urgency) = (&host.execute_workers, Urgency::new(call.lane));
    let order = Order::new(call.request, asked, work, host.waiting);
    let order = Order { deadline: call.deadline, ..order };
    let Some(outside) = &call.streams else {
        let ran = run(host, pool, &urgency, order, files).await;
        artifact.note_input_shift(input_at, ran.input_shift);
        return (ran, Relayed::default());
    };
    let mut outside = outside.lock().await;
    let waiting = if outside.is_live() { Waiting::Possible } else { host.waiting };
    let (relay, pipes, cut) = outside.relay();
    let attached = |lease: &Lease, work: &mut Work| {
        let mut attached = files(lease, work)?;
        attached.extend(pipes.open()?.into_iter().map(Attached::Pipe));
        Ok(attached)
    };
    let order = Order { waiting, cut: Some(cut), ..order };
    // On the heap, so that a call without streams is not as large as both.
    let run = Box::pin(run(host, pool, &urgency, order, attached));
    let (mut ran, relayed) = tokio::join!(run, relay);
    if let Some(limit_bytes) = relayed.over_bytes {
        let limits = call.limits.for_execute(&call.params, 0);
        ran.concluded = judge(asked, &limits, waiting, Outcome::OverOutput { limit_bytes });
    }
    if let Some(fault) = &relayed.failed {
        ran.concluded = Err(fault.clone());
    }
    (ran, relayed)
}

fn verdict(judged: Judged, blob: Option<Blob>) -> Result<Verdict<Output>, Fault> {
    Ok(match judged {
        Judged::Returned { output, memory_pages } => {
            let bytes = read_output(output, blob)?;
            Verdict::Returned(Output { bytes, memory_pages, end: None })
        }
        Judged::Ran(ran, output) => {
            let (bytes, memory_pages) = (read_output(output, blob)?, ran.memory_pages);
            Verdict::Returned(Output { bytes, memory_pages, end: Some(ran.end) })
        }
        Judged::Refused(refusal) => Verdict::Refused(refusal),
        Judged::Inconclusive(doubt) => Verdict::Inconclusive(doubt),
        Judged::Prepared(_) | Judged::Inspected(_) => {
            return Err(bug!("a call judged as something else"));
        }
    })
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
    let attached = |_: &Lease, _: &mut Work| Ok(vec![Attached::Blob(code.blob().clone())]);
    let order = Order::new(request, Asked::Inspect, work, host.waiting);
    let ran = run(&host, &host.prepare_workers, &Urgency::new(ASKED), order, attached).await;
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
        Judged::Returned { .. } | Judged::Ran(..) | Judged::Prepared(_) => {
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
        let attached = |_: &Lease, _: &mut Work| Ok(vec![Attached::Blob(code.blob().clone())]);
        let order = Order::new(request, asked, work.clone(), host.waiting);
        let ran = run(host, &host.prepare_workers, urgency, order, attached).await;
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
            Ok(Judged::Returned { .. } | Judged::Ran(..) | Judged::Inspected(_)) => {
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
pub(crate) fn unrun<T>(verdict: Verdict<T>) -> Answer<T> {
    Answer {
        verdict,
        usage: Usage::default(),
        attempts: 0,
        artifact: None,
        log: Vec::new(),
        log_lines_dropped: 0,
        written: Written::default(),
        security: None,
    }
}
