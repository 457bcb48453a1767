//! Measuring in turns: some calls at one host, the same calls at the other, again and again, so that
//! whatever else this machine does meets both.

use std::time::Duration;

use crate::{
    hosts::{Hosts, Side},
    samples::{BySide, Pairs},
    work::Work,
};

/// Between two turns.
const REST: Duration = Duration::from_millis(100);

/// How much is measured.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Plan<'a> {
    /// Who takes turns.
    pub(crate) sides: &'a [Side],
    /// Turns of each.
    pub(crate) rounds: usize,
    /// Counted calls of each work in a turn.
    pub(crate) calls: usize,
}

impl Plan<'_> {
    /// The sides in the order of this round.
    pub(crate) fn order(&self, round: usize) -> Vec<Side> {
        let mut order = self.sides.to_vec();
        alternate(&mut order, round);
        order
    }
}

/// Who begins one round is the last in the next.
fn alternate(sides: &mut [Side], round: usize) {
    if round % 2 == 1 {
        sides.reverse();
    }
}

/// Lets the kernel put away what the side before left.
pub(crate) async fn rest() {
    tokio::time::sleep(REST).await;
}

/// Calls every work in every turn, one after another; the times of each work.
///
/// A turn begins with a rest, in which the kernel puts away what the other side's jobs left (of a namespace that nobody is in any
/// more it disposes later, and of 100 calls for longer than some turns last), and with a call that is not counted, because
/// it finds the caches of the processor full of the other side's data.
pub(crate) async fn in_turns(
    hosts: &Hosts,
    works: &[&Work],
    plan: Plan<'_>,
) -> Result<Vec<BySide>, String> {
    let mut times = vec![BySide::default(); works.len()];
    for round in 0..plan.rounds {
        for side in plan.order(round) {
            rest().await;
            hosts.call(side, works[0]).await?;
            for _ in 0..plan.calls {
                for (work, times) in works.iter().zip(&mut times) {
                    times.push(side, hosts.call(side, work).await?);
                }
            }
        }
    }
    Ok(times)
}

/// Calls every work in every round so many times, each time in a jail and without, one directly after the other: a machine may
/// have two speeds, which last for some calls each and differ by more than a jail adds.
pub(crate) async fn in_pairs(
    hosts: &Hosts,
    works: &[&Work],
    (rounds, calls): (usize, usize),
) -> Result<Vec<Pairs>, String> {
    let mut pairs = vec![Pairs::default(); works.len()];
    for _ in 0..rounds {
        rest().await;
        for side in Side::JAILED_OR_NOT {
            hosts.call(side, works[0]).await?;
        }
        for call in 0..calls {
            let mut order = Side::JAILED_OR_NOT;
            alternate(&mut order, call);
            for (work, pairs) in works.iter().zip(&mut pairs) {
                let first = hosts.call(order[0], work).await?;
                let second = hosts.call(order[1], work).await?;
                match order[0] {
                    Side::InProcess => pairs.push(second, first),
                    _ => pairs.push(first, second),
                }
            }
        }
    }
    Ok(pairs)
}
