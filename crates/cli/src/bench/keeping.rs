//! What is paid once: preparing code, starting on a cache that has artifacts, a worker that waits.

use std::{
    fs,
    time::{Duration, Instant},
};

use lazaret::{Host, Params, Verdict};

use super::{
    guests,
    machine::Machine,
    stage::{Stage, made, timed, unfit},
    table::{Row, Unit},
};
use crate::errors::Failure;

/// Functions of a module to prepare, which has about a megabyte of machine code.
const FUNCTIONS: u32 = 700;
const CACHED: u32 = 50;
const WORKER_TITLE: &str = "lazaret-execute-worker";

pub(super) async fn measure(stage: &Stage, machine: &Machine) -> Result<Vec<Row>, Failure> {
    let mut rows = vec![preparing(stage).await?];
    let started = starting(stage).await?;
    rows.push(started.beside("start and end of this program", machine.micros("process")));
    rows.extend(idle(stage).await?);
    Ok(rows)
}

/// Compiling bounds it, which only a job does: there is no number to set beside it.
async fn preparing(stage: &Stage) -> Result<Row, Failure> {
    let host = stage.host(1).await?;
    let mut taken = Vec::new();
    for salt in 0..stage.extent.times(6) {
        let code = made(guests::to_compile(FUNCTIONS, salt))?;
        taken.push(prepare(&host, &code).await?);
    }
    // The first one waits for its worker to start.
    taken.remove(0);
    Ok(Row::of_times("prepare", "prepare a module of 700 functions", taken))
}

async fn prepare(host: &Host, code: &lazaret::Code) -> Result<Duration, Failure> {
    let begin = Instant::now();
    let answer = host.prepare(code, &Params::default()).await;
    match answer.map_err(|fault| Failure::of(fault, host))?.verdict {
        Verdict::Returned(_) => Ok(begin.elapsed()),
        other => Err(unfit("a preparation", other.reason_word().unwrap_or("no reason").to_owned())),
    }
}

/// From nothing to the first verdict of a host whose cache has artifacts.
async fn starting(stage: &Stage) -> Result<Row, Failure> {
    let cache = stage.cache("full");
    let code = made(guests::trivial(0))?;
    let host = stage.host_on(&cache, 1).await?;
    for salt in 0..stage.extent.times(CACHED) {
        prepare(&host, &made(guests::trivial(salt))?).await?;
    }
    host.shut_down(Duration::from_secs(1)).await;
    drop(host);
    let mut taken = Vec::new();
    for _ in 0..stage.extent.times(10) {
        let begin = Instant::now();
        let host = stage.host_on(&cache, 1).await?;
        timed(&host, &code, &[]).await?;
        taken.push(begin.elapsed());
    }
    Ok(Row::of_times("start", "start with 50 artifacts, to the first verdict", taken))
}

/// Memory of a worker that has run a job and waits, its standby job apart.
async fn idle(stage: &Stage) -> Result<[Row; 2], Failure> {
    let host = stage.host(1).await?;
    timed(&host, &made(guests::trivial(0))?, &[]).await?;
    let worker = newest_worker().ok_or_else(|| unfit("a worker", "it is not there".into()))?;
    let of = |file: &str, key: &str| {
        let text = fs::read_to_string(format!("/proc/{worker}/{file}")).unwrap_or_default();
        let value = text.lines().find_map(|line| line.strip_prefix(key));
        let kibibytes = value.and_then(|value| value.split_whitespace().next()?.parse().ok());
        // Of a worker that this user may not look into.
        kibibytes.map_or(f64::NAN, |kibibytes: f64| kibibytes * 1024.0)
    };
    Ok([
        Row::of("worker_rss", "idle worker, resident", Unit::Bytes, of("status", "VmRSS:")),
        Row::of("worker_pss", "its share of that (PSS)", Unit::Bytes, of("smaps_rollup", "Pss:")),
    ])
}

/// The execute worker that this program started last: hosts that are gone may leave one that ends.
fn newest_worker() -> Option<i32> {
    let parent = format!("PPid:\t{}", std::process::id());
    let is_worker = |pid: &i32| {
        let read =
            |file: &str| fs::read_to_string(format!("/proc/{pid}/{file}")).unwrap_or_default();
        read("status").lines().any(|line| line == parent)
            && read("cmdline").starts_with(WORKER_TITLE)
    };
    let all = fs::read_dir("/proc").ok()?.flatten();
    all.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).filter(is_worker).max()
}
