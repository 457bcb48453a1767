//! What the engine's tests share: guests from text, artifacts in memfds, the data outside the
//! repository.

#![allow(dead_code)] // Each test file uses its own part.

pub(crate) mod caller;
pub(crate) mod operators;
pub(crate) mod programs;

use std::cell::RefCell;
use std::fs::File;
use std::io::Write as _;
use std::path::PathBuf;
use std::rc::Rc;

use lazaret_engine::pvf::{Input, Reply, validate_block};
use lazaret_engine::{
    Artifact, CodeFormat, CodeLimits, Engine, ExecuteError, Features, Params, PrepareError,
    Prepared,
};

/// What a chain allows that allows bulk memory.
pub(crate) const BULK: Features = Features { bulk_memory: true, ..Features::PVF };

/// The default params for code written as text.
pub(crate) fn text_params() -> Params {
    Params { code_format: CodeFormat::Text, ..Params::default() }
}

pub(crate) fn engine() -> Engine {
    Engine::new(&Params::default()).expect("the engine starts on this machine")
}

/// A parachain runtime whose `validate_block` has the given body, and may call `$give` with pointer
/// and length to make its result.
pub(crate) fn runtime(imports_and_functions: &str, body: &str) -> String {
    format!(
        r#"(module
            {imports_and_functions}
            (import "env" "memory" (memory 2))
            (global (export "__heap_base") i32 (i32.const 65536))
            (func $give (param i32 i32) (result i64)
                (i64.or
                    (i64.extend_i32_u (local.get 0))
                    (i64.shl (i64.extend_i32_u (local.get 1)) (i64.const 32))))
            (func (export "validate_block") (param $ptr i32) (param $len i32) (result i64)
                {body}))"#
    )
}

pub(crate) fn prepare(
    engine: &Engine,
    code: &[u8],
    params: &Params,
) -> Result<Prepared, PrepareError> {
    engine.prepare(code, params, &CodeLimits::default())
}

pub(crate) fn load(engine: &Engine, artifact: &[u8]) -> Artifact {
    // SAFETY: `artifact` comes from `prepare` in the same process; nobody else has the memfd.
    unsafe { engine.load(memfd(artifact)) }.expect("a fresh artifact loads")
}

pub(crate) fn memfd(bytes: &[u8]) -> File {
    let name = "artifact";
    let fd = rustix::fs::memfd_create(name, rustix::fs::MemfdFlags::CLOEXEC).expect("a memfd");
    let mut file = File::from(fd);
    file.write_all(bytes).expect("a memfd takes bytes");
    file
}

/// Prepares text and makes an instance of it, as a prepare job does.
pub(crate) fn checked(text: &str) -> Result<(), PrepareError> {
    let (engine, params) = (engine(), text_params());
    let prepared = prepare(&engine, text.as_bytes(), &params)?;
    engine.check(&load(&engine, &prepared.artifact), &params)
}

pub(crate) fn execute(
    engine: &Engine,
    artifact: &Artifact,
    params: &Params,
    input: &[u8],
) -> Result<Reply, ExecuteError> {
    validate_block(engine, artifact, params, Input::Encoded(input), Box::new(|_| ()))
}

/// Prepares text and calls it.
pub(crate) fn run(text: &str, input: &[u8]) -> Result<Reply, ExecuteError> {
    run_with(text, &text_params(), input)
}

pub(crate) fn run_with(text: &str, params: &Params, input: &[u8]) -> Result<Reply, ExecuteError> {
    let engine = engine();
    let prepared = prepare(&engine, text.as_bytes(), params).expect("the guest prepares");
    execute(&engine, &load(&engine, &prepared.artifact), params, input)
}

/// Prepares text, calls it, and returns what it logged: level, target, message.
pub(crate) fn run_logged(text: &str, input: &[u8]) -> (Result<Reply, ExecuteError>, Vec<String>) {
    let (engine, params) = (engine(), text_params());
    let prepared = prepare(&engine, text.as_bytes(), &params).expect("the guest prepares");
    let artifact = load(&engine, &prepared.artifact);
    let lines = Rc::new(RefCell::new(Vec::new()));
    let sink = Rc::clone(&lines);
    let log = Box::new(move |line: lazaret_engine::LogLine<'_>| {
        let text = format!("{:?} {}: {}", line.level, line.target, line.message);
        sink.borrow_mut().push(text);
    });
    let reply = validate_block(&engine, &artifact, &params, Input::Encoded(input), log);
    (reply, lines.take())
}

/// The test data outside the repository, or a loud line and nothing.
pub(crate) fn test_data(folder: &str) -> Option<PathBuf> {
    let base = std::env::var_os("LAZARET_TEST_DATA").map_or_else(
        || PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../../shared/data"),
        PathBuf::from,
    );
    let path = base.join(folder);
    if path.is_dir() {
        return Some(path);
    }
    eprintln!("SKIPPED: no test data at {}", path.display());
    None
}
