//! Faults 11 and 12: what is kept and for how long, and who comes first.

use std::{
    fs::{self, File},
    path::Path,
    time::{Duration, Instant, SystemTime},
};

use lazaret::{Fault, Origin, Params, PrepareLimits, PrepareRetry, Refusal, Retry, pvf::Settings};

use crate::{
    ALONE, SECOND, call, jobs, me,
    support::{
        LINGER_MAX, PROGRAM, block, builder, emptied, endless, ends_within, entries, host, pidfd,
        refusal, returned, running_job, sample, settings, started, starting, trivial, until,
    },
};

/// Bytes that the cache may have.
const STORE_BYTES_MAX: u64 = 10 << 30;

#[tokio::test(flavor = "multi_thread")]
async fn fault_11_the_cache_is_pruned_by_the_size_of_its_files_and_outlives_its_host() {
    let _alone = ALONE.lock().await;
    let cache = tempfile::tempdir().unwrap();
    let first = host(cache.path()).await;
    let validate = async |host: &lazaret::Host, salt| {
        let answer = host.validate(&trivial(salt), block(), &Settings::default()).await.unwrap();
        returned(&answer);
        answer.artifact.unwrap().origin
    };
    assert_eq!(validate(&first, 1).await, Origin::Prepared);
    drop(first);
    // Larger than everything may be, all of it a hole; used less recently than what is there.
    let name = entries(cache.path()).remove(0).file_name().unwrap().to_string_lossy().into_owned();
    let other = if name.starts_with('0') { "1" } else { "0" };
    let large = cache.path().join(format!("{other}{}", &name[1..]));
    let file = File::create_new(&large).unwrap();
    file.set_len(STORE_BYTES_MAX).unwrap();
    file.set_modified(SystemTime::now() - Duration::from_secs(60)).unwrap();
    let second = host(cache.path()).await;
    until("the large file to go", || (!large.exists()).then_some(())).await;
    assert_eq!(validate(&second, 1).await, Origin::Disk, "thrown away at a start");
    assert_eq!(validate(&second, 2).await, Origin::Prepared);
    // And when more is written than there may be, by what the files have and not their folder.
    let bytes = |folder: &Path| -> u64 {
        entries(folder).iter().map(|file| file.metadata().map_or(0, |facts| facts.len())).sum()
    };
    let (room, other) = (bytes(cache.path()), tempfile::tempdir().unwrap());
    let narrow = started(builder(other.path()).cache_bytes_max(room)).await;
    for salt in 1..6 {
        assert_eq!(validate(&narrow, salt).await, Origin::Prepared);
    }
    until("room to be made", || (bytes(other.path()) <= room).then_some(())).await;
    drop(second);
    let third = host(cache.path()).await;
    assert_eq!([validate(&third, 1).await, validate(&third, 2).await], [Origin::Disk; 2]);
}

#[tokio::test(flavor = "multi_thread")]
async fn fault_12_a_preparation_that_was_begun_for_nobody_is_raised_by_a_call() {
    let _alone = ALONE.lock().await;
    let cache = tempfile::tempdir().unwrap();
    let limits = PrepareLimits { precheck_cpu: 2 * SECOND, ..PrepareLimits::default() };
    let one_place = builder(cache.path()).prepare_workers(1).critical_prepare_workers(1);
    let host = started(one_place.prepare_limits(limits)).await;
    let occupying = tokio::spawn({
        let (host, slow) = (host.clone(), starting("(loop (br 0))"));
        async move { host.precheck(&slow, &Params::default()).await }
    });
    running_job(me()).await;
    let soon = trivial(12);
    host.heads_up(&soon, &Params::default());
    let waits = || host.preparations().waiting.contains(&("heads-up", 1));
    until("the heads-up", || waits().then_some(())).await;
    returned(&host.validate(&soon, block(), &Settings::default()).await.unwrap());
    assert!(!occupying.is_finished(), "the call waited for what it should have overtaken");
    occupying.abort();
}

#[tokio::test(flavor = "multi_thread")]
async fn fault_12_cancelled_requests_do_not_execute() {
    const CANCELLED: usize = 20;
    let _alone = ALONE.lock().await;
    let cache = tempfile::tempdir().unwrap();
    let host = started(builder(cache.path()).execute_workers(1)).await;
    let (blocking, quick) = (endless(), trivial(13));
    host.prepare(&blocking, &Params::default()).await.unwrap();
    host.prepare(&quick, &Params::default()).await.unwrap();
    let waited =
        || sample(&host, "lazaret_queue_time_seconds_count{queue=\"execute\",lane=\"approval\"}");
    let blocking = call(&host, &blocking, settings(40 * SECOND, Retry::Never));
    let (job, _) = running_job(me()).await;
    let job = pidfd(job.pid);
    let begun = waited();
    let cancelled = [(); CANCELLED].map(|()| call(&host, &quick, Settings::default()));
    let waiting = || host.calls().waiting.iter().map(|(_, count)| count).sum::<usize>();
    until("the queue to fill", || (waiting() == CANCELLED).then_some(())).await;
    cancelled.iter().for_each(|request| request.abort());
    until("the queue to empty", || (waiting() == 0).then_some(())).await;
    blocking.abort();
    returned(&call(&host, &quick, Settings::default()).await.unwrap().unwrap());
    assert!(ends_within(&job, LINGER_MAX), "a cancelled job runs on");
    assert_eq!(waited(), begun + 1.0, "a cancelled request got a worker");
}

#[tokio::test(flavor = "multi_thread")]
async fn fault_12_a_failed_preparation_is_tried_again_after_its_cool_down() {
    const COOL_DOWN: Duration = Duration::from_secs(2);
    let _alone = ALONE.lock().await;
    let cache = tempfile::tempdir().unwrap();
    let limits = PrepareLimits { precheck_cpu: SECOND / 5, ..PrepareLimits::default() };
    let rules = PrepareRetry { cool_down: COOL_DOWN, ..PrepareRetry::default() };
    let host = started(builder(cache.path()).prepare_limits(limits).prepare_retry(rules)).await;
    let slow = starting("(loop (br 0))");
    let begin = Instant::now();
    let mut asked = 0;
    while jobs(&host, "prepare") < 2.0 {
        let answer = host.precheck(&slow, &Params::default()).await.unwrap();
        assert!(matches!(refusal(&answer), Refusal::PrepareCpu { .. }));
        asked += 1;
        assert!(begin.elapsed() < 30 * SECOND, "never tried again");
        tokio::task::yield_now().await;
    }
    assert!(begin.elapsed() >= COOL_DOWN, "compiled again at once");
    assert!(asked > 2, "nobody was told of the failure in between");
}

#[tokio::test(flavor = "multi_thread")]
async fn fault_12_a_worker_that_does_not_start_is_a_fault_in_bounded_time() {
    const REQUESTS: usize = 20;
    let _alone = ALONE.lock().await;
    let folder = tempfile::tempdir().unwrap();
    let program = folder.path().join("worker");
    fs::copy(PROGRAM, &program).unwrap();
    let host = started(builder(&folder.path().join("cache")).worker_program(&program)).await;
    let code = trivial(14);
    returned(&host.validate(&code, block(), &Settings::default()).await.unwrap());
    // The file that the host holds open is no program any more.
    emptied(&program).await;
    let begin = Instant::now();
    let requests = [(); REQUESTS].map(|()| call(&host, &code, Settings::default()));
    for request in requests {
        let ended = request.await.unwrap();
        assert!(matches!(ended, Err(Fault::Spawn(_) | Fault::NoGreeting(_))), "{ended:?}");
    }
    assert!(begin.elapsed() < 30 * SECOND, "{:?}", begin.elapsed());
}
