//! What a fork and an empty job cost on this machine: the least that any call could cost.
//!
//! A program that measures itself starts itself again with [`YARDSTICK_ARGUMENT`], because only a
//! process with one thread may fork and confine itself. It forks, puts on the jail of a worker, forks
//! jobs, and says on standard error how long each took. No guest is run.

use std::{
    io::{self, Write},
    os::fd::OwnedFd,
    process::exit,
    time::{Duration, Instant},
};

use lazaret_sandbox::{
    fork::{Forked, fork_and_reap, fork_job},
    job::end,
    level::Level,
    markers, watch,
    worker::{self, Policy, WorkerJail},
};
use lazaret_wire::greeting::Role;
use rustix::process::{Pid, getppid};

use crate::{hand_over, job};

/// The argument that makes a program a yardstick; how often to measure and the level of the jail
/// (`strict`, `standard`, `weak`) come after it.
pub const YARDSTICK_ARGUMENT: &str = "--lazaret-yardstick";

/// Becomes a yardstick and never returns, if that is what this process was started for.
///
/// Call it first thing in `main`, before any thread starts. Standard error gets a line for each
/// measurement, `NAME NANOSECONDS`: `bare_fork` for a fork, an end and a wait, `jailed_fork` for the
/// same from a confined worker, `jailed_job` for a job that confines itself to the last layer and says
/// which layers it has. The process exits with 0, or with 1 and a line that says why not.
pub fn run_if_yardstick() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [word, times, level] = arguments.as_slice() else { return };
    if word == YARDSTICK_ARGUMENT {
        let measured = measure(times.parse().unwrap_or(1), level_of(level));
        if let Err(error) = &measured {
            say(format_args!("cannot be measured: {error}"));
        }
        exit(i32::from(measured.is_err()))
    }
}

fn level_of(word: &str) -> Level {
    match word {
        "weak" => Level::Weak,
        "standard" => Level::Standard,
        _ => Level::Strict,
    }
}

fn measure(times: u32, level: Level) -> io::Result<()> {
    repeat("bare_fork", times, fork_and_reap)?;
    markers::install()?;
    let policy = Policy::new(level, getppid().unwrap_or(Pid::INIT), 0);
    let mut jail = worker::confine(&policy).map_err(io::Error::other)?;
    jail.enter_filter().map_err(io::Error::other)?;
    repeat("jailed_fork", times, || match fork_job(&jail)? {
        Forked::Job(_) => end(0),
        Forked::Worker(child) => watch::reap(child).map(drop),
    })?;
    repeat("jailed_job", times, || empty_job(&jail))
}

/// A job as the canary at a worker's start is one.
fn empty_job(jail: &WorkerJail) -> io::Result<()> {
    let (ours, theirs) = hand_over::channel()?;
    match fork_job(jail)? {
        Forked::Job(start) => job::run_canary(start, theirs, Role::Execute),
        Forked::Worker(child) => {
            drop(theirs);
            read_to_end(&ours)?;
            watch::reap(child).map(drop)
        }
    }
}

fn read_to_end(channel: &OwnedFd) -> io::Result<()> {
    let mut piece = [0; 4096];
    while rustix::io::read(channel, &mut piece)? > 0 {}
    Ok(())
}

/// Nothing is said before the end: whoever reads it would take turns with what is measured.
fn repeat(name: &str, times: u32, mut once: impl FnMut() -> io::Result<()>) -> io::Result<()> {
    let mut taken: Vec<Duration> = Vec::with_capacity(times as usize);
    for _ in 0..times {
        let begin = Instant::now();
        once()?;
        taken.push(begin.elapsed());
    }
    for time in taken {
        say(format_args!("{name} {}", time.as_nanos()));
    }
    Ok(())
}

/// If nobody reads on, nobody misses it.
fn say(words: std::fmt::Arguments<'_>) {
    let _ = io::stderr().write_fmt(format_args!("{words}\n"));
}
