//! Modules that were made to break compilers and runtimes: each ends in an artifact or a refusal.
//!
//! `data/crashers` is read where it lies. The modules of `data/bombs` come from a generator; point
//! `LAZARET_TEST_BOMBS` at its output to include them.

mod shared;

use std::path::Path;

use lazaret_engine::{Engine, Params, Profile, UnknownImports};

/// Larger ones take minutes to compile; the CPU limit of the job is what ends them.
const CODE_BYTES_MAX: usize = 1 << 20;

#[test]
fn modules_that_crashed_another_runtime_end_in_an_artifact_or_a_refusal() {
    if let Some(folder) = shared::test_data("crashers") {
        prepare_all(&folder);
    }
}

#[test]
fn bombs_end_in_an_artifact_or_a_refusal() {
    match std::env::var_os("LAZARET_TEST_BOMBS") {
        Some(folder) => prepare_all(Path::new(&folder)),
        None => eprintln!("SKIPPED: LAZARET_TEST_BOMBS names no folder"),
    }
}

fn prepare_all(folder: &Path) {
    let engine = shared::engine();
    let (mut prepared, mut refused, mut skipped) = (0, 0, 0);
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let Ok(code) = std::fs::read(&path) else { continue };
        // A `start` function that loops would loop here; in a job the CPU limit ends it.
        let loops = path.to_string_lossy().contains("loop");
        if code.len() > CODE_BYTES_MAX || loops {
            skipped += 1;
            continue;
        }
        match prepare_either_way(&engine, &code) {
            true => prepared += 1,
            false => refused += 1,
        }
    }
    eprintln!("{prepared} prepared, {refused} refused, SKIPPED: {skipped}");
    assert!(prepared + refused > 0, "nothing in {}", folder.display());
}

fn prepare_either_way(engine: &Engine, code: &[u8]) -> bool {
    let open =
        Params { unknown_imports: UnknownImports::TrapWhenCalled, ..Params::of(Profile::Wasi) };
    let metered = Params { metering: true, ..open.clone() };
    let open = [open, metered].map(|params| shared::prepare(engine, code, &params));
    let [open, metered] = open.map(|prepared| prepared.map_err(|error| error.to_string()).err());
    assert_eq!(open, metered);
    let bulk = Params { features: shared::BULK, ..Params::default() };
    let strict = shared::prepare(engine, code, &Params::default()).is_ok();
    shared::prepare(engine, code, &bulk).is_ok() || strict || open.is_none()
}
