//! How guests run: memory, heap, stack, traps, input and output.

mod shared;

use lazaret_engine::pvf::{Input, Instance, validate_block};
use lazaret_engine::{COMPRESSED_PREFIX, ExecuteError, Params, TrapKind};
use shared::{run, run_with, runtime, text_params};

const MALLOC: &str = r#"
    (import "env" "ext_allocator_malloc_version_1" (func $malloc (param i32) (result i32)))
    (import "env" "ext_allocator_free_version_1" (func $free (param i32)))"#;

/// A result made of the numbers at 0, 4, 8...
fn numbers(count: u32) -> String {
    format!("(call $give (i32.const 0) (i32.const {}))", 4 * count)
}

fn store(at: u32, value: &str) -> String {
    format!("(i32.store (i32.const {at}) {value})")
}

fn as_numbers(output: &[u8]) -> Vec<u32> {
    output.chunks(4).map(|chunk| u32::from_le_bytes(chunk.try_into().unwrap())).collect()
}

fn trap(text: &str) -> (TrapKind, String) {
    match run(text, b"") {
        Err(ExecuteError::Trap { kind, text }) => (kind, text),
        other => panic!("expected a trap, got {other:?}"),
    }
}

#[test]
fn the_input_lies_where_substrates_allocator_puts_it_and_comes_back() {
    let text = runtime("", "(call $give (local.get $ptr) (local.get $len))");
    let reply = run(&text, b"a block").unwrap();
    assert_eq!(reply.output(), b"a block");
    assert_eq!(reply.memory_pages(), 2);
    let text = runtime("", &format!("{} {}", store(0, "(local.get $ptr)"), numbers(1)));
    assert_eq!(as_numbers(run(&text, b"a block").unwrap().output()), [65536 + 8]);
}

#[test]
fn what_is_done_before_a_call_changes_nothing_of_it() {
    let functions = r#"
        (table (export "table") 3 funcref)
        (elem (i32.const 1) $seven)
        (type $number (func (result i32)))
        (func $seven (type $number) (i32.const 7))"#;
    // Where nothing stands in the table a call through it traps.
    let call = |place| format!("(call_indirect (type $number) (i32.const {place}))");
    let (engine, params) = (shared::engine(), text_params());
    for long in [false, true] {
        let validate = |place| {
            let body = format!("{} {}", store(0, &call(place)), numbers(2));
            let text = runtime("", &body).replace("(global", &format!("{functions} (global"));
            let prepared = shared::prepare(&engine, text.as_bytes(), &params).unwrap();
            let artifact = shared::load(&engine, &prepared.artifact);
            let mut instance =
                Instance::new(&engine, &artifact, &params, Box::new(|_| ())).unwrap();
            instance.find_ahead(|bytes| assert!(bytes.iter().all(|byte| *byte == 0)));
            instance.look_up_functions();
            instance.rehearse(long);
            instance.validate_block(Input::Encoded(b""))
        };
        assert_eq!(as_numbers(validate(1).unwrap().output()), [7, 0]);
        assert!(matches!(validate(2), Err(ExecuteError::Trap { .. })));
    }
}

#[test]
fn an_own_memory_works_like_an_imported_one_and_its_maximum_is_ignored() {
    let text = runtime("", "(call $give (local.get $ptr) (local.get $len))")
        .replace(r#"(import "env" "memory" (memory 2))"#, r#"(memory (export "memory") 2 2)"#);
    let input = vec![5; 300_000];
    assert_eq!(run(&text, &input).unwrap().output(), input);
}

#[test]
fn freed_memory_is_used_again_and_a_bad_free_traps() {
    let body = format!(
        "{} {} (call $free (i32.load (i32.const 0))) {} {}",
        store(0, "(call $malloc (i32.const 9))"),
        store(4, "(call $malloc (i32.const 1))"),
        store(8, "(call $malloc (i32.const 16))"),
        numbers(3)
    );
    let reply = run(&runtime(MALLOC, &body), b"").unwrap();
    let first = 65536 + 16 + 8;
    assert_eq!(as_numbers(reply.output()), [first, first + 16 + 8, first]);
    let (kind, text) = trap(&runtime(MALLOC, "(call $free (i32.const 8)) (i64.const 0)"));
    assert_eq!(kind, TrapKind::HostCall);
    assert!(text.contains("ext_allocator_free_version_1"), "{text}");
}

#[test]
fn the_heap_ends_at_the_memory_limit_and_at_32_mib_for_one_allocation() {
    let large = runtime(MALLOC, "(drop (call $malloc (i32.const 33554432))) (i64.const 0)");
    assert_eq!(run(&large, b"").unwrap().memory_pages(), 2 + 512);
    let larger = runtime(MALLOC, "(drop (call $malloc (i32.const 33554433))) (i64.const 0)");
    assert!(trap(&larger).1.contains("too large"));
    let endless =
        runtime(MALLOC, "(loop (drop (call $malloc (i32.const 1000000))) (br 0)) (i64.const 0)");
    assert!(trap(&endless).1.contains("out of space"));
}

#[test]
fn forged_free_lists_end_in_an_answer_and_never_in_a_panic() {
    // The freed block links to itself, so that it is handed out for ever.
    let body = "(local $p i32) (local $n i32)
        (local.set $p (call $malloc (i32.const 16777216)))
        (call $free (local.get $p))
        (loop
            (i64.store (i32.sub (local.get $p) (i32.const 8))
                (i64.extend_i32_u (i32.sub (local.get $p) (i32.const 8))))
            (drop (call $malloc (i32.const 16777216)))
            (local.set $n (i32.add (local.get $n) (i32.const 1)))
            (br_if 0 (i32.lt_u (local.get $n) (i32.const 600))))
        (i64.const 0)";
    match run(&runtime(MALLOC, body), b"") {
        // Without overflow checks the count wraps, as in the network, and the guest goes on.
        Ok(_) if cfg!(debug_assertions) => panic!("the allocator's count went unguarded"),
        Ok(_) => {}
        Err(error) => assert!(error.to_string().contains("overflow"), "{error}"),
    }
}

#[test]
fn code_without_a_heap_base_prepares_and_no_call_of_it_succeeds() {
    let text = runtime("", "(i64.const 0)").replace("\"__heap_base\"", "\"other\"");
    assert!(matches!(run(&text, b""), Err(ExecuteError::NoHeapBase)));
}

#[test]
fn a_heap_base_at_the_end_of_the_address_space_does_not_panic() {
    for base in [-1, -7, -8, -16] {
        let text = runtime("", "(i64.const 0)")
            .replace("(i32.const 65536)", &format!("(i32.const {base})"));
        let _ = run(&text, b"abc");
    }
}

#[test]
fn memory_grows_to_the_limit_and_the_guest_sees_minus_one_beyond() {
    let body = format!(
        "{} {} {} {}",
        store(0, "(memory.grow (i32.const 2078))"),
        store(4, "(memory.grow (i32.const 1))"),
        store(8, "(memory.grow (i32.const 65536))"),
        numbers(3)
    );
    let reply = run(&runtime("", &body), b"").unwrap();
    assert_eq!(as_numbers(reply.output()), [2, u32::MAX, u32::MAX]);
    assert_eq!(reply.memory_pages(), 2080);
}

#[test]
fn the_memory_limit_belongs_to_the_call_and_not_to_the_artifact() {
    let engine = shared::engine();
    let text = runtime("", "(i64.const 0)");
    let prepared = shared::prepare(&engine, text.as_bytes(), &text_params()).unwrap();
    let artifact = shared::load(&engine, &prepared.artifact);
    let call = |memory_pages_max| {
        let params = Params { memory_pages_max, ..text_params() };
        let input = [0; 70_000];
        shared::execute(&engine, &artifact, &params, &input).map(|reply| reply.memory_pages())
    };
    assert_eq!(call(4).unwrap(), 4);
    assert!(matches!(call(3), Err(ExecuteError::InputMemory { .. })));
    assert!(matches!(call(1), Err(ExecuteError::MemoryLimit { pages: 2, pages_max: 1 })));
}

/// Recursion down to the depth in the input; every level costs the locals, its operands and two.
const RECURSION: &str = "(func $down (param i32)
    (if (local.get 0) (then (call $down (i32.sub (local.get 0) (i32.const 1))))))";

fn recursive(body: &str) -> String {
    runtime("", body).replace("(func $give", &format!("{RECURSION} (func $give"))
}

fn recurse(depth: u32) -> Result<(), ExecuteError> {
    let body = "(call $down (i32.load (local.get $ptr))) (i64.const 0)";
    run(&recursive(body), &depth.to_le_bytes()).map(drop)
}

#[test]
fn recursion_ends_at_the_logical_limit_of_the_stack_limiter() {
    // `validate_block` holds two values at most besides its frame of two; `$down` two and two. The
    // parameters of a function are not counted, its declared locals are.
    let (entry, level) = (2 + 1, 2 + 2);
    let deepest = (65_536 - entry) / level - 1;
    recurse(deepest).unwrap();
    let error = recurse(deepest + 1).unwrap_err();
    assert!(matches!(error, ExecuteError::Trap { kind: TrapKind::Unreachable, .. }), "{error}");
}

#[test]
fn a_native_stack_overflow_is_a_trap() {
    let params = Params { stack_native_bytes_max: 64 * 1024, ..text_params() };
    let engine = lazaret_engine::Engine::new(&params).unwrap();
    let text = recursive("(call $down (i32.const 10000)) (i64.const 0)");
    let prepared = shared::prepare(&engine, text.as_bytes(), &params).unwrap();
    let artifact = shared::load(&engine, &prepared.artifact);
    let error = shared::execute(&engine, &artifact, &params, b"").unwrap_err();
    assert!(matches!(error, ExecuteError::Trap { kind: TrapKind::StackOverflow, .. }), "{error}");
    assert!(!error.is_deterministic());
}

#[test]
fn traps_are_told_apart() {
    let table = "(table 2 funcref) (elem (i32.const 0) $other) (func $other (param i64))
        (type $v (func))";
    let cases = [
        ("unreachable", TrapKind::Unreachable),
        ("(drop (i32.load (i32.const -4)))", TrapKind::MemoryOutOfBounds),
        ("(drop (i32.div_u (i32.const 1) (i32.const 0)))", TrapKind::IntegerDivisionByZero),
        ("(drop (i32.div_s (i32.const -2147483648) (i32.const -1)))", TrapKind::IntegerOverflow),
        ("(drop (i32.trunc_f32_s (f32.const nan)))", TrapKind::BadConversionToInteger),
        ("(call_indirect (type $v) (i32.const 0))", TrapKind::IndirectCallSignature),
        ("(call_indirect (type $v) (i32.const 1))", TrapKind::IndirectCallToNull),
        ("(call_indirect (type $v) (i32.const 2))", TrapKind::TableOutOfBounds),
    ];
    for (body, expected) in cases {
        let text = runtime("", &format!("{body} (i64.const 0)"));
        let text = text.replace("(func $give", &format!("{table} (func $give"));
        assert_eq!(trap(&text).0, expected, "{body}");
    }
}

#[test]
fn an_output_outside_the_memory_is_refused_and_an_empty_one_at_its_end_is_not() {
    for (pointer, length) in [(0, 2 * 65536 + 1), (u32::MAX, u32::MAX), (2 * 65536, 1)] {
        let fat = u64::from(length) << 32 | u64::from(pointer);
        let reply = run(&runtime("", &format!("(i64.const {fat})")), b"");
        assert!(matches!(reply, Err(ExecuteError::OutputOutOfBounds { .. })), "{reply:?}");
    }
    let fat = 2 * 65536;
    assert_eq!(run(&runtime("", &format!("(i64.const {fat})")), b"").unwrap().output(), b"");
}

#[test]
fn an_input_above_32_mib_is_too_large() {
    let echo = runtime("", "(call $give (local.get $ptr) (local.get $len))");
    let input = vec![1; (32 << 20) + 1];
    assert_eq!(run(&echo, &input[1..]).unwrap().output(), &input[1..]);
    assert!(matches!(run(&echo, &input), Err(ExecuteError::InputTooLarge { .. })));
}

#[test]
fn parts_are_encoded_like_validation_params_and_a_compressed_block_is_unpacked() {
    use parity_scale_codec::Encode;
    let engine = shared::engine();
    let echo = runtime("", "(call $give (local.get $ptr) (local.get $len))");
    let prepared = shared::prepare(&engine, echo.as_bytes(), &text_params()).unwrap();
    let artifact = shared::load(&engine, &prepared.artifact);
    let (head, block) = (vec![1u8; 70], vec![2u8; 20_000]);
    let mut compressed = COMPRESSED_PREFIX.to_vec();
    compressed.extend(zstd::stream::encode_all(&block[..], 3).unwrap());
    let validate = |block_data: &[u8], block_data_bytes_max, extension: &[u8]| {
        let parts = Input::Parts {
            parent_head: &head,
            block_data,
            relay_parent_number: 7,
            relay_parent_storage_root: [9; 32],
            extension,
            block_data_bytes_max,
        };
        validate_block(&engine, &artifact, &text_params(), parts, Box::new(|_| ()))
    };
    let expected = (&head, &block, 7u32, [9u8; 32]).encode();
    assert_eq!(validate(&block, 1, &[]).unwrap().output(), expected);
    assert_eq!(validate(&compressed, 20_000, &[]).unwrap().output(), expected);
    let extended = [&expected[..], &[3; 65]].concat();
    assert_eq!(validate(&compressed, 20_000, &[3; 65]).unwrap().output(), extended);
    let bomb = validate(&compressed, 19_999, &[]);
    assert!(matches!(bomb, Err(ExecuteError::BlockDataDecompress(_))), "{bomb:?}");
}

#[test]
fn bulk_memory_instructions_work_under_the_stack_limiter_when_allowed() {
    let params = Params { features: shared::BULK, ..text_params() };
    let body = "(memory.fill (i32.const 0) (i32.const 7) (i32.const 4))
        (memory.copy (i32.const 4) (local.get $ptr) (local.get $len))
        (call $give (i32.const 0) (select (i32.const 7) (i32.const 0) (local.get $len)))";
    assert_eq!(
        run_with(&runtime("", body), &params, b"abc").unwrap().output(),
        b"\x07\x07\x07\x07abc"
    );
}

#[test]
fn not_a_number_has_one_bit_pattern() {
    let body = format!(
        "{} {}",
        store(0, "(i32.reinterpret_f32 (f32.div (f32.const 0) (f32.const -0)))"),
        numbers(1)
    );
    assert_eq!(as_numbers(run(&runtime("", &body), b"").unwrap().output()), [0x7fc0_0000]);
}

#[test]
fn a_host_function_called_by_the_start_function_traps() {
    let start = "(func $start (drop (call $malloc (i32.const 1)))) (start $start)";
    let text =
        runtime(MALLOC, "(i64.const 0)").replace("(func $give", &format!("{start} (func $give"));
    let error = shared::checked(&text).unwrap_err();
    assert!(error.to_string().contains("before the instance was ready"), "{error}");
}

#[test]
fn the_start_function_runs_once_and_before_the_call() {
    // Under the name that it is exported by, which the guest may have taken for something else.
    let text = runtime("", &numbers(1)).replace(
        "(func $give",
        r#"(func $start (i32.store (i32.const 0) (i32.add (i32.load (i32.const 0)) (i32.const 7))))
        (start $start)
        (func (export "lazaret start") unreachable)
        (func $give"#,
    );
    assert_eq!(as_numbers(run(&text, b"").unwrap().output()), [7]);
}
