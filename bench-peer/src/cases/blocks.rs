//! The real blocks. Each is called again and again, and then all in a row, so that no call finds what
//! the last one left; beside both hosts, the engine alone says what the guest itself needs.

use std::time::Duration;

use crate::{
    hosts::Side,
    samples::{BySide, Pairs, Quantiles, geometric_means},
    stage::Stage,
    table::{Figure, Row, time},
    turns::{in_pairs, in_turns},
    work::Work,
};

/// Calls of a block in a turn.
const CALLS: usize = 12;
/// The same where every other block is called in between.
const CALLS_IN_A_ROW: usize = 3;
/// Calls of a block in a round that are made in a jail and without. Of the largest block a jail adds less than a hundredth,
/// which it takes many of them to tell.
const PAIRS: usize = 24;
const MUST: f64 = 8.0;
const ADDED_MAX: Duration = Duration::from_millis(1);

pub(super) async fn run(stage: &mut Stage) -> Result<Vec<Row>, String> {
    stage.ready_real().await?;
    for work in &stage.real {
        stage.hosts.prepare(Side::InProcess, &work.guest).await?;
    }
    let stage = &*stage;
    let mut again = Vec::new();
    for work in &stage.real {
        again.extend(measure(stage, &[work], CALLS).await?);
    }
    let all: Vec<_> = stage.real.iter().collect();
    let in_a_row = measure(stage, &all, CALLS_IN_A_ROW).await?;

    let mut rows: Vec<_> = again.iter().map(Measured::row).collect();
    let count = again.len();
    rows.push(means(format!("{count} blocks, the same one again"), &again));
    rows.push(means(format!("{count} blocks, another one each time"), &in_a_row));
    rows.extend(added("the jail adds, the same one again", &again));
    rows.extend(added("the jail adds, another one each time", &in_a_row));
    Ok(rows)
}

/// A block at both hosts, and in a jail and without.
struct Measured<'a> {
    work: &'a Work,
    times: BySide,
    pairs: Pairs,
}

/// Calls these one after another, first at the hosts in turns.
async fn measure<'a>(
    stage: &Stage,
    works: &[&'a Work],
    calls: usize,
) -> Result<Vec<Measured<'a>>, String> {
    let times = in_turns(&stage.hosts, works, stage.plan(calls)).await?;
    let pairs = in_pairs(&stage.hosts, works, (stage.rounds, PAIRS)).await?;
    let measured = works.iter().zip(times).zip(pairs);
    Ok(measured.map(|((work, times), pairs)| Measured { work, times, pairs }).collect())
}

impl Measured<'_> {
    fn row(&self) -> Row {
        let figure = |side| Figure::Times(self.times.of(side));
        let case = format!("block {}", self.work.guest.name);
        Row::new(case, figure(Side::Peer), figure(Side::Lazaret)).note(format!(
            "in-process {}; jails add {} and {}",
            time(self.pairs.alone().p50),
            time(self.added_by_peer()),
            time(self.pairs.added()),
        ))
    }

    /// Beyond Lazaret's engine: for comparison.
    fn added_by_peer(&self) -> Duration {
        self.times.of(Side::Peer).p50.saturating_sub(self.pairs.alone().p50)
    }
}

fn means(case: String, blocks: &[Measured<'_>]) -> Row {
    let mean = |side| {
        let all: Vec<Quantiles> = blocks.iter().map(|block| block.times.of(side)).collect();
        Figure::Times(geometric_means(&all))
    };
    Row::new(case, mean(Side::Peer), mean(Side::Lazaret))
        .must_be_better(MUST)
        .note("geometric means of each quantile")
}

/// What the hosts add to a block in the middle of all, and where they add most.
fn added(case: &str, blocks: &[Measured<'_>]) -> [Row; 2] {
    let sorted = |of: fn(&Measured<'_>) -> Duration| {
        let mut all: Vec<_> =
            blocks.iter().map(|block| (of(block), block.work.guest.name.as_str())).collect();
        all.sort_unstable();
        all
    };
    let (peer, lazaret) =
        (sorted(|block| block.added_by_peer()), sorted(|block| block.pairs.added()));
    let row = |which: &str, place: usize| {
        let of = |all: &[(Duration, _)]| all.get(place).copied().unwrap_or_default();
        let ((peer, _), (lazaret, name)) = (of(&peer), of(&lazaret));
        Row::new(format!("{case}, {which}"), Figure::Time(peer), Figure::Time(lazaret))
            .must_be_within(Figure::Time(ADDED_MAX))
            .note(format!(
                "Lazaret's is {name}; the middle of the differences of single calls; the peer's, p50 beyond p50, has another engine in it"
            ))
    };
    [row("middle block", blocks.len() / 2), row("worst block", blocks.len().saturating_sub(1))]
}
