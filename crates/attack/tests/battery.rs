//! The battery in its short form, and what a job can reach, counted from inside: as `attack` prints
//! both. Skipped, loudly, where there is no C compiler or no whole jail.

use std::{
    io::Write,
    process::{Command, Output},
};

/// Runs the program; nothing if this machine cannot.
fn attack(arguments: &[&str]) -> Option<Output> {
    if Command::new("cc").arg("--version").output().is_err() {
        skipped("there is no cc to compile attacks with");
        return None;
    }
    let ended = Command::new(env!("CARGO_BIN_EXE_attack")).args(arguments).output();
    let ended = ended.expect("the program under test");
    let words = String::from_utf8_lossy(&ended.stderr);
    if ended.status.code() == Some(2) && words.contains("the jail is incomplete") {
        skipped(&words);
        return None;
    }
    Some(ended)
}

/// Past the capture of test output.
fn skipped(why: &str) {
    let line = format!("SKIPPED (1): {}\n", why.trim_end());
    std::io::stderr().write_all(line.as_bytes()).expect("standard error");
}

fn words(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

#[test]
fn every_row_holds_with_the_whole_jail_and_without_its_filter() {
    let Some(ended) = attack(&["all", "--short"]) else { return };
    let words = words(&ended);
    let told = words.lines().filter(|line| line.contains("MISS") || line.starts_with("=="));
    let told: Vec<_> = told.chain(words.lines().last()).collect();
    assert!(ended.status.success(), "{}", told.join("\n"));
}

/// Ten system calls, no capability, no path, one descriptor (its channel), no metadata.
#[test]
fn what_a_job_can_reach_is_counted_from_inside() {
    let Some(ended) = attack(&["reach"]) else { return };
    print!("{}", words(&ended));
    assert_eq!(words(&ended).trim(), "10, 0, 0, 1, no");
}
