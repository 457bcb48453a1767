//! What this machine does without a guest: forks, socket round trips, copies, processes. Nothing of
//! Lazaret can be faster than the sum of those that it needs.

use std::{
    env,
    hint::black_box,
    io::{self, Read, Write},
    os::unix::net::UnixStream,
    process::{Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use lazaret::JailLevel;
use lazaret_worker::YARDSTICK_ARGUMENT;

use super::table::{Extent, Row};
use crate::report::level_word;

/// How long that row's work is: about as long as a trivial call.
const ARITHMETIC: Duration = Duration::from_micros(300);
const NANOSECOND: Duration = Duration::from_nanos(1);
/// Steps by which it is found out how long one takes.
const TRIAL_STEPS: u32 = 100_000;

/// The limits of this machine, as rows and as numbers for the rows of others.
pub(super) struct Machine {
    pub(super) rows: Vec<Row>,
}

impl Machine {
    pub(super) fn measure(extent: Extent, level: JailLevel) -> io::Result<Self> {
        let mut rows = forks(extent.times(1000), level)?;
        let bare = rows.first().map_or(0.0, |row| row.p50);
        rows.iter_mut().skip(1).for_each(|row| row.set_limit("fork, exit, wait", bare));
        rows.push(row("socket_round_trip", round_trips(extent.times(2000))?));
        rows.push(row("copy_1_mib", copies(extent.times(100), 1 << 20)));
        rows.push(row("copy_10_mib", copies(extent.times(30), 10 << 20)));
        rows.push(row("process", processes(extent.times(20))?));
        rows.push(row("arithmetic", arithmetic(extent.times(3000))));
        Ok(Self { rows })
    }

    /// The median of a row, in microseconds.
    pub(super) fn micros(&self, key: &str) -> f64 {
        self.rows.iter().find(|row| row.key == key).map_or(0.0, |row| row.p50)
    }
}

const TITLES: &[(&str, &str)] = &[
    ("bare_fork", "fork, exit, wait"),
    ("jailed_fork", "the same from a confined worker"),
    ("jailed_job", "a job that only confines itself"),
    ("socket_round_trip", "round trip over a unix socket"),
    ("copy_1_mib", "copy of 1 MiB"),
    ("copy_10_mib", "copy of 10 MiB"),
    ("process", "start and end of this program"),
    ("arithmetic", "0.3 ms of arithmetic and nothing else"),
];

fn row(key: &str, times: Vec<Duration>) -> Row {
    let title = TITLES.iter().find(|(known, _)| *known == key).map_or(key, |(_, title)| *title);
    Row::of_times(key, title, times)
}

/// Forks are for a process of one thread, which this is not: it starts itself again.
fn forks(times: u32, level: JailLevel) -> io::Result<Vec<Row>> {
    let mut yardstick = Command::new("/proc/self/exe");
    yardstick.args([YARDSTICK_ARGUMENT, &times.to_string(), level_word(level)]).env_clear();
    let ended = yardstick.stdin(Stdio::null()).stdout(Stdio::null()).output()?;
    let words = String::from_utf8_lossy(&ended.stderr);
    if !ended.status.success() {
        return Err(io::Error::other(words.trim().to_owned()));
    }
    let taken = |key: &str| {
        let of_key = words.lines().filter_map(|line| line.strip_prefix(key)?.strip_prefix(' '));
        of_key.filter_map(|nanos| nanos.parse().ok()).map(Duration::from_nanos).collect()
    };
    Ok(["bare_fork", "jailed_fork", "jailed_job"].map(|key| row(key, taken(key))).into())
}

/// A byte to another thread and back.
fn round_trips(times: u32) -> io::Result<Vec<Duration>> {
    let (mut ours, mut theirs) = UnixStream::pair()?;
    let answering = thread::spawn(move || {
        let mut byte = [0];
        while theirs.read_exact(&mut byte).and_then(|()| theirs.write_all(&byte)).is_ok() {}
    });
    let mut taken = Vec::new();
    for _ in 0..times {
        let begin = Instant::now();
        ours.write_all(&[1])?;
        ours.read_exact(&mut [0])?;
        taken.push(begin.elapsed());
    }
    drop(ours);
    // It has nothing to say, and cannot panic.
    let _ = answering.join();
    Ok(taken)
}

/// To memory that is there already: the bytes themselves and nothing else.
fn copies(times: u32, bytes: usize) -> Vec<Duration> {
    let (source, mut copy) = (vec![7_u8; bytes], vec![0; bytes]);
    let once = |_| {
        let begin = Instant::now();
        black_box(&mut copy).copy_from_slice(black_box(&source));
        begin.elapsed()
    };
    (0..times).map(once).collect()
}

/// As much of it as takes [`ARITHMETIC`] when nothing comes between. How much longer the slowest in a hundred take is this machine's
/// doing (interrupts, whatever else it runs, other guests of its hardware) and meets every call that is as long.
fn arithmetic(times: u32) -> Vec<Duration> {
    let some = |steps: u32| {
        let begin = Instant::now();
        let mix =
            |state: u64, step| state.rotate_left(5).wrapping_mul(0x9e37_79b9) ^ u64::from(step);
        black_box((0..black_box(steps)).fold(1, mix));
        begin.elapsed()
    };
    let trial = (0..10).map(|_| some(TRIAL_STEPS)).min().unwrap_or_default().max(NANOSECOND);
    let steps = u128::from(TRIAL_STEPS) * ARITHMETIC.as_nanos() / trial.as_nanos();
    let steps = u32::try_from(steps).unwrap_or(u32::MAX);
    (0..times).map(|_| some(steps)).collect()
}

fn processes(times: u32) -> io::Result<Vec<Duration>> {
    let program = env::current_exe()?;
    let start = |_| {
        let begin = Instant::now();
        let ended = Command::new(&program).arg("--version").stdout(Stdio::null()).status()?;
        match ended.success() {
            true => Ok(begin.elapsed()),
            false => Err(io::Error::other("this program cannot be started")),
        }
    };
    (0..times).map(start).collect()
}
