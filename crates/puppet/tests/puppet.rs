//! Hosts whose workers are puppets: whatever a worker does, each request ends in the right fault or
//! verdict within a bounded time, the next is served, and nothing is left.

mod stage;

use std::{
    io::Error,
    time::{Duration, Instant},
};

use lazaret::{
    Answer, Doubt, Fault, Host, NoGreeting, Patience, PrepareRetry, Retry, StartStep, Verdict,
    Vote,
    pvf::{self, Block, Settings, Validated},
};
use stage::{ALONE, Stage, block, children, code, descriptors, resident_bytes, until};

/// No request of these tests may take longer: impatience, one retry and its pause, and a slow machine.
const BOUND: Duration = Duration::from_secs(30);

/// For acts that end only when the host gives up, and long enough for a puppet beside them that does
/// not: a busy machine has taken a second for its start.
const IMPATIENCE: Patience = Patience {
    greeting: Duration::from_secs(5),
    answer: Duration::from_secs(2),
    withdrawal: Duration::from_secs(2),
};

type Ended = Result<Answer<Validated>, Fault>;
type IsExpected = fn(&Ended) -> bool;

async fn start(stage: &Stage) -> Result<Host, Fault> {
    start_with(stage, Patience::default()).await
}

async fn start_impatiently(stage: &Stage) -> Result<Host, Fault> {
    start_with(stage, IMPATIENCE).await
}

async fn start_with(stage: &Stage, patience: Patience) -> Result<Host, Fault> {
    let builder = Host::builder().worker_program(stage.program()).patience(patience);
    // Each request is to meet the puppet, and not what the host remembers of it.
    let again = PrepareRetry { cool_down: Duration::ZERO, ..PrepareRetry::default() };
    let builder = builder.prepare_retry(again).deaths_max(usize::MAX);
    builder.execute_workers(1).prepare_workers(1).start().await
}

async fn validate(host: &Host, retry: Retry) -> Ended {
    let mut settings = Settings::default();
    settings.limits.cpu = Duration::from_millis(1);
    settings.retry = retry;
    let begin = Instant::now();
    let ended = host.validate(&code(), block(), &settings).await;
    assert!(begin.elapsed() < BOUND, "took {:?}: {ended:?}", begin.elapsed());
    ended
}

async fn is_served(host: &Host) {
    let answer = validate(host, Retry::Never).await.expect("the next request is served");
    assert!(matches!(answer.verdict, Verdict::Returned(_)), "{answer:?}");
}

/// Drops the host and sees that its workers are gone, reaped.
async fn nothing_is_left(host: Host) {
    drop(host);
    until("the workers to be reaped", || children().is_empty().then_some(())).await;
}

fn is_doubt(ended: &Ended) -> bool {
    matches!(ended, Ok(Answer { verdict: Verdict::Inconclusive(Doubt::WorkerLost), .. }))
}

fn is_lost_before(ended: &Ended) -> bool {
    matches!(ended, Err(Fault::WorkerLost))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_that_greets_wrongly_is_a_fault_that_says_how() {
    let _alone = ALONE.lock().await;
    type Expected = fn(&Fault) -> bool;
    let greetings: [(&str, Expected); 10] = [
        ("dead-before-hello", |f| matches!(f, Fault::NoGreeting(NoGreeting::Ended(_)))),
        ("silent-hello", |f| matches!(f, Fault::NoGreeting(NoGreeting::Silent(_)))),
        ("stopped-hello", |f| matches!(f, Fault::NoGreeting(NoGreeting::Silent(_)))),
        ("garbled-hello", |f| matches!(f, Fault::NoGreeting(NoGreeting::Greeting(_)))),
        ("truncated-hello", |f| matches!(f, Fault::NoGreeting(NoGreeting::Greeting(_)))),
        ("oversized-hello", |f| matches!(f, Fault::NoGreeting(NoGreeting::Greeting(_)))),
        ("empty-hello", |f| matches!(f, Fault::NoGreeting(NoGreeting::Ended(_)))),
        ("wrong-version", |f| {
            matches!(f, Fault::NoGreeting(NoGreeting::Greeting(_)))
                && f.to_string().contains("version")
        }),
        ("broken", |f| {
            matches!(f, Fault::NoGreeting(NoGreeting::Broken(_)))
                && !f.to_string().contains('\u{1b}')
        }),
        ("jail-incomplete", |f| matches!(f, Fault::Jail { errno: 1, .. })),
    ];
    for (act, is_expected) in greetings {
        let stage = Stage::new(&[act], &[]);
        let begin = Instant::now();
        let fault = start_impatiently(&stage).await.expect_err(act);
        assert!(begin.elapsed() < BOUND, "{act} took {:?}", begin.elapsed());
        assert!(is_expected(&fault), "{act}: {fault:?}");
        until("the worker to be reaped", || children().is_empty().then_some(())).await;
        let host = start_impatiently(&stage).await.expect("the next worker greets");
        is_served(&host).await;
        nothing_is_left(host).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_that_greets_wrongly_later_costs_one_try() {
    let _alone = ALONE.lock().await;
    for act in ["dead-before-hello", "silent-hello", "garbled-hello", "other-engine"] {
        let stage = Stage::new(&[], &[act]);
        let host = start_impatiently(&stage).await.unwrap();
        is_served(&host).await;
        nothing_is_left(host).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_with_another_engine_is_never_given_work() {
    let _alone = ALONE.lock().await;
    let stage = Stage::new(&[], &["other-engine", "other-engine"]);
    let host = start(&stage).await.unwrap();
    let ended = validate(&host, Retry::Never).await;
    assert!(matches!(ended, Err(Fault::NoGreeting(NoGreeting::OtherEngine))), "{ended:?}");
    is_served(&host).await;
    nothing_is_left(host).await;
}

/// What an execute worker does with a call, and what the request ends in when it is not retried.
const MISBEHAVIOURS: &[(&str, IsExpected)] = &[
    ("dead-unread", is_lost_before),
    ("dead-with-job", is_doubt),
    ("silent", is_doubt),
    ("stopped", is_doubt),
    ("garbled", is_doubt),
    ("oversized", is_doubt),
    ("empty", is_doubt),
    ("wrong-number", is_doubt),
    ("nothing-attached", is_doubt),
    ("unsealed", is_doubt),
    ("not-a-memfd", is_doubt),
    ("too-many", is_doubt),
    ("other-length", is_doubt),
    ("huge-output", is_doubt),
    ("not-started", |ended| {
        matches!(ended, Err(Fault::NotStarted { step: StartStep::Fork, errno: 11 }))
    }),
];

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_that_answers_wrongly_ends_by_the_table_and_the_next_request_is_served() {
    let _alone = ALONE.lock().await;
    let (before, memory) = (descriptors(), resident_bytes());
    for (act, is_expected) in MISBEHAVIOURS {
        let stage = Stage::new(&[act], &[]);
        let host = start_impatiently(&stage).await.unwrap();
        let ended = validate(&host, Retry::Never).await;
        assert!(is_expected(&ended), "{act}: {ended:?}");
        is_served(&host).await;
        nothing_is_left(host).await;
    }
    until("descriptors as before", || (descriptors() <= before).then_some(())).await;
    let grown = resident_bytes().saturating_sub(memory);
    assert!(grown < 64 << 20, "the host took {grown} bytes on a worker's word");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_that_answers_wrongly_costs_a_retried_request_nothing_but_time() {
    let _alone = ALONE.lock().await;
    for (act, _) in MISBEHAVIOURS {
        let stage = Stage::new(&[act], &[]);
        let host = start_impatiently(&stage).await.unwrap();
        let answer = validate(&host, Retry::Once).await.expect(act);
        assert!(matches!(answer.verdict, Verdict::Returned(_)), "{act}: {answer:?}");
        assert_eq!(answer.attempts, 2, "{act}");
        nothing_is_left(host).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_prepare_worker_that_answers_wrongly_costs_one_try() {
    let _alone = ALONE.lock().await;
    for act in ["dead-with-job", "garbled", "nothing-attached", "unsealed", "too-many"] {
        let stage = Stage::new(&[], &[act]);
        let host = start(&stage).await.unwrap();
        is_served(&host).await;
        nothing_is_left(host).await;

        let stage = Stage::new(&[], &[act, act]);
        let host = start(&stage).await.unwrap();
        let ended = validate(&host, Retry::Never).await;
        let is_lost = match &ended {
            Ok(answer) => matches!(&answer.verdict, Verdict::Inconclusive(Doubt::Preparation(_))),
            Err(fault) => matches!(fault, Fault::WorkerLost),
        };
        assert!(is_lost, "{act}: {ended:?}");
        is_served(&host).await;
        nothing_is_left(host).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_to_earlier_work_is_never_taken_for_one_to_this() {
    let _alone = ALONE.lock().await;
    let stage = Stage::new(&["stale"], &[]);
    let host = start(&stage).await.unwrap();
    is_served(&host).await;
    let ended = validate(&host, Retry::Never).await;
    assert!(is_doubt(&ended), "{ended:?}");
    is_served(&host).await;
    nothing_is_left(host).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_before_the_question_is_taken_for_none() {
    let _alone = ALONE.lock().await;
    let stage = Stage::new(&["early"], &["early"]);
    let host = start(&stage).await.unwrap();
    // It is seen while its worker is idle, or just before the work is sent, or just after: that
    // worker ends, and at worst a second try is needed.
    let answer = validate(&host, Retry::Once).await.unwrap();
    assert!(matches!(answer.verdict, Verdict::Returned(_)), "{answer:?}");
    is_served(&host).await;
    nothing_is_left(host).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_answer_ends_its_worker_and_answers_nothing() {
    let _alone = ALONE.lock().await;
    let stage = Stage::new(&["double"], &[]);
    let host = start(&stage).await.unwrap();
    is_served(&host).await;
    let doubled = children();
    // Either it is seen before the next work is sent, or it has the wrong number.
    let ended = validate(&host, Retry::Once).await.unwrap();
    assert!(matches!(ended.verdict, Verdict::Returned(_)), "{ended:?}");
    until("a fresh worker in its place", || (children() != doubled).then_some(())).await;
    nothing_is_left(host).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_withdrawn_request_never_holds_up_the_next() {
    let _alone = ALONE.lock().await;
    for act in ["slow", "deaf-to-withdrawal", "silent", "stopped"] {
        let stage = Stage::new(&[act], &[]);
        let host = start_impatiently(&stage).await.unwrap();
        let withdrawn = tokio::spawn({
            let host = host.clone();
            // So long a limit that only the withdrawal can end it.
            let mut settings = Settings::default();
            settings.limits.cpu = Duration::from_secs(600);
            async move { host.validate(&code(), block(), &settings).await }
        });
        until("the puppet to act", || stage.is_acting().then_some(())).await;
        withdrawn.abort();
        is_served(&host).await;
        nothing_is_left(host).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flood_of_log_is_cut_off_and_harms_nothing() {
    let _alone = ALONE.lock().await;
    let stage = Stage::new(&["flood"], &[]);
    let lines = stage::log_lines();
    let host = start(&stage).await.unwrap();
    let before = resident_bytes();
    let mut settings = Settings::default();
    settings.retry = Retry::Never;
    let answer = host.validate(&code(), block(), &settings).await.unwrap();
    assert!(matches!(answer.verdict, Verdict::Returned(_)), "{answer:?}");
    let grown = resident_bytes().saturating_sub(before);
    assert!(grown < 8 << 20, "the host grew by {grown} bytes");
    is_served(&host).await;
    nothing_is_left(host).await;
    let log = String::from_utf8(lines.lock().unwrap().clone()).unwrap();
    let flood: Vec<_> = log.lines().filter(|line| line.contains("none of the host's")).collect();
    assert!(flood.len() > 1000 && flood.len() < 10_000, "{} lines were kept", flood.len());
    // What it wrote before its answer is of that request: the first, which the next one changes not.
    let strange = flood.iter().find(|line| !line.contains(" request=1 "));
    assert_eq!(strange, None);
    assert!(!log.contains('\u{1b}'), "a line of a worker is escaped");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_that_died_idle_costs_the_next_request_nothing() {
    let _alone = ALONE.lock().await;
    let stage = Stage::new(&[], &[]);
    let host = start(&stage).await.unwrap();
    is_served(&host).await;
    for worker in children() {
        stage::kill(worker);
        until("its death", || stage::is_dead(worker).then_some(())).await;
    }
    is_served(&host).await;
    nothing_is_left(host).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_without_room_for_descriptors_blames_itself() {
    let _alone = ALONE.lock().await;
    let stage = Stage::new(&["large-output"], &[]);
    let host = start(&stage).await.unwrap();
    is_served(&host).await;
    let stage_two = Stage::new(&["good", "large-output"], &[]);
    drop((host, stage));
    until("the workers to be reaped", || children().is_empty().then_some(())).await;

    // The worker that answers with a memfd must be there before descriptors are short.
    let host = start(&stage_two).await.unwrap();
    is_served(&host).await;
    stage::kill(stage::execute_worker());
    until("the death of the first", || {
        children().iter().any(|child| stage::is_dead(*child)).then_some(())
    })
    .await;
    is_served(&host).await;
    let (code, mut settings) = (code(), Settings::default());
    settings.retry = Retry::Never;
    // Too much to stand in a frame.
    let input = Block::encoded(vec![0; 64 << 10]);
    let shortage = stage::Shortage::total();
    let ended = host.validate(&code, input, &settings).await;
    drop(shortage);
    assert!(matches!(&ended, Err(Fault::Memory(error)) if is_too_many_files(error)), "{ended:?}");
    is_served(&host).await;
    nothing_is_left(host).await;
}

fn is_too_many_files(error: &Error) -> bool {
    error.raw_os_error() == Some(rustix::io::Errno::MFILE.raw_os_error())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_asked_for_and_no_longer_wanted_is_ended() {
    let _alone = ALONE.lock().await;
    for _ in 0..20 {
        let stage = Stage::new(&["silent-hello"], &[]);
        let starting = tokio::spawn({
            let builder = Host::builder().worker_program(stage.program()).execute_workers(1);
            async move { builder.start().await }
        });
        until("a worker", || (!children().is_empty()).then_some(())).await;
        starting.abort();
        until("its end", || children().is_empty().then_some(())).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn while_the_canary_fails_nobody_votes_against_a_block() {
    let _alone = ALONE.lock().await;
    // Three jobs die over three inputs; what then answers for the canary is a puppet, and wrong.
    let stage = Stage::new(&["dead-with-job"; 3], &[]);
    let builder = Host::builder().worker_program(stage.program());
    let host = builder.execute_workers(1).prepare_workers(1).start().await.unwrap();
    let mut settings = Settings::default();
    settings.retry = Retry::Never;
    for input in [1, 2] {
        let ended = host.validate(&code(), Block::encoded(vec![input]), &settings).await;
        assert_eq!(pvf::vote(&ended), Vote::Against, "{ended:?}");
    }
    for input in [3, 4] {
        let ended = host.validate(&code(), Block::encoded(vec![input]), &settings).await;
        assert!(matches!(ended, Err(Fault::Canary(_))), "{ended:?}");
        assert_eq!(pvf::vote(&ended), Vote::Abstain);
    }
    nothing_is_left(host).await;
}
