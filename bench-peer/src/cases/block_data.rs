//! The same with block data of some size, which the guest does not look at: what it costs to bring
//! it there.

use crate::{
    hosts::Side,
    made,
    stage::Stage,
    table::{Figure, Row},
    turns::in_turns,
};

const MEBIBYTES: &[usize] = &[1, 5, 10];
const CALLS: usize = 10;
/// The promise is about the largest.
const MUST: f64 = 8.0;

pub(super) async fn run(stage: &mut Stage) -> Result<Vec<Row>, String> {
    let mut rows = Vec::new();
    for &count in MEBIBYTES {
        let work = made::trivial_with(count << 20)?;
        let times = in_turns(&stage.hosts, &[&work], stage.plan(CALLS)).await?;
        let figure = |side| Figure::Times(times[0].of(side));
        let case = format!("trivial, {count} MiB of block data");
        let row = Row::new(case, figure(Side::Peer), figure(Side::Lazaret));
        rows.push(match Some(&count) == MEBIBYTES.last() {
            true => row.must_be_better(MUST),
            false => row,
        });
    }
    Ok(rows)
}
