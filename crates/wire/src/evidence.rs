//! What the kernel and the worker know of a job that has ended.

use serde::{Deserialize, Serialize};

use crate::{claim::Claim, text::Text};

/// Everything known of one job after it was reaped. Attached descriptors: the output when it is
/// [`Output::Attached`], or the sealed artifact when the claim is `Prepared`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Evidence {
    /// How the process ended: the kernel's word.
    pub end: End,
    /// Why the worker killed it, if it did.
    pub stop: Option<Stop>,
    /// What had come through the reply stream.
    pub reply: Reply,
    /// What the job used: the kernel's word.
    pub usage: Usage,
    /// Log lines of the guest, in order; at most `reply::LOG_LINES_MAX`.
    pub log: Vec<LogLine>,
    /// How many more lines there were.
    pub log_lines_dropped: u32,
}

/// How a process ended (waitid(2)).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum End {
    /// It exited with this status.
    Exited(i32),
    /// This signal ended it.
    Signaled(i32),
}

/// Why a worker killed its job.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Stop {
    /// The job's CPU clock passed its limit.
    CpuLimit,
    /// The wall clock passed its limit.
    WallLimit,
    /// The job sent more output than it may.
    OutputLimit,
    /// What the job sent was no reply.
    Malformed,
    /// The host withdrew the work.
    Withdrawn,
}

impl Stop {
    /// In kebab case.
    pub fn word(self) -> &'static str {
        match self {
            Self::CpuLimit => "cpu-limit",
            Self::WallLimit => "wall-limit",
            Self::OutputLimit => "output-limit",
            Self::Malformed => "malformed",
            Self::Withdrawn => "withdrawn",
        }
    }
}

/// What came through a job's reply stream.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Reply {
    /// Nothing but log lines.
    Silence,
    /// Some bytes, and no whole reply.
    Partial,
    /// Bytes that are no reply.
    Malformed(Malformation),
    /// A whole reply.
    Whole {
        /// The job's last word.
        claim: Claim,
        /// Its output.
        output: Output,
    },
}

/// Where the output of a job is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Output {
    /// Here.
    Inline(#[serde(with = "serde_bytes")] Vec<u8>),
    /// In the sealed memfd that rides along, with this many bytes.
    Attached(u32),
}

/// What is wrong with a reply stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Malformation {
    /// A record with an unknown tag.
    UnknownTag,
    /// A record longer than its kind may be.
    TooLong,
    /// More output than the limit.
    OutputTooLong,
    /// A body that does not decode.
    BadBody,
    /// A second output or a second claim, or anything after the claim.
    Surplus,
}

/// What a job used, by the kernel's accounting (clock_getcpuclockid(3), getrusage(2), wait4(2)).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Usage {
    /// CPU time from the moment the job was handed its work, in microseconds.
    pub cpu_micros: u64,
    /// Wall time of the same span, in microseconds.
    pub wall_micros: u64,
    /// What is known only of a job that was reaped: not of one that asked before it ended, and was believed then.
    pub memory: Option<MemoryUsage>,
}

/// What a job used of memory.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct MemoryUsage {
    /// The most resident memory it had, in bytes.
    pub resident_bytes_peak: u64,
    /// Page faults without I/O.
    pub faults_minor: u64,
    /// Page faults with I/O.
    pub faults_major: u64,
}

/// One line that a guest logged.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogLine {
    /// Its level.
    pub level: LogLevel,
    /// What the guest named as the place it came from.
    pub target: Text,
    /// The line.
    pub message: Text,
}

/// Substrate's log levels (`sp_core::LogLevel`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum LogLevel {
    /// `0`, and every number that is none of the others.
    Error,
    /// `1`
    Warn,
    /// `2`
    Info,
    /// `3`
    Debug,
    /// `4`
    Trace,
}
