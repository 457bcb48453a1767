//! One job on a leased worker, from its order to the judgement of how it ended.

use std::{io, os::fd::AsFd, pin::pin, time::Instant};

use lazaret_wire::{
    claim::Claim,
    evidence::{Evidence, Reply, Stop},
    frame::Readiness,
    work::Work,
};
use tokio::{sync::oneshot, time::timeout_at};
use tracing::Instrument;

use crate::{
    Doubt, Fault, LogLine, Usage,
    blob::{Attached, Blob},
    host::Shared,
    judge::{Asked, Judged, Outcome, Waiting, judge},
    machine::MachineLoad,
    request::{RequestId, or_never},
    to_its_end::ToItsEnd,
    worker::{Lease, Pool, Urgency},
};

/// What came of one job, or of the try to have one.
pub(crate) struct Ran {
    pub(crate) concluded: Result<Judged, Fault>,
    pub(crate) usage: Usage,
    pub(crate) log: Vec<LogLine>,
    pub(crate) log_lines_dropped: u32,
    /// By how much later in its file the input should have begun, says the job.
    pub(crate) input_shift: u16,
    /// The memfd that came with it, if one did.
    pub(crate) blob: Option<Blob>,
}

/// What one job is to do.
pub(crate) struct Order {
    pub(crate) request: Option<RequestId>,
    pub(crate) asked: Asked,
    pub(crate) work: Work,
    pub(crate) deadline: Option<Instant>,
    /// Whether it may wait for somebody whatever its filter says.
    pub(crate) waiting: Waiting,
    /// Has the job killed when it says so. One that is gone says nothing.
    pub(crate) cut: Option<oneshot::Receiver<()>>,
}

impl Order {
    /// One without a deadline, and that nobody cuts short.
    pub(crate) fn new(
        request: Option<RequestId>,
        asked: Asked,
        work: Work,
        waiting: Waiting,
    ) -> Self {
        Self { request, asked, work, deadline: None, waiting, cut: None }
    }
}

/// Runs one job on a leased worker and judges it. The descriptors that go with it are asked for once there
/// is a worker: what waits holds none. The work may then be changed to suit that worker. When this future
/// is dropped the work is withdrawn: the conversation goes on in a task of its own just long enough to have
/// the job killed and reaped.
pub(crate) async fn run(
    host: &Shared,
    pool: &Pool,
    urgency: &Urgency,
    order: Order,
    attached: impl FnOnce(&Lease, &mut Work) -> io::Result<Vec<Attached>>,
) -> Ran {
    let Order { request, asked, mut work, deadline, waiting, cut } = order;
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
    let attached = match attached(&lease, &mut work) {
        Ok(attached) => attached,
        Err(error) => return Fault::Memory(error.into()).into(),
    };
    let limits = work.limits().clone();
    let (still_wanted, mut withdrawn) = oneshot::channel();
    let conversation = async move {
        let descriptors: Vec<_> = attached.iter().map(AsFd::as_fd).collect();
        let answer = lease.run(request, &work, &descriptors, &mut withdrawn).await;
        (answer, lease)
    };
    let mut conversation = pin!(ToItsEnd::new(conversation.in_current_span()));
    let ended = tokio::select! {
        ended = &mut conversation => ended,
        () = said(cut) => {
            drop(still_wanted);
            conversation.await
        }
    };
    let (answer, lease) = match ended {
        (Ok(answer), lease) => (answer, lease),
        (Err(fault), _) => return fault.into(),
    };
    let mut ran = Ran { blob: answer.blob, ..Ran::from(Fault::ShuttingDown) };
    if let Outcome::Ended(ended, _) = &answer.outcome {
        ran.note(ended);
        host.metrics.job_begun(pool.of(), answer.readiness);
        host.metrics.job_ended(pool.of(), &ran.usage, ended.stop.map(Stop::word));
        tell_guest(request, &ended.log);
    }
    let waiting = match answer.readiness {
        // Until its last doors it held what its template did, the template's channel for one, and code of
        // an artifact that a compiler was made to forge could have waited there.
        Readiness::Loaded => Waiting::Possible,
        Readiness::Absent | Readiness::Standby => waiting,
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

/// Resolves when the word comes, and never if nobody is left to say it.
async fn said(word: Option<oneshot::Receiver<()>>) {
    if let Some(word) = word
        && word.await.is_ok()
    {
        return;
    }
    std::future::pending().await
}

/// What a guest said, as the last words of its job came.
fn tell_guest(request: Option<RequestId>, log: &[LogLine]) {
    for LogLine { level, target: of, message } in log {
        tracing::debug!(target: "lazaret::guest", request, ?level, %of, "{message}");
    }
}

impl Ran {
    /// Takes over what nobody judges.
    fn note(&mut self, ended: &Evidence) {
        self.usage = ended.usage.into();
        self.log.clone_from(&ended.log);
        self.log_lines_dropped = ended.log_lines_dropped;
        match &ended.reply {
            Reply::Whole { claim: Claim::Ran(claimed), .. } => self.usage.fuel = claimed.fuel_used,
            Reply::Whole { claim: Claim::Returned { input_shift, .. }, .. } => {
                self.input_shift = *input_shift;
            }
            _ => {}
        }
    }

    /// Whether the job says that its artifact does not load.
    pub(crate) fn found_artifact_unusable(&self) -> bool {
        matches!(self.concluded, Ok(Judged::Inconclusive(Doubt::ArtifactUnusable(_))))
    }
}

impl From<Fault> for Ran {
    fn from(fault: Fault) -> Self {
        Self {
            concluded: Err(fault),
            usage: Usage::default(),
            log: Vec::new(),
            log_lines_dropped: 0,
            input_shift: 0,
            blob: None,
        }
    }
}
