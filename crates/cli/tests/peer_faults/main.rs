//! Twelve faults that were reproduced in another host of parachain validation functions, each shown
//! not to be one here: real hosts, real workers, real jobs, one test per fault (the last has four
//! parts). Most are tested elsewhere in more detail; here is the list.
//!
//! ```text
//! answers   every request is answered, rightly, and costs nothing that stays    1 2 3 4 10
//! jail      what a job is, seen from outside; `attack` shows it from inside     5 6 7 8 9
//! keeping   what is kept, forgotten, tried again, put first or called off       11 12
//! ```
//!
//! The tests look at the processes and descriptors of this program, so they run one at a time.

mod answers;
mod jail;
mod keeping;
#[path = "../support/mod.rs"]
mod support;

use std::time::Duration;

use lazaret::{
    Code, Fault, Host,
    pvf::{Settings, Validated},
};
use tokio::{sync::Mutex, task::JoinHandle};

const SECOND: Duration = Duration::from_secs(1);

/// Held by each test for its whole length.
static ALONE: Mutex<()> = Mutex::const_new(());

type Ended = Result<lazaret::Answer<Validated>, Fault>;

fn me() -> i32 {
    std::process::id() as i32
}

fn call(host: &Host, code: &Code, settings: Settings) -> JoinHandle<Ended> {
    let (host, code) = (host.clone(), code.clone());
    tokio::spawn(async move { host.validate(&code, support::block(), &settings).await })
}

/// Jobs of that role that ended with an answer of their worker.
fn jobs(host: &Host, role: &str) -> f64 {
    support::sample(host, &format!("lazaret_job_cpu_seconds_count{{role=\"{role}\"}}"))
}
