//! The words in which the host answers: verdicts about guests, faults of this machine, votes.

use std::{fmt, io, path::PathBuf, process::ExitStatus, sync::Arc, time::Duration};

pub use lazaret_wire::{
    claim::{CodeStep, Import, ImportTreatment, Inspection, Refusal, TrapKind},
    evidence::{LogLevel, LogLine, Malformation},
    frame::StartStep,
    text::Text,
};

use crate::{machine::MachineLoad, worker::JobTurn};

/// What the host concludes about a guest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict<T> {
    /// The guest answered.
    Returned(T),
    /// The guest, its code or its input is at fault.
    Refused(Refusal),
    /// It cannot be said whose fault it was.
    Inconclusive(Doubt),
}

/// What was seen when it cannot be said whose fault it was.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Doubt {
    /// A signal that nobody here sent ended the job.
    #[error("the job was ended by signal {signal}")]
    Signaled {
        /// Its number (signal(7)).
        signal: i32,
    },
    /// The job ended with a status other than 0.
    #[error("the job exited with status {status}")]
    Exited {
        /// The status.
        status: i32,
    },
    /// The kernel killed the job at the memory limit of its control group.
    #[error("the job took more memory than its control group may have, and the kernel killed it")]
    OutOfMemory,
    /// The kernel killed the job because the machine, or a control group around the host, was out
    /// of memory.
    #[error("the machine was out of memory, and the kernel killed the job")]
    MachineOutOfMemory,
    /// The job ended without a whole reply.
    #[error("the job ended without a whole reply")]
    NoReply,
    /// The job sent what is no reply.
    #[error("the job sent what is no reply ({0:?})")]
    Malformed(Malformation),
    /// The job's reply does not answer what it was asked.
    #[error("the job's reply does not answer what it was asked")]
    Unfitting,
    /// The job says that its artifact does not load.
    #[error("the job could not use its artifact: {0}")]
    ArtifactUnusable(Text),
    /// The job says that the machine kept it from going on. Only its word.
    #[error("the job says that it could not go on: {0}")]
    Unable(Text),
    /// The wall-clock limit passed, and the job could have been waiting by its own will.
    #[error("the job passed its wall-clock limit of {limit:?}")]
    WallLimit {
        /// The limit.
        limit: Duration,
    },
    /// The worker died while it held the job.
    #[error("the worker was lost while it held the job")]
    WorkerLost,
    /// The code could not be prepared, for a reason that may be gone next time.
    #[error("preparation: {0}")]
    Preparation(Box<Doubt>),
    /// Preparation took more CPU time than execution waits for.
    #[error("preparation passed its CPU limit of {limit:?}")]
    PreparationCpu {
        /// The limit.
        limit: Duration,
    },
}

/// This machine failed before the guest had a hand in it.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Fault {
    /// As many requests wait as may wait.
    #[error("busy: {waiting} requests wait already")]
    Busy {
        /// How many wait.
        waiting: usize,
    },
    /// The deadline passed before the request ran.
    #[error("the deadline passed before the request ran")]
    Deadline,
    /// Its group was withdrawn before it had an answer.
    #[error("the request was withdrawn with its group")]
    Withdrawn,
    /// The async runtime of a [`blocking::Host`](crate::blocking::Host) did not start.
    #[error("cannot start the async runtime")]
    Runtime(#[source] Arc<io::Error>),
    /// No worker process could be started.
    #[error("cannot start a worker process")]
    Spawn(#[source] Arc<io::Error>),
    /// A worker process was started and did not greet.
    #[error("a worker did not greet: {0}")]
    NoGreeting(NoGreeting),
    /// A layer of the jail is missing that the level asks for.
    #[error("the jail is incomplete: {layer} is off because {call} failed{}", show_errno(*.errno))]
    Jail {
        /// The layer.
        layer: Text,
        /// The call that failed.
        call: Text,
        /// Its errno; 0 if it has none.
        errno: i32,
    },
    /// A worker died before it held the job.
    #[error("a worker was lost before it held the job")]
    WorkerLost,
    /// A worker could not hand the work to a job.
    #[error("a worker could not start a job: {step:?} failed{}", show_errno(*.errno))]
    NotStarted {
        /// The step that failed.
        step: StartStep,
        /// Its errno; 0 if it has none.
        errno: i32,
    },
    /// The wall-clock limit passed while the job had hardly run, and it could not have waited.
    #[error("the machine stalled: the job got {cpu:?} of CPU time in {wall:?}; {turn} ({load})")]
    Stalled {
        /// CPU time it got.
        cpu: Duration,
        /// Wall time that passed.
        wall: Duration,
        /// What the job was doing shortly before.
        turn: JobTurn,
        /// How busy the machine was when it was noticed.
        load: MachineLoad,
    },
    /// The canary, a call whose answer is known, fails here: what jobs do says nothing about guests.
    #[error("the canary fails on this machine: {0}")]
    Canary(Text),
    /// Memory for code, input or artifact could not be had (memfd_create(2)).
    #[error("cannot hold bytes for a job")]
    Memory(#[source] Arc<io::Error>),
    /// The artifact cache failed.
    #[error("artifact cache: cannot {action} {}", path.display())]
    Cache {
        /// What was tried.
        action: &'static str,
        /// On which file or directory.
        path: PathBuf,
        /// Why it failed.
        #[source]
        source: Arc<io::Error>,
    },
    /// A stream of a program failed at its outer end: what it should read could not be read, or what it
    /// wrote could not be passed on.
    #[error("the program's {stream} failed outside of it")]
    Stream {
        /// `standard input`, `standard output` or `standard error`.
        stream: &'static str,
        /// Why.
        #[source]
        source: Arc<io::Error>,
    },
    /// The host is shutting down.
    #[error("the host is shutting down")]
    ShuttingDown,
    /// A bug of ours: one request failed by it.
    #[error("a bug in Lazaret: {what} ({file}:{line})")]
    Bug {
        /// What should not have been.
        what: &'static str,
        /// Where it was noticed.
        file: &'static str,
        /// Where it was noticed.
        line: u32,
    },
}

/// Why a worker's greeting did not come.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NoGreeting {
    /// Nothing came in time.
    #[error("nothing came within {0:?}")]
    Silent(Duration),
    /// It closed its socket, as a process does that ends.
    #[error("it ended{}", .0.map(|status| format!(" with {status}")).unwrap_or_default())]
    Ended(Option<ExitStatus>),
    /// Something else came, or a greeting of another build.
    #[error("{0}")]
    Greeting(#[from] lazaret_wire::greeting::GreetingError),
    /// Its engine is not that of the workers before it.
    #[error("its engine is another than that of the workers before it")]
    OtherEngine,
    /// Jobs by which it was to see whether the jail holds were killed by somebody else.
    #[error(
        "the probe job by which it sees whether the jail holds was killed by signal {signal}{}, and not \
         by this program",
        if *.times > 1 { format!(", {} times in a row", .times) } else { String::new() }
    )]
    ProbeKilled {
        /// The signal (signal(7)).
        signal: i32,
        /// How many probe jobs it were.
        times: u32,
    },
    /// It says itself that it cannot work.
    #[error("it says: {0}")]
    Broken(Text),
}

fn show_errno(errno: i32) -> String {
    match errno {
        0 => String::new(),
        errno => format!(": {}", io::Error::from_raw_os_error(errno)),
    }
}

/// What a validator does with an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Vote {
    /// The block or the code is good.
    For,
    /// It is not.
    Against,
    /// Nothing can be said about it.
    Abstain,
}

impl fmt::Display for Vote {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::For => "for",
            Self::Against => "against",
            Self::Abstain => "abstain",
        })
    }
}

/// Whose fault a refusal is: code that cannot be prepared says nothing about an input.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Culprit {
    /// The code.
    Code,
    /// This call of it.
    Call,
}

/// Tells the two kinds of refusal apart.
pub fn culprit(refusal: &Refusal) -> Culprit {
    match refusal {
        Refusal::Code { .. }
        | Refusal::PrepareMemory { .. }
        | Refusal::PrepareCpu { .. }
        | Refusal::CodeTooLarge { .. } => Culprit::Code,
        _ => Culprit::Call,
    }
}

/// A refusal in one line of words.
pub fn describe(refusal: &Refusal) -> String {
    let seconds = |micros: &u64| Duration::from_micros(*micros);
    match refusal {
        Refusal::Code { step, reason } => {
            let step = match step {
                CodeStep::Decode => "decode",
                CodeStep::Validate => "validate",
                CodeStep::Interface => "link",
                CodeStep::Instrument => "take the stack limit",
                CodeStep::Compile => "compile",
                CodeStep::Instantiate => "instantiate",
            };
            format!("the code does not {step}: {reason}")
        }
        Refusal::PrepareMemory { limit_bytes } => {
            format!("preparing the code takes more than {limit_bytes} bytes of memory")
        }
        Refusal::PrepareCpu { limit_micros } => {
            format!("preparing the code takes more than {:?} of CPU time", seconds(limit_micros))
        }
        Refusal::Trap { message, .. } => format!("the guest trapped: {message}"),
        Refusal::MemoryLimit { limit_pages } => {
            format!("the guest needs more than {limit_pages} pages of memory to start")
        }
        Refusal::CpuLimit { limit_micros } => {
            format!("the guest took more than {:?} of CPU time", seconds(limit_micros))
        }
        Refusal::BadOutput(reason) => format!("what the guest returned is no output: {reason}"),
        Refusal::OutputTooLarge { limit_bytes } => {
            format!("the guest returned or wrote more than {limit_bytes} bytes")
        }
        Refusal::BadInput(reason) => format!("the input cannot be read: {reason}"),
        Refusal::InputTooLarge { bytes, limit_bytes } => {
            format!("the input has {bytes} bytes, the limit is {limit_bytes}")
        }
        Refusal::OutOfFuel { limit } => format!("the guest used up its {limit} units of fuel"),
        Refusal::TableLimit { limit_elements } => {
            format!("the guest needs more than {limit_elements} elements of tables to start")
        }
        Refusal::MemoryExhausted { asked_pages, limit_pages } => format!(
            "the guest ran out of memory: it asked for {asked_pages} pages, the limit is {limit_pages}"
        ),
        Refusal::TableExhausted { asked_elements, limit_elements } => format!(
            "the guest ran out of tables: it asked for {asked_elements} elements, the limit is \
             {limit_elements}"
        ),
        Refusal::StackLimit { limit_values } => {
            format!("calls of the guest are nested too deeply: the limit is {limit_values} values")
        }
        Refusal::Raised { signal } => format!("the guest raised signal {signal} at itself"),
        Refusal::NoSuchExport { name, reason } => format!("no export {name} to call: {reason}"),
        Refusal::BadArguments(reason) => format!("the arguments do not fit the export: {reason}"),
        Refusal::CodeTooLarge { bytes, limit_bytes } => {
            format!("the code has {bytes} bytes, the limit is {limit_bytes}")
        }
        _ => "refused".to_owned(),
    }
}
