//! `lazaret bench`: every key, every row, exit codes, and nothing left behind. What it measures is
//! looked at by nobody here.

mod support;

use std::{
    fs,
    path::Path,
    process::{Command, Output},
};

use serde_json::Value;
use support::PROGRAM;

/// Rows that every machine has, in order; between them come those by number of workers.
const ROWS: &[&str] = &[
    "bare_fork",
    "jailed_fork",
    "jailed_job",
    "socket_round_trip",
    "copy_1_mib",
    "copy_10_mib",
    "process",
    "arithmetic",
    "trivial_call",
    "plain_call",
    "wasi_hello",
    "call_artifact_1_mb",
    "call_artifact_8_mb",
    "call_artifact_30_mb",
    "call_input_0_mib",
    "call_input_1_mib",
    "call_input_10_mib",
    "endless_loop",
    "throughput_1",
    "throughput_2",
    "prepare",
    "start",
    "worker_rss",
    "worker_pss",
];

/// Those that are what the others are measured by, and those for which there is no measure.
const WITHOUT_LIMIT: &[&str] = &[
    "bare_fork",
    "socket_round_trip",
    "copy_1_mib",
    "copy_10_mib",
    "process",
    "arithmetic",
    "prepare",
    "worker_rss",
    "worker_pss",
];

/// With a place for temporary files of its own.
fn bench(folder: &Path, arguments: &[&str]) -> Output {
    let mut program = Command::new(PROGRAM);
    program.arg("bench").args(arguments).env("TMPDIR", folder);
    program.output().expect("the program")
}

#[test]
fn a_quick_run_has_every_key_and_leaves_nothing() {
    let folder = tempfile::tempdir().expect("a folder");
    let kept = tempfile::tempdir().expect("a folder");
    let plot = kept.path().join("plot.svg");
    let output = bench(
        folder.path(),
        &["--quick", "--json", "--accept-weaker-jail", "--plot", &plot.display().to_string()],
    );
    let errors = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{errors}");
    let object: Value = serde_json::from_slice(&output.stdout).expect("one object");
    for key in ["version", "quick", "cores", "jail", "rows", "took_micros"] {
        assert!(!object[key].is_null(), "{key} is missing in {object}");
    }
    let rows = object["rows"].as_object().expect("rows by name");
    for key in ROWS {
        let row = rows.get(*key).unwrap_or_else(|| panic!("{key} is missing in {object}"));
        for part in ["title", "unit", "samples", "p50", "p90", "p99", "limit", "limit_title"] {
            assert!(row.get(part).is_some(), "{key} has no {part}");
        }
        // A worker's memory may be hidden from an ordinary user.
        assert!(row["p50"].as_f64().is_none_or(|value| value > 0.0), "{key}: {row}");
        let has_limit = row["times_limit"].as_f64().is_some_and(|times| times > 0.0);
        assert_eq!(has_limit, !WITHOUT_LIMIT.contains(key), "{key}: {row}");
    }
    let svg = fs::read_to_string(&plot).expect("a picture");
    assert!(svg.starts_with("<svg") && svg.contains("trivial call"), "{svg}");
    assert_eq!(support::entries(folder.path()).len(), 0, "something is left");
}

#[test]
fn people_get_a_line_for_each_row_and_the_name_of_each_limit() {
    let folder = tempfile::tempdir().expect("a folder");
    let output = bench(folder.path(), &["--quick", "--accept-weaker-jail"]);
    let words = String::from_utf8_lossy(&output.stdout);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    for title in ["fork, exit, wait", "trivial call", "100 ms allowed", "idle worker", "copy"] {
        assert!(words.contains(title), "{title} is missing in\n{words}");
    }
    assert!(words.contains("nothing to go by"), "a quick run says that it is one:\n{words}");
}

#[test]
fn bad_arguments_are_told_before_anything_is_measured() {
    let folder = tempfile::tempdir().expect("a folder");
    for (arguments, named) in [
        (&["--plot"][..], "--plot"),
        (&["--plot", "/nowhere/plot.svg"], "/nowhere/plot.svg"),
        (&["--quick", "--jail", "weak"], "--accept-weaker-jail"),
        (&["--slow"], "--slow"),
    ] {
        let output = bench(folder.path(), arguments);
        let errors = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {errors}");
        assert!(errors.contains(named), "{arguments:?} does not name {named}: {errors}");
        assert!(output.stdout.is_empty(), "{arguments:?} writes to standard output");
    }
}
