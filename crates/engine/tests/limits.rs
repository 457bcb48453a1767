//! Limits that end a program in the same place on every machine: the stack, and fuel.

mod shared;

use lazaret_engine::program::{Call, Entry, Input, Instance, Output, Value};
use lazaret_engine::{ExecuteError, Params, Profile, TrapKind};
use shared::programs::{Loaded, call, load, number, plain, text};

/// Recursions of several kinds, each counting how deep it comes in a global that outlives it.
const RECURSIONS: &str = r#"(module
    (type $f (func (param i32) (result i32)))
    (type $pair (func (param i32) (result i32 i64)))
    (table funcref (elem $indirect $pair))
    (global $depth (mut i32) (i32.const 0))
    (func $deeper (global.set $depth (i32.add (global.get $depth) (i32.const 1))))
    (func $direct (export "direct") (param i32) (result i32)
        (call $deeper) (i32.add (call $direct (local.get 0)) (i32.const 1)))
    (func $indirect (export "indirect") (param i32) (result i32)
        (call $deeper)
        (i32.add (call_indirect (type $f) (local.get 0) (i32.const 0)) (i32.const 1)))
    (func $pair (export "pair") (param i32) (result i32 i64)
        (call $deeper)
        (call_indirect (type $pair) (local.get 0) (i32.const 1))
        (i64.add (i64.const 1)))
    (func $ping (export "mutual") (param i32) (result i32)
        (call $deeper) (i32.mul (call $pong (local.get 0)) (i32.const 3)))
    (func $pong (param i32) (result i32) (local v128 i64 i64)
        (i32.sub (call $ping (local.get 0)) (i32.const 3)))
    (func $tail (export "tail") (param i32) (result i32)
        (if (result i32) (local.get 0)
            (then (return_call $tail (i32.sub (local.get 0) (i32.const 1))))
            (else (i32.const 7))))
    (func (export "depth") (result i32) (global.get $depth))
    (func (export "abort") unreachable))"#;

const KINDS: [&str; 4] = ["direct", "indirect", "pair", "mutual"];

fn loaded(code: &str, stack_native_bytes_max: u32) -> Loaded {
    let params = Params { stack_native_bytes_max, ..text(Profile::Plain) };
    load(code.as_bytes(), &params)
}

fn depth(loaded: &Loaded, kind: &str) -> i32 {
    let mut instance = loaded.instance();
    let error = call(&mut instance, kind, Input::Values(&[Value::I32(1)])).unwrap_err();
    let values_max = loaded.params.stack_logical_max;
    assert!(
        matches!(error, ExecuteError::StackExhausted { values_max: named } if named == values_max),
        "{kind}: {error}"
    );
    number(&mut instance, "depth", &[])
}

#[test]
fn recursions_end_in_the_same_frame_whatever_the_native_stack() {
    let (small, large) = (loaded(RECURSIONS, 128 << 20), loaded(RECURSIONS, 512 << 20));
    for kind in KINDS {
        let depth_small = depth(&small, kind);
        assert_eq!(depth_small, depth(&large, kind), "{kind}");
        assert!((50_000..250_000).contains(&depth_small), "{kind}: {depth_small}");
    }
    // What a frame is worth is part of what code means: eight, its locals and its operands.
    let params = Params { stack_logical_max: 1000, ..text(Profile::Plain) };
    let shallow = load(RECURSIONS.as_bytes(), &params);
    let depths: Vec<_> = KINDS.iter().map(|kind| depth(&shallow, kind)).collect();
    assert_eq!(depths, DEPTHS);
}

const DEPTHS: [i32; 4] = [90, 90, 83, 40];

#[test]
fn tail_calls_take_no_stack() {
    let params = Params { stack_logical_max: 100, ..text(Profile::Plain) };
    let program = load(RECURSIONS.as_bytes(), &params);
    assert_eq!(number(&mut program.instance(), "tail", &[10_000_000]), 7);
}

#[test]
fn a_program_s_own_trap_is_not_taken_for_the_limit() {
    let program = plain(RECURSIONS);
    let mut instance = program.instance();
    call(&mut instance, "direct", Input::Values(&[Value::I32(1)])).unwrap_err();
    let error = call(&mut instance, "abort", Input::Values(&[])).unwrap_err();
    assert!(matches!(error, ExecuteError::Trap { kind: TrapKind::Unreachable, .. }), "{error}");
    assert_eq!(number(&mut instance, "tail", &[1000]), 7, "and the instance goes on");
}

/// A function of few locals and operands that a compiler keeps thousands of values alive for: none of
/// them changes in the loop, so all are computed before it.
fn hoisted(values: usize) -> String {
    let uses: String = (0..values)
        .map(|n| {
            format!(
                "(local.set $sum (i64.xor (local.get $sum)
                    (i64.mul (i64.rotl (local.get $x) (i64.const {})) (i64.const {}))))",
                n % 64,
                2 * n + 3
            )
        })
        .collect();
    format!(
        r#"(module (func $f (export "f") (param $x i64) (result i64) (local $sum i64)
            (loop $again
                {uses}
                (local.set $sum (i64.add (local.get $sum) (call $f (local.get $x))))
                (br_if $again (i64.ne (local.get $sum) (i64.const 0))))
            (local.get $sum)))"#
    )
}

/// The same with wide constants, which take the least instructions for the most stack.
fn hoisted_vectors(values: usize) -> String {
    let constants: String =
        (0..values).map(|n| format!("(global $g{n} v128 (v128.const i64x2 {n} 7)) ")).collect();
    let uses: String = (0..values).map(|n| format!("global.get $g{n} v128.xor ")).collect();
    format!(
        r#"(module {constants} (func $f (export "f") (param $x i64) (result i64)
            (local $sum v128)
            (loop $again
                local.get $sum {uses} local.set $sum
                (drop (call $f (local.get $x)))
                (br_if $again (v128.any_true (local.get $sum))))
            (i64x2.extract_lane 0 (local.get $sum))))"#
    )
}

/// Half of the native stack is enough, so the count has twice what it needs.
#[test]
fn values_that_a_compiler_adds_do_not_outrun_the_count() {
    for values in [10, 100, 3000] {
        for code in [hoisted(values), hoisted_vectors(values)] {
            let program = loaded(&code, Params::default().stack_native_bytes_max / 2);
            let given = [Value::I64(3)];
            let error = call(&mut program.instance(), "f", Input::Values(&given)).unwrap_err();
            assert!(matches!(error, ExecuteError::StackExhausted { .. }), "{values}: {error}");
        }
    }
}

#[test]
fn frames_of_many_parameters_and_results_do_not_outrun_the_count() {
    for count in [1, 20, 900] {
        let types = "i64 ".repeat(count);
        let gets: String = (0..count).map(|n| format!("(local.get {n}) ")).collect();
        let code = format!(
            r#"(module (func $f (param {types}) (result {types}) {gets} (call $f) {gets} (call $f)
                {drops})
                (func (export "f") {zeros} (call $f) {drops}))"#,
            drops = "(drop) ".repeat(count),
            zeros = "(i64.const 1) ".repeat(count),
        );
        let program = loaded(&code, Params::default().stack_native_bytes_max / 2);
        let error = call(&mut program.instance(), "f", Input::Values(&[])).unwrap_err();
        assert!(matches!(error, ExecuteError::StackExhausted { .. }), "{count}: {error}");
    }
}

const COUNTS: &str = r#"(module (global $n (mut i32) (i32.const 0))
    (func (export "run") (loop $again
        (global.set $n (i32.add (global.get $n) (i32.const 1))) (br $again)))
    (func (export "n") (result i32) (global.get $n)))"#;

fn run_on(instance: &mut Instance, fuel: u64) -> ExecuteError {
    let entry = Entry::Export { name: "run", input: Input::Values(&[]) };
    instance.call(&Call { entry, fuel: Some(fuel) }).unwrap_err()
}

#[test]
fn fuel_ends_a_program_at_the_same_instruction() {
    let params = Params { metering: true, ..text(Profile::Plain) };
    let program = load(COUNTS.as_bytes(), &params);
    let reached = |fuel: u64| {
        let mut instance = program.instance();
        let error = run_on(&mut instance, fuel);
        assert!(matches!(error, ExecuteError::OutOfFuel { fuel: named } if named == fuel));
        assert!(instance.usage().fuel.is_some_and(|used| used >= fuel.saturating_sub(20)));
        number(&mut instance, "n", &[])
    };
    assert_eq!((reached(0), reached(1_000_000)), (0, reached(1_000_000)));
    assert!((100_000..250_000).contains(&reached(1_000_000)), "{}", reached(1_000_000));
    // Each call has its own.
    let mut instance = program.instance();
    run_on(&mut instance, 1000);
    let once = number(&mut instance, "n", &[]);
    run_on(&mut instance, 1000);
    assert_eq!(number(&mut instance, "n", &[]), 2 * once);
    assert!(instance.usage().fuel.is_some_and(|used| used < 10), "{:?}", instance.usage());
}

#[test]
fn fuel_is_for_metered_code() {
    let program = plain(COUNTS);
    let mut instance = program.instance();
    assert!(matches!(run_on(&mut instance, 1000), ExecuteError::NotMetered));
    assert_eq!(instance.usage().fuel, None);
    let metered = Params { metering: true, ..text(Profile::Plain) };
    let program = load(COUNTS.as_bytes(), &metered);
    let n = call(&mut program.instance(), "n", Input::Values(&[])).unwrap();
    assert_eq!(n, Output::Values(vec![Value::I32(0)]));
}
