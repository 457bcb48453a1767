//! `attack run`: one blob, one job, one verdict, every invariant. `attack reach`: what a job can
//! still do, counted from inside.

use std::{error::Error, path::PathBuf, time::Duration};

use lazaret::{Answer, Verdict, pvf::Validated};
use serde_json::{Value, json};

use crate::{
    blob,
    layers::Without,
    seen::Seen,
    stage::{Report, Reports, Stage},
};

/// The highest number of a system call that is tried; Linux 6.18 ends below 480.
const CALLS_MAX: u32 = 512;
/// `uretprobe` and `uprobe`, which Linux since 6.14 lets past every filter so that probes cannot kill
/// a traced program: they do nothing but end a process that is not traced, or say ENXIO.
const PAST_EVERY_FILTER: [u32; 2] = [335, 336];
/// CPU time that one try may take.
const SHORT: Duration = Duration::from_millis(100);

#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// The flat binary.
    blob: PathBuf,
    /// Print one line of JSON.
    #[arg(long)]
    json: bool,
    /// Which job it takes over.
    #[arg(long = "in", value_enum, value_name = "JOB", default_value_t = Place::Execute)]
    place: Place,
    /// What the arena begins with; zeros follow.
    #[arg(long, value_name = "FILE")]
    arena: Option<PathBuf>,
    /// CPU time that a call may take, in milliseconds; four times as much on the wall.
    #[arg(long, value_name = "MS", default_value_t = 1000)]
    cpu_ms: u64,
}

/// A job that an attack takes over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Place {
    /// One that calls an artifact.
    Execute,
    /// One that compiles code.
    Prepare,
}

/// Whether every invariant held.
pub(crate) async fn run(arguments: &Arguments) -> Result<bool, Box<dyn Error>> {
    let blob = std::fs::read(&arguments.blob)?;
    let arena = arguments.arena.as_ref().map(std::fs::read).transpose()?.unwrap_or_default();
    let stage = Stage::set(Without::Nothing).await?;
    let cpu = Duration::from_millis(arguments.cpu_ms);
    if arguments.place == Place::Prepare {
        let Reports { answers, invariants } = stage.attack_in_prepare(&[(&blob, arena)], cpu).await;
        let answer = answers.into_iter().next().ok_or("an answer that did not come")?;
        let report = Report { seen: Seen::of(&answer), answer, invariants };
        return Ok(tell(&report, |_| "an artifact".into(), arguments.json));
    }
    let code = stage.prepare(&blob).await?;
    let report = stage.attack(&code, arena, cpu).await;
    Ok(tell(&report, a_head, arguments.json))
}

/// Prints a report; whether every invariant held.
fn tell<T>(report: &Report<T>, returned: impl Fn(&T) -> String, in_json: bool) -> bool {
    let held = report.invariants.broken().is_empty();
    let reason = verdict_of(report, returned);
    if in_json {
        println!("{}", as_json(report, &reason, held));
    } else {
        println!("{}: {reason}", report.seen);
        for (name, broken) in report.invariants.by_name() {
            let state = if broken.is_empty() { "held".to_owned() } else { broken.join("; ") };
            println!("  {name}: {state}");
        }
    }
    held
}

fn a_head(validated: &Validated) -> String {
    format!("a head of {} bytes", validated.result.head_data.len())
}

fn verdict_of<T>(report: &Report<T>, returned: impl Fn(&T) -> String) -> String {
    match &report.answer {
        Err(fault) => format!("fault: {fault}"),
        Ok(Answer { verdict, .. }) => match verdict {
            Verdict::Returned(value) => format!("returned {}", returned(value)),
            Verdict::Refused(refusal) => format!("refused: {}", lazaret::describe(refusal)),
            Verdict::Inconclusive(doubt) => format!("inconclusive: {doubt}"),
        },
    }
}

fn as_json<T>(report: &Report<T>, reason: &str, held: bool) -> Value {
    let (usage, log) = match &report.answer {
        Ok(answer) => {
            let usage = json!({
                "cpu_micros": answer.usage.cpu.as_micros() as u64,
                "wall_micros": answer.usage.wall.as_micros() as u64,
                "resident_bytes_peak": answer.usage.resident_bytes_peak,
            });
            let log: Vec<_> = answer.log.iter().map(|line| line.message.to_string()).collect();
            (usage, log)
        }
        Err(_) => (Value::Null, Vec::new()),
    };
    let verdict = match &report.answer {
        Err(_) => "fault",
        Ok(Answer { verdict: Verdict::Returned(_), .. }) => "returned",
        Ok(Answer { verdict: Verdict::Refused(_), .. }) => "refused",
        Ok(Answer { verdict: Verdict::Inconclusive(_), .. }) => "inconclusive",
    };
    let invariants: serde_json::Map<_, _> = report
        .invariants
        .by_name()
        .into_iter()
        .map(|(name, broken)| (name.to_owned(), broken.is_empty().into()))
        .collect();
    json!({
        "verdict": verdict,
        "reason": reason,
        "seen": report.seen.to_string(),
        "invariants": invariants,
        "broken": report.invariants.broken(),
        "held": held,
        "usage": usage,
        "log": log,
    })
}

/// Counts, from inside, what a job can reach: system calls, capabilities, visible paths, open
/// descriptors, writable metadata of its artifact. Every call number is tried in a job of its own.
pub(crate) async fn reach() -> Result<bool, Box<dyn Error>> {
    let blobs = blob::compile_all()?;
    let (full, bare) = (Stage::set(Without::Nothing).await?, Stage::set(Without::Seccomp).await?);
    let probe = full.prepare(&blobs[&'d']).await?;
    let mut reached = std::collections::BTreeSet::new();
    for call in 0..CALLS_MAX {
        for attempt in [15, 18] {
            let answer = full.run(&probe, full.arena(attempt, call), SHORT).await;
            let seen = Seen::of(&answer);
            if seen != Seen::Sigsys && !PAST_EVERY_FILTER.contains(&call) {
                reached.insert(call);
            }
        }
    }
    let metadata = full.prepare(&blobs[&'a']).await?;
    let answer = full.run(&metadata, full.arena(12, 0), SHORT).await;
    let metadata = if Seen::of(&answer) == Seen::Sigsys { "no" } else { "yes" };
    // With the filter on the rest cannot even be asked, so it is counted with the filter off.
    let probe = bare.prepare(&blobs[&'d']).await?;
    let mut counts = Vec::new();
    for attempt in [19, 20, 21] {
        let answer = bare.run(&probe, bare.arena(attempt, 0), SHORT).await;
        counts.push(counted(&answer).ok_or("a count did not come")?);
    }
    println!("{}, {}, {}, {}, {metadata}", reached.len(), counts[0], counts[1], counts[2]);
    Ok(reached.len() == 10 && counts == [0, 0, 1] && metadata == "no")
}

/// An attempt that counts ends with its count plus 10.
fn counted<T>(answer: &Result<Answer<T>, lazaret::Fault>) -> Option<i32> {
    match answer {
        Ok(Answer {
            verdict: Verdict::Inconclusive(lazaret::Doubt::Exited { status }), ..
        }) if (10..100).contains(status) => Some(status - 10),
        _ => None,
    }
}
