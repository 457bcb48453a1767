//! Faults 1 to 4 and 10: requests without an answer or with the wrong one, and what they leave.

use std::{
    fs,
    path::Path,
    time::{Duration, Instant},
};

use lazaret::{
    CodeStep, Doubt, Fault, LayerState, Origin, Refusal, Retry, Verdict, Vote,
    pvf::{self, Block, Settings, ValidationParams},
};
use rustix::process::{Pid, Resource, Rlimit, Signal, getrlimit, kill_process, setrlimit};
use tokio::{task::JoinSet, time::timeout};

use crate::{
    ALONE, Ended, SECOND, call, jobs, me,
    support::{
        EMPTY_RESULT, LINGER_MAX, STUCK_AFTER, block, builder, descendants, endless, ends_within,
        entries, host, pidfd, refusal, returned, running_job, sample, settings, skipped, started,
        starting, trivial, until,
    },
};

/// Bytes of an artifact's file before the artifact.
const HEADER_BYTES: usize = 224;
/// Bytes of the header that its last 32 prove.
const PROVEN_BYTES: usize = 192;

#[tokio::test(flavor = "multi_thread")]
async fn fault_01_artifacts_removed_under_load_leave_no_request_waiting() {
    const REQUESTS: u32 = 300;
    const CODES: u32 = 5;
    const WAITING_MAX: usize = 8;
    let _alone = ALONE.lock().await;
    let cache = tempfile::tempdir().unwrap();
    // Nothing is kept in memory and few may wait: each request reads a file, most find a full queue.
    let host = started(builder(cache.path()).hot_bytes_max(0).waiting_max(WAITING_MAX)).await;
    let mut requests = JoinSet::new();
    for number in 0..REQUESTS {
        let (host, code) = (host.clone(), trivial(number % CODES));
        requests.spawn(async move { host.validate(&code, block(), &Settings::default()).await });
    }
    let (mut returned_count, mut turn) = (0, 0);
    while let Some(ended) = timeout(STUCK_AFTER, requests.join_next()).await.expect("an answer") {
        match ended.unwrap() {
            Ok(answer) => {
                assert_eq!(returned(&answer).encoded, EMPTY_RESULT);
                returned_count += 1;
            }
            Err(Fault::Busy { waiting }) => assert!(waiting >= WAITING_MAX),
            Err(fault) => panic!("{fault}"),
        }
        spoil(cache.path(), turn);
        turn += 1;
    }
    assert!(returned_count >= WAITING_MAX, "only {returned_count} were not turned away");
}

/// Removes an artifact or damages it, in turn.
fn spoil(cache: &Path, turn: usize) {
    for path in entries(cache).into_iter().skip(turn % 3).take(1) {
        let done = match turn % 2 {
            0 => fs::remove_file(&path),
            _ => fs::write(&path, "damaged"),
        };
        // The host may have been quicker.
        drop(done);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn fault_02_a_retry_after_a_failed_instantiation_is_answered() {
    let _alone = ALONE.lock().await;
    let cache = tempfile::tempdir().unwrap();
    let code = trivial(2);
    drop(host(cache.path()).await.prepare(&code, &Default::default()).await.unwrap());
    let path = entries(cache.path()).remove(0);
    // It verifies and cannot be instantiated: both tries fail, and that is the answer.
    fs::write(&path, unusable(&fs::read(&path).unwrap())).unwrap();
    let host = started(builder(cache.path()).hot_bytes_max(0)).await;
    let once = || settings(5 * SECOND, Retry::OnceAfter(SECOND / 100));
    let ended = timeout(STUCK_AFTER, call(&host, &code, once())).await.expect("an answer");
    let answer = ended.unwrap().unwrap();
    let verdict = &answer.verdict;
    assert!(matches!(verdict, Verdict::Inconclusive(Doubt::ArtifactUnusable(_))), "{verdict:?}");
    assert_eq!(answer.attempts, 2);
    // The artifact goes between the two tries: the second has it made again.
    let retries = || sample(&host, "lazaret_retries_total{role=\"execute\"}");
    let patient = settings(5 * SECOND, Retry::OnceAfter(3 * SECOND));
    let validation = call(&host, &code, patient);
    until("the second try to be due", || (retries() == 2.0).then_some(())).await;
    fs::remove_file(&path).unwrap();
    let answer = validation.await.unwrap().unwrap();
    assert_eq!(returned(&answer).encoded, EMPTY_RESULT);
    assert_eq!((answer.attempts, answer.artifact.unwrap().origin), (2, Origin::Prepared));
}

/// The file with another artifact in it, and digests that say that this is right.
fn unusable(file: &[u8]) -> Vec<u8> {
    let artifact = vec![0x5a; file.len() - HEADER_BYTES];
    let mut header = file[..PROVEN_BYTES].to_vec();
    header[PROVEN_BYTES - 32..].copy_from_slice(blake3::hash(&artifact).as_bytes());
    let proof = *blake3::hash(&header).as_bytes();
    [header, proof.to_vec(), artifact].concat()
}

#[tokio::test(flavor = "multi_thread")]
async fn fault_03_a_trapping_start_function_is_refused_once_for_all() {
    const REQUESTS: usize = 50;
    let _alone = ALONE.lock().await;
    let cache = tempfile::tempdir().unwrap();
    let host = host(cache.path()).await;
    let code = starting("unreachable");
    let requests = [(); REQUESTS].map(|()| call(&host, &code, Settings::default()));
    for request in requests {
        let ended = timeout(STUCK_AFTER, request).await.expect("an answer").unwrap();
        assert_eq!(pvf::vote(&ended), Vote::Abstain, "the code is at fault, not the block");
        let answer = ended.expect("no fault");
        let expected = CodeStep::Instantiate;
        assert!(matches!(refusal(&answer), Refusal::Code { step, .. } if *step == expected));
    }
    let precheck = host.precheck(&code, &Default::default()).await;
    assert_eq!(pvf::precheck_vote(&precheck), Vote::Against);
    assert_eq!(jobs(&host, "prepare"), 1.0, "compiled again");
    assert_eq!(jobs(&host, "execute"), 0.0, "called");
    for role in ["execute", "prepare"] {
        let retired = format!("lazaret_workers_total{{role=\"{role}\",event=\"retired\"}}");
        assert_eq!(sample(&host, &retired), 0.0, "a worker was lost");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn fault_04_blocks_that_do_not_decompress_leak_no_descriptor() {
    const BLOCKS: u64 = 600;
    /// Far fewer than one for each block.
    const DESCRIPTORS_MAX: u64 = 128;
    let _alone = ALONE.lock().await;
    let cache = tempfile::tempdir().unwrap();
    let host = started(builder(cache.path()).execute_workers(1)).await;
    let code = trivial(4);
    // From the second on the worker holds the artifact, and a job that has loaded it.
    for _ in 0..3 {
        returned(&host.validate(&code, block(), &Settings::default()).await.unwrap());
    }
    let worker = descendants(me()).into_iter().find(|one| one.name.contains("execute")).unwrap();
    let held = || [me(), worker.pid].map(descriptors);
    let before = held();
    let usual = getrlimit(Resource::Nofile);
    let few = Rlimit { current: Some(DESCRIPTORS_MAX), ..usual };
    setrlimit(Resource::Nofile, few).unwrap();
    let mut requests = JoinSet::new();
    for number in 0..BLOCKS {
        let (host, code) = (host.clone(), code.clone());
        let settings = settings(5 * SECOND, Retry::Never);
        requests.spawn(async move { host.validate(&code, bomb(number), &settings).await });
    }
    let ended = requests.join_all().await;
    setrlimit(Resource::Nofile, usual).unwrap();
    for ended in ended {
        let answer = ended.expect("no fault");
        assert!(matches!(refusal(&answer), Refusal::BadInput(_)));
    }
    // Any other part of this program may hold one more or less; a leak is one for each block.
    let most = before.map(|count| count + BLOCKS as usize / 10);
    let is_as_before = || held().iter().zip(&most).all(|(now, most)| now <= most);
    until("descriptors as before", || is_as_before().then_some(())).await;
}

/// A block whose data says that it is compressed, and is not.
fn bomb(number: u64) -> Block {
    let prefix = [0x52, 0xbc, 0x53, 0x76, 0x46, 0xdb, 0x8e, 0x05];
    Block::parts(ValidationParams {
        parent_head: Vec::new(),
        block_data: [prefix, number.to_le_bytes()].concat(),
        relay_parent_number: 1,
        relay_parent_storage_root: [2; 32],
        extension: None,
    })
}

/// What the kernel says of a process; nothing of one that is gone.
fn kernel_says(pid: i32, what: &str) -> String {
    fs::read_to_string(format!("/proc/{pid}/{what}")).unwrap_or_default()
}

/// How many descriptors a process has; 0 of one that may not be looked at.
fn descriptors(pid: i32) -> usize {
    fs::read_dir(format!("/proc/{pid}/fd")).map_or(0, Iterator::count)
}

#[tokio::test(flavor = "multi_thread")]
async fn fault_10_a_stalled_machine_is_no_vote_against_a_block() {
    /// The wall-clock limit of a call with a small CPU limit.
    const WALL_LIMIT_MIN: Duration = Duration::from_secs(4);
    let _alone = ALONE.lock().await;
    let cache = tempfile::tempdir().unwrap();
    let host = started(builder(cache.path()).execute_workers(1)).await;
    let layers = &host.security().layers;
    if !layers.iter().any(|one| one.name.as_str() == "job-filter" && one.state == LayerState::On) {
        return skipped(1, "a stalled job, because without the final filter a job may wait");
    }
    let code = endless();
    host.prepare(&code, &Default::default()).await.unwrap();
    let begin = Instant::now();
    let validation = call(&host, &code, settings(SECOND, Retry::Never));
    let (job, _) = running_job(me()).await;
    let end = pidfd(job.pid);
    kill_process(Pid::from_raw(job.pid).unwrap(), Signal::STOP).expect("a job to stop");
    let is_stopped = || kernel_says(job.pid, "stat").contains(") T ").then_some(());
    until("a job that stands still", is_stopped).await;
    // One that is stopped waits for no processor, so this stays what it is.
    let counts = kernel_says(job.pid, "schedstat");
    let delay = counts.split(' ').nth(1).and_then(|nanos| nanos.parse().ok());
    let ended: Ended = timeout(STUCK_AFTER, validation).await.expect("an answer").unwrap();
    assert_eq!(pvf::vote(&ended), Vote::Abstain);
    let Err(Fault::Stalled { cpu, wall, turn, load, .. }) = ended else { panic!("{ended:?}") };
    assert_eq!(turn.state, Some('T'));
    match counts.starts_with("0 ") {
        true => skipped(1, "the delay of a stalled job, which this kernel does not count"),
        false => assert_eq!(turn.run_queue_delay, delay.map(Duration::from_nanos)),
    }
    assert!(cpu < SECOND && wall >= WALL_LIMIT_MIN, "{cpu:?} in {wall:?}");
    assert!(begin.elapsed() >= WALL_LIMIT_MIN);
    assert!(load.processors.is_some() && load.load.is_some(), "{load}");
    assert!(ends_within(&end, LINGER_MAX), "the stopped job is still there");
    returned(&host.validate(&trivial(10), block(), &Settings::default()).await.unwrap());
}
