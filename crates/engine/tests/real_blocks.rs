//! Real runtimes and real blocks, in this process: what comes out must be what the network got.
//!
//! By default the five smallest runtimes with a block; with `LAZARET_ENGINE_ALL_BLOCKS=1` all of
//! them (a minute or two). The workspace's end-to-end tests run all of them in jailed processes.

mod shared;

use std::path::{Path, PathBuf};
use std::time::Instant;

use lazaret_engine::pvf::{Input, validate_block};
use lazaret_engine::{Artifact, Engine, ExecuteError, Params, inspect};
use parity_scale_codec::Decode;

/// How many runtimes run without being asked for.
const RUNTIMES_BY_DEFAULT: usize = 5;

/// The folders that hold a block, smallest code first.
fn cases() -> Vec<PathBuf> {
    let Some(data) = shared::test_data("pvf") else { return Vec::new() };
    let mut folders: Vec<_> = std::fs::read_dir(data)
        .expect("the data is readable")
        .map(|entry| entry.expect("the data is readable").path())
        .filter(|path| path.join("params.scale").is_file())
        .collect();
    folders.sort_by_key(|path| std::fs::metadata(path.join("code")).map_or(0, |code| code.len()));
    if std::env::var_os("LAZARET_ENGINE_ALL_BLOCKS").is_none() {
        eprintln!("SKIPPED: {} larger runtimes", folders.len().saturating_sub(RUNTIMES_BY_DEFAULT));
        folders.truncate(RUNTIMES_BY_DEFAULT);
    }
    folders
}

#[test]
fn real_blocks_return_what_the_network_got() {
    let engine = shared::engine();
    for folder in cases() {
        let name = folder.file_name().unwrap().to_string_lossy().into_owned();
        let code = std::fs::read(folder.join("code")).unwrap();
        let began = Instant::now();
        let prepared = shared::prepare(&engine, &code, &Params::default())
            .unwrap_or_else(|error| panic!("{name} does not prepare: {error}"));
        let prepare = began.elapsed();
        let began = Instant::now();
        let artifact = shared::load(&engine, &prepared.artifact);
        let load = began.elapsed();
        let input = std::fs::read(folder.join("params.scale")).unwrap();
        let began = Instant::now();
        let reply = shared::execute(&engine, &artifact, &Params::default(), &input)
            .unwrap_or_else(|error| panic!("{name} does not validate: {error}"));
        let call = began.elapsed();
        let expected = std::fs::read(folder.join("result.scale")).unwrap();
        assert_eq!(reply.output(), expected, "{name}");
        eprintln!(
            "{name}: prepare {prepare:.2?}, artifact {} KiB, load {load:.2?}, call {call:.2?}, {} pages",
            prepared.artifact.len() / 1024,
            reply.memory_pages(),
        );
        check_parts(&engine, &artifact, &input, &expected);
        check_refusals(&engine, &artifact, &folder);
    }
}

/// The same block in parts gives the same result.
fn check_parts(engine: &Engine, artifact: &Artifact, input: &[u8], expected: &[u8]) {
    let input = &mut &*input;
    let (parent_head, block_data) = <(Vec<u8>, Vec<u8>)>::decode(input).unwrap();
    let (relay_parent_number, relay_parent_storage_root) = Decode::decode(input).unwrap();
    let parts = Input::Parts {
        parent_head: &parent_head,
        block_data: &block_data,
        relay_parent_number,
        relay_parent_storage_root,
        extension: &[],
        block_data_bytes_max: 40 << 20,
    };
    let reply = validate_block(engine, artifact, &Params::default(), parts, Box::new(|_| ()));
    assert_eq!(reply.unwrap().output(), expected);
}

/// Blocks the runtime must refuse, by trapping; garbage behind the params is ignored.
fn check_refusals(engine: &Engine, artifact: &Artifact, folder: &Path) {
    let Ok(entries) = std::fs::read_dir(folder.join("neg")) else { return };
    for entry in entries {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|extension| extension != "scale") {
            continue; // The description that lies beside each case.
        }
        let input = std::fs::read(&path).unwrap();
        let reply = shared::execute(engine, artifact, &Params::default(), &input);
        if path.to_string_lossy().contains("trailing_garbage") {
            let garbage_bytes = 4;
            let clean = &input[..input.len() - garbage_bytes];
            let clean = shared::execute(engine, artifact, &Params::default(), clean).unwrap();
            assert_eq!(reply.unwrap().output(), clean.output(), "{}", path.display());
        } else {
            let refused = matches!(reply, Err(ExecuteError::Trap { .. }));
            assert!(refused, "{}: {reply:?}", path.display());
        }
    }
}

#[test]
fn every_real_runtime_passes_inspection_and_names_its_version() {
    let Some(data) = shared::test_data("pvf") else { return };
    for entry in std::fs::read_dir(data).unwrap() {
        let folder = entry.unwrap().path();
        let Ok(code) = std::fs::read(folder.join("code")) else { continue };
        let inspection = inspect(&code, &Params::default(), &Default::default()).unwrap();
        assert!(inspection.refusals.is_empty(), "{folder:?}: {:?}", inspection.refusals);
        let folder_name = folder.file_name().unwrap().to_string_lossy().into_owned();
        if let Some(version) = &inspection.version {
            let name = format!("{}-{}-", version.spec_name, version.spec_version);
            assert!(folder_name.starts_with(&name), "{folder_name}: {name}");
        } else {
            eprintln!("no version in {folder_name}");
        }
    }
}
