//! A stable word for each conclusion, for programs to match on and for metrics to count by.

use crate::verdict::{Doubt, Fault, Refusal, Verdict};

impl<T> Verdict<T> {
    /// `returned`, `refused` or `inconclusive`.
    pub fn word(&self) -> &'static str {
        match self {
            Self::Returned(_) => "returned",
            Self::Refused(_) => "refused",
            Self::Inconclusive(_) => "inconclusive",
        }
    }

    /// The word of its reason; none if the guest answered.
    pub fn reason_word(&self) -> Option<&'static str> {
        match self {
            Self::Returned(_) => None,
            Self::Refused(refusal) => Some(refusal_word(refusal)),
            Self::Inconclusive(doubt) => Some(doubt.word()),
        }
    }
}

fn refusal_word(refusal: &Refusal) -> &'static str {
    match refusal {
        Refusal::Code { .. } => "code",
        Refusal::PrepareMemory { .. } => "prepare-memory",
        Refusal::PrepareCpu { .. } => "prepare-cpu",
        Refusal::Trap { .. } => "trap",
        Refusal::MemoryLimit { .. } => "memory-limit",
        Refusal::CpuLimit { .. } => "cpu-limit",
        Refusal::BadOutput(_) => "bad-output",
        Refusal::OutputTooLarge { .. } => "output-too-large",
        Refusal::BadInput(_) => "bad-input",
        Refusal::InputTooLarge { .. } => "input-too-large",
        Refusal::CodeTooLarge { .. } => "code-too-large",
        Refusal::OutOfFuel { .. } => "out-of-fuel",
        Refusal::TableLimit { .. } => "table-limit",
        Refusal::MemoryExhausted { .. } => "memory-exhausted",
        Refusal::TableExhausted { .. } => "table-exhausted",
        Refusal::StackLimit { .. } => "stack-limit",
        Refusal::Raised { .. } => "raised",
        Refusal::NoSuchExport { .. } => "no-such-export",
        Refusal::BadArguments(_) => "bad-arguments",
        _ => "other",
    }
}

impl Doubt {
    /// In kebab case.
    pub fn word(&self) -> &'static str {
        match self {
            Self::Signaled { .. } => "signaled",
            Self::Exited { .. } => "exited",
            Self::OutOfMemory => "out-of-memory",
            Self::MachineOutOfMemory => "machine-out-of-memory",
            Self::NoReply => "no-reply",
            Self::Malformed(_) => "malformed",
            Self::Unfitting => "unfitting",
            Self::ArtifactUnusable(_) => "artifact-unusable",
            Self::Unable(_) => "unable",
            Self::WallLimit { .. } => "wall-limit",
            Self::WorkerLost => "worker-lost",
            Self::Preparation(_) | Self::PreparationCpu { .. } => "preparation",
        }
    }
}

impl Fault {
    /// In kebab case.
    pub fn word(&self) -> &'static str {
        match self {
            Self::Busy { .. } => "busy",
            Self::Deadline => "deadline",
            Self::Withdrawn => "withdrawn",
            Self::Runtime(_) => "runtime",
            Self::Spawn(_) => "spawn",
            Self::NoGreeting(_) => "no-greeting",
            Self::Jail { .. } => "jail",
            Self::WorkerLost => "worker-lost",
            Self::NotStarted { .. } => "not-started",
            Self::Stalled { .. } => "stalled",
            Self::Canary(_) => "canary",
            Self::Memory(_) => "memory",
            Self::Cache { .. } => "cache",
            Self::Stream { .. } => "stream",
            Self::ShuttingDown => "shutting-down",
            Self::Bug { .. } => "bug",
        }
    }
}
