//! What one warm call costs, counted and not timed: system calls, page faults, bytes that system calls
//! copy, forks. The same on every machine and under every load, so that a step that creeps into the
//! way of a call fails a test, and not a graph that somebody may look at.
//!
//! Run by `cargo test`. The harness is this file: a case starts this program again as a host (`role`),
//! traces it and everything below it (`watched`), and sorts what it saw by phase (`counts`). With
//! `--nocapture` every call on the way of a request is listed, in order.
//!
//! ```text
//! bounds   the numbers of today, and how to lower them
//! role     the host that is counted
//! watched  that host, its workers and jobs under ptrace(2), call for call
//! counts   how much of everything, by process and phase
//! names    system calls by name
//! ```

mod bounds;
mod counts;
mod names;
mod role;
#[path = "../support/mod.rs"]
mod support;
#[path = "../support/traced.rs"]
mod traced;
mod watched;

use std::process::{Command, ExitCode};

use crate::{counts::Counts, traced::Traced};

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if let [word, case, cache] = &arguments[..]
        && word == "--role"
    {
        role::be_host(case, cache.as_ref());
    }
    let filter = arguments.iter().find(|argument| !argument.starts_with('-'));
    let chosen: Vec<_> = bounds::CASES
        .iter()
        .filter(|case| filter.is_none_or(|filter| case.name.contains(filter.as_str())))
        .collect();
    if arguments.iter().any(|argument| argument == "--list") {
        chosen.iter().for_each(|case| println!("{}: test", case.name));
        return ExitCode::SUCCESS;
    }
    if let Some(reason) = impossible() {
        support::skipped(chosen.len(), &format!("what a call costs: {reason}"));
        return ExitCode::SUCCESS;
    }
    let lists = arguments.iter().any(|argument| argument == "--nocapture");
    let failed = chosen.iter().filter(|case| !holds(case, lists)).count();
    if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Why nothing can be counted here.
fn impossible() -> Option<String> {
    if let Err(error) = Traced::start(&mut Command::new("true")).and_then(Traced::finish) {
        return Some(format!("ptrace: {error}"));
    }
    // As in a pid namespace that still sees the processes of another.
    let own = std::fs::read_link("/proc/self").is_ok_and(|link| link == own_name());
    (!own).then(|| "/proc does not show this program".into())
}

fn own_name() -> std::path::PathBuf {
    std::process::id().to_string().into()
}

/// Whether every counted call of the case is within its bounds. What is listed is the last one.
fn holds(case: &bounds::Case, lists: bool) -> bool {
    let calls = watched::calls_of(case.name);
    let counts: Vec<_> = calls.iter().map(Counts::of).collect();
    let broken: Vec<_> = counts.iter().flat_map(|counts| case.broken_by(counts)).collect();
    if lists && let Some(call) = calls.last() {
        print!("\n{}, on the way\n{}", case.name, counts::listing(call));
    }
    if (lists || !broken.is_empty())
        && let Some(counts) = counts.last()
    {
        print!("\n{}, in all\n{counts}", case.name);
    }
    broken.iter().for_each(|line| println!("{}: {line}", case.name));
    println!("test {} ... {}", case.name, if broken.is_empty() { "ok" } else { "FAILED" });
    broken.is_empty()
}
