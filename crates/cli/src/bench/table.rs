//! What was measured, as rows: each beside what the machine takes for the bare steps of it.

use std::time::Duration;

/// How much is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Extent {
    /// So that the numbers mean something: under two minutes.
    Whole,
    /// So that everything is done once: for tests.
    Quick,
}

impl Extent {
    /// How often to do something that is done so often in a whole run.
    pub(super) fn times(self, whole: u32) -> u32 {
        match self {
            Self::Whole => whole,
            Self::Quick => whole.min(3),
        }
    }

    pub(super) fn time(self, whole: Duration) -> Duration {
        match self {
            Self::Whole => whole,
            Self::Quick => whole / 20,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unit {
    Micros,
    PerSecond,
    Bytes,
}

impl Unit {
    pub(super) fn word(self) -> &'static str {
        match self {
            Self::Micros => "us",
            Self::PerSecond => "per second",
            Self::Bytes => "bytes",
        }
    }
}

/// What a row is measured against.
#[derive(Clone, Debug)]
pub(super) struct Limit {
    pub(super) name: String,
    pub(super) value: f64,
}

/// One measurement.
#[derive(Clone, Debug)]
pub(super) struct Row {
    /// For programs; stays.
    pub(super) key: String,
    /// For people.
    pub(super) title: String,
    pub(super) unit: Unit,
    pub(super) samples: usize,
    pub(super) p50: f64,
    pub(super) p90: f64,
    pub(super) p99: f64,
    pub(super) limit: Option<Limit>,
}

impl Row {
    /// Of times; they are not in order yet. None of nothing.
    pub(super) fn of_times(key: &str, title: &str, mut times: Vec<Duration>) -> Self {
        times.sort_unstable();
        let at = |percent: usize| {
            let time = times.get((times.len() * percent / 100).min(times.len().saturating_sub(1)));
            time.copied().unwrap_or_default().as_secs_f64() * 1e6
        };
        Self {
            key: key.into(),
            title: title.into(),
            unit: Unit::Micros,
            samples: times.len(),
            p50: at(50),
            p90: at(90),
            p99: at(99),
            limit: None,
        }
    }

    /// Of one number.
    pub(super) fn of(key: &str, title: &str, unit: Unit, value: f64) -> Self {
        Self {
            key: key.into(),
            title: title.into(),
            unit,
            samples: 1,
            p50: value,
            p90: value,
            p99: value,
            limit: None,
        }
    }

    pub(super) fn beside(mut self, name: &str, value: f64) -> Self {
        self.set_limit(name, value);
        self
    }

    pub(super) fn set_limit(&mut self, name: &str, value: f64) {
        self.limit = Some(Limit { name: name.into(), value });
    }

    /// How many times its limit it took: 1 is as good as it can be.
    pub(super) fn ratio(&self) -> Option<f64> {
        let limit = self.limit.as_ref()?.value;
        let (more, less) = match self.unit {
            Unit::PerSecond => (limit, self.p50),
            Unit::Micros | Unit::Bytes => (self.p50, limit),
        };
        (less > 0.0).then(|| more / less)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_those_of_the_samples_in_order() {
        let times = (1..=100).rev().map(Duration::from_micros).collect();
        let row = Row::of_times("a", "A", times);
        assert_eq!(
            (row.samples, row.p50.round(), row.p90.round(), row.p99.round()),
            (100, 51.0, 91.0, 100.0)
        );
        assert_eq!(Row::of_times("a", "A", Vec::new()).p99, 0.0);
    }

    #[test]
    fn a_ratio_says_how_far_it_is_to_the_limit_whatever_the_unit() {
        assert_eq!(Row::of("a", "A", Unit::Micros, 30.0).beside("b", 10.0).ratio(), Some(3.0));
        assert_eq!(Row::of("a", "A", Unit::PerSecond, 10.0).beside("b", 30.0).ratio(), Some(3.0));
        assert_eq!(Row::of("a", "A", Unit::Micros, 30.0).beside("b", 0.0).ratio(), None);
        assert_eq!(Row::of("a", "A", Unit::Micros, 30.0).ratio(), None);
    }
}
