//! Measuring in turns: some calls at one host, the same calls at the other, again and again, so that
//! whatever else this machine does meets both.

use std::time::Duration;

use crate::{
    hosts::{Hosts, Side},
    samples::BySide,
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
    /// The sides in the order of this round: who begins one round is the last in the next.
    pub(crate) fn order(&self, round: usize) -> Vec<Side> {
        let mut order = self.sides.to_vec();
        if round % 2 == 1 {
            order.reverse();
        }
        order
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
            times.iter_mut().for_each(|times| times.end_turn(side));
        }
    }
    Ok(times)
}
