//! Times, and what is said of many of them.

use std::time::Duration;

use crate::hosts::Side;

/// The times of one kind of call at one side.
#[derive(Clone, Debug, Default)]
pub(crate) struct Samples {
    times: Vec<Duration>,
}

/// What the table says of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Quantiles {
    pub(crate) p50: Duration,
    pub(crate) p90: Duration,
    pub(crate) p99: Duration,
}

impl Samples {
    pub(crate) fn push(&mut self, time: Duration) {
        self.times.push(time);
    }

    pub(crate) fn quantiles(&self) -> Quantiles {
        let of = |of_hundred| quantile(&self.times, of_hundred);
        Quantiles { p50: of(50), p90: of(90), p99: of(99) }
    }
}

/// The smallest of these that so many of a hundred do not exceed.
fn quantile(all: &[Duration], of_hundred: usize) -> Duration {
    let mut sorted = all.to_vec();
    sorted.sort_unstable();
    let rank = (sorted.len() * of_hundred).div_ceil(100);
    sorted.get(rank.saturating_sub(1)).copied().unwrap_or_default()
}

/// The times of one kind of call at every side that was asked.
#[derive(Clone, Debug, Default)]
pub(crate) struct BySide {
    peer: Samples,
    lazaret: Samples,
}

impl BySide {
    /// What the table says of one host.
    pub(crate) fn of(&self, side: Side) -> Quantiles {
        match side {
            Side::Peer => self.peer.quantiles(),
            _ => self.lazaret.quantiles(),
        }
    }

    pub(crate) fn push(&mut self, side: Side, time: Duration) {
        match side {
            Side::Peer => self.peer.push(time),
            _ => self.lazaret.push(time),
        }
    }

    /// Adds those of more turns.
    pub(crate) fn extend(&mut self, more: &Self) {
        self.peer.times.extend_from_slice(&more.peer.times);
        self.lazaret.times.extend_from_slice(&more.lazaret.times);
    }
}

/// The times of one kind of call in a jail, and of one without beside each.
#[derive(Clone, Debug, Default)]
pub(crate) struct Pairs {
    alone: Samples,
    /// Nanoseconds more in the jail.
    added: Vec<i64>,
}

impl Pairs {
    pub(crate) fn push(&mut self, jailed: Duration, alone: Duration) {
        let nanos = |time: Duration| i64::try_from(time.as_nanos()).unwrap_or(i64::MAX);
        self.added.push(nanos(jailed) - nanos(alone));
        self.alone.push(alone);
    }

    /// The call without a jail.
    pub(crate) fn alone(&self) -> Quantiles {
        self.alone.quantiles()
    }

    /// What the jail adds: of all pairs the difference in the middle, of two there the larger; 0 if it is less.
    pub(crate) fn added(&self) -> Duration {
        let mut added = self.added.clone();
        added.sort_unstable();
        let middle = added.get(added.len() / 2).copied().unwrap_or_default();
        Duration::from_nanos(middle.max(0).unsigned_abs())
    }
}

/// The geometric mean of each quantile: how many times faster one side is on the whole, whatever the
/// size of each.
pub(crate) fn geometric_means(all: &[Quantiles]) -> Quantiles {
    let mean = |of: fn(&Quantiles) -> Duration| {
        let logarithms: f64 = all.iter().map(|each| of(each).as_secs_f64().ln()).sum();
        Duration::from_secs_f64((logarithms / all.len().max(1) as f64).exp())
    };
    Quantiles { p50: mean(|all| all.p50), p90: mean(|all| all.p90), p99: mean(|all| all.p99) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_times_that_were_measured() {
        let mut samples = Samples::default();
        (1..=200).rev().for_each(|ms| samples.push(Duration::from_millis(ms)));
        let Quantiles { p50, p90, p99 } = samples.quantiles();
        assert_eq!([p50, p90, p99].map(|time| time.as_millis()), [100, 180, 198]);
        let mut one = Samples::default();
        one.push(Duration::from_millis(7));
        assert_eq!(one.quantiles().p99, Duration::from_millis(7));
    }

    #[test]
    fn what_a_jail_adds_is_told_by_pairs_whatever_the_speed_of_each() {
        let ms = Duration::from_millis;
        let mut pairs = Pairs::default();
        assert_eq!(pairs.added(), Duration::ZERO);
        // A machine that becomes four times slower, and a pair between whose calls it did so.
        for (jailed, alone) in [(2, 1), (2, 1), (2, 4), (5, 4), (5, 4)] {
            pairs.push(ms(jailed), ms(alone));
        }
        assert_eq!((pairs.added(), pairs.alone().p50), (ms(1), ms(4)));
    }

    #[test]
    fn the_mean_of_ratios_is_the_ratio_of_the_means() {
        let each = |ms| Quantiles { p50: Duration::from_millis(ms), ..Quantiles::default() };
        let mean = geometric_means(&[each(10), each(1000)]).p50;
        assert!(mean.abs_diff(Duration::from_millis(100)) < Duration::from_micros(1));
    }
}
