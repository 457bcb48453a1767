//! Times, and what is said of many of them.

use std::time::Duration;

use crate::hosts::Side;

/// The times of one kind of call at one side.
#[derive(Clone, Debug, Default)]
pub(crate) struct Samples {
    times: Vec<Duration>,
    /// How many there were when each turn ended.
    turns: Vec<usize>,
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

    pub(crate) fn end_turn(&mut self) {
        self.turns.push(self.times.len());
    }

    pub(crate) fn quantiles(&self) -> Quantiles {
        let of = |of_hundred| quantile(&self.times, of_hundred);
        Quantiles { p50: of(50), p90: of(90), p99: of(99) }
    }

    /// The median of each turn.
    fn medians(&self) -> impl Iterator<Item = Duration> {
        let begins = [0].into_iter().chain(self.turns.iter().copied());
        begins.zip(&self.turns).map(|(begin, end)| quantile(&self.times[begin..*end], 50))
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
    in_process: Samples,
}

impl BySide {
    pub(crate) fn of(&self, side: Side) -> Quantiles {
        self.samples(side).quantiles()
    }

    fn samples(&self, side: Side) -> &Samples {
        match side {
            Side::Peer => &self.peer,
            Side::Lazaret => &self.lazaret,
            Side::InProcess => &self.in_process,
        }
    }

    pub(crate) fn push(&mut self, side: Side, time: Duration) {
        self.side(side).push(time);
    }

    pub(crate) fn end_turn(&mut self, side: Side) {
        self.side(side).end_turn();
    }

    /// What a host takes beyond the engine alone: the difference between the medians of their turns in one round, and of all
    /// rounds' differences the middle one. A machine may have two speeds, which last for seconds each and differ by more than
    /// what is looked for; turns of one round mostly meet the same.
    pub(crate) fn beyond_in_process(&self, side: Side) -> Duration {
        let nanos = |time: Duration| time.as_nanos() as i64;
        let rounds = self.samples(side).medians().zip(self.in_process.medians());
        let mut beyond: Vec<_> = rounds.map(|(host, alone)| nanos(host) - nanos(alone)).collect();
        beyond.sort_unstable();
        // Of two in the middle the larger.
        let middle = beyond.get(beyond.len() / 2).copied().unwrap_or_default();
        Duration::from_nanos(middle.max(0).unsigned_abs())
    }

    fn side(&mut self, side: Side) -> &mut Samples {
        match side {
            Side::Peer => &mut self.peer,
            Side::Lazaret => &mut self.lazaret,
            Side::InProcess => &mut self.in_process,
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
    fn what_a_host_takes_beyond_is_told_by_rounds_whatever_the_speed_of_each() {
        let mut times = BySide::default();
        let ms = Duration::from_millis;
        // A machine that becomes four times slower, and a round in which it did so between the two.
        for (host, alone) in [([2, 2], [1, 1]), ([2, 2], [4, 4]), ([5, 5], [4, 4])] {
            for (side, turn) in [(Side::Lazaret, host), (Side::InProcess, alone)] {
                turn.into_iter().for_each(|time| times.push(side, ms(time)));
                times.end_turn(side);
            }
        }
        assert_eq!(times.beyond_in_process(Side::Lazaret), ms(1));
        assert_eq!(times.beyond_in_process(Side::Peer), Duration::ZERO);
    }

    #[test]
    fn the_mean_of_ratios_is_the_ratio_of_the_means() {
        let each = |ms| Quantiles { p50: Duration::from_millis(ms), ..Quantiles::default() };
        let mean = geometric_means(&[each(10), each(1000)]).p50;
        assert!(mean.abs_diff(Duration::from_millis(100)) < Duration::from_micros(1));
    }
}
