//! `lazaret doctor`: which layers of the jail this machine gives, how to mend what it does not, what
//! makes its timing uneven, whether artifacts can be kept and whether a job comes to a known answer.
//!
//! Everything is found out by doing it: hosts are started at each level and asked. What is advised
//! comes from a table of plain values (`mending`). The page is docs/doctor.md.

mod canary;
mod facts;
mod hazards;
mod jail;
mod mending;
mod show;

use std::process::ExitCode;

use lazaret::JailLevel;

use crate::{arguments::Global, hosting};

/// All that was found.
pub(crate) struct Examination {
    jail: jail::JailSeen,
    cache: canary::CacheSeen,
    canary: canary::CanarySeen,
    hazards: Vec<hazards::Hazard>,
    facts: facts::Facts,
}

/// How it ended, as the exit code says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Health {
    /// The strict jail holds, the canary was right, artifacts are kept.
    Strict,
    /// Something of that is missing, and code can be run all the same.
    Lacking,
    /// Nothing can be run here.
    Unable,
}

impl Health {
    pub(crate) fn code(self) -> u8 {
        match self {
            Self::Strict => 0,
            Self::Lacking => 1,
            Self::Unable => 4,
        }
    }
}

impl From<Health> for ExitCode {
    fn from(health: Health) -> Self {
        Self::from(health.code())
    }
}

impl Examination {
    fn health(&self) -> Health {
        if self.jail.level.is_none() || !self.canary.is_right() {
            return Health::Unable;
        }
        match self.jail.level == Some(JailLevel::Strict) && self.cache.is_kept() {
            true => Health::Strict,
            false => Health::Lacking,
        }
    }
}

/// Examines the machine and shows what was found.
pub(crate) async fn run(global: &Global) -> Health {
    let bare = hosting::builder(global);
    let jail = jail::look(&bare).await;
    let directory = hosting::cache_directory(global);
    let (cache, canary) = canary::look(&bare, jail.level, directory).await;
    let facts = facts::Facts::read(jail.is_off("user-namespace"));
    let hazards = hazards::look();
    let examination = Examination { jail, cache, canary, hazards, facts };
    match global.json {
        true => say!("{}", show::object(&examination)),
        false => show::text(&examination),
    }
    examination.health()
}
