//! The profile `plain`: what is called, what is given, what comes back, and what is refused.

mod shared;

use lazaret_engine::program::{Input, Output, Value};
use lazaret_engine::{
    CodeLimits, ExecuteError, Features, ImportTreatment, Params, PrepareError, Profile, TrapKind,
    UnknownImports, inspect,
};
use shared::programs::{call, load, number, plain, prepare, text};

const NUMBERS: &str = r#"(module
    (func (export "add") (param i32 i32) (result i32) (i32.add (local.get 0) (local.get 1)))
    (func (export "swap") (param i64 f32) (result f32 i64) (local.get 1) (local.get 0))
    (func (export "half") (param f64) (result f64) (f64.div (local.get 0) (f64.const 2)))
    (func (export "nothing"))
    (func (export "vector") (param v128)))"#;

/// Gives its input back with each byte one higher, behind what `alloc` hands out.
const BYTES: &str = r#"(module
    (memory (export "memory") 1)
    (global $next (mut i32) (i32.const 1024))
    (func (export "alloc") (param $length i32) (result i32)
        (local $pointer i32)
        (local.set $pointer (global.get $next))
        (global.set $next (i32.add (global.get $next) (local.get $length)))
        (if (i32.gt_u (global.get $next) (i32.const 65536)) (then (return (i32.const 0))))
        (local.get $pointer))
    (func (export "up") (param $pointer i32) (param $length i32) (result i64)
        (local $index i32)
        (block $done (loop $next
            (br_if $done (i32.eq (local.get $index) (local.get $length)))
            (i32.store8 (i32.add (local.get $pointer) (local.get $index))
                (i32.add (i32.const 1)
                    (i32.load8_u (i32.add (local.get $pointer) (local.get $index)))))
            (local.set $index (i32.add (local.get $index) (i32.const 1)))
            (br $next)))
        (i64.or (i64.shl (i64.extend_i32_u (local.get $pointer)) (i64.const 32))
            (i64.extend_i32_u (local.get $length))))
    (func (export "outside") (param i32 i32) (result i64) (i64.const -1))
    (func (export "number") (param i32) (result i32) (local.get 0)))"#;

fn words(words: &[&str]) -> Vec<String> {
    words.iter().map(|word| (*word).to_owned()).collect()
}

#[test]
fn numbers_of_every_type_go_in_and_come_out() {
    let program = plain(NUMBERS);
    let mut instance = program.instance();
    assert_eq!(number(&mut instance, "add", &[2, 40]), 42);
    let given = [Value::I64(-7), Value::F32(1.5_f32.to_bits())];
    let swapped = call(&mut instance, "swap", Input::Values(&given)).unwrap();
    assert_eq!(swapped, Output::Values(vec![given[1], given[0]]));
    let half = call(&mut instance, "half", Input::Words(&words(&["5"]))).unwrap();
    assert_eq!(half, Output::Values(vec![Value::F64(2.5_f64.to_bits())]));
    let sum = call(&mut instance, "add", Input::Words(&words(&["-1", "0x10"]))).unwrap();
    assert_eq!(sum, Output::Values(vec![Value::I32(15)]));
    let nothing = call(&mut instance, "nothing", Input::Values(&[])).unwrap();
    assert_eq!(nothing, Output::Values(vec![]));
}

#[test]
fn a_name_that_is_not_there_is_answered_with_those_that_are() {
    let program = plain(NUMBERS);
    for name in ["sub", "lazaret stack", "lazaret start"] {
        let error = call(&mut program.instance(), name, Input::Values(&[])).unwrap_err();
        let ExecuteError::NoSuchFunction { there_are, .. } = error else { panic!("{error}") };
        assert_eq!(there_are, ["add", "half", "nothing", "swap", "vector"]);
    }
}

#[test]
fn arguments_that_do_not_fit_are_refused_before_anything_runs() {
    let program = plain(NUMBERS);
    let mut instance = program.instance();
    let mut refusal = |name: &str, input: Input<'_>| {
        let error = call(&mut instance, name, input).unwrap_err();
        assert!(error.is_deterministic());
        error.to_string()
    };
    let one = refusal("add", Input::Values(&[Value::I32(1)]));
    assert_eq!(one, "add takes (i32, i32), not (i32)");
    let wide = refusal("half", Input::Values(&[Value::F32(0)]));
    assert_eq!(wide, "half takes (f64), not (f32)");
    assert_eq!(refusal("add", Input::Words(&words(&["1"]))), "add takes 2 values, not 1");
    let not_a_number = refusal("add", Input::Words(&words(&["1", "two"])));
    assert_eq!(not_a_number, "add takes an i32, not `two`");
    let vector = refusal("vector", Input::Values(&[]));
    assert!(vector.starts_with("vector has the type (v128) -> ()"), "{vector}");
}

#[test]
fn bytes_go_in_and_come_out() {
    let program = plain(BYTES);
    let mut instance = program.instance();
    for given in [&b""[..], b"HAL", &[7; 60_000]] {
        let output = call(&mut program.instance(), "up", Input::Bytes(given)).unwrap();
        assert!(matches!(output, Output::Bytes(_)));
    }
    let Output::Bytes(range) = call(&mut instance, "up", Input::Bytes(b"HAL")).unwrap() else {
        panic!("no bytes")
    };
    assert_eq!(instance.bytes(&range), b"IBM");
    assert_eq!(instance.bytes(&(70_000..70_001)), b"");
}

#[test]
fn code_that_does_not_keep_the_convention_of_bytes_is_told_how() {
    let program = plain(BYTES);
    let error = |name: &str, bytes: &[u8]| {
        call(&mut program.instance(), name, Input::Bytes(bytes)).unwrap_err()
    };
    assert!(matches!(error("up", &[0; 70_000]), ExecuteError::InputMemory { .. }));
    let outside = ExecuteError::OutputOutOfBounds {
        pointer: u32::MAX,
        length: u32::MAX,
        memory_bytes: 65_536,
    };
    assert_eq!(error("outside", b"x").to_string(), outside.to_string());
    assert!(matches!(error("number", b"x"), ExecuteError::BytesConvention { .. }));
    let bare = plain(r#"(module (func (export "f") (param i32 i32) (result i64) (i64.const 0)))"#);
    let error = call(&mut bare.instance(), "f", Input::Bytes(b"x")).unwrap_err();
    assert!(error.to_string().contains("`alloc`"), "{error}");
}

#[test]
fn the_start_function_runs_in_the_first_call_and_not_before() {
    let program = plain(
        r#"(module
            (global $calls (mut i32) (i32.const 0))
            (func $start (global.set $calls (i32.add (global.get $calls) (i32.const 1))))
            (func (export "calls") (result i32) (global.get $calls))
            (start $start))"#,
    );
    let mut instance = program.instance();
    assert_eq!(number(&mut instance, "calls", &[]), 1);
    assert_eq!(number(&mut instance, "calls", &[]), 1);
    let traps = plain(r#"(module (func $start unreachable) (func (export "f")) (start $start))"#);
    let error = call(&mut traps.instance(), "f", Input::Values(&[])).unwrap_err();
    assert!(matches!(error, ExecuteError::Trap { kind: TrapKind::Unreachable, .. }));
}

#[test]
fn imports_are_refused_or_trap_when_called() {
    let code = r#"(module
        (import "env" "host" (func $host))
        (func (export "with") (call $host))
        (func (export "without") (result i32) (i32.const 1)))"#;
    let params = text(Profile::Plain);
    let error = prepare(code.as_bytes(), &params).unwrap_err();
    assert!(matches!(error, PrepareError::UnknownImport { .. }), "{error}");
    let lenient = Params { unknown_imports: UnknownImports::TrapWhenCalled, ..params };
    let program = load(code.as_bytes(), &lenient);
    assert_eq!(number(&mut program.instance(), "without", &[]), 1);
    let error = call(&mut program.instance(), "with", Input::Values(&[])).unwrap_err();
    assert!(matches!(error, ExecuteError::Trap { kind: TrapKind::HostCall, .. }));
    assert!(error.to_string().contains("`host` of `env`"), "{error}");
    let memory = r#"(module (import "env" "memory" (memory 1)))"#;
    let error = prepare(memory.as_bytes(), &lenient).unwrap_err();
    assert!(matches!(error, PrepareError::UnknownImport { .. }), "{error}");
    // What only WASI provides, a plain program does not get.
    let wasi = r#"(module (import "wasi_snapshot_preview1" "sched_yield" (func (result i32))))"#;
    assert!(prepare(wasi.as_bytes(), &text(Profile::Plain)).is_err());
    prepare(wasi.as_bytes(), &text(Profile::Wasi)).unwrap();
}

#[test]
fn memory_beyond_the_limit_is_refused_and_named_in_the_trap_that_follows() {
    let code = r#"(module (memory 2)
        (func (export "grow") (param i32) (result i32) (memory.grow (local.get 0)))
        (func (export "insist") (if (i32.eq (memory.grow (i32.const 9)) (i32.const -1))
            (then unreachable)))
        (func (export "divide") (drop (memory.grow (i32.const 9)))
            (drop (i32.div_u (i32.const 1) (i32.const 0)))))"#;
    let params = Params { memory_pages_max: 4, ..text(Profile::Plain) };
    let program = load(code.as_bytes(), &params);
    let mut instance = program.instance();
    assert_eq!(number(&mut instance, "grow", &[2]), 2);
    assert_eq!(instance.usage().memory_pages, 4);
    assert_eq!(number(&mut instance, "grow", &[1]), -1);
    assert_eq!(instance.usage().memory_pages_refused, Some(5));
    let error = call(&mut program.instance(), "insist", Input::Values(&[])).unwrap_err();
    assert!(matches!(error, ExecuteError::MemoryExhausted { pages: 11, pages_max: 4, .. }));
    let error = call(&mut program.instance(), "divide", Input::Values(&[])).unwrap_err();
    assert!(matches!(error, ExecuteError::Trap { kind: TrapKind::IntegerDivisionByZero, .. }));
    let small = Params { memory_pages_max: 1, ..params };
    let error = prepare(code.as_bytes(), &small).unwrap_err();
    assert!(matches!(error, PrepareError::MemoryMinimum { pages: 2, pages_max: 1 }));
    let other = shared::programs::Loaded { params: small, ..program };
    let error = other.try_instance().unwrap_err();
    assert!(matches!(error, ExecuteError::MemoryLimit { pages: 2, pages_max: 1 }));
}

#[test]
fn tables_are_limited_all_together() {
    let code = r#"(module (table $a 10 funcref) (table $b 10 funcref)
        (func (export "grow") (param i32) (result i32)
            (table.grow $b (ref.null func) (local.get 0)))
        (func (export "insist") (if (i32.eq (table.grow $a (ref.null func) (i32.const 9))
            (i32.const -1)) (then unreachable))))"#;
    let params = Params { table_elements_max: 25, ..text(Profile::Plain) };
    let program = load(code.as_bytes(), &params);
    let mut instance = program.instance();
    assert_eq!(number(&mut instance, "grow", &[5]), 10);
    assert_eq!(number(&mut instance, "grow", &[1]), -1);
    let error = call(&mut program.instance(), "insist", Input::Values(&[])).unwrap_err();
    assert!(matches!(error, ExecuteError::TableExhausted { elements: 29, elements_max: 25, .. }));
    let error = prepare(code.as_bytes(), &Params { table_elements_max: 19, ..params });
    assert!(matches!(error, Err(PrepareError::Limit { found: 20, max: 19, .. })));
}

#[test]
fn each_feature_is_refused_where_it_is_not_allowed() {
    type Off = fn(&mut Features);
    let cases: [(&str, Off); 8] = [
        ("(func (drop (i32.extend8_s (i32.const 0))))", |f| f.sign_extension = false),
        ("(func (drop (i32.trunc_sat_f32_s (f32.const 0))))", |f| {
            f.saturating_float_to_int = false
        }),
        ("(func (result i32 i32) (i32.const 0) (i32.const 0))", |f| f.multi_value = false),
        ("(memory 1) (func (memory.fill (i32.const 0) (i32.const 0) (i32.const 0)))", |f| {
            f.bulk_memory = false
        }),
        ("(func (drop (ref.null func)))", |f| f.reference_types = false),
        ("(func (drop (i8x16.splat (i32.const 0))))", |f| f.simd = false),
        ("(global i32 (i32.add (i32.const 1) (i32.const 1)))", |f| f.extended_const = false),
        ("(func $f (return_call $f))", |f| f.tail_calls = false),
    ];
    for (code, off) in cases {
        let code = format!("(module {code})");
        let mut params = text(Profile::Plain);
        prepare(code.as_bytes(), &params).unwrap();
        off(&mut params.features);
        let error = prepare(code.as_bytes(), &params).unwrap_err();
        assert!(matches!(error, PrepareError::Invalid { .. }), "{code}: {error}");
    }
    let never = [
        "(memory 1 1 shared)",
        "(memory i64 1)",
        "(memory 1) (memory 1)",
        "(tag)",
        "(type (struct))",
        "(func (drop (ref.null extern)))",
        "(func (drop (i8x16.relaxed_swizzle (v128.const i64x2 0 0) (v128.const i64x2 0 0))))",
    ];
    for code in never {
        let error = prepare(format!("(module {code})").as_bytes(), &text(Profile::Plain));
        assert!(matches!(error, Err(PrepareError::Invalid { .. })), "{code}: {error:?}");
    }
}

#[test]
fn what_the_network_has_no_word_for_is_not_of_its_profile() {
    let simd = Params { features: Features { simd: true, ..Features::PVF }, ..text(Profile::Pvf) };
    let metered = Params { metering: true, ..text(Profile::Pvf) };
    for params in [simd, metered] {
        let error = prepare(b"(module)", &params).unwrap_err();
        assert!(matches!(error, PrepareError::NotOfProfile { .. }), "{error}");
    }
}

#[test]
fn an_inspection_says_what_each_import_becomes_under_the_profile() {
    let code = br#"(module
        (import "wasi_snapshot_preview1" "fd_close" (func (param i32) (result i32)))
        (import "wasi_snapshot_preview1" "fd_sync" (func (param i64) (result i32)))
        (import "env" "other" (func)) (func (export "_start")))"#;
    let treatments = |params: &Params| {
        let inspection = inspect(code, params, &CodeLimits::default()).unwrap();
        let imports = inspection.imports.into_iter().map(|import| import.treatment);
        (imports.collect::<Vec<_>>(), inspection.refusals.len())
    };
    use ImportTreatment::{Provided, Refused, TrapsWhenCalled};
    let wasi = text(Profile::Wasi);
    assert_eq!(treatments(&wasi), (vec![Provided, Refused, Refused], 2));
    let lenient = Params { unknown_imports: UnknownImports::TrapWhenCalled, ..wasi };
    assert_eq!(treatments(&lenient), (vec![Provided, Refused, TrapsWhenCalled], 1));
    assert_eq!(treatments(&text(Profile::Plain)), (vec![Refused; 3], 3));
}
