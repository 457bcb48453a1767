//! The real blocks. Each is called again and again, and then all in a row, so that no call finds what
//! the last one left; beside both hosts, the engine alone says what the guest itself needs.

use std::time::Duration;

use crate::{
    hosts::Side,
    samples::{BySide, Quantiles, geometric_means},
    stage::Stage,
    table::{Figure, Row, time},
    turns::{Plan, in_turns},
    work::Work,
};

/// Calls of a block in a turn. What a jail adds is the difference of two medians, and that of the largest block is a few
/// hundredths of either: it takes many calls to tell, and turns that follow each other.
const CALLS: usize = 12;
/// The same where every other block is called in between.
const CALLS_IN_A_ROW: usize = 3;
const MUST: f64 = 8.0;
const ADDED_MAX: Duration = Duration::from_millis(1);

pub(super) async fn run(stage: &mut Stage) -> Result<Vec<Row>, String> {
    stage.ready_real().await?;
    for work in &stage.real {
        stage.hosts.prepare(Side::InProcess, &work.guest).await?;
    }
    let plan = Plan { sides: Side::ALL, ..stage.plan(CALLS) };
    let mut again = Vec::new();
    for work in &stage.real {
        again.extend(in_turns(&stage.hosts, &[work], plan).await?);
    }
    let in_a_row: Vec<_> = stage.real.iter().collect();
    let in_a_row =
        in_turns(&stage.hosts, &in_a_row, Plan { calls: CALLS_IN_A_ROW, ..plan }).await?;

    let mut rows: Vec<_> =
        stage.real.iter().zip(&again).map(|(work, times)| of_one(work, times)).collect();
    let count = again.len();
    rows.push(means(format!("{count} blocks, the same one again"), &again));
    rows.push(means(format!("{count} blocks, another one each time"), &in_a_row));
    rows.extend(added("the jail adds, the same one again", &stage.real, &again));
    rows.extend(added("the jail adds, another one each time", &stage.real, &in_a_row));
    Ok(rows)
}

fn of_one(work: &Work, times: &BySide) -> Row {
    let figure = |side| Figure::Times(times.of(side));
    let alone = times.of(Side::InProcess).p50;
    Row::new(format!("block {}", work.guest.name), figure(Side::Peer), figure(Side::Lazaret)).note(
        format!(
            "in-process {}; jails add {} and {}",
            time(alone),
            time(times.beyond_in_process(Side::Peer)),
            time(times.beyond_in_process(Side::Lazaret)),
        ),
    )
}

fn means(case: String, blocks: &[BySide]) -> Row {
    let mean = |side| {
        let all: Vec<Quantiles> = blocks.iter().map(|times| times.of(side)).collect();
        Figure::Times(geometric_means(&all))
    };
    Row::new(case, mean(Side::Peer), mean(Side::Lazaret))
        .must_be_better(MUST)
        .note("geometric means of each quantile")
}

/// What the hosts add to a block in the middle of all, and where they add most.
fn added<'a>(case: &str, blocks: &'a [Work], times: &[BySide]) -> [Row; 2] {
    let sorted = |side| {
        let names = blocks.iter().map(|work| work.guest.name.as_str());
        let mut all: Vec<_> =
            times.iter().map(|times| times.beyond_in_process(side)).zip(names).collect();
        all.sort_unstable();
        all
    };
    let (peer, lazaret) = (sorted(Side::Peer), sorted(Side::Lazaret));
    let row = |which: &str, place: usize| {
        let of = |all: &[(Duration, &'a str)]| all.get(place).copied().unwrap_or_default();
        let ((peer, _), (lazaret, name)) = (of(&peer), of(&lazaret));
        Row::new(format!("{case}, {which}"), Figure::Time(peer), Figure::Time(lazaret))
            .must_be_within(Figure::Time(ADDED_MAX))
            .note(format!(
                "Lazaret's is {name}; p50 beyond that in-process, the middle of all rounds; the peer's engine is another"
            ))
    };
    [row("middle block", blocks.len() / 2), row("worst block", blocks.len().saturating_sub(1))]
}
