//! Times, and what is said of many of them.

use std::time::Duration;

use crate::hosts::Side;

/// The times of one kind of call at one side.
#[derive(Clone, Debug, Default)]
pub(crate) struct Samples(Vec<Duration>);

/// What the table says of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Quantiles {
    pub(crate) p50: Duration,
    pub(crate) p90: Duration,
    pub(crate) p99: Duration,
}

impl Samples {
    pub(crate) fn push(&mut self, time: Duration) {
        self.0.push(time);
    }

    /// The smallest time that so many of a hundred do not exceed.
    fn quantile(&self, of_hundred: usize) -> Duration {
        let mut sorted = self.0.clone();
        sorted.sort_unstable();
        let rank = (sorted.len() * of_hundred).div_ceil(100);
        sorted.get(rank.saturating_sub(1)).copied().unwrap_or_default()
    }

    pub(crate) fn quantiles(&self) -> Quantiles {
        Quantiles { p50: self.quantile(50), p90: self.quantile(90), p99: self.quantile(99) }
    }
}

/// The times of one kind of call at every side that was asked.
#[derive(Clone, Debug, Default)]
pub(crate) struct BySide {
    peer: Samples,
    lazaret: Samples,
    in_process: Samples,
}

impl BySide {
    pub(crate) fn of(&self, side: Side) -> Quantiles {
        match side {
            Side::Peer => self.peer.quantiles(),
            Side::Lazaret => self.lazaret.quantiles(),
            Side::InProcess => self.in_process.quantiles(),
        }
    }

    pub(crate) fn push(&mut self, side: Side, time: Duration) {
        match side {
            Side::Peer => self.peer.push(time),
            Side::Lazaret => self.lazaret.push(time),
            Side::InProcess => self.in_process.push(time),
        }
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
    fn the_mean_of_ratios_is_the_ratio_of_the_means() {
        let each = |ms| Quantiles { p50: Duration::from_millis(ms), ..Quantiles::default() };
        let mean = geometric_means(&[each(10), each(1000)]).p50;
        assert!(mean.abs_diff(Duration::from_millis(100)) < Duration::from_micros(1));
    }
}
