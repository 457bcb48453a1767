//! A guest that never returns, with 100 ms of CPU time: how long until somebody knows.

use std::time::Duration;

use crate::{
    hosts::Side,
    made,
    stage::Stage,
    table::{Figure, Row},
    turns::{Plan, in_turns},
};

const MUST: Duration = Duration::from_millis(105);

pub(super) async fn run(stage: &mut Stage) -> Result<Vec<Row>, String> {
    let work = made::endless()?;
    stage.ready(&work.guest).await?;
    let plan = Plan { sides: Side::HOSTS, rounds: stage.rounds.min(10), calls: 2 };
    let times = in_turns(&stage.hosts, &[&work], plan).await?;
    let figure = |side| Figure::Times(times[0].of(side));
    let case = "endless loop, limit of 100 ms";
    let row = Row::new(case, figure(Side::Peer), figure(Side::Lazaret));
    Ok(vec![row.must_be_within(Figure::Time(MUST))])
}
