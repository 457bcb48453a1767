//! Malformed and extreme requests through the library: whatever a program asks, the answer is a
//! verdict or a typed error within a bounded time, and the next honest request is served.

mod support;

use std::time::{Duration, Instant};

use lazaret::{
    Answer, CODE_BYTES_MAX, Code, CodeError, CodeStep, Fault, Host, Limits, Params, PrepareLimits,
    Refusal, Retry, Verdict,
    pvf::{Block, Settings, Validated, ValidationParams},
};
use support::{
    EMPTY_RESULT, block, builder, code, descendants, endless, guest, host, pidfd, refusal,
    returned, running_job, settings, started, trivial, until,
};
use tokio::{sync::RwLock, task::JoinSet};

/// Any one answer, on a machine that is busy with other tests.
const BOUND: Duration = Duration::from_secs(30);
const SECOND: Duration = Duration::from_secs(1);

/// Written by tests that look at the processes of this one, read by all others that start some.
static ALONE: RwLock<()> = RwLock::const_new(());

const TRIVIAL: &str = r#"(module
    (type (func (param i32 i32) (result i64)))
    (import "env" "ext_logging_max_level_version_1" (func (result i32)))
    (table 1 funcref)
    (memory (export "memory") 1)
    (global (export "__heap_base") i32 (i32.const 1024))
    (func (export "validate_block") (param i32 i32) (result i64) (i64.const 0))
    (elem (i32.const 0) 0)
    (data (i32.const 0) "data"))"#;

/// A module with these memory and function fields, all else as it should be.
fn module(memory: &str, function: &str, more: &str) -> Code {
    code(&format!(
        r#"(module {memory} (global (export "__heap_base") i32 (i32.const 1024)) {function} {more})"#
    ))
}

const MEMORY: &str = r#"(memory (export "memory") 1)"#;
const FUNCTION: &str =
    r#"(func (export "validate_block") (param i32 i32) (result i64) (i64.const 0))"#;

async fn is_served(host: &Host) {
    let answer = host.validate(&trivial(0), block(), &Settings::default()).await.unwrap();
    assert_eq!(returned(&answer).encoded, EMPTY_RESULT);
}

/// The step at which precheck refuses the code.
async fn refused_at(host: &Host, code: &Code) -> CodeStep {
    let begin = Instant::now();
    let answer = host.precheck(code, &Default::default()).await.unwrap();
    assert!(begin.elapsed() < BOUND);
    match refusal(&answer) {
        Refusal::Code { step, .. } => *step,
        other => panic!("refused for another reason: {other:?}"),
    }
}

#[test]
fn code_of_no_bytes_and_of_one_byte_too_many_is_not_taken() {
    assert!(matches!(Code::new(&[]), Err(CodeError::Empty)));
    let over = vec![0; CODE_BYTES_MAX as usize + 1];
    assert!(
        matches!(Code::new(&over), Err(CodeError::TooLarge { bytes }) if bytes == CODE_BYTES_MAX + 1)
    );
    assert!(Code::new(&over[1..]).is_ok());
}

#[tokio::test(flavor = "multi_thread")]
async fn bytes_that_are_no_module_are_refused() {
    let _beside = ALONE.read().await;
    let cache = tempfile::tempdir().unwrap();
    let host = host(cache.path()).await;
    let component = b"\0asm\x0d\0\x01\0";
    let other_version = b"\0asm\x02\0\0\0";
    for bytes in
        [&b"\0"[..], b"\0asm", b"\x7fELF\x02\x01\x01\0", component, other_version, b"(module)"]
    {
        let step = refused_at(&host, &Code::new(bytes).unwrap()).await;
        assert!(matches!(step, CodeStep::Decode | CodeStep::Validate), "{bytes:?}: {step:?}");
    }
    let largest = Code::new(&vec![0; CODE_BYTES_MAX as usize]).unwrap();
    refused_at(&host, &largest).await;
    // The magic of compressed code, and nothing behind it.
    let prefix = Code::new(&[0x52, 0xbc, 0x53, 0x76, 0x46, 0xdb, 0x8e, 0x05]).unwrap();
    assert_eq!(refused_at(&host, &prefix).await, CodeStep::Decode);
    is_served(&host).await;
}

/// Where each section of a module begins, its end last; and where each section's length stands.
fn sections(module: &[u8]) -> Vec<usize> {
    let mut starts = vec![8];
    let mut at = 8;
    while at < module.len() {
        let (length, bytes) = leb128(&module[at + 1..]);
        at += 1 + bytes + length;
        starts.push(at);
    }
    starts
}

fn leb128(bytes: &[u8]) -> (usize, usize) {
    let mut value = 0;
    for (index, byte) in bytes.iter().enumerate() {
        value |= usize::from(byte & 0x7f) << (7 * index);
        if byte & 0x80 == 0 {
            return (value, index + 1);
        }
    }
    panic!("a length without an end");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_module_cut_off_in_any_section_is_refused_or_lacks_what_it_needs() {
    let _beside = ALONE.read().await;
    let cache = tempfile::tempdir().unwrap();
    let host = host(cache.path()).await;
    let module = wat::parse_str(TRIVIAL).unwrap();
    let starts = sections(&module);
    assert_eq!(starts.last(), Some(&module.len()));
    for &start in &starts[..starts.len() - 1] {
        for length in [start, start + 1, start + 2, start + 3] {
            let answer =
                host.precheck(&Code::new(&module[..length]).unwrap(), &Default::default()).await;
            let answer = answer.unwrap();
            // Only the last section may be missing as a whole: the data.
            let may_pass = length == starts[starts.len() - 2];
            assert!(
                may_pass || matches!(answer.verdict, Verdict::Refused(_)),
                "{length}: {answer:?}"
            );
        }
    }
    is_served(&host).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_module_whose_lengths_lie_is_refused() {
    let _beside = ALONE.read().await;
    let cache = tempfile::tempdir().unwrap();
    let host = host(cache.path()).await;
    let module = wat::parse_str(TRIVIAL).unwrap();
    for &start in sections(&module).iter().rev().skip(1) {
        let (length, bytes) = leb128(&module[start + 1..]);
        for lie in [0, length as u8 - 1, length as u8 + 1, 0x7f] {
            let mut lying = module.clone();
            lying.splice(start + 1..start + 1 + bytes, [lie & 0x7f]);
            refused_at(&host, &Code::new(&lying).unwrap()).await;
        }
        // 2^32 - 1, 2^32 and a number without an end, as the section's length and as its count.
        for lie in
            [&[0xff, 0xff, 0xff, 0xff, 0x0f][..], &[0x80, 0x80, 0x80, 0x80, 0x10], &[0xff; 12]]
        {
            for place in [start + 1..start + 1 + bytes, start + 1 + bytes..start + 2 + bytes] {
                let mut lying = module.clone();
                lying.splice(place, lie.iter().copied());
                refused_at(&host, &Code::new(&lying).unwrap()).await;
            }
        }
    }
    is_served(&host).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_module_with_a_wrong_interface_is_refused_as_code() {
    let _beside = ALONE.read().await;
    let cache = tempfile::tempdir().unwrap();
    let host = host(cache.path()).await;
    let entry = |rest: &str| format!(r#"(func (export "validate_block") {rest})"#);
    for (what, code) in [
        ("no memory", module("", FUNCTION, "")),
        ("a memory that is not exported", module("(memory 1)", FUNCTION, "")),
        ("no entry", module(MEMORY, "", "")),
        ("an entry without parameters", module(MEMORY, &entry("(result i64) (i64.const 0)"), "")),
        (
            "an entry that returns i32",
            module(MEMORY, &entry("(param i32 i32) (result i32) (i32.const 0)"), ""),
        ),
        (
            "an entry that is a global",
            module(MEMORY, r#"(global (export "validate_block") i32 (i32.const 0))"#, ""),
        ),
        (
            "an entry that is a table",
            module(MEMORY, r#"(table (export "validate_block") 1 funcref)"#, ""),
        ),
        ("a memory that is a function", module(r#"(func (export "memory"))"#, FUNCTION, "")),
        (
            "an import of another module",
            code(&format!(
                r#"(module (import "wasi" "f" (func)) {MEMORY} (global (export "__heap_base") i32 (i32.const 1024)) {FUNCTION})"#
            )),
        ),
        (
            "an imported table",
            code(&format!(
                r#"(module (import "env" "t" (table 1 funcref)) {MEMORY} (global (export "__heap_base") i32 (i32.const 1024)) {FUNCTION})"#
            )),
        ),
        (
            "an imported global",
            code(&format!(
                r#"(module (import "env" "g" (global i32)) {MEMORY} (global (export "__heap_base") i32 (i32.const 1024)) {FUNCTION})"#
            )),
        ),
        (
            "a start function that traps",
            module(MEMORY, FUNCTION, "(func $s unreachable) (start $s)"),
        ),
        ("data beyond the memory", module(MEMORY, FUNCTION, r#"(data (i32.const 65536) "x")"#)),
        (
            "elements beyond the table",
            module(MEMORY, FUNCTION, "(table 1 funcref) (elem (i32.const 1) 0)"),
        ),
        (
            "more memory than there may be",
            module(r#"(memory (export "memory") 65536)"#, FUNCTION, ""),
        ),
    ] {
        let step = refused_at(&host, &code).await;
        assert!(
            matches!(step, CodeStep::Interface | CodeStep::Instantiate | CodeStep::Validate),
            "{what}: {step:?}"
        );
    }
    // An import that no runtime has links, and traps when it is called.
    let unknown = code(&format!(
        r#"(module (import "env" "ext_nobody_knows" (func $f)) {MEMORY}
            (global (export "__heap_base") i32 (i32.const 1024))
            (func (export "validate_block") (param i32 i32) (result i64) (call $f) (i64.const 0)))"#
    ));
    let answer = host.validate(&unknown, block(), &Settings::default()).await.unwrap();
    assert!(matches!(refusal(&answer), Refusal::Trap { .. }), "{answer:?}");
    is_served(&host).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_start_function_that_loops_is_the_codes_fault_in_precheck() {
    let _beside = ALONE.read().await;
    let cache = tempfile::tempdir().unwrap();
    let limits = PrepareLimits { precheck_cpu: SECOND, ..PrepareLimits::default() };
    let host = started(builder(cache.path()).prepare_limits(limits)).await;
    let code = module(MEMORY, FUNCTION, "(func $s (loop (br 0))) (start $s)");
    let answer = host.precheck(&code, &Default::default()).await.unwrap();
    assert_eq!(refusal(&answer), &Refusal::PrepareCpu { limit_micros: 1_000_000 });
    is_served(&host).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_byte_over_the_limits_of_input_and_output_is_refused_and_the_limit_itself_is_not() {
    let _beside = ALONE.read().await;
    let cache = tempfile::tempdir().unwrap();
    let host = host(cache.path()).await;
    let limits = |input, output| {
        let mut settings = Settings::default();
        settings.limits =
            Limits { input_bytes_max: input, output_bytes_max: output, ..Limits::default() };
        settings
    };
    let code = trivial(1);
    let twelve = Block::encoded(vec![0; 12]);
    returned(&host.validate(&code, twelve.clone(), &limits(12, 12)).await.unwrap());
    let answer = host.validate(&code, twelve.clone(), &limits(11, 12)).await.unwrap();
    assert_eq!(refusal(&answer), &Refusal::InputTooLarge { bytes: 12, limit_bytes: 11 });
    let answer = host.validate(&code, twelve.clone(), &limits(12, 11)).await.unwrap();
    assert_eq!(refusal(&answer), &Refusal::OutputTooLarge { limit_bytes: 11 });
    let answer = host.validate(&code, twelve, &limits(u64::MAX, u32::MAX)).await.unwrap();
    returned(&answer);
    // An output that is as large as the guest's memory, and no result.
    let large = module(
        r#"(memory (export "memory") 1024)"#,
        &FUNCTION.replace("i64.const 0", "i64.const 0x0400_0000_0000_0000"),
        "",
    );
    let answer = host.validate(&large, block(), &limits(12, u32::MAX)).await.unwrap();
    assert!(matches!(answer.verdict, Verdict::Returned(_)), "64 MiB of zeros begin with a result");
}

#[tokio::test(flavor = "multi_thread")]
async fn empty_and_huge_inputs_end_in_verdicts() {
    let _beside = ALONE.read().await;
    let cache = tempfile::tempdir().unwrap();
    let host = host(cache.path()).await;
    let code = trivial(2);
    returned(&host.validate(&code, Block::encoded(vec![]), &Settings::default()).await.unwrap());
    let parts = |parent_head: usize, block_data: usize| {
        Block::parts(ValidationParams {
            parent_head: vec![0; parent_head],
            block_data: vec![0; block_data],
            relay_parent_number: u32::MAX,
            relay_parent_storage_root: [0xff; 32],
            extension: None,
        })
    };
    returned(&host.validate(&code, parts(0, 0), &Settings::default()).await.unwrap());
    // As much as is taken: it fits the guest's memory, or is refused.
    let largest = Block::encoded(vec![0; 64 << 20]);
    for block in [largest, parts(32 << 20, 32 << 20), parts(0, 41 << 20)] {
        let answer = host.validate(&code, block, &Settings::default()).await.unwrap();
        assert!(!matches!(answer.verdict, Verdict::Inconclusive(_)), "{answer:?}");
    }
    let over = Block::encoded(vec![0; (64 << 20) + 1]);
    let answer = host.validate(&code, over, &Settings::default()).await.unwrap();
    assert!(matches!(refusal(&answer), Refusal::InputTooLarge { .. }));
    is_served(&host).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn limits_of_nothing_and_of_everything_are_limits() {
    let _beside = ALONE.read().await;
    let cache = tempfile::tempdir().unwrap();
    let host = host(cache.path()).await;
    host.prepare(&endless(), &Default::default()).await.unwrap();
    for cpu in [Duration::ZERO, Duration::from_nanos(1), Duration::from_micros(1)] {
        let begin = Instant::now();
        let answer =
            host.validate(&endless(), block(), &settings(cpu, Retry::Never)).await.unwrap();
        assert!(matches!(refusal(&answer), Refusal::CpuLimit { .. }), "{cpu:?}: {answer:?}");
        assert!(begin.elapsed() < BOUND, "{cpu:?} took {:?}", begin.elapsed());
    }
    let answer =
        host.validate(&trivial(3), block(), &settings(Duration::MAX, Retry::Never)).await.unwrap();
    returned(&answer);
    let mut nothing = Settings::default();
    nothing.limits = Limits { cpu: SECOND, output_bytes_max: 0, input_bytes_max: 0 };
    let answer = host.validate(&trivial(3), Block::encoded(vec![]), &nothing).await.unwrap();
    assert_eq!(refusal(&answer), &Refusal::OutputTooLarge { limit_bytes: 0 });
    is_served(&host).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn params_of_nothing_and_of_everything_end_in_answers() {
    let _beside = ALONE.read().await;
    let cache = tempfile::tempdir().unwrap();
    let host = host(cache.path()).await;
    let default = Params::default;
    for params in [
        Params { memory_pages_max: 0, ..default() },
        Params { memory_pages_max: u32::MAX, ..default() },
        Params { stack_logical_max: 0, ..default() },
        Params { stack_logical_max: u32::MAX, ..default() },
        Params { stack_native_bytes_max: 0, ..default() },
        Params { stack_native_bytes_max: u32::MAX, ..default() },
    ] {
        let mut settings = Settings::default();
        settings.params = params.clone();
        settings.retry = Retry::Never;
        let begin = Instant::now();
        let ended = host.validate(&trivial(4), block(), &settings).await;
        assert!(begin.elapsed() < BOUND);
        assert!(ended.is_ok(), "{params:?}: {ended:?}");
        is_served(&host).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn prepare_limits_of_nothing_are_limits() {
    let _beside = ALONE.read().await;
    let cache = tempfile::tempdir().unwrap();
    let nothing = PrepareLimits {
        precheck_cpu: Duration::ZERO,
        execution_cpu: Duration::ZERO,
        heap_bytes_max: 1,
        code_bytes_max: 0,
        artifact_bytes_max: 0,
    };
    let host = started(builder(cache.path()).prepare_limits(nothing)).await;
    let checked = host.precheck(&trivial(5), &Default::default()).await;
    assert!(!matches!(checked, Ok(Answer { verdict: Verdict::Returned(_), .. })), "{checked:?}");
    let ended = host.validate(&trivial(5), block(), &settings(SECOND, Retry::Never)).await;
    assert!(!matches!(ended, Ok(Answer { verdict: Verdict::Returned(_), .. })), "{ended:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_thousand_queued_requests_are_answered_once_each_or_told_busy() {
    const REQUESTS: usize = 10_000;
    const WAITING_MAX: usize = 500;
    let _alone = ALONE.write().await;
    let cache = tempfile::tempdir().unwrap();
    let host = started(builder(cache.path()).waiting_max(WAITING_MAX).execute_workers(2)).await;
    is_served(&host).await;
    let code = trivial(0);
    let mut requests = JoinSet::new();
    for _ in 0..REQUESTS {
        let (host, code) = (host.clone(), code.clone());
        // Each holds its input as a descriptor until it is answered, so they are let in by hundreds.
        if requests.len() >= WAITING_MAX + 200 {
            count(requests.join_next().await.unwrap().unwrap());
        }
        requests.spawn(async move {
            host.validate(&code, block(), &settings(5 * SECOND, Retry::Never)).await
        });
    }
    while let Some(ended) = requests.join_next().await {
        count(ended.unwrap());
    }
    is_served(&host).await;
}

fn count(ended: Result<Answer<Validated>, Fault>) {
    match ended {
        Ok(answer) => assert_eq!(returned(&answer).encoded, EMPTY_RESULT),
        Err(fault) => assert!(matches!(fault, Fault::Busy { .. }), "{fault:?}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_is_withdrawn_in_whatever_state_it_is() {
    let _alone = ALONE.write().await;
    let cache = tempfile::tempdir().unwrap();
    let host = started(builder(cache.path()).execute_workers(1).prepare_workers(1)).await;
    let spawn = |code: Code, cpu| {
        let host = host.clone();
        tokio::spawn(
            async move { host.validate(&code, block(), &settings(cpu, Retry::Never)).await },
        )
    };
    host.prepare(&endless(), &Default::default()).await.unwrap();
    // Executing, and queued behind it.
    let executing = spawn(endless(), 60 * SECOND);
    let (job, _) = running_job(me()).await;
    let job = pidfd(job.pid);
    let queued = spawn(endless(), 60 * SECOND);
    tokio::task::yield_now().await;
    queued.abort();
    executing.abort();
    is_served(&host).await;
    assert!(support::ends_within(&job, support::LINGER_MAX), "the job outlived its request");
    // Preparing: the preparation goes on for the next who needs it.
    let slow = guest(
        &[&"(drop (i32.const 1))".repeat(200_000), "(i64.const 0x0000_000c_0000_0200)"].concat(),
    );
    let preparing = spawn(slow.clone(), SECOND);
    running_job(me()).await;
    preparing.abort();
    let answer = host.validate(&slow, block(), &settings(5 * SECOND, Retry::Never)).await.unwrap();
    returned(&answer);
    is_served(&host).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_dropped_mid_job_leaves_no_process() {
    let _alone = ALONE.write().await;
    let cache = tempfile::tempdir().unwrap();
    let host = started(builder(cache.path())).await;
    host.prepare(&endless(), &Default::default()).await.unwrap();
    let executing = tokio::spawn({
        let host = host.clone();
        async move { host.validate(&endless(), block(), &settings(60 * SECOND, Retry::Never)).await }
    });
    running_job(me()).await;
    drop(host);
    executing.abort();
    until("every process to end", || descendants(me()).is_empty().then_some(())).await;
}

fn me() -> i32 {
    std::process::id() as i32
}

#[tokio::test(flavor = "multi_thread")]
async fn a_precheck_that_races_an_execution_agrees_with_it() {
    let _beside = ALONE.read().await;
    let cache = tempfile::tempdir().unwrap();
    let host = host(cache.path()).await;
    for salt in 100..110 {
        let code = trivial(salt);
        let (params, settings) = (Params::default(), Settings::default());
        let (checked, ended) =
            tokio::join!(host.precheck(&code, &params), host.validate(&code, block(), &settings));
        assert!(matches!(checked.unwrap().verdict, Verdict::Returned(_)));
        returned(&ended.unwrap());
    }
    let bad = module(MEMORY, FUNCTION, "(func $s unreachable) (start $s)");
    let (params, settings) = (Params::default(), Settings::default());
    let (checked, ended) =
        tokio::join!(host.precheck(&bad, &params), host.validate(&bad, block(), &settings));
    assert_eq!(refusal(&checked.unwrap()), refusal(&ended.unwrap()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deadline_in_the_past_runs_nothing_on_an_idle_host() {
    let _beside = ALONE.read().await;
    let cache = tempfile::tempdir().unwrap();
    let host = host(cache.path()).await;
    is_served(&host).await;
    let mut late = Settings::default();
    late.deadline = Some(Instant::now());
    let answer = host.validate(&trivial(0), block(), &late).await;
    assert!(matches!(answer, Err(Fault::Deadline)), "{answer:?}");
}
