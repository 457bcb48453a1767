//! The table: rows of figures, and whether each promise was kept.

use std::time::Duration;

use serde_json::{Value, json};

use crate::samples::Quantiles;

/// Bytes in a megabyte, as the table has it.
const MEGABYTE: f64 = 1e6;

/// What was measured at one side.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Figure {
    /// Of many calls.
    Times(Quantiles),
    /// Of one.
    Time(Duration),
    /// Calls in a second.
    Rate(f64),
    Bytes(u64),
    /// So many times another figure.
    Factor(f64),
    /// There is no such thing there.
    None,
}

/// A promise of the issue, and whether it was kept.
#[derive(Clone, Debug)]
struct Must {
    promise: String,
    held: bool,
}

/// One line of the table.
#[derive(Clone, Debug)]
pub(crate) struct Row {
    case: String,
    peer: Figure,
    lazaret: Figure,
    /// In the place of that of the figures.
    ratio: Option<f64>,
    must: Option<Must>,
    note: String,
}

impl Figure {
    fn shown(self) -> String {
        match self {
            Self::Times(Quantiles { p50, p90, p99 }) => {
                format!("{} / {} / {}", time(p50), time(p90), time(p99))
            }
            Self::Time(took) => time(took),
            Self::Rate(rate) => format!("{rate:.0} /s"),
            Self::Bytes(bytes) => format!("{:.1} MB", bytes as f64 / MEGABYTE),
            Self::Factor(factor) => format!("x {factor:.2}"),
            Self::None => "–".to_owned(),
        }
    }

    fn json(self) -> Value {
        let micros = |time: Duration| time.as_secs_f64() * 1e6;
        match self {
            Self::Times(times) => json!({
                "p50_us": micros(times.p50),
                "p90_us": micros(times.p90),
                "p99_us": micros(times.p99),
            }),
            Self::Time(took) => json!({ "us": micros(took) }),
            Self::Rate(rate) => json!({ "per_second": rate }),
            Self::Bytes(bytes) => json!({ "bytes": bytes }),
            Self::Factor(factor) => json!({ "factor": factor }),
            Self::None => Value::Null,
        }
    }

    /// One number, of which less is better.
    fn cost(self) -> Option<f64> {
        match self {
            Self::Times(times) => Some(times.p50.as_secs_f64()),
            Self::Time(took) => Some(took.as_secs_f64()),
            Self::Rate(rate) => Some(rate.recip()),
            Self::Bytes(bytes) => Some(bytes as f64),
            Self::Factor(factor) => Some(factor),
            Self::None => None,
        }
    }
}

impl Row {
    pub(crate) fn new(case: impl Into<String>, peer: Figure, lazaret: Figure) -> Self {
        Self { case: case.into(), peer, lazaret, ratio: None, must: None, note: String::new() }
    }

    /// What somebody who reads the row should know.
    pub(crate) fn note(mut self, note: impl Into<String>) -> Self {
        self.note = note.into();
        self
    }

    /// Says how many times better Lazaret is, where that was measured by itself.
    pub(crate) fn ratio_is(mut self, ratio: f64) -> Self {
        self.ratio = Some(ratio);
        self
    }

    /// Promises that Lazaret is so many times better.
    pub(crate) fn must_be_better(mut self, times: f64) -> Self {
        let held = self.ratio().is_some_and(|ratio| ratio >= times);
        self.must = Some(Must { promise: format!("{times} times"), held });
        self
    }

    /// Promises that Lazaret's figure is no more than this one.
    pub(crate) fn must_be_within(mut self, most: Figure) -> Self {
        let held = self.lazaret.cost().zip(most.cost()).is_some_and(|(is, most)| is <= most);
        self.must = Some(Must { promise: format!("≤ {}", most.shown()), held });
        self
    }

    /// How many times better Lazaret is.
    fn ratio(&self) -> Option<f64> {
        self.ratio.or_else(|| Some(self.peer.cost()? / self.lazaret.cost()?))
    }

    /// Whether its promise was kept, if there is one.
    pub(crate) fn held(&self) -> Option<bool> {
        self.must.as_ref().map(|must| must.held)
    }

    fn cells(&self) -> [String; 7] {
        let none = || "–".to_owned();
        [
            self.case.clone(),
            self.peer.shown(),
            self.lazaret.shown(),
            self.ratio().map_or_else(none, |ratio| format!("{ratio:.2}")),
            self.must.as_ref().map_or_else(none, |must| must.promise.clone()),
            self.held().map_or_else(none, |held| if held { "yes" } else { "NO" }.to_owned()),
            self.note.clone(),
        ]
    }

    fn json(&self) -> Value {
        json!({
            "case": self.case,
            "peer": self.peer.json(),
            "lazaret": self.lazaret.json(),
            "ratio": self.ratio(),
            "must": self.must.as_ref().map(|must| &must.promise),
            "held": self.held(),
            "note": self.note,
        })
    }
}

/// All rows as a table of Markdown.
pub(crate) fn markdown(rows: &[Row]) -> String {
    let head = ["case", "peer", "Lazaret", "ratio", "must", "held", "note"].map(str::to_owned);
    let lines: Vec<_> = [head].into_iter().chain(rows.iter().map(Row::cells)).collect();
    let width = |column: usize| lines.iter().map(|line| line[column].chars().count()).max();
    let widths: Vec<_> = (0..lines[0].len()).map(|column| width(column).unwrap_or(0)).collect();
    let line = |cells: &[String; 7]| {
        let padded = cells.iter().zip(&widths).map(|(cell, &width)| format!("{cell:width$}"));
        format!("| {} |", padded.collect::<Vec<_>>().join(" | "))
    };
    let rule: Vec<_> = widths.iter().map(|width| "-".repeat(width + 2)).collect();
    let mut shown: Vec<_> = lines.iter().map(line).collect();
    shown.insert(1, format!("|{}|", rule.join("|")));
    shown.join("\n")
}

/// All rows for programs: times in microseconds.
pub(crate) fn json(rows: &[Row]) -> Value {
    rows.iter().map(Row::json).collect()
}

/// A time with the unit that suits it.
pub(crate) fn time(time: Duration) -> String {
    let micros = time.as_secs_f64() * 1e6;
    match micros {
        ..1e3 => format!("{micros:.0} us"),
        ..1e4 => format!("{:.2} ms", micros / 1e3),
        ..1e6 => format!("{:.1} ms", micros / 1e3),
        _ => format!("{:.2} s", micros / 1e6),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_promise_is_kept_at_its_very_number() {
        let time = |ms| Figure::Time(Duration::from_millis(ms));
        assert_eq!(Row::new("", time(24), time(2)).must_be_better(12.0).held(), Some(true));
        assert_eq!(Row::new("", time(23), time(2)).must_be_better(12.0).held(), Some(false));
        assert_eq!(Row::new("", Figure::None, time(5)).must_be_within(time(5)).held(), Some(true));
        assert_eq!(Row::new("", Figure::None, time(6)).must_be_within(time(5)).held(), Some(false));
        let rate = Figure::Rate;
        assert_eq!(Row::new("", rate(650.0), rate(5200.0)).must_be_better(8.0).held(), Some(true));
        assert_eq!(Row::new("", time(1), time(1)).held(), None);
    }

    #[test]
    fn every_line_of_the_table_is_as_wide_as_the_others() {
        let row = Row::new("a – b", Figure::Bytes(1_000_000), Figure::None).note("so");
        let shown = markdown(&[row]);
        let widths: Vec<_> = shown.lines().map(|line| line.chars().count()).collect();
        assert!(widths.windows(2).all(|two| two[0] == two[1]), "{shown}");
    }
}
