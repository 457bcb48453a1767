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
/// The same where another template wants the room.
const UNUSED_IN_NEED_MAX: Duration = Duration::from_secs(15);

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

    /// Calls of the burst that is not over.
    pub(crate) fn calls(&self) -> usize {
        self.calls
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

    /// Whether it makes room where another wants it. What a burst took lately does not: where more artifacts are called in turn than
    /// there is room for, each would find its own gone.
    pub(crate) fn makes_room(&self, now: Instant) -> bool {
        now.duration_since(self.needed) > UNUSED_IN_NEED_MAX
    }

    /// How many there should be, if it may be so many.
    pub(crate) fn wanted(&self, most: usize) -> usize {
        self.wanted.min(most)
    }
}

/// What is left of the room for all templates of a worker, which take of it one after another, that which was used last first.
pub(crate) struct Room {
    left: usize,
    /// What the first lacks.
    for_first: Option<usize>,
}

impl Room {
    pub(crate) fn new(most: usize) -> Self {
        Self { left: most, for_first: None }
    }

    /// How many the next template may have in stock, which may have to make room for the first.
    pub(crate) fn of_next(&self, makes_room: bool) -> usize {
        let for_first = self.for_first.filter(|_| makes_room).unwrap_or(0);
        self.left.saturating_sub(for_first)
    }

    /// It has so many, and lacks some.
    pub(crate) fn take(&mut self, stocked: usize, lacking: usize) {
        self.left = self.left.saturating_sub(stocked);
        self.for_first.get_or_insert(lacking);
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
    fn what_was_taken_lately_makes_no_room_for_another() {
        let begin = Instant::now();
        let mut stock = Stock::new(begin);
        burst(&mut stock, 50, begin);
        let later = begin + UNUSED_IN_NEED_MAX;
        assert!(!stock.makes_room(later));
        assert!(stock.makes_room(later + Duration::from_secs(1)));
        burst(&mut stock, 50, later);
        assert!(!stock.makes_room(later + Duration::from_secs(1)));
    }

    #[test]
    fn room_for_the_one_that_was_used_last_is_made_by_those_that_were_not_used_for_a_while() {
        let mut room = Room::new(STOCK_MAX);
        assert_eq!(room.of_next(true), STOCK_MAX, "the first has nobody to make room for");
        room.take(0, 26);
        assert_eq!(room.of_next(false), STOCK_MAX);
        room.take(28, 0);
        assert_eq!(room.of_next(false), 100);
        assert_eq!(room.of_next(true), 74);
        room.take(90, 10);
        assert_eq!((room.of_next(false), room.of_next(true)), (10, 0));
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
