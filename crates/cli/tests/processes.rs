//! What becomes of processes when something dies, is dropped or never ends. Each test looks at all
//! processes below this one, so they run one at a time.

mod support;

use std::{
    fs,
    path::Path,
    process::{Command, Stdio},
    time::Duration,
};

use lazaret::{
    Doubt, Fault, PrepareLimits, Refusal, Retry, Verdict, Vote,
    pvf::{self, Settings},
};
use support::{
    LINGER_MAX, PROGRAM, block, builder, descendants, endless, ends_within, held, host, kill,
    pidfd, process_ends_within, refusal, returned, running_job, settings, skipped, started,
    starting, trivial, until,
};
use tokio::sync::Mutex;

const SECOND: Duration = Duration::from_secs(1);

/// Held by each test for its whole length.
static ALONE: Mutex<()> = Mutex::const_new(());

fn me() -> i32 {
    std::process::id() as i32
}

#[tokio::test(flavor = "multi_thread")]
async fn two_codes_do_not_block_each_other() {
    let _alone = ALONE.lock().await;
    let cache = tempfile::tempdir().unwrap();
    let limits =
        PrepareLimits { execution_cpu: Duration::from_secs(5), ..PrepareLimits::default() };
    let host = started(builder(cache.path()).prepare_limits(limits)).await;
    let slow = starting("(loop (br 0))");
    let slow = tokio::spawn({
        let host = host.clone();
        async move { host.validate(&slow, block(), &Settings::default()).await }
    });
    running_job(me()).await;
    let quick = host.validate(&trivial(2), block(), &Settings::default()).await.unwrap();
    assert!(!slow.is_finished(), "the quick code waited for the slow one");
    returned(&quick);
    let slow = slow.await.unwrap();
    assert_eq!(pvf::vote(&slow), Vote::Abstain, "code that takes too long to prepare");
    let doubt = slow.unwrap().verdict;
    assert!(matches!(doubt, Verdict::Inconclusive(Doubt::Preparation(_))), "{doubt:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_killed_with_a_job_is_inconclusive_and_retried() {
    let _alone = ALONE.lock().await;
    let cache = tempfile::tempdir().unwrap();
    let host = started(builder(cache.path()).execute_workers(1)).await;
    let code = endless();
    host.prepare(&code, &Default::default()).await.unwrap();
    let validation = tokio::spawn({
        let (host, code) = (host.clone(), code.clone());
        async move { host.validate(&code, block(), &settings(2 * SECOND, Retry::Once)).await }
    });
    let (job, worker) = running_job(me()).await;
    let job = pidfd(job.pid);
    kill(worker.pid);
    // Sooner than its limit would end it.
    assert!(ends_within(&job, 2 * SECOND), "the job outlived its worker");
    let answer = validation.await.unwrap().unwrap();
    assert_eq!(answer.attempts, 2);
    assert!(matches!(refusal(&answer), Refusal::CpuLimit { .. }));

    let validation = tokio::spawn({
        let host = host.clone();
        async move { host.validate(&code, block(), &settings(20 * SECOND, Retry::Never)).await }
    });
    let (_, worker) = running_job(me()).await;
    kill(worker.pid);
    let answer = validation.await.unwrap();
    assert_eq!(pvf::vote(&answer), Vote::Against);
    assert_eq!(answer.unwrap().verdict, Verdict::Inconclusive(Doubt::WorkerLost));
    returned(&host.validate(&trivial(3), block(), &Settings::default()).await.unwrap());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_job_is_inconclusive() {
    let _alone = ALONE.lock().await;
    let cache = tempfile::tempdir().unwrap();
    let host = started(builder(cache.path()).execute_workers(1)).await;
    let code = endless();
    host.prepare(&code, &Default::default()).await.unwrap();
    let validation = tokio::spawn({
        let host = host.clone();
        async move { host.validate(&code, block(), &settings(20 * SECOND, Retry::Never)).await }
    });
    let (job, worker) = running_job(me()).await;
    let worker = pidfd(worker.pid);
    kill(job.pid);
    let answer = validation.await.unwrap().unwrap();
    assert_eq!(answer.verdict, Verdict::Inconclusive(Doubt::Signaled { signal: 9 }));
    let next = host.validate(&trivial(4), block(), &Settings::default()).await.unwrap();
    returned(&next);
    assert!(ends_within(&worker, LINGER_MAX), "a worker whose job died is not used again");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dropped_request_kills_its_job_and_keeps_its_worker() {
    let _alone = ALONE.lock().await;
    let cache = tempfile::tempdir().unwrap();
    let host = started(builder(cache.path()).execute_workers(1)).await;
    let code = endless();
    host.prepare(&code, &Default::default()).await.unwrap();
    let validation = tokio::spawn({
        let host = host.clone();
        async move { host.validate(&code, block(), &settings(40 * SECOND, Retry::Never)).await }
    });
    let (job, _) = running_job(me()).await;
    let job = pidfd(job.pid);
    validation.abort();
    let next = host.validate(&trivial(4), block(), &Settings::default()).await.unwrap();
    returned(&next);
    assert!(ends_within(&job, LINGER_MAX), "the job outlived its request");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deadline_that_passed_is_a_fault_and_not_a_verdict() {
    let _alone = ALONE.lock().await;
    let cache = tempfile::tempdir().unwrap();
    let host = started(builder(cache.path()).execute_workers(1)).await;
    let code = endless();
    host.prepare(&code, &Default::default()).await.unwrap();
    let occupying = tokio::spawn({
        let (host, code) = (host.clone(), code.clone());
        async move { host.validate(&code, block(), &settings(40 * SECOND, Retry::Never)).await }
    });
    running_job(me()).await;
    let mut late = settings(SECOND, Retry::Never);
    late.deadline = Some(std::time::Instant::now());
    let answer = host.validate(&code, block(), &late).await;
    assert_eq!(pvf::vote(&answer), Vote::Abstain);
    assert!(matches!(answer, Err(Fault::Deadline)));
    occupying.abort();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_queue_says_busy() {
    let _alone = ALONE.lock().await;
    let cache = tempfile::tempdir().unwrap();
    let host = started(builder(cache.path()).execute_workers(1).waiting_max(0)).await;
    let code = endless();
    host.prepare(&code, &Default::default()).await.unwrap();
    let occupying = tokio::spawn({
        let (host, code) = (host.clone(), code.clone());
        async move { host.validate(&code, block(), &settings(40 * SECOND, Retry::Never)).await }
    });
    running_job(me()).await;
    let answer = host.validate(&code, block(), &settings(SECOND, Retry::Never)).await;
    assert!(matches!(answer, Err(Fault::Busy { waiting: 0 })), "{answer:?}");
    occupying.abort();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_killed_mid_job_leaves_nothing_behind() {
    let _alone = ALONE.lock().await;
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str| folder.path().join(name);
    let wat = r#"(module
        (memory (export "memory") 1)
        (global (export "__heap_base") i32 (i32.const 1024))
        (func (export "validate_block") (param i32 i32) (result i64) (loop (br 0)) (unreachable)))"#;
    fs::write(file("endless.wat"), wat).unwrap();
    fs::write(file("params"), [0; 40]).unwrap();
    let mut program = Command::new(PROGRAM)
        .args(["pvf", "validate", "--cpu-limit", "50s", "--accept-weaker-jail"])
        .arg("--cache")
        .arg(file("cache"))
        .arg("--code")
        .arg(file("endless.wat"))
        .arg("--params")
        .arg(file("params"))
        .spawn()
        .unwrap();
    let ancestor = program.id() as i32;
    running_job(ancestor).await;
    let left = held(ancestor);
    assert!(left.len() >= 2, "a worker and its job at least");
    program.kill().unwrap();
    for (process, handle) in &left {
        assert!(process_ends_within(process, handle, LINGER_MAX), "{process:?} outlived its host");
    }
    program.wait().unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dropped_host_takes_its_workers_with_it() {
    let _alone = ALONE.lock().await;
    let cache = tempfile::tempdir().unwrap();
    let host = host(cache.path()).await;
    returned(&host.validate(&trivial(9), block(), &Settings::default()).await.unwrap());
    drop(host);
    until("the workers to end", || descendants(me()).is_empty().then_some(())).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_standby_job_that_dies_is_reaped_at_once_and_replaced_once() {
    let _alone = ALONE.lock().await;
    let cache = tempfile::tempdir().unwrap();
    let host = started(builder(cache.path()).execute_workers(1)).await;
    let code = trivial(10);
    returned(&host.validate(&code, block(), &Settings::default()).await.unwrap());
    let is_there = |pid: i32| Path::new(&format!("/proc/{pid}")).exists();
    let standby = |but: i32| {
        let all = descendants(me());
        let worker = all.iter().find(|one| one.parent == me() && one.name.contains("execute"))?;
        all.iter()
            .find(|one| one.parent == worker.pid && !one.is_keeper && one.pid != but)
            .map(|one| one.pid)
    };
    let first = until("a standby job", || standby(0)).await;
    kill(first);
    let second = until("another", || standby(first).filter(|_| !is_there(first))).await;
    kill(second);
    until("its end", || (!is_there(second)).then_some(())).await;
    // One that died each time would keep the worker busy.
    assert_eq!(standby(0), None);
    returned(&host.validate(&code, block(), &Settings::default()).await.unwrap());
}

/// Ends every worker, so that the next request starts one.
async fn end_workers() {
    // Their jobs go with them.
    descendants(me()).iter().filter(|worker| worker.parent == me()).for_each(|w| kill(w.pid));
    until("the workers to end", || descendants(me()).is_empty().then_some(())).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_starts_the_program_that_it_opened_whatever_becomes_of_its_file() {
    let _alone = ALONE.lock().await;
    let folder = tempfile::tempdir().unwrap();
    let program = folder.path().join("worker");
    fs::copy(PROGRAM, &program).unwrap();
    let of_program = || builder(&folder.path().join("cache")).worker_program(&program);
    let host = started(of_program()).await;
    for (salt, what) in ["deleted", "replaced"].into_iter().enumerate() {
        if what == "deleted" {
            fs::remove_file(&program).unwrap();
            let missing = of_program().start().await;
            assert!(matches!(missing, Err(Fault::Spawn(_))), "{missing:?}");
        } else {
            fs::copy("/bin/true", &program).unwrap();
            let other = of_program().start().await;
            assert!(matches!(other, Err(Fault::NoGreeting(_))), "{other:?}");
        }
        end_workers().await;
        let answer = host.validate(&trivial(salt as u32), block(), &Settings::default()).await;
        returned(&answer.unwrap());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_program_that_is_overwritten_where_it_stands_is_a_fault_and_no_verdict() {
    let _alone = ALONE.lock().await;
    let folder = tempfile::tempdir().unwrap();
    let program = folder.path().join("worker");
    fs::copy(PROGRAM, &program).unwrap();
    let builder = builder(&folder.path().join("cache")).worker_program(&program);
    let host = started(builder).await;
    end_workers().await;
    overwritten("/bin/true", &program).await;
    let answer = host.validate(&trivial(0), block(), &Settings::default()).await;
    assert_eq!(pvf::vote(&answer), Vote::Abstain);
    assert!(matches!(answer, Err(Fault::NoGreeting(_) | Fault::Spawn(_))), "{answer:?}");
    overwritten(PROGRAM, &program).await;
    let answer = host.validate(&trivial(0), block(), &Settings::default()).await;
    returned(&answer.unwrap());
}

/// The kernel keeps a program from being written for as long as the last job runs it (ETXTBSY).
async fn overwritten(from: &str, program: &Path) {
    until("nobody who runs the program", || fs::copy(from, program).ok()).await;
}

/// What `fault_10` of `peer_faults` shows of the library, in the words of the program.
#[tokio::test(flavor = "multi_thread")]
async fn the_program_says_what_a_stalled_job_was_doing() {
    let _alone = ALONE.lock().await;
    let folder = tempfile::tempdir().unwrap();
    let (code, params) = (folder.path().join("code.wat"), folder.path().join("params"));
    let endless = r#"(module (memory (export "memory") 1) (global (export "__heap_base") i32 (i32.const 9))
        (func (export "validate_block") (param i32 i32) (result i64) (loop (br 0)) (unreachable)))"#;
    fs::write(&code, endless).unwrap();
    fs::write(&params, [0; 40]).unwrap();
    // Prepared before, so that the job that runs is the one that calls.
    let prepare = ["prepare", "--accept-weaker-jail", "--cache"];
    let prepared =
        Command::new(PROGRAM).args(prepare).arg(folder.path()).arg(&code).output().unwrap();
    assert!(prepared.status.success(), "{prepared:?}");
    let program = Command::new(PROGRAM)
        .args(["pvf", "validate", "--json", "--cpu-limit", "1s", "--retry", "never", "--code"])
        .args([&code, Path::new("--params"), &params, Path::new("--cache"), folder.path()])
        .arg("--accept-weaker-jail")
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let (job, _) = running_job(program.id() as i32).await;
    let job = rustix::process::Pid::from_raw(job.pid).unwrap();
    rustix::process::kill_process(job, rustix::process::Signal::STOP).unwrap();
    let ended = program.wait_with_output().unwrap();
    let said: serde_json::Value = serde_json::from_slice(&ended.stdout).unwrap();
    if said["verdict"] == "inconclusive" {
        return skipped(1, "a stall in words, because without the final filter a job may wait");
    }
    assert_eq!(ended.status.code(), Some(4), "{said}");
    assert_eq!(said["stall"]["job_state"], "T", "{said}");
    assert!(said["stall"]["wall_micros"].as_u64() >= Some(4_000_000), "{said}");
    assert!(said["stall"]["processors"].as_u64() >= Some(1), "{said}");
    assert!(said["reason"].as_str().unwrap().contains("for a processor and was stopped"), "{said}");
}
