//! Trivial calls of artifacts that are larger and larger: what the size of code costs in each call.

use crate::{
    hosts::Side,
    made,
    samples::Quantiles,
    stage::Stage,
    table::{Figure, Row, time},
    turns::in_turns,
};

const MEGABYTES: &[usize] = &[1, 5, 10, 20, 30];
const CALLS: usize = 10;
/// The largest may cost so many times what the smallest does.
const GROWTH_MAX: f64 = 1.2;

pub(super) async fn run(stage: &mut Stage) -> Result<Vec<Row>, String> {
    let (mut rows, mut peers, mut lazarets) = (Vec::new(), Vec::new(), Vec::new());
    for &count in MEGABYTES {
        eprintln!("preparing an artifact of {count} MB");
        let work = made::sized(count * 1_000_000, 1000)?;
        let prepared = stage.ready(&work.guest).await?;
        let times = in_turns(&stage.hosts, &[&work], stage.plan(CALLS)).await?;
        let (peer, lazaret) = (times[0].of(Side::Peer), times[0].of(Side::Lazaret));
        let megabytes = |bytes: u64| bytes as f64 / 1e6;
        rows.push(
            Row::new(
                format!("trivial, artifact of {count} MB"),
                Figure::Times(peer),
                Figure::Times(lazaret),
            )
            .note(format!(
                "{:.1} and {:.1} MB; prepared in {} and {}",
                megabytes(prepared.peer_bytes),
                megabytes(prepared.lazaret_bytes),
                time(prepared.peer),
                time(prepared.lazaret),
            )),
        );
        peers.push(peer);
        lazarets.push(lazaret);
    }
    let case = "the same, p50 of the largest by that of the smallest";
    let row = Row::new(case, growth(&peers), growth(&lazarets));
    rows.push(row.must_be_within(Figure::Factor(GROWTH_MAX)));
    Ok(rows)
}

fn growth(sizes: &[Quantiles]) -> Figure {
    let p50 = |of: Option<&Quantiles>| of.map_or(0.0, |times| times.p50.as_secs_f64());
    Figure::Factor(p50(sizes.last()) / p50(sizes.first()))
}
