//! The battery in the place of the compiler: the rows of `prepare_list` as native code in prepare jobs
//! behind the prepare job's own jail.
//!
//! A preparation that ends in doubt is tried once more after a second, so the attempts of a family run
//! beside each other, in the short form those of all families, and what must not change is looked at
//! after them.

use std::{collections::BTreeMap, error::Error, time::Duration};

use crate::{
    battery::{Outcome, as_expected, heading, line, starved, stopped_by},
    layers::Without,
    list::Row,
    prepare_list,
    seen::Seen,
    stage::{Reports, Stage},
};

/// CPU time of a call of what a hostile preparation left.
const CPU: Duration = Duration::from_millis(300);

/// How many rows and invariants came to something else.
pub(crate) async fn run(
    blobs: &BTreeMap<char, Vec<u8>>,
    settings: &[Without],
    (only, short): (&str, bool),
) -> Result<usize, Box<dyn Error>> {
    let rows = prepare_list::rows(only, short);
    let mut misses = 0;
    for &without in settings {
        let stage = Stage::set(without).await?;
        heading(&format!("{}, in a prepare job", without.name()));
        let mut held = 0;
        for rows in rows.chunk_by(|one, next| short || one.family == next.family) {
            let (outcomes, broken) = run_beside(&stage, blobs, rows, (without, short)).await;
            for (row, outcome) in rows.iter().zip(&outcomes) {
                println!("{}", line(row, without, outcome));
                held += usize::from(outcome.missed.is_empty());
            }
            let missed: Vec<_> =
                outcomes.iter().flat_map(|outcome| &outcome.missed).chain(&broken).collect();
            missed.iter().for_each(|miss| println!("      MISS {miss}"));
            misses += missed.len();
        }
        if let Some(why) = stage.next_host_is_misled().await {
            println!("      MISS {why}");
            misses += 1;
        }
        println!("{}, in a prepare job: {held} of {} rows as expected", without.name(), rows.len());
    }
    Ok(misses)
}

/// What came of each row, and the invariants that did not hold.
async fn run_beside(
    stage: &Stage,
    blobs: &BTreeMap<char, Vec<u8>>,
    rows: &[Row],
    (without, short): (Without, bool),
) -> (Vec<Outcome>, Vec<String>) {
    let cases: Vec<(usize, u32)> = rows
        .iter()
        .enumerate()
        .flat_map(|(at, row)| row.cases(short).into_iter().map(move |argument| (at, argument)))
        .collect();
    let attacks: Vec<_> = cases
        .iter()
        .map(|&(at, argument)| (&rows[at], argument))
        .map(|(row, argument)| (&blobs[&row.family][..], stage.arena(row.attempt, argument)))
        .collect();
    let Reports { answers, mut invariants } = stage.attack_in_prepare(&attacks, CPU).await;
    // Each is a row's own: whether it still stands is seen below.
    invariants.no_fault.clear();
    let mut broken = invariants.broken();
    let mut outcomes: Vec<_> = rows.iter().map(|_| Outcome::default()).collect();
    for (number, ((at, argument), answer)) in cases.into_iter().zip(&answers).enumerate() {
        let (row, outcome) = (&rows[at], &mut outcomes[at]);
        let mut seen = Seen::of(answer);
        if starved(&seen) && !as_expected(stage, row, without, &seen) {
            // Others share this machine; a limit that was reached for their sake says nothing.
            let again = stage.attack_in_prepare(&attacks[number..=number], CPU).await;
            seen = again.answers.first().map_or(Seen::Nothing, Seen::of);
            broken.extend(again.invariants.broken());
        }
        outcome.stopped_by = stopped_by(row, without, &seen);
        if matches!(seen, Seen::Blamed(_)) || !as_expected(stage, row, without, &seen) {
            outcome.missed.push(format!("{} [{argument}] seen: {seen:?}", row.id));
        }
        outcome.seen.insert(seen.to_string());
    }
    (outcomes, broken)
}
