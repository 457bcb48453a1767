//! Inputs in messages, in their worker's input file and in files of their own, in turns: each call is answered, and where there
//! is a template for calls of its form, by a copy of that.

mod support;

use std::time::Duration;

use lazaret::{Code, Host, Retry, Verdict, pvf::Block};
use support::{builder, guest, sample, settings, started};

/// The longest that stands in a message.
const INLINE: usize = 32 * 1024;
/// The longest that is put in the worker's input file.
const PLACED: usize = 16 * 1024 * 1024;
const SECOND: Duration = Duration::from_secs(1);
/// Calls of one kind in a row, of which at least one goes to a copy.
const CALLS_MAX: usize = 200;

/// Says how many bytes it was given, and what the last one, the one in the middle and the first were, all of which
/// it then changes.
const TELLS_INPUT: &str = "
    (i32.store8 (i32.const 516)
        (i32.load8_u (i32.sub (i32.add (local.get 0) (local.get 1)) (i32.const 1))))
    (i32.store8 (i32.const 517)
        (i32.load8_u (i32.add (local.get 0) (i32.div_u (local.get 1) (i32.const 2)))))
    (i32.store8 (i32.const 518) (i32.load8_u (local.get 0)))
    (i32.store (i32.const 520) (local.get 1))
    (i32.store8 (i32.sub (i32.add (local.get 0) (local.get 1)) (i32.const 1)) (i32.const 170))
    (i32.store8 (i32.add (local.get 0) (i32.div_u (local.get 1) (i32.const 2))) (i32.const 170))
    (i32.store8 (local.get 0) (i32.const 170))
    (i64.const 0xc00000200)";

/// Calls it with an input of so many bytes, unlike the last, and sees that it got all of it.
async fn is_told(host: &Host, code: &Code, bytes: usize, cpu: Duration) {
    let (first, middle, last) = (bytes as u8, (bytes % 249) as u8, (bytes % 251) as u8);
    let mut input = vec![middle; bytes];
    input[0] = first;
    input[bytes - 1] = last;
    let seen = [input[bytes - 1], input[bytes / 2], input[0], 0];
    let asked = settings(cpu, Retry::Never);
    let answer = host.validate(code, Block::encoded(input), &asked).await.unwrap();
    let Verdict::Returned(validated) = &answer.verdict else { panic!("{answer:?}") };
    let told = (validated.result.hrmp_watermark, validated.result.processed_downward_messages);
    assert_eq!(told, (bytes as u32, u32::from_le_bytes(seen)));
}

#[tokio::test(flavor = "multi_thread")]
async fn calls_of_every_kind_in_turns_are_answered_and_in_the_end_by_copies() {
    let cache = tempfile::tempdir().unwrap();
    let host = started(builder(cache.path()).execute_workers(1).prepare_workers(1)).await;
    let code = guest(TELLS_INPUT);
    let loaded = || sample(&host, r#"lazaret_jobs_total{role="execute",from="loaded"}"#);
    for (bytes, cpu) in [
        // The first two have no template.
        (1, 9 * SECOND),
        (2, 9 * SECOND),
        (INLINE - 1, 9 * SECOND),
        (INLINE, 9 * SECOND),
        (INLINE + 1, 9 * SECOND),
        (4 * INLINE + 3, 9 * SECOND),
        (3, 9 * SECOND),
        (4, 9 * SECOND),
        // The one that waits has taken other limits on itself.
        (5, 8 * SECOND),
        (6, 9 * SECOND),
        (INLINE + 2, 8 * SECOND),
        (7, 8 * SECOND),
        (PLACED, 8 * SECOND),
        (PLACED + 1, 8 * SECOND),
        (INLINE + 3, 8 * SECOND),
        (PLACED - 1, 8 * SECOND),
    ] {
        is_told(&host, &code, bytes, cpu).await;
    }
    // While a template loads, and on a machine that is busy, calls go to other jobs.
    for (bytes, cpu) in
        [(1, 9 * SECOND), (INLINE + 1, 9 * SECOND), (PLACED + 1, 9 * SECOND), (2, 8 * SECOND)]
    {
        let before = loaded();
        for _ in 0..CALLS_MAX {
            is_told(&host, &code, bytes, cpu).await;
            if loaded() > before {
                break;
            }
        }
        assert!(loaded() > before, "no copy has answered {CALLS_MAX} calls with {bytes} bytes");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn large_inputs_of_two_artifacts_in_turns_reach_the_right_one() {
    let cache = tempfile::tempdir().unwrap();
    let host = started(builder(cache.path()).execute_workers(1).prepare_workers(1)).await;
    let codes = [guest(TELLS_INPUT), guest(&format!("(drop (i32.const 1)) {TELLS_INPUT}"))];
    // One call each, two of one after another, and many.
    for (repeated, base) in [(1, 2 * INLINE), (2, 3 * INLINE), (4, 5 * INLINE), (1, INLINE + 1)] {
        for code in &codes {
            for more in 0..repeated {
                is_told(&host, code, base + more, 9 * SECOND).await;
            }
        }
    }
}
