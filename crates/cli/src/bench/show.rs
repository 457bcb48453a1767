//! The rows for people and for programs. The keys are documented in docs/command-line.md and stay.

use std::time::Duration;

use serde_json::{Map, Value, json};

use super::{
    Measured,
    table::{Extent, Row, Unit},
};
use crate::report;

pub(super) fn object(measured: &Measured) -> Value {
    let rows: Map<String, Value> =
        measured.rows.iter().map(|row| (row.key.clone(), row_object(row))).collect();
    json!({
        "version": env!("CARGO_PKG_VERSION"),
        "quick": measured.extent == Extent::Quick,
        "cores": measured.cores,
        "jail": report::jail_object(&measured.security),
        "rows": rows,
        "took_micros": measured.took.as_micros() as u64,
    })
}

fn row_object(row: &Row) -> Value {
    let limit = row.limit.as_ref();
    json!({
        "title": row.title,
        "unit": row.unit.word(),
        "samples": row.samples,
        "p50": row.p50,
        "p90": row.p90,
        "p99": row.p99,
        "limit": limit.map(|limit| limit.value),
        "limit_title": limit.map(|limit| &limit.name),
        "times_limit": row.ratio(),
    })
}

pub(super) fn text(measured: &Measured) {
    if let Some(words) = report::jail_words(&measured.security) {
        say!("jail: {words}");
    }
    say!("{:<46}{:>10}{:>10}{:>10}{:>10}{:>8}", "", "p50", "p90", "p99", "limit", "times");
    for row in &measured.rows {
        let of = |value: f64| number(row.unit, value);
        let (p90, p99) = match row.samples {
            1 => (String::new(), String::new()),
            _ => (of(row.p90), of(row.p99)),
        };
        let limit = row.limit.as_ref().map(|limit| of(limit.value)).unwrap_or_default();
        let ratio = row.ratio().map(|ratio| format!("{ratio:.1}")).unwrap_or_default();
        say!("{:<46}{:>10}{p90:>10}{p99:>10}{limit:>10}{ratio:>8}", row.title, of(row.p50));
    }
    say!("\nlimits, measured in the same run");
    let mut named = Vec::new();
    for limit in measured.rows.iter().filter_map(|row| row.limit.as_ref()) {
        if !named.contains(&&limit.name) {
            named.push(&limit.name);
            let rows = measured.rows.iter();
            let of_limit =
                rows.filter(|row| row.limit.as_ref().is_some_and(|one| one.name == limit.name));
            let titles: Vec<_> = of_limit.map(|row| row.title.as_str()).collect();
            say!("  {}: {}", limit.name, titles.join("; "));
        }
    }
    let took = report::time(measured.took);
    say!(
        "\n{} cores, {took}{}",
        measured.cores,
        match measured.extent {
            Extent::Whole => "",
            Extent::Quick => ", each only a few times: nothing to go by",
        }
    );
}

pub(super) fn number(unit: Unit, value: f64) -> String {
    match unit {
        _ if value.is_nan() => "?".into(),
        Unit::Micros if value < 1000.0 => format!("{value:.1} µs"),
        Unit::Micros => report::time(Duration::from_secs_f64(value / 1e6)),
        Unit::PerSecond => format!("{value:.0} /s"),
        Unit::Bytes => report::bytes(value as u64),
    }
}
