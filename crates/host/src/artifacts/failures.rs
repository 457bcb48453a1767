//! Preparations that failed for reasons that may pass: when to try again, and when to forget.
//!
//! Code that takes too long or whose job dies is not compiled again for every request that needs it:
//! that would be a storm that the code's author can start. Pure; time is an argument.

use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

use super::{key::Key, terms::Terms};
use crate::verdict::{Doubt, Refusal};

/// Failures remembered; beyond that the oldest is forgotten.
const REMEMBERED_MAX: usize = 1024;

/// When a preparation that failed, but might not the next time, is tried again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PrepareRetry {
    /// The time after a failure in which requests are told of it without a new try; 15 minutes by
    /// default.
    pub cool_down: Duration,
    /// Tries before requests are only told; 5 by default.
    pub tries_max: u32,
    /// The time after the last try in which the failure is remembered at all; a day by default.
    pub forgotten_after: Duration,
}

impl Default for PrepareRetry {
    fn default() -> Self {
        Self {
            cool_down: Duration::from_secs(15 * 60),
            tries_max: 5,
            forgotten_after: Duration::from_secs(24 * 60 * 60),
        }
    }
}

/// What failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Failure {
    /// It took too long, here and now.
    Refused(Refusal),
    /// Its job ended in a way that nobody can explain.
    Inconclusive(Doubt),
}

#[derive(Debug)]
pub(crate) struct Failures {
    rules: PrepareRetry,
    known: HashMap<(Key, Terms), Known>,
}

#[derive(Debug)]
struct Known {
    failure: Failure,
    tries: u32,
    last: Instant,
}

impl Failures {
    pub(crate) fn new(rules: PrepareRetry) -> Self {
        Self { rules, known: HashMap::new() }
    }

    /// What a request for this is told, if it is too early or too late for another try.
    pub(crate) fn stands(&self, what: &(Key, Terms), now: Instant) -> Option<&Failure> {
        let Known { failure, tries, last } = self.known.get(what)?;
        let age = now.saturating_duration_since(*last);
        let forgotten = age >= self.rules.forgotten_after;
        let may_retry = age >= self.rules.cool_down && *tries < self.rules.tries_max;
        (!forgotten && !may_retry).then_some(failure)
    }

    /// How often preparations of this failed, the most under any terms.
    pub(crate) fn tries(&self, key: &Key, now: Instant) -> Option<u32> {
        let lasts =
            |known: &Known| now.saturating_duration_since(known.last) < self.rules.forgotten_after;
        let of_key = self.known.iter().filter(|((of, _), known)| of == key && lasts(known));
        of_key.map(|(_, known)| known.tries).max()
    }

    pub(crate) fn note(&mut self, what: (Key, Terms), failure: Failure, now: Instant) {
        let rules = self.rules;
        self.known
            .retain(|_, known| now.saturating_duration_since(known.last) < rules.forgotten_after);
        let tries = self.known.get(&what).map_or(0, |known| known.tries).saturating_add(1);
        self.known.insert(what, Known { failure, tries, last: now });
        if self.known.len() > REMEMBERED_MAX {
            let oldest = self.known.iter().min_by_key(|(_, known)| known.last);
            if let Some((&oldest, _)) = oldest {
                self.known.remove(&oldest);
            }
        }
    }

    /// Forgets a failure, because it succeeded after all.
    pub(crate) fn forget(&mut self, what: &(Key, Terms)) {
        self.known.remove(what);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::artifacts::Purpose;

    const MINUTE: Duration = Duration::from_secs(60);

    fn what(n: u16) -> (Key, Terms) {
        let mut digest = [0; 32];
        digest[..2].copy_from_slice(&n.to_le_bytes());
        let terms = Terms::new(Purpose::Execution, &Default::default());
        (Key::new(&digest, &Default::default(), &[0; 32]), terms)
    }

    fn died() -> Failure {
        Failure::Inconclusive(Doubt::WorkerLost)
    }

    #[test]
    fn a_failure_is_tried_again_after_its_cool_down_five_times_in_all_and_forgotten_after_a_day() {
        let (mut failures, mut now) = (Failures::new(PrepareRetry::default()), Instant::now());
        assert_eq!(failures.stands(&what(1), now), None);
        for _ in 0..5 {
            assert_eq!(failures.stands(&what(1), now), None, "a try is due");
            failures.note(what(1), died(), now);
            assert_eq!(failures.stands(&what(1), now + 14 * MINUTE), Some(&died()));
            now += 15 * MINUTE;
        }
        assert_eq!(failures.stands(&what(1), now), Some(&died()), "no sixth try");
        assert_eq!(failures.stands(&what(1), now + 24 * 60 * MINUTE), None, "forgotten");
        assert_eq!(failures.stands(&what(2), now), None);
    }

    #[test]
    fn a_success_clears_the_count() {
        let (mut failures, now) = (Failures::new(PrepareRetry::default()), Instant::now());
        failures.note(what(1), died(), now);
        failures.forget(&what(1));
        assert_eq!(failures.stands(&what(1), now), None);
    }

    #[test]
    fn what_is_remembered_is_bounded_and_the_oldest_goes_first() {
        let (mut failures, now) = (Failures::new(PrepareRetry::default()), Instant::now());
        for n in 0..=REMEMBERED_MAX as u16 {
            failures.note(what(n), died(), now + Duration::from_millis(n.into()));
        }
        assert_eq!(failures.known.len(), REMEMBERED_MAX);
        assert_eq!(failures.stands(&what(0), now), None);
        assert!(failures.stands(&what(1), now).is_some());
    }
}
