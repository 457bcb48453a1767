//! One worker process: started, greeted, and spoken to one frame at a time.

use std::{
    io,
    os::fd::BorrowedFd,
    pin::pin,
    process,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use lazaret_wire::{
    claim::Claim,
    evidence::{Output, Reply},
    frame::{Ending, FromWorker, Readiness, ToWorker, Wake, decode, encode},
    greeting::{
        Birthplace, GreetingError, Hello, JailLevel, Layer, LayerState, Role, Start,
        decode_greeting, encode_greeting,
    },
    work::Work,
};
use tokio::{
    sync::oneshot,
    time::{error::Elapsed, timeout},
};

use super::{
    input_file::InputFile,
    layers,
    link::{self, Link},
    log_pipe::{self, Log},
    spawner::{Child, Spawner},
    turn::{self, JobTurn},
};
use crate::{
    Patience,
    blob::Blob,
    cgroup::{HostGroup, JobMemory, Refusal},
    cpus::{Places, Seat},
    judge::{OomKill, Outcome},
    request::RequestId,
    verdict::{Fault, NoGreeting},
};

/// When a job's turn is looked at, in tenths of its wall-clock limit.
const LATE_TENTHS: u32 = 9;

/// What the workers of a pool are started as.
#[derive(Clone, Debug)]
pub(crate) struct Terms {
    pub(crate) role: Role,
    pub(crate) jail: JailLevel,
    pub(crate) patience: Patience,
    /// Where control groups are made, or why there are none.
    pub(crate) cgroup: Arc<Result<HostGroup, Refusal>>,
    /// Bytes that jobs write and that are kept when they have ended.
    pub(crate) kept_bytes_max: u64,
    /// The processors that workers are put on.
    pub(crate) places: Places,
}

/// What a worker said of itself in its greeting.
#[derive(Clone, Debug)]
pub(crate) struct Facts {
    pub(crate) engine_fingerprint: [u8; 32],
    pub(crate) layers: Vec<Layer>,
}

/// A worker that has greeted. Dropping it kills the process, and with it its job.
pub(crate) struct Process {
    link: Link,
    log: Log,
    /// Killed when dropped.
    child: Child,
    patience: Patience,
    /// The limit of its jobs' control group, where there is one.
    memory: Option<JobMemory>,
    kept_bytes_max: u64,
    /// How many pieces of work it was sent.
    sent: AtomicU64,
    /// Made for the first input that is put there.
    input_file: OnceLock<InputFile>,
    /// Where it runs.
    seat: Seat,
    pub(crate) facts: Facts,
}

/// What came back for one piece of work.
pub(crate) struct Answer {
    pub(crate) outcome: Outcome,
    /// How far its job was when it came.
    pub(crate) readiness: Readiness,
    /// What the kernel said of the job, if its answer was nearly overdue.
    pub(crate) turn: Option<JobTurn>,
    /// The memfd that came with it: a large output, or an artifact.
    pub(crate) blob: Option<Blob>,
}

/// Whether a worker can be used again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Afterwards {
    Reuse,
    Retire,
}

impl Process {
    /// Starts a worker and waits for its greeting.
    pub(crate) async fn start(spawner: &Spawner, terms: &Terms) -> Result<Self, Fault> {
        let Terms { role, jail, patience, kept_bytes_max, .. } = *terms;
        let (link, socket) = link::pair().map_err(spawn_failed)?;
        let (log_pipe, log_end) = log_pipe::pair().map_err(spawn_failed)?;
        let (group, refused) = match layers::worker_group(terms) {
            Ok(group) => (Some(group), None),
            Err(refusal) => (None, Some(refusal)),
        };
        let mut child = spawner.start(role, socket, log_end, group).await.map_err(spawn_failed)?;
        tracing::debug!(target: "lazaret", worker_pid = child.id(), ?role, "worker started");
        // Before it makes anything: what it makes is where it is.
        let seat = terms.places.seat(child.id()).map_err(spawn_failed)?;
        let log = log_pipe::relay(log_pipe, child.id());
        let admitted = layers::admit(&child, refused);
        let admitted = layers::unless_required(jail, layers::GROUP, admitted)?;
        let cgroup = match admitted {
            Ok(()) => Birthplace::InCgroup,
            Err(_) => Birthplace::WithHost,
        };
        give_start(&link, Start { role, jail, host_pid: process::id() as i32, cgroup }).await?;
        let mut facts = greet(&link, &mut child, patience.greeting).await?;
        if !spawner.is_the_engine(&facts.engine_fingerprint) {
            return Err(Fault::NoGreeting(NoGreeting::OtherEngine));
        }
        let memory = layers::limit_jobs(&child, admitted.err(), &mut facts.layers);
        let memory = layers::unless_required(jail, layers::LIMITS, memory)?.ok();
        Ok(Self {
            link,
            log,
            child,
            patience,
            memory,
            kept_bytes_max,
            sent: AtomicU64::new(0),
            input_file: OnceLock::new(),
            seat,
            facts,
        })
    }

    /// Whether an idle worker is as it should be: alive, with nothing to say.
    pub(crate) fn is_quiet(&self) -> bool {
        self.link.is_quiet()
    }

    /// Which of the workers on its processors this is.
    pub(crate) fn seat_number(&self) -> u16 {
        self.seat.number()
    }

    /// Its input file, where there can be one. Only who leased the worker may write to it.
    pub(crate) fn input_file(&self) -> Option<&InputFile> {
        if self.input_file.get().is_none() {
            let _ = self.input_file.set(InputFile::new().ok()?);
        }
        self.input_file.get()
    }

    /// Sends one piece of work and waits for its end, or withdraws it when `withdrawn` resolves. What
    /// the worker logs meanwhile is the request's.
    pub(crate) async fn run(
        &self,
        request: Option<RequestId>,
        (work, wake): (&Work, Wake),
        descriptors: &[BorrowedFd<'_>],
        withdrawn: &mut oneshot::Receiver<()>,
    ) -> Result<(Answer, Afterwards), Fault> {
        let _whose = self.log.during(request);
        let number = 1 + self.sent.fetch_add(1, Ordering::Relaxed);
        let message = ToWorker::Run { number, work: work.clone(), wake };
        let frame = encode(&message).map_err(|_| bug!("work that is no frame"))?;
        let worker_pid = self.child.id();
        tracing::debug!(target: "lazaret", request, worker_pid, number, "work sent");
        self.limit_memory(work)?;
        match timeout(self.patience.answer, self.link.send(&frame, descriptors)).await {
            Ok(Ok(())) => {}
            Ok(Err(_)) | Err(_) => return Ok(lost(Outcome::LostBefore)),
        }
        let wall = Duration::from_micros(work.limits().wall_micros);
        let wait = wall.saturating_add(self.patience.answer);
        let answer = tokio::select! {
            answer = self.answer_or_look(number, work, wait) => answer,
            _ = withdrawn => self.withdraw(number, work).await,
        };
        match answer {
            Ok(Ok(answer)) => Ok((answer, Afterwards::Reuse)),
            // The kernel's word that the worker died before it read the frame (unix(7)).
            Ok(Err(error)) if error.kind() == io::ErrorKind::ConnectionReset => {
                Ok(lost(Outcome::LostBefore))
            }
            Ok(Err(error)) if link::is_out_of_descriptors(&error) => {
                Err(Fault::Memory(error.into()))
            }
            Ok(Err(_)) | Err(_) => Ok(lost(Outcome::LostWith)),
        }
    }

    /// The limit of the kernel, above the job's own, which is met first.
    fn limit_memory(&self, work: &Work) -> Result<(), Fault> {
        let bytes = work.limits().memory_bytes.saturating_add(self.kept_bytes_max);
        match self.memory.as_ref().map(|memory| memory.limit(bytes)) {
            None | Some(Ok(())) => Ok(()),
            Some(Err(refusal)) => Err(layers::missing(layers::LIMITS, refusal)),
        }
    }

    async fn withdraw(&self, number: u64, work: &Work) -> Result<io::Result<Answer>, Elapsed> {
        let frame = encode(&ToWorker::Withdraw).unwrap_or_default();
        timeout(self.patience.withdrawal, async {
            self.link.send(&frame, &[]).await?;
            self.answer(number, work).await
        })
        .await
    }

    /// The answer. One that is nearly overdue comes with what the kernel says of the job meanwhile: when
    /// it has come, there is no job any more.
    async fn answer_or_look(
        &self,
        number: u64,
        work: &Work,
        wait: Duration,
    ) -> Result<io::Result<Answer>, Elapsed> {
        let late = Duration::from_micros(work.limits().wall_micros) / 10 * LATE_TENTHS;
        let mut answering = pin!(self.answer(number, work));
        if let Ok(answer) = timeout(late, &mut answering).await {
            return Ok(answer);
        }
        let turn = Some(turn::of_job_of(self.child.id()));
        let answer = timeout(wait.saturating_sub(late), answering).await?;
        Ok(answer.map(|answer| Answer { turn, ..answer }))
    }

    async fn answer(&self, number: u64, work: &Work) -> io::Result<Answer> {
        let garbled = |error| io::Error::new(io::ErrorKind::InvalidData, error);
        let received = self.link.receive().await?;
        let answer: FromWorker = decode(&received.frame).map_err(garbled)?;
        let mut memfds = received.descriptors.into_iter();
        let blob = memfds.next().map(Blob::from_sealed).transpose()?;
        if answer.number != number || memfds.next().is_some() || !fits(&answer, work, &blob) {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "an answer to something else"));
        }
        let outcome = match answer.ending {
            Ending::Ended(evidence) => {
                let oom_kill = self.memory.as_ref().map_or(OomKill::None, JobMemory::oom_kill);
                Outcome::Ended(evidence, oom_kill)
            }
            Ending::NotStarted(why) => Outcome::NotStarted(why),
        };
        Ok(Answer { outcome, readiness: answer.readiness, turn: None, blob })
    }
}

/// Whether a memfd came exactly if the answer speaks of one, and whether it and the output have the
/// length that they should have. What the job claims is judged elsewhere.
fn fits(answer: &FromWorker, work: &Work, blob: &Option<Blob>) -> bool {
    let Ending::Ended(evidence) = &answer.ending else { return blob.is_none() };
    let Reply::Whole { claim, output } = &evidence.reply else { return blob.is_none() };
    let output_bytes_max = u64::from(work.limits().output_bytes);
    match (work, claim, output, blob) {
        (Work::Prepare(prepare), Claim::Prepared(_), _, Some(artifact)) => {
            artifact.len() <= prepare.artifact_bytes_max
        }
        (Work::Prepare(_), Claim::Prepared(_), _, None) => false,
        (_, _, Output::Attached(bytes), Some(blob)) => {
            blob.len() == u64::from(*bytes) && blob.len() <= output_bytes_max
        }
        (_, _, Output::Inline(bytes), None) => bytes.len() as u64 <= output_bytes_max,
        (_, _, Output::Attached(_), None) | (_, _, Output::Inline(_), Some(_)) => false,
    }
}

/// Tells a worker that has just been started what it is to be. Until it has read this it does nothing.
async fn give_start(link: &Link, start: Start) -> Result<(), Fault> {
    let greeting = encode_greeting(&start).map_err(|_| bug!("a greeting that is no frame"))?;
    // One that has ended already cannot be told. How it ended is found by whoever waits for its word.
    let _ = link.send(&greeting, &[]).await;
    Ok(())
}

async fn greet(link: &Link, child: &mut Child, patience: Duration) -> Result<Facts, Fault> {
    let no_greeting = match timeout(patience, link.receive()).await {
        Err(_) => NoGreeting::Silent(patience),
        Ok(Err(error)) if error.kind() == io::ErrorKind::InvalidData => {
            NoGreeting::Greeting(GreetingError::NotAGreeting)
        }
        Ok(Err(_)) => NoGreeting::Ended(child.ending().await),
        Ok(Ok(received)) => match decode_greeting(&received.frame) {
            Err(error) => NoGreeting::Greeting(error),
            Ok(Hello::Broken(reason)) => NoGreeting::Broken(reason),
            Ok(Hello::ProbeKilled { signal, times }) => NoGreeting::ProbeKilled { signal, times },
            Ok(Hello::Ready { engine_fingerprint, layers }) => {
                return Ok(Facts { engine_fingerprint, layers });
            }
            Ok(Hello::JailIncomplete(Layer { name: layer, state })) => {
                let (call, errno) = match state {
                    LayerState::Off { call, errno } => (call, errno),
                    LayerState::On => ("unknown".into(), 0),
                };
                return Err(Fault::Jail { layer, call, errno });
            }
        },
    };
    Err(Fault::NoGreeting(no_greeting))
}

fn spawn_failed(error: io::Error) -> Fault {
    Fault::Spawn(error.into())
}

fn lost(outcome: Outcome) -> (Answer, Afterwards) {
    (Answer { outcome, readiness: Readiness::Absent, turn: None, blob: None }, Afterwards::Retire)
}
