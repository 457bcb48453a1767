//! Preparing the runtimes of the real blocks, one after another, each at one host and then at the
//! other: a precheck, as the network asks for it before code is accepted.

use std::time::Duration;

use crate::{
    samples::{Quantiles, geometric_means},
    stage::{Prepared, Stage},
    table::{Figure, Row},
};

const MUST: f64 = 1.0;

pub(super) async fn run(stage: &mut Stage) -> Result<Vec<Row>, String> {
    let prepared = stage.ready_real().await?;
    let sum = |of: fn(&Prepared) -> Duration| Figure::Time(prepared.iter().map(of).sum());
    let bytes = |of: fn(&Prepared) -> u64| Figure::Bytes(prepared.iter().map(of).sum());
    let mean = |of: fn(&Prepared) -> Duration| {
        let once = |p50| Quantiles { p50, ..Quantiles::default() };
        let all: Vec<_> = prepared.iter().map(|each| once(of(each))).collect();
        Figure::Time(geometric_means(&all).p50)
    };
    let count = prepared.len();
    let all = Row::new(
        format!("prepare, {count} runtimes, sum"),
        sum(|each| each.peer),
        sum(|each| each.lazaret),
    );
    let each = Row::new(
        format!("prepare, {count} runtimes, geometric mean"),
        mean(|each| each.peer),
        mean(|each| each.lazaret),
    );
    let size = Row::new(
        "their artifacts",
        bytes(|each| each.peer_bytes),
        bytes(|each| each.lazaret_bytes),
    );
    Ok(vec![all.must_be_better(MUST), each, size])
}
