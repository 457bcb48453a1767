//! A host that starts over a cache of 50 artifacts: how long until its first verdict. The peer throws
//! the artifacts away and compiles again.

use std::time::{Duration, Instant};

use crate::{
    hosts::Side,
    lazaret_host::Lazaret,
    made, peer,
    peer::Peer,
    samples::BySide,
    stage::{ARTIFACTS, Stage},
    table::{Figure, Row},
    turns::Plan,
    work::Work,
};

/// Starts of each host: the peer's take seconds.
const STARTS: usize = 3;
const MUST: Duration = Duration::from_millis(50);

pub(super) async fn run(stage: &mut Stage) -> Result<Vec<Row>, String> {
    stage.ready_real().await?;
    stage.ready_fillers().await?;
    let trivial = made::trivial()?;
    let real = middle(&stage.real).ok_or("no real blocks")?;
    let mut rows = Vec::new();
    for (work, what) in [(&trivial, "trivial".to_owned()), (real, real.guest.name.clone())] {
        let times = starts(stage, work).await?;
        let figure = |side| Figure::Times(times.of(side));
        let case = format!("start with {ARTIFACTS} artifacts, first verdict: {what}");
        let row = Row::new(case, figure(Side::Peer), figure(Side::Lazaret));
        rows.push(row.must_be_within(Figure::Time(MUST)));
    }
    Ok(rows)
}

/// The block whose code is in the middle by size.
fn middle(works: &[Work]) -> Option<&Work> {
    let mut by_size: Vec<_> = works.iter().collect();
    by_size.sort_by_key(|work| work.guest.code.len());
    by_size.get(works.len() / 2).copied()
}

async fn starts(stage: &Stage, work: &Work) -> Result<BySide, String> {
    let mut times = BySide::default();
    let plan = Plan { sides: Side::HOSTS, rounds: STARTS, calls: 1 };
    for round in 0..plan.rounds {
        for side in plan.order(round) {
            times.push(side, start(stage, side, work).await?);
        }
    }
    Ok(times)
}

async fn start(stage: &Stage, side: Side, work: &Work) -> Result<Duration, String> {
    let cache = stage.hosts.cache(side);
    let (took, ended) = match side {
        Side::Peer => {
            let folder = tempfile::tempdir_in(stage.folder.path()).map_err(|e| e.to_string())?;
            peer::link_artifacts(&cache, folder.path())?;
            let begin = Instant::now();
            let host = Peer::start(folder.path()).await?;
            let (_, ended) = host.call(work).await?;
            (begin.elapsed(), ended)
        }
        _ => {
            let begin = Instant::now();
            let host = Lazaret::start(&cache).await?;
            let (_, ended) = host.call(work).await?;
            (begin.elapsed(), ended)
        }
    };
    work.check("a host just started", &ended)?;
    Ok(took)
}
