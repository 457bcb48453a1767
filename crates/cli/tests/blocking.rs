//! The host without async, and how far a preparation is, as callers see it.

mod support;

use std::{thread, time::Duration};

use lazaret::{
    Builder, Fault, JailLevel, PreparationState, Refusal, Verdict, blocking, pvf::Settings,
};
use support::{
    EMPTY_RESULT, block, builder, code, guest, host, refusal, returned, skipped, starting, trivial,
    until,
};

fn started(builder: Builder) -> blocking::Host {
    match blocking::Host::start(builder.clone()) {
        Err(fault @ Fault::Jail { .. }) => {
            skipped(1, &format!("the strict jail: {fault}"));
            blocking::Host::start(builder.jail(JailLevel::Weak)).expect("a host")
        }
        started => started.expect("a host"),
    }
}

#[test]
fn a_program_without_async_validates_prechecks_and_inspects() {
    let cache = tempfile::tempdir().unwrap();
    let host = started(builder(cache.path()));
    let params = Default::default();
    let inspected = host.inspect(&trivial(1), &params).unwrap();
    assert!(matches!(inspected.verdict, Verdict::Returned(_)), "{inspected:?}");
    let prechecked = host.precheck(&trivial(1), &params).unwrap();
    assert!(matches!(prechecked.verdict, Verdict::Returned(_)), "{prechecked:?}");
    thread::scope(|scope| {
        for salt in 1..4 {
            let host = host.clone();
            scope.spawn(move || {
                let answer = host.validate(&trivial(salt), block(), &Settings::default()).unwrap();
                assert_eq!(returned(&answer).encoded, EMPTY_RESULT);
            });
        }
    });
    let trapped = host.validate(&guest("(unreachable)"), block(), &Settings::default()).unwrap();
    assert!(matches!(refusal(&trapped), Refusal::Trap { .. }));
    assert!(host.metrics_text().contains("lazaret_requests_total{request=\"execute\"} 4"));
    host.shut_down(Duration::from_secs(5));
    assert!(matches!(host.prepare(&trivial(9), &params), Err(Fault::ShuttingDown)));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_preparation_is_seen_to_begin_and_to_end() {
    let cache = tempfile::tempdir().unwrap();
    let host = host(cache.path()).await;
    let (good, params) = (trivial(1), Default::default());
    // Its `start` function never ends, so there is time to see it.
    let slow = starting("(loop (br 0))");
    assert_eq!(host.preparation(&slow, &params), PreparationState::Unknown);
    host.heads_up(&slow, &params);
    until("a preparation under way", || {
        matches!(host.preparation(&slow, &params), PreparationState::Compiling { .. }).then_some(())
    })
    .await;
    host.prepare(&good, &params).await.unwrap();
    assert_eq!(host.preparation(&good, &params), PreparationState::Ready);
    let bad = code(r#"(module)"#);
    host.prepare(&bad, &params).await.unwrap();
    assert!(matches!(host.preparation(&bad, &params), PreparationState::Refused(_)));
}
