//! Where blame is decided, and nowhere else.
//!
//! [`judge`] is a pure function from what the kernel, the worker and the job said to a conclusion.
//! Two rules hold in every row. Nothing that a *job* says becomes a [`Fault`]: a claim can only make
//! the job's own call fail. And no trouble of *this machine* becomes a refusal: a refusal needs
//! either the guest's own word against itself or a limit that the kernel measured.

use std::time::Duration;

use lazaret_wire::{
    claim::{Claim, Prepared, Ran, Refusal, RunEnd},
    evidence::{End, Evidence, Malformation, Output, Reply, Stop},
    frame::NotStarted,
    program::VALUES_MAX,
    work::Limits,
};

use crate::{
    machine::MachineLoad,
    verdict::{Culprit, Doubt, Fault, culprit},
    worker::JobTurn,
};

/// How the kernel kills for want of memory (signal(7)).
const SIGKILL: i32 = 9;

/// How the conversation about one piece of work ended.
#[derive(Debug)]
pub(crate) enum Outcome {
    /// The job ended and the worker said how; the host saw what its control group went through.
    Ended(Evidence, OomKill),
    /// The worker could not hand over the work.
    NotStarted(NotStarted),
    /// The program wrote more to its streams than this, which the host counted; how its job ended then
    /// does not matter.
    OverOutput { limit_bytes: u64 },
    /// The worker went away before it was sent the work.
    LostBefore,
    /// The worker went away, or went silent, after it was sent the work.
    LostWith,
}

/// Whether the kernel killed for want of memory in the job's control group, and where it was wanting:
/// the kernel's word, never the job's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum OomKill {
    /// It did not, or there is no group that would tell.
    None,
    /// The group had met its own limit.
    OwnLimit,
    /// The machine was out of memory, or a group above this one.
    Elsewhere,
}

/// What the job was asked, as far as blame depends on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Asked {
    /// To call an artifact of a parachain validation function.
    Execute,
    /// To run a plain or WASI program.
    Run,
    /// To compile code, to say whether it may be accepted at all.
    Precheck,
    /// To compile code that was accepted, because a call needs it.
    PrepareToExecute,
    /// To say what code is.
    Inspect,
}

/// Whether a job could have spent wall time without spending CPU time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Waiting {
    /// The final system-call filter was on, and no call of it waits for anybody but this host, which
    /// was always ready.
    Impossible,
    /// The filter was off, the job was the copy of a template, or it had a stream at whose other end is
    /// somebody else.
    Possible,
}

/// What is concluded when it is not a fault.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Judged {
    /// The guest returned this.
    Returned { output: Output, memory_pages: u32 },
    /// The program ran to this end, which is no refusal, and this are the bytes that it returned.
    Ran(Ran, Output),
    /// The artifact is there.
    Prepared(Prepared),
    /// The inspection is in this output.
    Inspected(Output),
    /// The guest is at fault.
    Refused(Refusal),
    /// It cannot be said.
    Inconclusive(Doubt),
}

/// Decides. The usage is the kernel's account of the job, if there was one.
pub(crate) fn judge(
    asked: Asked,
    limits: &Limits,
    waiting: Waiting,
    outcome: Outcome,
) -> Result<Judged, Fault> {
    match outcome {
        Outcome::OverOutput { limit_bytes } => {
            Ok(Judged::Refused(Refusal::OutputTooLarge { limit_bytes }))
        }
        Outcome::LostBefore => Err(Fault::WorkerLost),
        Outcome::NotStarted(NotStarted { step, errno }) => Err(Fault::NotStarted { step, errno }),
        Outcome::LostWith => Ok(Judged::Inconclusive(Doubt::WorkerLost)),
        Outcome::Ended(evidence, oom_kill) => match evidence.stop {
            Some(stop) => judge_stopped(asked, limits, waiting, stop, &evidence),
            None => Ok(judge_ended(asked, limits, evidence, oom_kill)),
        },
    }
}

/// The worker killed the job.
fn judge_stopped(
    asked: Asked,
    limits: &Limits,
    waiting: Waiting,
    stop: Stop,
    evidence: &Evidence,
) -> Result<Judged, Fault> {
    let doubt = match stop {
        Stop::CpuLimit => return Ok(over_cpu_limit(asked, limits)),
        Stop::WallLimit if waiting == Waiting::Impossible => {
            return Err(Fault::Stalled {
                cpu: Duration::from_micros(evidence.usage.cpu_micros),
                wall: Duration::from_micros(evidence.usage.wall_micros),
                // For the one who ran the job to see.
                turn: JobTurn::default(),
                load: MachineLoad::default(),
            });
        }
        Stop::WallLimit => Doubt::WallLimit { limit: Duration::from_micros(limits.wall_micros) },
        Stop::OutputLimit => Doubt::Malformed(Malformation::OutputTooLong),
        Stop::Malformed => match &evidence.reply {
            Reply::Malformed(what) => Doubt::Malformed(*what),
            _ => Doubt::Malformed(Malformation::BadBody),
        },
        Stop::Withdrawn => return Err(Fault::ShuttingDown),
    };
    Ok(Judged::Inconclusive(doubt))
}

/// The job ended by itself.
fn judge_ended(asked: Asked, limits: &Limits, evidence: Evidence, oom_kill: OomKill) -> Judged {
    let doubt = match (evidence.end, evidence.reply) {
        (End::Signaled(SIGKILL), _) if oom_kill == OomKill::OwnLimit => Doubt::OutOfMemory,
        (End::Signaled(SIGKILL), _) if oom_kill == OomKill::Elsewhere => Doubt::MachineOutOfMemory,
        (End::Signaled(signal), _) => Doubt::Signaled { signal },
        (End::Exited(status), _) if status != 0 => Doubt::Exited { status },
        (End::Exited(_), Reply::Silence | Reply::Partial) => Doubt::NoReply,
        (End::Exited(_), Reply::Malformed(what)) => Doubt::Malformed(what),
        (End::Exited(_), Reply::Whole { .. }) if evidence.usage.cpu_micros > limits.cpu_micros => {
            return over_cpu_limit(asked, limits);
        }
        (End::Exited(_), Reply::Whole { claim, output }) => {
            return judge_claim(asked, claim, output);
        }
    };
    Judged::Inconclusive(doubt)
}

/// A whole reply, exit 0, within every limit. The claim must answer what was asked: a job that calls
/// an artifact has no word on the code, or it could turn a vote against into an abstention.
fn judge_claim(asked: Asked, claim: Claim, output: Output) -> Judged {
    let compiles = matches!(asked, Asked::Precheck | Asked::PrepareToExecute);
    match claim {
        Claim::Returned { memory_pages, .. } if asked == Asked::Execute => {
            Judged::Returned { output, memory_pages }
        }
        Claim::Ran(ran) if asked == Asked::Run => judge_run(ran, output),
        Claim::Prepared(prepared) if compiles => Judged::Prepared(prepared),
        Claim::Inspected if asked == Asked::Inspect => Judged::Inspected(output),
        Claim::Refused(refusal) if fits(asked, &refusal) => Judged::Refused(refusal),
        Claim::ArtifactUnusable(reason) if calls(asked) => {
            Judged::Inconclusive(Doubt::ArtifactUnusable(reason))
        }
        Claim::Unable(reason) => Judged::Inconclusive(Doubt::Unable(reason)),
        _ => Judged::Inconclusive(Doubt::Unfitting),
    }
}

/// A program's own account of how it ended.
fn judge_run(ran: Ran, output: Output) -> Judged {
    match ran.end {
        RunEnd::Refused(refusal) => judge_claim(Asked::Run, Claim::Refused(refusal), output),
        RunEnd::Values(ref values) if values.len() > VALUES_MAX => {
            Judged::Inconclusive(Doubt::Unfitting)
        }
        RunEnd::Values(_) | RunEnd::Bytes | RunEnd::Exited(_) => Judged::Ran(ran, output),
    }
}

fn calls(asked: Asked) -> bool {
    matches!(asked, Asked::Execute | Asked::Run)
}

/// Whether a job that was asked this may refuse for that reason. The CPU limits are the worker's to
/// report.
fn fits(asked: Asked, refusal: &Refusal) -> bool {
    let measured = matches!(refusal, Refusal::CpuLimit { .. } | Refusal::PrepareCpu { .. });
    !measured && (culprit(refusal) == Culprit::Call) == calls(asked)
}

/// CPU time is the guest's own. Only in a preparation for a call is it nobody's fault: the same code
/// passed the stricter precheck, so a slow machine is the likelier reason.
fn over_cpu_limit(asked: Asked, limits: &Limits) -> Judged {
    let limit_micros = limits.cpu_micros;
    match asked {
        Asked::Execute | Asked::Run => Judged::Refused(Refusal::CpuLimit { limit_micros }),
        Asked::Precheck | Asked::Inspect => Judged::Refused(Refusal::PrepareCpu { limit_micros }),
        Asked::PrepareToExecute => Judged::Inconclusive(Doubt::PreparationCpu {
            limit: Duration::from_micros(limit_micros),
        }),
    }
}

#[cfg(test)]
#[path = "judge_table.rs"]
mod table;
