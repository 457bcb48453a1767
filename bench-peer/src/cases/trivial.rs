//! A guest that returns at once, called one time after another: what a call costs by itself.

use crate::{
    hosts::Side,
    made,
    stage::Stage,
    table::{Figure, Row},
    turns::in_turns,
};

/// Calls in a turn: so many that the slowest in a hundred means something over all rounds.
const CALLS: usize = 100;
const MUST: f64 = 12.0;

pub(super) async fn run(stage: &mut Stage) -> Result<Vec<Row>, String> {
    let work = made::trivial()?;
    let times = in_turns(&stage.hosts, &[&work], stage.plan(CALLS)).await?;
    let (peer, lazaret) = (times[0].of(Side::Peer), times[0].of(Side::Lazaret));
    let p99 = |of: crate::samples::Quantiles| Figure::Time(of.p99);
    let all = Row::new("trivial, p50", Figure::Times(peer), Figure::Times(lazaret));
    let slowest = Row::new("trivial, p99", p99(peer), p99(lazaret));
    Ok(vec![all.must_be_better(MUST), slowest.must_be_better(MUST)])
}
