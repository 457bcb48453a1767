//! How many copies a template keeps ready for the next burst of calls.
//!
//! To make a copy, and to put it away, takes more processor time than the call that it is for. While calls come one after another
//! copies are made no faster than on the other processors, and calls wait for them, or for what the processors share. So as many as
//! the longest burst took, and a share more, are made as soon as nobody asks, and the next burst finds them.

use std::time::{Duration, Instant};

/// Copies of all templates of a worker that are kept so, at most, beyond those that are there for any call. Each takes some 0.2 MB.
pub(crate) const STOCK_MAX: usize = 128;
/// So few calls one after another are no burst.
const FIRST_CALLS: usize = 8;
/// The share of a burst by which the next may be longer.
const MORE_SHARE: usize = 4;
/// How long after a burst that took some they are kept.
const UNUSED_MAX: Duration = Duration::from_secs(60);

pub(crate) struct Stock {
    /// Calls of the burst that is not over.
    calls: usize,
    /// How many calls the longest had, and some more.
    wanted: usize,
    /// When the last burst ended that took some.
    needed: Instant,
}

impl Stock {
    pub(crate) fn new(now: Instant) -> Self {
        Self { calls: 0, wanted: 0, needed: now }
    }

    /// A call has come.
    pub(crate) fn note_call(&mut self) {
        self.calls += 1;
    }

    /// What came until now was one burst, of more than `without` calls if it took some of these.
    pub(crate) fn end_burst(&mut self, without: usize, now: Instant) {
        let calls = std::mem::take(&mut self.calls);
        if calls > FIRST_CALLS {
            self.wanted = self.wanted.max(calls + calls / MORE_SHARE);
        }
        if calls > without {
            self.needed = now;
        } else if now.duration_since(self.needed) > UNUSED_MAX {
            self.wanted = 0;
        }
    }

    /// How many there should be, if it may be so many.
    pub(crate) fn wanted(&self, most: usize) -> usize {
        self.wanted.min(most)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WITHOUT: usize = 4;

    fn burst(stock: &mut Stock, calls: usize, now: Instant) -> usize {
        (0..calls).for_each(|_| stock.note_call());
        stock.end_burst(WITHOUT, now);
        stock.wanted(STOCK_MAX)
    }

    #[test]
    fn the_longest_burst_and_some_more_are_kept_for_the_next() {
        let now = Instant::now();
        let mut stock = Stock::new(now);
        assert_eq!(burst(&mut stock, 50, now), 62);
        assert_eq!(burst(&mut stock, 20, now), 62, "the longest");
        assert_eq!(burst(&mut stock, 1000, now), STOCK_MAX);
        assert_eq!(stock.wanted(10), 10);
    }

    #[test]
    fn a_few_calls_are_no_burst() {
        let now = Instant::now();
        let mut stock = Stock::new(now);
        assert_eq!(burst(&mut stock, FIRST_CALLS, now), 0);
        assert_eq!(burst(&mut stock, FIRST_CALLS, now), 0);
    }

    #[test]
    fn what_no_burst_has_taken_for_a_while_is_not_kept() {
        let begin = Instant::now();
        let mut stock = Stock::new(begin);
        assert_eq!(burst(&mut stock, 50, begin), 62);
        let later = begin + UNUSED_MAX;
        assert_eq!(burst(&mut stock, WITHOUT, later), 62);
        assert_eq!(burst(&mut stock, FIRST_CALLS, later), 62, "it took some");
        assert_eq!(burst(&mut stock, 1, later + UNUSED_MAX), 62);
        assert_eq!(burst(&mut stock, 1, later + 2 * UNUSED_MAX), 0);
    }
}
