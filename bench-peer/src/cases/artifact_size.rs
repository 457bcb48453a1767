//! Trivial calls of artifacts that are larger and larger: what the size of code costs in each call.

use crate::{
    hosts::Side,
    made,
    samples::{BySide, Quantiles},
    stage::Stage,
    table::{Figure, Row, time},
    turns::{Plan, in_turns},
};

const MEGABYTES: &[usize] = &[1, 5, 10, 20, 30];
const CALLS: usize = 20;
/// The largest may cost so many times what the smallest does.
const GROWTH_MAX: f64 = 1.2;

pub(super) async fn run(stage: &mut Stage) -> Result<Vec<Row>, String> {
    let (mut works, mut sizes) = (Vec::new(), Vec::new());
    for &count in MEGABYTES {
        eprintln!("preparing an artifact of {count} MB");
        let work = made::sized(count * 1_000_000, 1000)?;
        sizes.push(stage.ready(&work.guest).await?);
        works.push(work);
    }
    // What is compared is called in the same seconds: a turn of each, and then again.
    let mut times = vec![BySide::default(); works.len()];
    for round in 0..stage.rounds {
        let once = Plan { sides: &stage.plan(CALLS).order(round), rounds: 1, calls: CALLS };
        for (work, times) in works.iter().zip(&mut times) {
            times.extend(&in_turns(&stage.hosts, &[work], once).await?[0]);
        }
    }
    let quantiles = |side| times.iter().map(move |times| times.of(side));
    let peers: Vec<_> = quantiles(Side::Peer).collect();
    let lazarets: Vec<_> = quantiles(Side::Lazaret).collect();
    let sized = MEGABYTES.iter().zip(&sizes).zip(peers.iter().zip(&lazarets));
    let mut rows: Vec<_> = sized
        .map(|((count, prepared), (peer, lazaret))| {
            let megabytes = |bytes: u64| bytes as f64 / 1e6;
            let case = format!("trivial, artifact of {count} MB");
            Row::new(case, Figure::Times(*peer), Figure::Times(*lazaret)).note(format!(
                "{:.1} and {:.1} MB; prepared in {} and {}",
                megabytes(prepared.peer_bytes),
                megabytes(prepared.lazaret_bytes),
                time(prepared.peer),
                time(prepared.lazaret),
            ))
        })
        .collect();
    let case = "the same, p50 of the largest by that of the smallest";
    let row = Row::new(case, growth(&peers), growth(&lazarets));
    rows.push(row.must_be_within(Figure::Factor(GROWTH_MAX)));
    Ok(rows)
}

fn growth(sizes: &[Quantiles]) -> Figure {
    let p50 = |of: Option<&Quantiles>| of.map_or(0.0, |times| times.p50.as_secs_f64());
    Figure::Factor(p50(sizes.last()) / p50(sizes.first()))
}
