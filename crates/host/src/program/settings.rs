//! Under which limits a program runs.

use std::time::{Duration, Instant};

use lazaret_wire::params::Profile;

use crate::{Group, Lane, Params, PrepareLimits, Retry};

/// Limits of one run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// CPU time of the job, from the moment it holds its work. Values above a day count as a day, 0 as a
    /// microsecond.
    pub cpu: Duration,
    /// Wall time of the same span; without it 4 times the CPU time, and at least 2 s. Values above a
    /// day count as a day.
    pub wall: Option<Duration>,
    /// Fuel: the same program stops at the same instruction on every machine.
    pub fuel: Option<u64>,
    /// The most bytes that an export may return (values above 64 MiB count as 64 MiB), and the most that
    /// a WASI program may write to its standard output, and to its standard error.
    pub output_bytes_max: u64,
    /// The most bytes that an export may be given. Standard input has no limit.
    pub input_bytes_max: u64,
}

impl Default for Limits {
    /// 60 s of CPU time, 64 MiB out, 64 MiB in, no fuel.
    fn default() -> Self {
        Self {
            cpu: Duration::from_secs(60),
            wall: None,
            fuel: None,
            output_bytes_max: 64 * 1024 * 1024,
            input_bytes_max: 64 * 1024 * 1024,
        }
    }
}

/// How a program is to be prepared and run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// What its code means. [`profile`](Params::profile) is set by what is asked for.
    pub params: Params,
    /// Limits of the run.
    pub limits: Limits,
    /// Limits of preparing the code, if it is not prepared yet; the host's if there are none.
    pub prepare_limits: Option<PrepareLimits>,
    /// Whether to try once more.
    pub retry: Retry,
    /// When the answer is worthless: it does not run after that.
    pub deadline: Option<Instant>,
    /// Its lane.
    pub lane: Lane,
    /// What it stands and falls with.
    pub group: Option<Group>,
}

impl Settings {
    /// Of a plain module.
    pub fn plain() -> Self {
        Self::of(Profile::Plain)
    }

    /// Of a WASI program.
    pub fn wasi() -> Self {
        Self::of(Profile::Wasi)
    }

    fn of(profile: Profile) -> Self {
        Self {
            params: Params::of(profile),
            limits: Limits::default(),
            prepare_limits: None,
            retry: Retry::default(),
            deadline: None,
            lane: Lane::NORMAL,
            group: None,
        }
    }
}
