//! What the shelf keeps, shares and forgets, and what it says of preparations.

use std::time::Duration;

use super::*;
use crate::{artifacts::Purpose, request::PrepareLimits, verdict::CodeStep};

fn shelf(bytes_max: u64) -> Arc<Shelf> {
    Shelf::new(bytes_max, PrepareRetry::default())
}

fn key(n: u8) -> Key {
    Key::new(&[n; 32], &Default::default(), &[0; 32])
}

fn terms() -> Terms {
    with_heap(1 << 30)
}

fn with_heap(heap_bytes_max: u64) -> Terms {
    let limits = PrepareLimits { heap_bytes_max, ..PrepareLimits::default() };
    Terms::new(Purpose::Execution, &limits)
}

fn ready(bytes: usize) -> Preparation {
    let blob = Blob::from_parts(&[&vec![0; bytes]]).unwrap();
    let artifact = Artifact::new(blob, PrepareFacts::default());
    Preparation::Ready(Arc::new(artifact), Origin::Prepared)
}

fn promise(shelf: &Arc<Shelf>, n: u8) -> Promise {
    match shelf.find(key(n), 1, terms()) {
        Found::Absent(promise) => promise,
        _ => panic!("{n} is on the shelf"),
    }
}

fn is_hot(shelf: &Arc<Shelf>, n: u8) -> bool {
    let found = shelf.find(key(n), 1, terms());
    matches!(found, Found::Settled(Preparation::Ready(_, Origin::Memory)))
}

#[tokio::test]
async fn only_the_first_who_asks_prepares() {
    let shelf = shelf(100);
    let first = promise(&shelf, 1);
    let Found::UnderWay(waiter) = shelf.find(key(1), 1, terms()) else {
        panic!("a second preparation of the same code");
    };
    first.settle(ready(1));
    assert!(matches!(waiter.settled().await, Preparation::Ready(_, Origin::Prepared)));
    assert!(is_hot(&shelf, 1));
}

#[tokio::test]
async fn however_small_no_more_artifacts_are_hot_than_there_may_be_descriptors() {
    let shelf = shelf(u64::MAX);
    for n in 0..=255 {
        promise(&shelf, n).settle(ready(0));
    }
    assert!(is_hot(&shelf, 0));
    let Found::Absent(one_more) =
        shelf.find(Key::new(&[0; 32], &Default::default(), &[1; 32]), 1, terms())
    else {
        panic!("never prepared");
    };
    one_more.settle(ready(0));
    assert!(!is_hot(&shelf, 1) && is_hot(&shelf, 0), "the one not looked at for longest goes");
    assert_eq!(shelf.lock().hot.len(), HOT_MAX);
}

#[tokio::test]
async fn whoever_is_told_of_a_failure_finds_the_place_free() {
    let shelf = shelf(100);
    let failed = promise(&shelf, 1);
    let waiter = failed.waiter();
    let wakes = tokio::spawn({
        let shelf = shelf.clone();
        async move {
            waiter.settled().await;
            promise(&shelf, 1)
        }
    });
    failed.settle(Preparation::Failed(Fault::WorkerLost));
    let second = wakes.await.unwrap();
    assert!(matches!(shelf.find(key(1), 1, terms()), Found::UnderWay(_)));
    drop(second);
    drop(promise(&shelf, 1));
}

#[tokio::test]
async fn a_dropped_promise_frees_its_place_and_wakes_who_waits() {
    let shelf = shelf(100);
    let first = promise(&shelf, 1);
    let waiter = first.waiter();
    drop(first);
    assert!(matches!(waiter.settled().await, Preparation::Failed(Fault::ShuttingDown)));
    promise(&shelf, 1);
}

#[test]
fn where_an_input_begins_is_within_a_page_whatever_a_job_says() {
    let artifact = Artifact::new(Blob::from_parts(&[]).unwrap(), PrepareFacts::default());
    assert_eq!(artifact.input_at(), 0);
    for (at, shift, then) in [
        (0, 7, 7),
        (7, 0, 7),
        // What was said of a call that began elsewhere.
        (0, 0, 7),
        (7, 4090, 1),
        (1, 4096, 1),
        (4095, u16::MAX, 4094),
    ] {
        artifact.note_input_shift(at, shift);
        assert_eq!(artifact.input_at(), then, "{shift} from {at}");
    }
}

#[test]
fn the_artifact_unused_for_longest_goes_first() {
    let shelf = shelf(100);
    promise(&shelf, 1).settle(ready(40));
    promise(&shelf, 2).settle(ready(40));
    assert!(is_hot(&shelf, 1));
    promise(&shelf, 3).settle(ready(40));
    assert!(is_hot(&shelf, 1) && is_hot(&shelf, 3) && !is_hot(&shelf, 2));
}

#[test]
fn what_was_used_from_memory_is_told_once() {
    let shelf = shelf(100);
    promise(&shelf, 1).settle(ready(1));
    promise(&shelf, 2).settle(ready(1));
    assert_eq!(shelf.used_lately().len(), 2);
    assert!(shelf.used_lately().is_empty());
    assert!(is_hot(&shelf, 2));
    assert_eq!(shelf.used_lately(), [key(2)]);
}

#[test]
fn a_refusal_of_code_is_remembered() {
    let shelf = shelf(100);
    let refusal = Refusal::Code { step: CodeStep::Compile, reason: "x".into() };
    promise(&shelf, 1).settle(Preparation::Refused(refusal));
    let found = shelf.find(key(1), 1, terms());
    assert!(matches!(found, Found::Settled(Preparation::Refused(_))));
    assert!(matches!(shelf.find(key(1), 2, terms()), Found::Absent(_)));
}

#[test]
fn a_refusal_for_heap_is_none_for_a_request_that_allows_more() {
    let shelf = shelf(100);
    let refusal = Refusal::PrepareMemory { limit_bytes: 1 << 30 };
    promise(&shelf, 1).settle(Preparation::Refused(refusal));
    let found = shelf.find(key(1), 1, with_heap((1 << 30) - 1));
    assert!(matches!(found, Found::Settled(Preparation::Refused(_))));
    let Found::Absent(wider) = shelf.find(key(1), 1, with_heap(2 << 30)) else {
        panic!("a refusal under another limit");
    };
    wider.settle(ready(1));
    assert!(is_hot(&shelf, 1));
}

#[test]
fn requests_of_other_limits_share_neither_a_preparation_nor_its_failure() {
    let shelf = shelf(100);
    let first = promise(&shelf, 1);
    let Found::Absent(other) = shelf.find(key(1), 1, with_heap(2 << 30)) else {
        panic!("one preparation under two limits");
    };
    first.settle(Preparation::Inconclusive(Doubt::OutOfMemory));
    assert!(matches!(shelf.find(key(1), 1, with_heap(2 << 30)), Found::UnderWay(_)));
    drop(other);
    assert!(matches!(shelf.find(key(1), 1, terms()), Found::Settled(_)));
    assert!(matches!(shelf.find(key(1), 1, with_heap(2 << 30)), Found::Absent(_)));
}

#[test]
fn the_state_follows_a_preparation() {
    use crate::lanes::preparation::CRITICAL;
    let shelf = shelf(100);
    let state = |n| shelf.state(&key(n), 1);
    assert_eq!(state(1), PreparationState::Unknown);
    let first = promise(&shelf, 1);
    assert_eq!(state(1), PreparationState::Waiting { lane: "heads-up" });
    first.waiter().urgency.raise(CRITICAL);
    assert_eq!(state(1), PreparationState::Waiting { lane: "critical" });
    first.settle(ready(1));
    assert_eq!(state(1), PreparationState::Ready);
    promise(&shelf, 2).settle(Preparation::Inconclusive(Doubt::WorkerLost));
    assert_eq!(state(2), PreparationState::CoolingDown { tries: 1 });
    let refusal = Refusal::PrepareMemory { limit_bytes: 1 };
    promise(&shelf, 3).settle(Preparation::Refused(refusal.clone()));
    assert_eq!(state(3), PreparationState::Refused(refusal));
    assert_eq!(shelf.state(&key(3), 2), PreparationState::Unknown);
    drop(promise(&shelf, 4));
    assert_eq!(state(4), PreparationState::Unknown);
}

#[test]
fn a_preparation_that_took_too_long_stands_until_its_cool_down_is_over() {
    let too_long = || Preparation::Refused(Refusal::PrepareCpu { limit_micros: 1 });
    let slow = shelf(100);
    promise(&slow, 2).settle(too_long());
    let found = slow.find(key(2), 1, terms());
    assert!(matches!(found, Found::Settled(Preparation::Refused(_))));
    let rules = PrepareRetry { cool_down: Duration::ZERO, ..PrepareRetry::default() };
    let quick = Shelf::new(100, rules);
    promise(&quick, 2).settle(too_long());
    promise(&quick, 2);
}
