//! Hostile code: each piece ends in a verdict within its limits, the host stays small, no process is
//! left, and the next block is validated as if nothing had been.

mod support;

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::Arc,
    time::Duration,
};

use lazaret::{
    Code, CodeError, Fault, Host, PrepareLimits, Retry, Verdict,
    pvf::{Block, Settings},
};
use support::{
    EMPTY_RESULT, builder, data, descendants, entries, returned, skipped, started, trivial,
};
use tokio::{sync::Semaphore, task::JoinSet};

/// What the host may grow by over the whole battery. It holds one piece of code per request in
/// flight and the artifacts on its shelf as memfds; guests take memory in jobs, not here.
const HOST_GROWTH_BYTES_MAX: u64 = 300 * 1024 * 1024;
const IN_FLIGHT: usize = 4;

/// Endings, counted.
#[derive(Debug, Default)]
struct Tally {
    returned: u32,
    refused: u32,
    inconclusive: Vec<String>,
    not_taken: u32,
    faults: Vec<String>,
}

/// Prechecks a file, and calls what passes.
async fn try_out(host: &Host, path: &Path) -> Result<Verdict<()>, Result<CodeError, Fault>> {
    let code = Code::new(&fs::read(path).unwrap()).map_err(Ok)?;
    let checked = host.precheck(&code, &Default::default()).await.map_err(Err)?;
    if !matches!(checked.verdict, Verdict::Returned(_)) {
        return Ok(without_value(checked.verdict));
    }
    let mut settings = Settings::default();
    settings.limits.cpu = Duration::from_millis(500);
    settings.retry = Retry::Never;
    let block = Block::encoded(vec![0; 64]);
    let answer = host.validate(&code, block, &settings).await.map_err(Err)?;
    Ok(without_value(answer.verdict))
}

fn without_value<T>(verdict: Verdict<T>) -> Verdict<()> {
    match verdict {
        Verdict::Returned(_) => Verdict::Returned(()),
        Verdict::Refused(refusal) => Verdict::Refused(refusal),
        Verdict::Inconclusive(doubt) => Verdict::Inconclusive(doubt),
    }
}

/// Bytes that this process has resident (proc(5), `VmRSS`).
fn resident_bytes() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() * 1024
}

async fn battery(files: Vec<PathBuf>) -> Tally {
    let cache = tempfile::tempdir().unwrap();
    let limits =
        PrepareLimits { precheck_cpu: Duration::from_secs(15), ..PrepareLimits::default() };
    let host = started(builder(cache.path()).prepare_limits(limits)).await;
    let honest = trivial(1);
    returned(&host.validate(&honest, Block::encoded(vec![]), &Settings::default()).await.unwrap());
    let before = resident_bytes();

    let places = Arc::new(Semaphore::new(IN_FLIGHT));
    let mut running = JoinSet::new();
    for path in files {
        let place = places.clone().acquire_owned().await.unwrap();
        let host = host.clone();
        running.spawn(async move {
            let ended = try_out(&host, &path).await;
            drop(place);
            (path.file_name().unwrap().to_string_lossy().into_owned(), ended)
        });
    }
    let mut tally = Tally::default();
    for (name, ended) in running.join_all().await {
        match ended {
            Ok(Verdict::Returned(())) => tally.returned += 1,
            Ok(Verdict::Refused(_)) => tally.refused += 1,
            Ok(Verdict::Inconclusive(doubt)) => tally.inconclusive.push(format!("{name}: {doubt}")),
            Err(Ok(_)) => tally.not_taken += 1,
            Err(Err(fault)) => tally.faults.push(format!("{name}: {fault}")),
        }
    }

    let grown = resident_bytes().saturating_sub(before);
    assert!(grown < HOST_GROWTH_BYTES_MAX, "the host grew by {grown} bytes");
    let answer =
        host.validate(&honest, Block::encoded(vec![]), &Settings::default()).await.unwrap();
    assert_eq!(returned(&answer).encoded, EMPTY_RESULT);
    drop(host);
    support::until("the workers to end", || {
        let left = descendants(std::process::id() as i32);
        left.iter().all(|process| !process.name.starts_with("lazaret")).then_some(())
    })
    .await;
    tally
}

/// The generator of the shared data needs Python with the package `zstandard`; `LAZARET_PYTHON`
/// names an interpreter that has it.
fn generate(script: &Path, folder: &Path) -> Result<(), String> {
    let python = std::env::var("LAZARET_PYTHON").unwrap_or_else(|_| "python3".into());
    let status = Command::new(&python)
        .arg(script)
        .current_dir(folder)
        .stderr(Stdio::null())
        .status()
        .map_err(|error| format!("{python}: {error}"))?;
    if status.success() { Ok(()) } else { Err(format!("{python} has no package zstandard")) }
}

#[tokio::test(flavor = "multi_thread")]
async fn modules_that_crashed_another_runtime_end_in_verdicts() {
    let Some(crashers) = data("crashers") else {
        return skipped(107, "modules that crashed another runtime: there is no ../shared/data");
    };
    let _alone = ALONE.lock().await;
    let tally = battery(entries(&crashers)).await;
    assert!(tally.faults.is_empty() && tally.inconclusive.is_empty(), "{tally:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn bombs_end_in_verdicts() {
    let Some(bombs) = data("bombs") else {
        return skipped(66, "bombs: there is no ../shared/data");
    };
    let folder = tempfile::tempdir().unwrap();
    if let Err(reason) = generate(&bombs.join("gen.py"), folder.path()) {
        return skipped(66, &format!("bombs: {reason}"));
    }
    let _alone = ALONE.lock().await;
    let files = entries(folder.path());
    assert!(files.len() >= 60, "{} bombs", files.len());
    let tally = battery(files).await;
    assert!(tally.faults.is_empty() && tally.inconclusive.is_empty(), "{tally:#?}");
}

/// Both batteries look at the processes and the memory of this one.
static ALONE: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());
