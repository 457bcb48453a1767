//! The rules of the house that a machine can check: who may know whom, what each room never does,
//! how long a file and a function may be.

use std::{fs, process::Command};

use tidy::{Source, root, sources};

/// What each crate may depend on, of this workspace. `host` knows neither worker, sandbox nor engine.
const EDGES: &[(&str, &[&str])] = &[
    ("wire", &[]),
    ("sandbox", &[]),
    ("engine", &[]),
    ("worker", &["lazaret-engine", "lazaret-sandbox", "lazaret-wire"]),
    ("host", &["lazaret-wire"]),
    ("cli", &["lazaret", "lazaret-worker"]),
    ("attack", &["lazaret", "lazaret-sandbox", "lazaret-worker"]),
    ("puppet", &["lazaret-wire"]),
    ("soak", &["lazaret", "lazaret-worker"]),
    ("spec", &[]),
    ("tidy", &[]),
];

/// Files with a function that may stay `unsafe`, and why.
const UNSAFE_FILES: &[(&str, &str)] = &[
    ("crates/sandbox/src/sys.rs", "system calls that no crate wraps"),
    ("crates/sandbox/src/sys/clone.rs", "the same, of those that fork"),
    ("crates/sandbox/src/sys/raw.rs", "the same, without the C library"),
    ("crates/sandbox/src/sys/filter.rs", "the same, of filters that no table can say"),
    ("crates/sandbox/src/sys/listener.rs", "the same, of a filter that asks"),
    ("crates/sandbox/src/sys/large.rs", "the same, of places where large pages can be"),
    ("crates/sandbox/src/sys/text.rs", "the same, of what is known of the program's own pages"),
    ("crates/sandbox/src/sys/written.rs", "the same, of those that were written to"),
    ("crates/sandbox/src/allocator.rs", "GlobalAlloc is an unsafe trait"),
    ("crates/sandbox/src/allocator/scratch.rs", "the same"),
    ("crates/sandbox/src/allocator/pools.rs", "the same"),
    ("crates/engine/src/engine.rs", "an artifact is machine code"),
    ("crates/worker/src/claims.rs", "the one caller of it"),
    ("bench-peer/src/in_process.rs", "another caller of it"),
    ("crates/attack/src/native.rs", "jumps into a blob, which is the point"),
    ("crates/attack/src/polkadot.rs", "another host's jail, made by the same calls"),
    ("crates/attack/src/freed_memory.rs", "mallopt"),
];

/// Words that say nothing about what a thing is for.
const EMPTY_NAMES: &[&str] = &[
    "manager", "handler", "helper", "helpers", "util", "utils", "common", "misc", "inner", "imp",
    "info",
];

/// What the workspace builds for: licences of other platforms are not shipped.
const TARGET: &str = "x86_64-unknown-linux-gnu";
const FILE_LINES_MAX: usize = 500;
const FUNCTION_LINES_MAX: usize = 75;
const PARAMETERS_MAX: usize = 6;

fn complain(broken: &[String]) {
    assert!(broken.is_empty(), "\n{}\n", broken.join("\n"));
}

fn with_word<'a>(
    sources: &'a [Source],
    room: &'a str,
    word: &'a str,
) -> impl Iterator<Item = String> + 'a {
    sources
        .iter()
        .filter(move |source| {
            source.room() == room && !source.is_test() && source.path.contains("/src/")
        })
        .filter(move |source| source.code_lines().any(|line| line.contains(word)))
        .map(move |source| format!("{} says `{word}`", source.path))
}

#[test]
fn crates_depend_only_on_whom_they_may_know() {
    let mut broken = Vec::new();
    for entry in fs::read_dir(root().join("crates")).unwrap().flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let Some((_, allowed)) = EDGES.iter().find(|(room, _)| *room == name) else {
            broken.push(format!("crates/{name} has no line in EDGES"));
            continue;
        };
        let manifest = fs::read_to_string(entry.path().join("Cargo.toml")).unwrap();
        let dependencies = manifest.split("[dependencies]").nth(1).unwrap_or_default();
        let dependencies = dependencies.split("\n[").next().unwrap_or_default();
        for line in dependencies.lines().filter(|line| line.starts_with("lazaret")) {
            let dependency = line.split(['.', ' ', '=']).next().unwrap_or_default();
            if !allowed.contains(&dependency) {
                broken.push(format!("crates/{name} depends on {dependency}"));
            }
        }
    }
    complain(&broken);
}

#[test]
fn unsafe_code_stands_in_its_rooms_only() {
    let mut broken = Vec::new();
    for source in sources().iter().filter(|source| source.path.contains("/src/")) {
        let is_room = UNSAFE_FILES.iter().any(|(path, _)| *path == source.path);
        let has_unsafe = source.code_lines().any(|line| {
            ["unsafe {", "unsafe fn", "unsafe impl"].iter().any(|word| line.contains(word))
        });
        if has_unsafe && !is_room {
            broken.push(format!("{} holds unsafe code", source.path));
        }
        let is_root = source.path.ends_with("/src/lib.rs") || source.path.ends_with("/src/main.rs");
        let closes = ["#![forbid(unsafe_code)]", "#![deny(unsafe_code)]"];
        if is_root && !closes.iter().any(|line| source.text.contains(line)) {
            broken.push(format!("{} neither forbids nor denies unsafe code", source.path));
        }
    }
    complain(&broken);
}

#[test]
fn each_room_keeps_from_what_is_not_its_own() {
    let sources = sources();
    let never: &[(&str, &[&str])] = &[
        ("host", &["unsafe {", "lazaret_engine", "lazaret_sandbox", "lazaret_worker", "fork("]),
        ("wire", &["std::fs", "std::os::fd", "std::time", "std::env", "std::process", "usize>("]),
        ("sandbox", &["lazaret_wire", "lazaret_engine", "wasmtime", "println!"]),
        ("engine", &["std::net", "std::time", "std::env", "std::thread", "File::open", "println!"]),
        (
            "worker",
            &["async ", "std::thread", "File::open", "std::fs::read", "std::env::var", "println!"],
        ),
    ];
    let broken: Vec<_> = never
        .iter()
        .flat_map(|(room, words)| words.iter().map(move |word| (*room, *word)))
        .flat_map(|(room, word)| with_word(&sources, room, word))
        .collect();
    complain(&broken);
}

/// A shipped program must have no way to run machine code or to leave a layer out: the words for it
/// are said where they are defined, in the attacks, and in tests.
#[test]
fn only_attacks_leave_layers_out_or_run_machine_code() {
    let sources = sources();
    let words = ["leaving_out", "run_if_worker_on_trial", "Trial"];
    let broken: Vec<_> = ["cli", "host", "engine", "wire"]
        .iter()
        .flat_map(|room| words.iter().map(move |word| (*room, *word)))
        .flat_map(|(room, word)| with_word(&sources, room, word))
        .collect();
    complain(&broken);
}

#[test]
fn the_host_starts_processes_and_threads_in_one_file() {
    let sources = sources();
    let broken: Vec<_> = ["Command::new", "thread::Builder", "thread::spawn"]
        .into_iter()
        .flat_map(|word| with_word(&sources, "host", word))
        .filter(|line| !line.starts_with("crates/host/src/worker/spawner.rs"))
        .collect();
    complain(&broken);
}

#[test]
fn every_file_says_what_it_is_for_and_fits_its_size() {
    let mut broken = Vec::new();
    for source in sources() {
        let begins_with_docs = source
            .text
            .lines()
            .find(|line| !line.is_empty())
            .is_some_and(|line| line.starts_with("//!"));
        if !begins_with_docs {
            broken.push(format!("{} does not begin with what it is for", source.path));
        }
        let lines = source.text.lines().count();
        if lines > FILE_LINES_MAX {
            broken.push(format!("{} has {lines} lines, more than {FILE_LINES_MAX}", source.path));
        }
        for function in source.functions() {
            if function.lines > FUNCTION_LINES_MAX {
                broken.push(format!(
                    "{}: {} has {} lines",
                    source.path, function.name, function.lines
                ));
            }
            if function.parameters > PARAMETERS_MAX {
                broken.push(format!(
                    "{}: {} has {} parameters",
                    source.path, function.name, function.parameters
                ));
            }
        }
    }
    complain(&broken);
}

#[test]
fn no_name_is_empty_of_meaning() {
    let mut broken = Vec::new();
    for source in sources() {
        let file = source.path.rsplit('/').next().unwrap_or_default().trim_end_matches(".rs");
        if file.split('_').any(|word| EMPTY_NAMES.contains(&word)) {
            broken.push(format!("{} is no name for a file", source.path));
        }
        for line in source.code_lines() {
            let code =
                line.trim_start().trim_start_matches("pub(crate) ").trim_start_matches("pub ");
            let kinds = ["struct ", "enum ", "trait ", "mod ", "type "];
            let Some(kind) = kinds.iter().find(|kind| code.starts_with(**kind)) else { continue };
            let name: String = code[kind.len()..]
                .chars()
                .take_while(|c| c.is_alphanumeric() || *c == '_')
                .collect();
            if words(&name).iter().any(|word| EMPTY_NAMES.contains(&word.as_str())) {
                broken.push(format!("{}: {kind}{name}", source.path));
            }
        }
    }
    complain(&broken);
}

/// `WorkerInfo` and `worker_info` both are `worker`, `info`.
fn words(name: &str) -> Vec<String> {
    let mut words = vec![String::new()];
    for c in name.chars() {
        if c == '_' || (c.is_uppercase() && words.last().is_some_and(|word| !word.is_empty())) {
            words.push(String::new());
        }
        if c != '_' {
            words.last_mut().expect("never empty").extend(c.to_lowercase());
        }
    }
    words
}

#[test]
fn tests_neither_sleep_nor_are_ignored() {
    // Put together so that this file does not complain of itself.
    let banned =
        [["thread::", "sleep"], ["time::", "sleep("], ["#[", "ignore"]].map(|parts| parts.concat());
    let mut broken = Vec::new();
    for source in sources() {
        let tests = match source.is_test() {
            true => source.text.as_str(),
            false => &source.text[source.without_tests().len()..],
        };
        for word in banned.iter().filter(|word| tests.contains(word.as_str())) {
            broken.push(format!("{} says `{word}`", source.path));
        }
    }
    complain(&broken);
}

#[test]
fn the_documents_of_the_project_are_there() {
    let mut broken = Vec::new();
    for name in ["README.md", "ARCHITECTURE.md", "SECURITY.md", "CHANGELOG.md", "LICENSE"] {
        if !root().join(name).is_file() {
            broken.push(format!("{name} is missing"));
        }
    }
    complain(&broken);
}

#[test]
fn nothing_in_the_tree_is_under_the_gpl_alone() {
    let metadata = Command::new(env!("CARGO"))
        .args([
            "metadata",
            "--format-version",
            "1",
            "--locked",
            "--offline",
            "--filter-platform",
            TARGET,
        ])
        .current_dir(root())
        .output()
        .unwrap();
    let metadata: serde_json::Value = serde_json::from_slice(&metadata.stdout).unwrap();
    let mut broken = Vec::new();
    for package in metadata["packages"].as_array().unwrap() {
        let license =
            package["license"].as_str().unwrap_or("no licence named").replace('/', " OR ");
        let is_free = |choice: &str| !choice.contains("GPL") && !choice.contains("no licence");
        if !license.split(" OR ").any(is_free) {
            broken.push(format!("{} is under {license}", package["name"]));
        }
    }
    complain(&broken);
}
