//! When to stop believing an artifact: jobs of it die over several inputs, in ways that nobody can
//! explain. Pure; time is an argument.
//!
//! A bad block makes its own job die. An artifact that was damaged where no digest looks, or a
//! processor that has begun to miscompute, makes every job die, and every death would be a vote against
//! a block that may be good.

use std::{
    collections::{HashMap, HashSet},
    time::{Duration, Instant},
};

use crate::{artifacts::Key, verdict::Doubt};

/// How long a death counts, and how long an artifact that was made anew is left alone: whoever writes
/// code whose jobs die could otherwise have it compiled again and again.
const REMEMBERED: Duration = Duration::from_secs(15 * 60);
/// Artifacts of which deaths are counted; beyond that the count begins anew.
const ARTIFACTS_MAX: usize = 1024;

#[derive(Debug)]
pub(crate) struct Breaker {
    /// Distinct inputs over which jobs of one artifact may die before it is made anew.
    inputs_max: usize,
    artifacts: HashMap<Key, Deaths>,
}

#[derive(Debug)]
struct Deaths {
    since: Instant,
    inputs: HashSet<[u8; 32]>,
    made_anew: bool,
}

impl Breaker {
    pub(crate) fn new(inputs_max: usize) -> Self {
        Self { inputs_max, artifacts: HashMap::new() }
    }

    /// Counts a death; says whether the artifact is now to be made anew.
    pub(crate) fn died(&mut self, key: Key, input: [u8; 32], now: Instant) -> bool {
        self.artifacts.retain(|_, deaths| now.saturating_duration_since(deaths.since) < REMEMBERED);
        if self.artifacts.len() >= ARTIFACTS_MAX {
            self.artifacts.clear();
        }
        let fresh = || Deaths { since: now, inputs: HashSet::new(), made_anew: false };
        let deaths = self.artifacts.entry(key).or_insert_with(fresh);
        if deaths.inputs.len() < self.inputs_max {
            deaths.inputs.insert(input);
        }
        if deaths.made_anew || deaths.inputs.len() < self.inputs_max {
            return false;
        }
        *deaths = Deaths { made_anew: true, ..fresh() };
        true
    }

    /// A job of the artifact came to an answer.
    pub(crate) fn lived(&mut self, key: &Key) {
        self.artifacts.remove(key);
    }
}

/// Whether the doubt is about a job that died, and not about time.
pub(crate) fn is_death(doubt: &Doubt) -> bool {
    match doubt {
        Doubt::Signaled { .. }
        | Doubt::Exited { .. }
        | Doubt::OutOfMemory
        | Doubt::MachineOutOfMemory
        | Doubt::NoReply
        | Doubt::Malformed(_)
        | Doubt::Unfitting
        | Doubt::ArtifactUnusable(_)
        | Doubt::Unable(_)
        | Doubt::WorkerLost => true,
        Doubt::WallLimit { .. } | Doubt::Preparation(_) | Doubt::PreparationCpu { .. } => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(n: u8) -> Key {
        Key::new(&[n; 32], &Default::default(), &[0; 32])
    }

    #[test]
    fn three_inputs_break_it_and_one_input_however_often_does_not() {
        let (mut breaker, now) = (Breaker::new(3), Instant::now());
        for _ in 0..10 {
            assert!(!breaker.died(key(1), [1; 32], now));
        }
        assert!(!breaker.died(key(1), [2; 32], now));
        assert!(!breaker.died(key(2), [3; 32], now), "another artifact");
        assert!(breaker.died(key(1), [3; 32], now));
    }

    #[test]
    fn an_answer_in_between_clears_the_count() {
        let (mut breaker, now) = (Breaker::new(3), Instant::now());
        breaker.died(key(1), [1; 32], now);
        breaker.died(key(1), [2; 32], now);
        breaker.lived(&key(1));
        assert!(!breaker.died(key(1), [3; 32], now));
    }

    #[test]
    fn what_was_made_anew_is_left_alone_for_a_while() {
        let (mut breaker, now) = (Breaker::new(3), Instant::now());
        let mut died = |input: u8, now| breaker.died(key(1), [input; 32], now);
        assert_eq!([died(1, now), died(2, now), died(3, now)], [false, false, true]);
        assert_eq!([died(4, now), died(5, now), died(6, now)], [false; 3]);
        let later = now + REMEMBERED;
        assert_eq!([died(7, later), died(8, later), died(9, later)], [false, false, true]);
    }
}
