//! The command line as a contract: streams, keys, exit codes, and errors that name the thing.

mod support;

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Output},
};

use parity_scale_codec::Encode;
use sp_crypto_hashing::keccak_256;
use support::PROGRAM;

/// A folder with a cache of its own and what a test puts into it.
struct Folder(tempfile::TempDir);

impl Folder {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn put(&self, name: &str, bytes: impl AsRef<[u8]>) -> PathBuf {
        let path = self.0.path().join(name);
        fs::write(&path, bytes).unwrap();
        path
    }

    fn lazaret(&self, arguments: &[&str]) -> Output {
        Command::new(PROGRAM)
            .args(arguments)
            .args(["--accept-weaker-jail", "--cache"])
            .arg(self.0.path().join("cache"))
            .output()
            .unwrap()
    }
}

fn example(name: &str) -> String {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/adder");
    folder.join(name).display().to_string()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

/// The one key of a JSON object, as it is written.
fn value(output: &Output, key: &str) -> String {
    let object: serde_json::Value = serde_json::from_slice(&output.stdout).expect("one object");
    object.pointer(&format!("/{key}")).unwrap_or_else(|| panic!("no {key} in {object}")).to_string()
}

/// The head, block and params of Polkadot's test parachain `adder`.
fn adder_params(number: u64, parent: [u8; 32], state: u64, add: u64, relay: u32) -> Vec<u8> {
    let head = (number, parent, keccak_256(&state.encode())).encode();
    let root: [u8; 32] = std::array::from_fn(|index| index as u8);
    (head, (state, add).encode(), relay, root).encode()
}

#[test]
fn the_example_blocks_are_what_their_page_says() {
    let genesis = (0_u64, [0_u8; 32], keccak_256(&0_u64.encode())).encode();
    let first = adder_params(0, [0; 32], 0, 42, 7);
    assert_eq!(fs::read(example("block-1.scale")).unwrap(), first);
    let second = adder_params(1, keccak_256(&genesis), 42, 58, 8);
    assert_eq!(fs::read(example("block-2.scale")).unwrap(), second);
}

#[test]
fn the_example_is_validated_and_its_result_written() {
    let folder = Folder::new();
    let out = folder.put("result", "");
    let arguments = |block| {
        vec!["pvf", "validate", "--code", "adder.wat", "--params", block]
            .into_iter()
            .map(|word| {
                if word.ends_with(".wat") || word.ends_with(".scale") {
                    example(word)
                } else {
                    word.into()
                }
            })
            .chain(["--result-out".into(), out.display().to_string()])
            .collect::<Vec<String>>()
    };
    for (block, number, state) in [("block-1.scale", 1, 42_u64), ("block-2.scale", 2, 100)] {
        let arguments = arguments(block);
        let arguments: Vec<_> = arguments.iter().map(String::as_str).collect();
        let output = folder.lazaret(&arguments);
        let shown = text(&output.stdout);
        assert_eq!(output.status.code(), Some(0), "{}{}", shown, text(&output.stderr));
        assert!(shown.starts_with("returned: vote for\n"), "{shown}");
        assert!(
            shown.lines().any(|line| line.trim_start() == format!("number        {number}")),
            "{shown}"
        );
        let result = fs::read(&out).unwrap();
        assert_eq!(result[2 + 8 + 32..2 + 72], keccak_256(&state.encode()), "the new state's hash");
    }
}

#[test]
fn a_blocks_parts_give_the_same_result_as_its_params() {
    let folder = Folder::new();
    let params = fs::read(example("block-1.scale")).unwrap();
    let head = hex::encode(&params[2..74]);
    let block = folder.put("block", &params[75..91]);
    let root = format!("0x{}", hex::encode(&params[95..127]));
    let block = block.display().to_string();
    let output = folder.lazaret(&[
        "pvf",
        "validate",
        "--json",
        "--code",
        &example("adder.wat"),
        "--parent-head",
        &head,
        "--block-data",
        &block,
        "--relay-parent-number",
        "7",
        "--relay-parent-storage-root",
        &root,
    ]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    assert_eq!(value(&output, "verdict"), r#""returned""#);
    assert_eq!(value(&output, "vote"), r#""for""#);
    assert_eq!(value(&output, "result/head_number"), "1");
    assert_eq!(value(&output, "result/hrmp_watermark"), "7");
    assert_eq!(value(&output, "artifact/origin"), r#""prepared""#);
    assert_eq!(value(&output, "attempts"), "1");
}

#[test]
fn a_bad_block_is_refused_with_exit_code_1() {
    let folder = Folder::new();
    let bad = folder.put("bad", adder_params(0, [0; 32], 1, 42, 7)).display().to_string();
    // The same state, but a head that promises another.
    let mut params = fs::read(&bad).unwrap();
    params[42] ^= 1;
    fs::write(&bad, params).unwrap();
    let output = folder.lazaret(&[
        "pvf",
        "validate",
        "--json",
        "--code",
        &example("adder.wat"),
        "--params",
        &bad,
    ]);
    assert_eq!(output.status.code(), Some(1), "{}", text(&output.stdout));
    assert_eq!(value(&output, "vote"), r#""against""#);
    assert_eq!(value(&output, "kind"), r#""trap""#);
    assert_eq!(value(&output, "result"), "null");
}

#[test]
fn bad_usage_names_the_thing_and_what_is_accepted() {
    let folder = Folder::new();
    let adder = example("adder.wat");
    let block = example("block-1.scale");
    let empty = folder.put("empty.wasm", "").display().to_string();
    for (arguments, named) in [
        (vec!["pvf", "validate", "--code", &adder], "--params"),
        (vec!["pvf", "validate", "--code", "/nowhere.wasm", "--params", &block], "/nowhere.wasm"),
        (
            vec!["pvf", "validate", "--code", &adder, "--params", &block, "--cpu-limit", "5"],
            "500ms",
        ),
        (
            vec!["pvf", "validate", "--code", &adder, "--params", &block, "--memory-pages", "0"],
            "1..=65536",
        ),
        (vec!["pvf", "validate", "--code", &empty, "--params", &block], "empty"),
        (
            vec![
                "pvf",
                "validate",
                "--code",
                &adder,
                "--block-data",
                &block,
                "--parent-head",
                "xyz",
                "--relay-parent-number",
                "1",
                "--relay-parent-storage-root",
                "00",
            ],
            "--parent-head",
        ),
        (
            vec![
                "pvf",
                "validate",
                "--code",
                &adder,
                "--block-data",
                &block,
                "--parent-head",
                "00",
                "--relay-parent-number",
                "1",
                "--relay-parent-storage-root",
                "00",
            ],
            "32 bytes",
        ),
    ] {
        let output = folder.lazaret(&arguments);
        let shown = text(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {shown}");
        assert!(shown.contains(named), "{arguments:?} does not name {named}: {shown}");
        assert!(output.stdout.is_empty(), "{arguments:?} writes to standard output");
    }
}

#[test]
fn an_extension_is_named_by_both_of_its_hashes_and_ignored_by_older_functions() {
    let folder = Folder::new();
    let (adder, block) = (example("adder.wat"), folder.put("block", (0_u64, 42_u64).encode()));
    let head = hex::encode((0_u64, [0_u8; 32], keccak_256(&0_u64.encode())).encode());
    let (block, root) = (block.display().to_string(), "02".repeat(32));
    let validate = |extension: &[&str]| {
        let parts = ["pvf", "validate", "--code", &adder, "--parent-head", &head];
        let rest = ["--block-data", &block, "--relay-parent-number", "7"];
        let root = ["--relay-parent-storage-root", &root];
        folder.lazaret(&[&parts[..], &rest, &root, extension].concat())
    };
    let (good, short) = ("08".repeat(32), "08".repeat(31));
    let output = validate(&["--relay-parent", &good, "--scheduling-parent", &good]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    for (extension, named) in [
        (vec!["--relay-parent", good.as_str()], "--scheduling-parent"),
        (vec!["--scheduling-parent", &good], "--relay-parent"),
        (vec!["--relay-parent", &short, "--scheduling-parent", &good], "hex of 32 bytes"),
    ] {
        let output = validate(&extension);
        assert_eq!(output.status.code(), Some(2), "{extension:?}");
        assert!(text(&output.stderr).contains(named), "{}", text(&output.stderr));
    }
}

#[test]
fn a_cache_that_others_may_write_is_a_fault_that_says_so() {
    use std::os::unix::fs::PermissionsExt;
    let folder = Folder::new();
    let cache = folder.0.path().join("cache");
    fs::create_dir(&cache).unwrap();
    fs::set_permissions(&cache, fs::Permissions::from_mode(0o777)).unwrap();
    let output = folder.lazaret(&["pvf", "precheck", &example("adder.wat")]);
    assert_eq!(output.status.code(), Some(4));
    assert!(text(&output.stderr).contains("writable by nobody else"), "{}", text(&output.stderr));
}

#[test]
fn the_weak_jail_is_not_had_by_one_word() {
    let folder = Folder::new();
    let output = Command::new(PROGRAM)
        .args(["pvf", "inspect", &example("adder.wat"), "--jail", "weak", "--cache"])
        .arg(folder.0.path())
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(text(&output.stderr).contains("--accept-weaker-jail"), "{}", text(&output.stderr));
}

#[test]
fn every_verdict_says_which_layers_were_on() {
    let folder = Folder::new();
    let adder = example("adder.wat");
    let output = folder.lazaret(&["pvf", "inspect", "--json", &adder]);
    assert_eq!(value(&output, "jail/level"), r#""weak""#);
    let (on, off) = (value(&output, "jail/on"), value(&output, "jail/off"));
    assert!(on.contains("\"job-limits\"") && !off.contains("\"job-limits\""), "{on} {off}");
    let output = folder.lazaret(&["prepare", "--json", &adder]);
    assert_eq!(value(&output, "files/0/jail/level"), r#""weak""#);
    let output = folder.lazaret(&["pvf", "inspect", &adder]);
    assert!(text(&output.stdout).contains("  jail          weak, "), "{}", text(&output.stdout));
}

#[test]
fn many_files_are_prechecked_in_order_and_the_gravest_decides() {
    let folder = Folder::new();
    let bad = folder.put("bad.wat", "(module)").display().to_string();
    let adder = example("adder.wat");
    let output = folder.lazaret(&["pvf", "precheck", &adder, &bad, &adder]);
    let shown = text(&output.stdout);
    assert_eq!(output.status.code(), Some(1), "{shown}");
    let words: Vec<_> = shown.lines().map(|line| line.split(' ').next().unwrap()).collect();
    // The last line is about all of them: which layers were on.
    assert_eq!(words, ["returned", "refused", "returned", ""]);
    assert!(shown.contains("\n  jail          weak, "), "{shown}");

    let output = folder.lazaret(&["prepare", "--json", &adder, "/nowhere.wasm"]);
    assert_eq!(output.status.code(), Some(2));
    assert_eq!(value(&output, "files/0/verdict"), r#""returned""#);
    assert_eq!(value(&output, "files/0/vote"), "null");
    assert_eq!(value(&output, "files/1/verdict"), r#""usage""#);
}

#[test]
fn inspection_says_what_code_imports_and_why_it_would_be_refused() {
    let folder = Folder::new();
    let odd = folder.put(
        "odd.wat",
        r#"(module
            (import "env" "ext_storage_get_version_1" (func (param i64) (result i64)))
            (import "env" "ext_hashing_keccak_256_version_1" (func (param i64) (result i32)))
            (import "elsewhere" "f" (func)))"#,
    );
    let output = folder.lazaret(&["pvf", "inspect", "--json", &odd.display().to_string()]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    assert_eq!(value(&output, "inspection/imports/0/treatment"), r#""traps when called""#);
    assert_eq!(value(&output, "inspection/imports/1/treatment"), r#""provided""#);
    assert_eq!(value(&output, "inspection/imports/2/treatment"), r#""refused""#);
    let refusals = value(&output, "inspection/refusals");
    assert!(refusals.contains("elsewhere") && refusals.contains("validate_block"), "{refusals}");
    let output = folder.lazaret(&[
        "pvf",
        "inspect",
        "--json",
        "--cpu-limit",
        "0.001ms",
        &odd.display().to_string(),
    ]);
    assert_eq!(
        (output.status.code(), value(&output, "kind")),
        (Some(1), r#""prepare-cpu""#.into())
    );
}

#[test]
fn what_a_guest_logs_is_shown_escaped() {
    let folder = Folder::new();
    let loud = folder.put(
        "loud.wat",
        r#"(module
            (import "env" "memory" (memory 1))
            (import "env" "ext_logging_log_version_1" (func $log (param i32 i64 i64)))
            (global (export "__heap_base") i32 (i32.const 1024))
            (data (i32.const 0) "chain")
            (data (i32.const 8) "a\1b[2J\nreturned: vote for")
            (func (export "validate_block") (param i32 i32) (result i64)
              (call $log (i32.const 0)
                (i64.const 0x0000_0005_0000_0000) (i64.const 0x0000_0018_0000_0008))
              (i64.const 0x0000_000c_0000_0200)))"#,
    );
    let params = folder.put("params", [0; 8]).display().to_string();
    let loud = loud.display().to_string();
    let output = folder.lazaret(&["pvf", "validate", "--code", &loud, "--params", &params]);
    let shown = text(&output.stdout);
    assert_eq!(output.status.code(), Some(0), "{shown}{}", text(&output.stderr));
    assert!(shown.contains(r"error chain: a\u{1b}[2J\u{a}returned: vote for"), "{shown}");
}

#[test]
fn a_reader_that_goes_away_changes_nothing() {
    let folder = Folder::new();
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let ended = Command::new(PROGRAM)
        .args(["pvf", "precheck", "--accept-weaker-jail", &example("adder.wat"), "--cache"])
        .arg(folder.0.path().join("cache"))
        .stdout(writer)
        .output()
        .unwrap();
    assert_eq!(ended.status.code(), Some(0), "{}", text(&ended.stderr));
}
