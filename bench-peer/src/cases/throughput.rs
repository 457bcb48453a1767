//! All workers busy with trivial calls, and always more in flight than there are workers.

use std::{sync::Arc, time::Instant};

use tokio::task::JoinSet;

use crate::{
    hosts::{EXECUTE_WORKERS, Hosts, Side},
    made,
    stage::Stage,
    table::{Figure, Row},
    turns::rest,
    work::Work,
};

const IN_FLIGHT: usize = 32;
/// Calls of each client in a turn: so many that what a host had ready when it began is a small part of it. Lazaret's two workers may
/// have 264 jobs that wait.
const CALLS: usize = 80;
const MUST: f64 = 8.0;

pub(super) async fn run(stage: &mut Stage) -> Result<Vec<Row>, String> {
    let work = Arc::new(made::trivial()?);
    let plan = stage.plan(CALLS);
    let (mut peer, mut lazaret) = (Vec::new(), Vec::new());
    for round in 0..plan.rounds {
        for side in plan.order(round) {
            rest().await;
            let rate = rate(&stage.hosts, side, &work).await?;
            match side {
                Side::Peer => peer.push(rate),
                _ => lazaret.push(rate),
            }
        }
    }
    // Neighbouring turns meet the same machine: over the sixes in a row of twenty rounds the middle of the ratios had half the
    // standard deviation of the ratio of the middles.
    let ratios = lazaret.iter().zip(&peer).map(|(lazaret, peer)| lazaret / peer).collect();
    let case = format!("trivial, {EXECUTE_WORKERS} workers, {IN_FLIGHT} in flight");
    let row = Row::new(case, Figure::Rate(middle(peer)), Figure::Rate(middle(lazaret)));
    let row = row.ratio_is(middle(ratios)).must_be_better(MUST);
    Ok(vec![row.note("the middle of all rounds, of each host and of the ratios")])
}

/// Calls in a second, over one turn.
async fn rate(hosts: &Arc<Hosts>, side: Side, work: &Arc<Work>) -> Result<f64, String> {
    let begin = Instant::now();
    let mut clients = JoinSet::new();
    for _ in 0..IN_FLIGHT {
        let (hosts, work) = (hosts.clone(), work.clone());
        clients.spawn(async move {
            for _ in 0..CALLS {
                hosts.call(side, &work).await?;
            }
            Ok::<_, String>(())
        });
    }
    for ended in clients.join_all().await {
        ended?;
    }
    Ok((IN_FLIGHT * CALLS) as f64 / begin.elapsed().as_secs_f64())
}

/// Of two in the middle what lies between them.
fn middle(mut values: Vec<f64>) -> f64 {
    values.sort_unstable_by(f64::total_cmp);
    let half = values.len() / 2;
    let [low, high] = [values.len().saturating_sub(1) / 2, half].map(|place| values.get(place));
    low.zip(high).map_or(0.0, |(low, high)| low.midpoint(*high))
}
