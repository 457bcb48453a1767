//! Limits of preparing that a request brings itself: its answer is that of a preparation under them,
//! whatever others had prepared or refused before.

mod support;

use std::time::Duration;

use lazaret::{
    CodeStep, Host, Origin, PrepareFacts, PrepareLimits, Refusal, Verdict,
    pvf::{Settings, vote},
};
use support::{block, host, refusal, returned, trivial};

async fn prechecked(host: &Host, limits: &PrepareLimits) -> Verdict<PrepareFacts> {
    let answer = host.precheck_with(&trivial(1), &Default::default(), limits).await;
    answer.unwrap().verdict
}

fn is_decode(verdict: &Verdict<PrepareFacts>) -> bool {
    matches!(verdict, Verdict::Refused(Refusal::Code { step: CodeStep::Decode, .. }))
}

/// The facts of [`trivial`], and limits of which it passes none.
async fn facts_and_narrower() -> (PrepareFacts, PrepareLimits, PrepareLimits) {
    let cache = tempfile::tempdir().unwrap();
    let host = host(cache.path()).await;
    let default = PrepareLimits::default();
    let Verdict::Returned(facts) = prechecked(&host, &default).await else {
        panic!("the smallest code is refused");
    };
    let small_heap = PrepareLimits { heap_bytes_max: facts.heap_bytes_peak / 2, ..default.clone() };
    let small_code = PrepareLimits { code_bytes_max: facts.code_bytes - 1, ..default };
    (facts, small_heap, small_code)
}

#[tokio::test(flavor = "multi_thread")]
async fn an_artifact_at_hand_passes_a_precheck_only_if_it_would_when_made_now() {
    let (facts, small_heap, small_code) = facts_and_narrower().await;
    let memory =
        Verdict::Refused(Refusal::PrepareMemory { limit_bytes: facts.heap_bytes_peak / 2 });
    let (fresh_cache, filled_cache) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (fresh, filled) = (host(fresh_cache.path()).await, host(filled_cache.path()).await);
    let default = PrepareLimits::default();
    assert!(matches!(prechecked(&filled, &default).await, Verdict::Returned(_)));
    for host in [&fresh, &filled] {
        assert_eq!(prechecked(host, &small_heap).await, memory);
        assert!(is_decode(&prechecked(host, &small_code).await));
        // Neither refusal is another request's.
        assert!(matches!(prechecked(host, &default).await, Verdict::Returned(_)));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_brings_the_limits_of_preparing_its_code() {
    let (_, small_heap, _) = facts_and_narrower().await;
    let cache = tempfile::tempdir().unwrap();
    let host = host(cache.path()).await;
    let mut narrow = Settings::default();
    narrow.prepare_limits = Some(small_heap);
    for expected in [Origin::Prepared, Origin::Memory] {
        let answer = host.validate(&trivial(1), block(), &narrow).await;
        assert_eq!(vote(&answer).to_string(), "abstain");
        assert!(matches!(refusal(&answer.unwrap()), Refusal::PrepareMemory { .. }));
        let answer = host.validate(&trivial(1), block(), &Settings::default()).await.unwrap();
        returned(&answer);
        assert_eq!(answer.artifact.unwrap().origin, expected);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_of_other_limits_at_the_same_time_have_answers_of_their_own() {
    let (_, small_heap, small_code) = facts_and_narrower().await;
    let cache = tempfile::tempdir().unwrap();
    let host = host(cache.path()).await;
    let default = PrepareLimits::default();
    let (wide, heap, code) = tokio::join!(
        prechecked(&host, &default),
        prechecked(&host, &small_heap),
        prechecked(&host, &small_code)
    );
    assert!(matches!(wide, Verdict::Returned(_)), "{wide:?}");
    assert!(matches!(heap, Verdict::Refused(Refusal::PrepareMemory { .. })), "{heap:?}");
    assert!(is_decode(&code), "{code:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_inspection_brings_its_limits() {
    let cache = tempfile::tempdir().unwrap();
    let host = host(cache.path()).await;
    let (_, _, small_code) = facts_and_narrower().await;
    let short = PrepareLimits { precheck_cpu: Duration::from_micros(1), ..Default::default() };
    let inspected = async |limits: &PrepareLimits| {
        let answer = host.inspect_with(&trivial(1), &Default::default(), limits).await;
        answer.unwrap().verdict
    };
    let verdict = inspected(&short).await;
    assert_eq!(verdict, Verdict::Refused(Refusal::PrepareCpu { limit_micros: 1 }));
    let verdict = inspected(&small_code).await;
    let is_decode =
        matches!(verdict, Verdict::Refused(Refusal::Code { step: CodeStep::Decode, .. }));
    assert!(is_decode, "{verdict:?}");
    assert!(matches!(inspected(&PrepareLimits::default()).await, Verdict::Returned(_)));
}
