//! Plain and WASI programs in one process, without a jail: a trivial call, and a command that says hello.
//! `cargo bench -p lazaret-engine --bench programs`.

use divan::Bencher;
use lazaret_engine::program::{Call, Entry, Input, Value};
use lazaret_engine::{Params, Profile};
use shared::programs::{Loaded, Streams, load, text};

#[path = "../tests/shared/mod.rs"]
mod shared;

fn main() {
    divan::main();
}

const PLAIN: &str = r#"(module (memory (export "memory") 2) (data (i32.const 1024) "some bytes")
    (func (export "alloc") (param i32) (result i32) (i32.const 2048))
    (func (export "add") (param i32 i32) (result i32) (i32.add (local.get 0) (local.get 1)))
    (func (export "echo") (param i32 i32) (result i64) (i64.or (i64.extend_i32_u (local.get 1))
        (i64.shl (i64.extend_i32_u (local.get 0)) (i64.const 32)))))"#;

const HELLO: &str = r#"(module
    (import "wasi_snapshot_preview1" "fd_write"
        (func $write (param i32 i32 i32 i32) (result i32)))
    (memory (export "memory") 2) (data (i32.const 0) "\10\00\00\00\06\00\00\00")
    (data (i32.const 16) "hello\n")
    (func (export "_start")
        (drop (call $write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 8)))))"#;

/// Calls `fib(27)`: 832,040 calls and little else, so that counting the stack shows.
const CALLS: &str = r#"(module (func $fib (export "fib") (param i32) (result i32)
    (if (result i32) (i32.lt_u (local.get 0) (i32.const 2)) (then (local.get 0))
        (else (i32.add (call $fib (i32.sub (local.get 0) (i32.const 1)))
            (call $fib (i32.sub (local.get 0) (i32.const 2))))))))"#;

fn plain(code: &str) -> Loaded {
    load(code.as_bytes(), &text(Profile::Plain))
}

fn once(loaded: &Loaded, name: &str, input: Input<'_>) {
    let entry = Entry::Export { name, input };
    let output = loaded.instance().call(&Call { entry, fuel: None });
    assert!(output.is_ok(), "{output:?}");
}

#[divan::bench]
fn plain_call_with_numbers(bencher: Bencher<'_, '_>) {
    let loaded = plain(PLAIN);
    bencher.bench_local(|| {
        once(&loaded, "add", Input::Values(&[Value::I32(2), Value::I32(40)]));
    });
}

#[divan::bench(args = [0, 1000, 100_000])]
fn plain_call_with_bytes(bencher: Bencher<'_, '_>, bytes: usize) {
    let (loaded, input) = (plain(PLAIN), vec![7; bytes]);
    bencher.bench_local(|| once(&loaded, "echo", Input::Bytes(&input)));
}

#[divan::bench]
fn wasi_hello(bencher: Bencher<'_, '_>) {
    let loaded = load(HELLO.as_bytes(), &text(Profile::Wasi));
    bencher.bench_local(|| {
        let streams = Streams::default();
        let output = shared::programs::command(&loaded, streams.world());
        assert!(output.is_ok() && streams.out.borrow().len() == 6, "{output:?}");
    });
}

#[divan::bench(args = [false, true])]
fn many_calls(bencher: Bencher<'_, '_>, metering: bool) {
    let params = Params { metering, ..text(Profile::Plain) };
    let loaded = load(CALLS.as_bytes(), &params);
    bencher.bench_local(|| once(&loaded, "fib", Input::Values(&[Value::I32(27)])));
}
