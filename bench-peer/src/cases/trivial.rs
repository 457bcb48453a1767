//! A guest that returns at once, called one time after another: what a call costs by itself.

use crate::{
    hosts::Side,
    made,
    samples::{BySide, Quantiles},
    stage::Stage,
    table::{Figure, Row},
    turns::{Plan, in_turns},
};

/// Calls in a turn. Lazaret can have jobs in stock for as many.
const CALLS: usize = 100;
/// Turns for each round: the slowest in a hundred of a few hundred calls are a handful, and say little.
const TURNS: usize = 3;
/// Calls in a long turn: many more than Lazaret can have jobs in stock for.
const CALLS_ON_AND_ON: usize = 1000;
/// Rounds for each long turn.
const ROUNDS: usize = 3;
const MUST: f64 = 12.0;

pub(super) async fn run(stage: &mut Stage) -> Result<Vec<Row>, String> {
    let work = made::trivial()?;
    let plan = |rounds, calls| Plan { rounds, ..stage.plan(calls) };
    let (short, long) =
        (plan(stage.rounds * TURNS, CALLS), plan(stage.rounds.div_ceil(ROUNDS), CALLS_ON_AND_ON));
    let times = in_turns(&stage.hosts, &[&work], short).await?;
    let on_and_on = in_turns(&stage.hosts, &[&work], long).await?;

    let [p50, p99] = rows("trivial", &times[0]);
    let on_and_on = rows("trivial, a thousand calls without a rest", &on_and_on[0]);
    Ok([p50.must_be_better(MUST), p99.must_be_better(MUST)].into_iter().chain(on_and_on).collect())
}

fn rows(case: &str, times: &BySide) -> [Row; 2] {
    let (peer, lazaret) = (times.of(Side::Peer), times.of(Side::Lazaret));
    let p99 = |of: Quantiles| Figure::Time(of.p99);
    [
        Row::new(format!("{case}, p50"), Figure::Times(peer), Figure::Times(lazaret)),
        Row::new(format!("{case}, p99"), p99(peer), p99(lazaret)),
    ]
}
