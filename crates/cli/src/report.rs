//! Answers for people and for programs, and what they make of the exit code.

use std::{fmt::Display, time::Duration};

use lazaret::{
    Answer, ArtifactUse, Fault, JailLevel, LayerState, LogLevel, Origin, Security, Verdict, Vote,
    describe,
};
use serde_json::{Map, Value, json};

/// How a command ended. The order is that of gravity: of many files, the gravest counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Ending {
    Returned,
    Refused,
    /// Something that was named cannot be read.
    Usage,
    Inconclusive,
    Fault,
}

impl Ending {
    pub(crate) fn of<T>(answer: &Result<Answer<T>, Fault>) -> Self {
        match answer {
            Ok(Answer { verdict: Verdict::Returned(_), .. }) => Self::Returned,
            Ok(Answer { verdict: Verdict::Refused(_), .. }) => Self::Refused,
            Ok(Answer { verdict: Verdict::Inconclusive(_), .. }) => Self::Inconclusive,
            Err(_) => Self::Fault,
        }
    }

    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Returned => "returned",
            Self::Refused => "refused",
            Self::Usage => "usage",
            Self::Inconclusive => "inconclusive",
            Self::Fault => "fault",
        }
    }
}

/// Why the verdict is what it is; `None` if the guest returned.
pub(crate) fn reason<T>(verdict: &Verdict<T>) -> Option<String> {
    match verdict {
        Verdict::Returned(_) => None,
        Verdict::Refused(refusal) => Some(describe(refusal)),
        Verdict::Inconclusive(doubt) => Some(doubt.to_string()),
    }
}

/// The keys that every answer has.
pub(crate) fn object<T>(
    answer: &Answer<T>,
    ending: Ending,
    vote: Option<Vote>,
    security: &Security,
) -> Map<String, Value> {
    let mut object = Map::new();
    object.insert("verdict".into(), ending.word().into());
    object.insert("vote".into(), vote.map(|vote| vote.to_string()).into());
    object.insert("reason".into(), reason(&answer.verdict).into());
    object.insert("kind".into(), answer.verdict.reason_word().into());
    object.insert("attempts".into(), answer.attempts.into());
    object.insert("cpu_micros".into(), micros(answer.usage.cpu).into());
    object.insert("wall_micros".into(), micros(answer.usage.wall).into());
    object.insert("resident_bytes_peak".into(), answer.usage.resident_bytes_peak.into());
    object.insert("artifact".into(), answer.artifact.as_ref().map(artifact_object).into());
    object.insert("jail".into(), jail_object(security));
    object.insert("log".into(), log_values(answer).into());
    object.insert("log_lines_dropped".into(), answer.log_lines_dropped.into());
    object
}

/// Which layers of the jail were on while this verdict was found.
pub(crate) fn jail_object(security: &Security) -> Value {
    json!({
        "level": level_word(security.level),
        "on": layers(security, Whether::On),
        "off": layers(security, Whether::Off),
    })
}

/// The same in a line for people, who are told only if the jail was not the strict one.
pub(crate) fn jail_words(security: &Security) -> Option<String> {
    if security.level == JailLevel::Strict {
        return None;
    }
    let level = level_word(security.level);
    Some(match layers(security, Whether::Off).as_slice() {
        [] => format!("{level}, every layer on"),
        off => format!("{level}, without {}", off.join(", ")),
    })
}

/// Why the machine stalled, as far as it can be told; `null` for another fault.
pub(crate) fn stall_object(fault: &Fault) -> Value {
    let Fault::Stalled { cpu, wall, turn, load } = fault else { return Value::Null };
    json!({
        "cpu_micros": micros(*cpu),
        "wall_micros": micros(*wall),
        "run_queue_delay_micros": turn.run_queue_delay.map(micros),
        "job_state": turn.state,
        "load": load.load,
        "processors": load.processors,
        "cpu_pressure_percent": load.cpu_pressure,
        "memory_pressure_percent": load.memory_pressure,
        "io_pressure_percent": load.io_pressure,
    })
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Whether {
    On,
    Off,
}

fn layers(security: &Security, whether: Whether) -> Vec<&str> {
    let state = |state: &LayerState| match state {
        LayerState::On => Whether::On,
        LayerState::Off { .. } => Whether::Off,
    };
    let found = security.layers.iter().filter(|layer| state(&layer.state) == whether);
    found.map(|layer| layer.name.as_str()).collect()
}

pub(crate) fn level_word(level: JailLevel) -> &'static str {
    match level {
        JailLevel::Strict => "strict",
        JailLevel::Standard => "standard",
        JailLevel::Weak => "weak",
    }
}

fn artifact_object(artifact: &ArtifactUse) -> Value {
    json!({
        "origin": origin(artifact.origin),
        "bytes": artifact.bytes,
        "code_bytes": artifact.facts.code_bytes,
        "prepare_cpu_micros": artifact.facts.cpu_micros,
        "prepare_wall_micros": artifact.facts.wall_micros,
        "prepare_heap_bytes_peak": artifact.facts.heap_bytes_peak,
    })
}

fn log_values<T>(answer: &Answer<T>) -> Vec<Value> {
    let line = |line: &lazaret::LogLine| {
        json!({
            "level": level(line.level),
            "target": line.target.as_str(),
            "message": line.message.as_str(),
        })
    };
    answer.log.iter().map(line).collect()
}

pub(crate) fn level(level: LogLevel) -> &'static str {
    match level {
        LogLevel::Error => "error",
        LogLevel::Warn => "warn",
        LogLevel::Info => "info",
        LogLevel::Debug => "debug",
        LogLevel::Trace => "trace",
    }
}

pub(crate) fn origin(origin: Origin) -> &'static str {
    match origin {
        Origin::Memory => "memory",
        Origin::Disk => "disk",
        Origin::Prepared => "prepared",
    }
}

/// One line of a report: a label in a column of its own, then a value.
pub(crate) fn line(label: &str, value: impl Display) {
    say!("  {label:<14}{value}");
}

/// The artifact in words.
pub(crate) fn artifact_words(artifact: &ArtifactUse) -> String {
    let size = bytes(artifact.bytes);
    let took = time(Duration::from_micros(artifact.facts.wall_micros));
    match artifact.origin {
        Origin::Memory => format!("{size}, in memory"),
        Origin::Disk => format!("{size}, from the cache (preparing it once took {took})"),
        Origin::Prepared => format!("{size}, prepared now in {took}"),
    }
}

/// A time in three digits and a unit.
pub(crate) fn time(time: Duration) -> String {
    match time.as_micros() {
        micros @ 0..1_000 => format!("{micros} µs"),
        micros @ 1_000..1_000_000 => format!("{:.1} ms", micros as f64 / 1e3),
        micros => format!("{:.2} s", micros as f64 / 1e6),
    }
}

/// A size in binary units.
pub(crate) fn bytes(bytes: u64) -> String {
    match bytes {
        0..1024 => format!("{bytes} bytes"),
        1024..1_048_576 => format!("{:.1} KiB", bytes as f64 / 1024.0),
        _ => format!("{:.1} MiB", bytes as f64 / 1_048_576.0),
    }
}

pub(crate) fn micros(time: Duration) -> u64 {
    time.as_micros().try_into().unwrap_or(u64::MAX)
}
