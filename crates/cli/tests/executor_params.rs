//! Executor params and kinds on the command line: what they reach, and what is said about wrong ones.

mod support;

use std::{
    path::Path,
    process::{Command, Output},
};

use lazaret::pvf::{
    ExecTimeoutKind, ExecutorParam, ExecutorParam::*, ExecutorParams, HostFunctions, PrepareKind,
};
use parity_scale_codec::Encode;
use support::PROGRAM;

fn lazaret(folder: &Path, arguments: &[&str]) -> Output {
    Command::new(PROGRAM)
        .args(arguments)
        .args(["--accept-weaker-jail", "--cache"])
        .arg(folder.join("cache"))
        .output()
        .unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

fn value(output: &Output, key: &str) -> String {
    let object: serde_json::Value = serde_json::from_slice(&output.stdout).expect("one object");
    object.pointer(&format!("/{key}")).unwrap_or_else(|| panic!("no {key} in {object}")).to_string()
}

fn hex_of(params: &[ExecutorParam]) -> String {
    format!("0x{}", hex::encode(ExecutorParams(params.to_vec()).encode()))
}

/// A module with so much memory whose `validate_block` has this body.
fn module(folder: &Path, memory_pages: u32, body: &str) -> String {
    let path = folder.join("guest.wat");
    let module = format!(
        r#"(module
            (memory (export "memory") {memory_pages})
            (global (export "__heap_base") i32 (i32.const 1024))
            (func (export "validate_block") (param i32 i32) (result i64) {body}))"#
    );
    std::fs::write(&path, module).unwrap();
    path.display().to_string()
}

/// The smallest result, at address 512.
const EMPTY: &str = "(i64.const 0x0000_000c_0000_0200)";

#[test]
fn executor_params_come_from_a_file_or_as_hex() {
    let folder = tempfile::tempdir().unwrap();
    let code = module(folder.path(), 1, EMPTY);
    // MaxMemoryPages(8192), PvfExecTimeout(Approval, 16000).
    let params = "0801002000000601803e000000000000";
    let file = folder.path().join("params.scale");
    std::fs::write(&file, hex::decode(params).unwrap()).unwrap();
    let hex = format!("0x{params}");
    for params in [hex.as_str(), file.to_str().unwrap()] {
        for verb in [&["validate", "--params", &code, "--code"][..], &["precheck"], &["inspect"]] {
            let arguments = [&["pvf"], verb, &[&code, "--executor-params", params]].concat();
            let output = lazaret(folder.path(), &arguments);
            assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
        }
    }
}

#[test]
fn the_kind_decides_which_time_limit_holds() {
    let folder = tempfile::tempdir().unwrap();
    let endless = module(folder.path(), 1, "(loop (br 0)) (unreachable)");
    let times = hex_of(&[
        PvfExecTimeout(ExecTimeoutKind::Backing, 100),
        PvfExecTimeout(ExecTimeoutKind::Approval, 300),
    ]);
    for (kind, limit) in [
        ("backing", "100ms"),
        ("backing-system-paras", "100ms"),
        ("approval", "300ms"),
        ("dispute", "300ms"),
    ] {
        let validate = ["pvf", "validate", "--json", "--code", &endless, "--params", &endless];
        let settings = ["--kind", kind, "--executor-params", &times];
        let output = lazaret(folder.path(), &[&validate[..], &settings].concat());
        assert_eq!(output.status.code(), Some(1), "{}", text(&output.stderr));
        assert_eq!(value(&output, "kind"), r#""cpu-limit""#);
        assert!(value(&output, "reason").contains(limit), "{kind}: {}", text(&output.stdout));
    }
}

#[test]
fn memory_has_the_pages_of_the_executor_params_and_32_more() {
    let folder = tempfile::tempdir().unwrap();
    let code = module(folder.path(), 34, EMPTY);
    for (pages, status) in [(1, 1), (2, 0)] {
        let params = hex_of(&[MaxMemoryPages(pages)]);
        let precheck = ["pvf", "precheck", &code, "--executor-params", &params];
        let output = lazaret(folder.path(), &precheck);
        assert_eq!(output.status.code(), Some(status), "{}", text(&output.stdout));
    }
}

#[test]
fn bulk_memory_is_allowed_where_the_executor_params_say_so() {
    let folder = tempfile::tempdir().unwrap();
    let fill = "(memory.fill (i32.const 0) (i32.const 0) (i32.const 1))";
    let code = module(folder.path(), 1, &format!("{fill} {EMPTY}"));
    for (params, status) in [(vec![], 1), (vec![WasmExtBulkMemory], 0)] {
        let params = hex_of(&params);
        let precheck = ["pvf", "precheck", &code, "--executor-params", &params];
        assert_eq!(lazaret(folder.path(), &precheck).status.code(), Some(status));
    }
}

#[test]
fn a_precheck_has_its_own_time_limit() {
    let folder = tempfile::tempdir().unwrap();
    let code = module(folder.path(), 1, EMPTY);
    let no_time = hex_of(&[PvfPrepTimeout(PrepareKind::Precheck, 0)]);
    // The second time the artifact is there, and took longer than a precheck may.
    for verb in [&["pvf", "precheck"][..], &["prepare"], &["pvf", "precheck"]] {
        let arguments = [verb, &["--json", &code, "--executor-params", &no_time]].concat();
        let output = lazaret(folder.path(), &arguments);
        let is_precheck = verb.len() == 2;
        assert_eq!(output.status.code(), Some(is_precheck.into()), "{}", text(&output.stdout));
        if is_precheck {
            assert_eq!(value(&output, "files/0/kind"), r#""prepare-cpu""#);
            assert_eq!(value(&output, "files/0/vote"), r#""against""#);
        }
    }
}

#[test]
fn wrong_executor_params_name_the_param_its_value_and_what_is_accepted() {
    let folder = tempfile::tempdir().unwrap();
    let code = module(folder.path(), 1, EMPTY);
    for (params, named) in [
        ("0x0409".into(), "\"0x0409\": executor param 9 is not known; 1 to 8 are accepted"),
        ("0x040502".into(), "executor param PvfPrepTimeout of kind 2 is not known"),
        ("0x0401".into(), "the bytes end before the executor params do"),
        ("0x0000".into(), "1 bytes follow the executor params; none are accepted"),
        ("0xno".into(), "--executor-params is \"0xno\"; hex after 0x, or a file, is accepted"),
        ("/nowhere.scale".into(), "cannot read /nowhere.scale"),
        (
            hex_of(&[MaxMemoryPages(0)]),
            "executor param MaxMemoryPages is 0; 1 to 65536 is accepted",
        ),
        (hex_of(&[StackLogicalMax(1023)]), "1024 to 131072 is accepted"),
        (hex_of(&[PrecheckingMaxMemory((256 << 20) - 1)]), "268435456 to 17179869184 is accepted"),
        (hex_of(&[WasmExtBulkMemory, WasmExtBulkMemory]), "WasmExtBulkMemory is there twice"),
        (
            hex_of(&[EnabledHostFunction(HostFunctions::EccRfc163)]),
            "executor param EnabledHostFunction(EccRfc163) is not supported by this version",
        ),
    ] {
        let precheck = ["pvf", "precheck", &code, "--executor-params", &params];
        let output = lazaret(folder.path(), &precheck);
        let shown = text(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{params}: {shown}");
        assert!(shown.contains(named), "{params} does not name {named}: {shown}");
    }
}

#[test]
fn executor_params_are_not_mixed_with_single_params() {
    let folder = tempfile::tempdir().unwrap();
    let code = module(folder.path(), 1, EMPTY);
    for single in [&["--memory-pages", "1"][..], &["--stack-values", "1024"], &["--bulk-memory"]] {
        let arguments = [&["pvf", "precheck", &code, "--executor-params", "0x00"], single].concat();
        let output = lazaret(folder.path(), &arguments);
        assert_eq!(output.status.code(), Some(2));
        assert!(text(&output.stderr).contains(single[0]), "{}", text(&output.stderr));
    }
    let output = lazaret(folder.path(), &["pvf", "validate", "--kind", "later"]);
    assert!(text(&output.stderr).contains("backing-system-paras"), "{}", text(&output.stderr));
}
