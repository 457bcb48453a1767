//! Memory: of an execute worker that has done one call and waits, and of a whole host that has 50 hot
//! artifacts. The latter is measured in a process of its own, which holds nothing else.

use std::{env, path::Path, process, process::Stdio};

use serde_json::Value;

use crate::{
    corpus,
    hosts::{Hosts, Side},
    lazaret_host::Lazaret,
    made,
    processes::{self, Process},
    stage::{ARTIFACTS, Stage, fillers},
    table::{Figure, Row},
};

/// Beside the artifacts.
const MUST: Figure = Figure::Bytes(64_000_000);

pub(super) async fn run(stage: &mut Stage) -> Result<Vec<Row>, String> {
    stage.ready_real().await?;
    stage.ready_fillers().await?;
    let mut rows = idle(stage).await?;
    rows.push(hot(stage).await?);
    Ok(rows)
}

/// Fresh hosts: those of the stage have grown by what they did.
async fn idle(stage: &Stage) -> Result<Vec<Row>, String> {
    let before = processes::children();
    let hosts = Hosts::start(&stage.scratch("idle")).await?;
    let work = made::trivial()?;
    for side in Side::HOSTS {
        hosts.prepare(*side, &work.guest).await?;
        hosts.call(*side, &work).await?;
    }
    let worker = |name: &str| -> Result<Process, String> {
        let mut new = processes::children().into_iter().filter(|one| !before.contains(one));
        new.find(|one| one.name.starts_with(name)).ok_or(format!("no process {name}"))
    };
    let (peer, lazaret) = (worker("peer-execute")?, worker("lazaret-execute")?);
    let resident = |pid| Ok::<_, String>(Figure::Bytes(processes::resident_bytes(pid)?));
    let family = |pid| {
        let each = processes::family(pid).into_iter().map(processes::proportional_bytes);
        Ok::<_, String>(Figure::Bytes(each.sum::<Result<u64, String>>()?))
    };
    let worker =
        Row::new("idle execute worker, resident", resident(peer.pid)?, resident(lazaret.pid)?);
    let jobs = Row::new("the same with its waiting jobs", family(peer.pid)?, family(lazaret.pid)?);
    Ok(vec![
        worker.must_be_better(1.0),
        jobs.note("shared pages divided among those who share them"),
    ])
}

async fn hot(stage: &Stage) -> Result<Row, String> {
    let data = stage.data.as_os_str();
    let own = env::current_exe().map_err(|error| error.to_string())?;
    let child = tokio::process::Command::new(own)
        .arg("--data")
        .arg(data)
        .arg("--hold")
        .arg(stage.hosts.cache(Side::Lazaret))
        .stderr(Stdio::inherit())
        .output()
        .await
        .map_err(|error| error.to_string())?;
    let held: Value = serde_json::from_slice(&child.stdout)
        .map_err(|error| format!("the process that holds artifacts: {error}"))?;
    let of = |name: &str| held[name].as_u64().ok_or(format!("it says no {name}"));
    let note = format!(
        "beside {:.0} MB of artifacts; {:.1} MB before the host started; the whole program",
        of("artifact_bytes")? as f64 / 1e6,
        of("before_bytes")? as f64 / 1e6,
    );
    let case = format!("host with {} hot artifacts, resident", of("artifacts")?);
    let row = Row::new(case, Figure::None, Figure::Bytes(of("resident_bytes")?));
    Ok(row.must_be_within(MUST).note(note))
}

/// The other process: starts a host over a cache, calls 50 artifacts of it, and says what it holds.
/// Code and blocks are dropped after each call, because they are the caller's and not the host's.
pub(crate) async fn hold(data: &Path, cache: &Path) -> Result<Value, String> {
    let own = process::id();
    let before = processes::resident_bytes(own)?;
    let host = Lazaret::start(cache).await?;
    let folders = corpus::folders(data)?;
    let real = folders.iter().map(|folder| corpus::block_in(folder));
    let (mut artifacts, mut bytes) = (0, 0);
    for work in real.chain(fillers(folders.len())).take(ARTIFACTS) {
        let work = work?;
        let (_, ended) = host.call(&work).await?;
        work.check("a host with many artifacts", &ended)?;
        artifacts += 1;
        bytes += host.artifact_bytes(&work.guest).await?;
    }
    Ok(serde_json::json!({
        "artifacts": artifacts,
        "artifact_bytes": bytes,
        "before_bytes": before,
        "resident_bytes": processes::resident_bytes(own)?,
    }))
}
