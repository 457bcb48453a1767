//! Who goes first, who is turned away, and what the host does when jobs or workers keep dying. Each
//! test looks at all processes below this one, so they run one at a time.

mod support;

use std::{
    path::Path,
    time::{Duration, Instant},
};

use lazaret::{
    Builder, Code, Doubt, Fault, Group, Host, Lane, Origin, Params, PrepareRetry, Retry, Verdict,
    pvf::{Block, Settings, Validated},
};
use support::{
    LINGER_MAX, PROGRAM, Process, block, builder, descendants, emptied, endless, ends_within,
    guest, kill, pidfd, returned, running_job, sample, settings, skipped, started, trivial, until,
};
use tokio::{sync::Mutex, task::JoinHandle};

const SECOND: Duration = Duration::from_secs(1);
/// Artifacts that a worker keeps loaded (`lazaret_wire::work`).
const TEMPLATES_MAX: usize = 32;
/// Copies of each that wait, where it was called twice in a row (`lazaret_worker`).
const COPIES_MAX: usize = 4;
/// Copies that wait for the next burst of calls beyond those (`lazaret_worker`).
const STOCK_MAX: usize = 128;
/// See `SHORT_CPU_MAX` of the worker.
const SHORT_CPU_MAX: Duration = Duration::from_micros(300);
/// Workers that a test starts at the most.
const WORKERS_MAX: usize = 16;
/// Jobs that are ending while another is called (`LEAVING_MAX`).
const LEAVING_MAX: usize = 3;

/// Held by each test for its whole length.
static ALONE: Mutex<()> = Mutex::const_new(());

fn me() -> i32 {
    std::process::id() as i32
}

/// Workers that call, and their jobs.
fn execute_processes() -> usize {
    let is_of_execute = |process: &&Process| process.name.starts_with("lazaret-execute");
    descendants(me()).iter().filter(is_of_execute).count()
}

type Answer = Result<lazaret::Answer<Validated>, Fault>;

fn call(host: &Host, code: &Code, settings: Settings) -> JoinHandle<Answer> {
    let (host, code) = (host.clone(), code.clone());
    tokio::spawn(async move { host.validate(&code, block(), &settings).await })
}

fn in_group(group: u8) -> Settings {
    let mut settings = settings(40 * SECOND, Retry::Never);
    settings.group = Some(Group([group; 32]));
    settings
}

async fn until_waiting(host: &Host, count: usize) {
    let waiting = || host.calls().waiting.iter().map(|(_, waiting)| waiting).sum::<usize>();
    until("requests that wait", || (waiting() == count).then_some(())).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_withdrawn_group_leaves_the_queue_and_the_worker() {
    let _alone = ALONE.lock().await;
    let cache = tempfile::tempdir().unwrap();
    let host = started(builder(cache.path()).execute_workers(1)).await;
    let code = endless();
    host.prepare(&code, &Params::default()).await.unwrap();
    let runs = call(&host, &code, in_group(1));
    let (job, _) = running_job(me()).await;
    let job = pidfd(job.pid);
    let waits = call(&host, &code, in_group(1));
    let other = call(&host, &trivial(1), in_group(2));
    until_waiting(&host, 2).await;
    assert_eq!(host.withdraw_all_but(&[Group([2; 32])]), 2);
    assert!(matches!(runs.await.unwrap(), Err(Fault::Withdrawn)));
    assert!(matches!(waits.await.unwrap(), Err(Fault::Withdrawn)));
    returned(&other.await.unwrap().unwrap());
    assert!(ends_within(&job, LINGER_MAX), "the job outlived its group");
    assert_eq!(host.withdraw(&[Group([2; 32])]), 0, "who has an answer has left");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_goes_to_the_idle_worker_that_has_its_artifact_loaded() {
    let _alone = ALONE.lock().await;
    let cache = tempfile::tempdir().unwrap();
    let host = started(builder(cache.path()).execute_workers(2)).await;
    // Loops for ever if its input has no byte, which is how the first worker is kept busy.
    let (first, second) =
        (guest("(loop (br_if 0 (i32.eqz (local.get 1)))) (i64.const 0xc00000200)"), trivial(1));
    let quick = Settings::default();
    for _ in 0..2 {
        returned(&host.validate(&first, block(), &quick).await.unwrap());
    }
    let busy = tokio::spawn({
        let (host, first) = (host.clone(), first.clone());
        async move { host.validate(&first, Block::encoded(Vec::new()), &in_group(1)).await }
    });
    running_job(me()).await;
    for _ in 0..2 {
        returned(&host.validate(&second, block(), &quick).await.unwrap());
    }
    host.withdraw(&[Group([1; 32])]);
    assert!(matches!(busy.await.unwrap(), Err(Fault::Withdrawn)));
    until("an idle host", || (host.calls().running == 0).then_some(())).await;
    // Of each worker itself, the job for anything, and a template with its copies.
    let all = 2 * (3 + COPIES_MAX);
    until("all copies", || (execute_processes() >= all).then_some(())).await;
    // The worker used last has loaded the first, or nothing.
    let loaded = || sample(&host, r#"lazaret_jobs_total{role="execute",from="loaded"}"#);
    let before = loaded();
    for code in [&second, &first, &second] {
        returned(&host.validate(code, block(), &quick).await.unwrap());
    }
    assert_eq!(loaded(), before + 3.0);
}

/// One worker, which keeps more artifacts loaded than one: where the jobs' memory is counted together, it does not.
fn with_apart_memory(cache: &Path) -> Builder {
    builder(cache).execute_workers(1).prepare_workers(1).without_cgroup()
}

#[tokio::test(flavor = "multi_thread")]
async fn calls_of_some_artifacts_in_turn_go_to_jobs_that_have_loaded_them() {
    let _alone = ALONE.lock().await;
    let cache = tempfile::tempdir().unwrap();
    let host = started(with_apart_memory(cache.path())).await;
    let codes: Vec<_> = (0..6).map(trivial).collect();
    let loaded = || sample(&host, r#"lazaret_jobs_total{role="execute",from="loaded"}"#);
    // While a template loads, and on a machine that is busy, a copy may come too late for a call, which then goes to another job.
    for _ in 0..100 {
        let before = loaded();
        for code in &codes {
            returned(&host.validate(code, block(), &Settings::default()).await.unwrap());
        }
        if loaded() - before == codes.len() as f64 {
            return;
        }
    }
    panic!("of {} calls {} went to such", 100 * codes.len(), loaded());
}

#[tokio::test(flavor = "multi_thread")]
async fn so_many_artifacts_are_kept_loaded_and_no_more() {
    let _alone = ALONE.lock().await;
    let cache = tempfile::tempdir().unwrap();
    let host = started(with_apart_memory(cache.path())).await;
    for code in (0..TEMPLATES_MAX + 4).map(|salt| trivial(salt as u32)) {
        for _ in 0..3 {
            returned(&host.validate(&code, block(), &Settings::default()).await.unwrap());
        }
    }
    // The worker, the keeper of its jobs, the job for anything, and templates with their copies.
    let most = 3 + TEMPLATES_MAX * (1 + COPIES_MAX);
    until("no more jobs than may wait", || (execute_processes() <= most).then_some(())).await;
    let jobs = execute_processes();
    assert!(jobs > TEMPLATES_MAX, "{jobs} templates and copies");
    let again = host.validate(&trivial(0), block(), &Settings::default()).await.unwrap();
    returned(&again);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_burst_of_calls_took_waits_for_the_next_and_makes_room_for_other_calls() {
    let _alone = ALONE.lock().await;
    let cache = tempfile::tempdir().unwrap();
    let host = started(with_apart_memory(cache.path())).await;
    let code = trivial(1);
    // The worker, the keeper of its jobs, the job for anything, and a template with its copies.
    let without = 4 + COPIES_MAX;
    let mut bursts = 0;
    while execute_processes() <= without + STOCK_MAX / 2 {
        bursts += 1;
        if bursts > 20 {
            return skipped(1, "a stock of copies: here they are made as fast as calls come");
        }
        for _ in 0..STOCK_MAX + 20 {
            returned(&host.validate(&code, block(), &Settings::default()).await.unwrap());
        }
        let _ = tokio::time::timeout(SECOND, async {
            until("a stock", || (execute_processes() > without + STOCK_MAX / 2).then_some(()))
                .await;
        })
        .await;
    }
    assert!(execute_processes() <= without + STOCK_MAX, "{}", execute_processes());
    let loaded = || sample(&host, r#"lazaret_jobs_total{role="execute",from="loaded"}"#);
    let before = loaded();
    for _ in 0..STOCK_MAX / 2 {
        returned(&host.validate(&code, block(), &Settings::default()).await.unwrap());
    }
    assert_eq!(loaded() - before, (STOCK_MAX / 2) as f64);
    // Of other limits, so that none of them can serve it. Not longer ones: their template could not either.
    let other = settings(SECOND, Retry::Never);
    for _ in 0..2 * STOCK_MAX {
        returned(&host.validate(&code, block(), &other).await.unwrap());
    }
    // Those that waited have ended, and so have the jobs that were called, although nobody stopped asking.
    let (there, most) = (execute_processes(), without + STOCK_MAX + LEAVING_MAX);
    assert!(there <= most, "{there}");
}

#[tokio::test(flavor = "multi_thread")]
async fn jobs_of_a_first_burst_wait_until_nobody_asks_and_are_never_more_than_may_be_in_stock() {
    let _alone = ALONE.lock().await;
    // The worker, the keeper of its jobs, the job for anything, and a template with its copies.
    let without = 4 + COPIES_MAX;
    let most = without + STOCK_MAX + LEAVING_MAX;
    // Whether some waited, and whether enough of their calls were short.
    let tried = async || {
        let cache = tempfile::tempdir().unwrap();
        let host = started(with_apart_memory(cache.path())).await;
        let code = trivial(1);
        let mut short = 0;
        for _ in 0..STOCK_MAX / 2 {
            let answer = host.validate(&code, block(), &Settings::default()).await.unwrap();
            returned(&answer);
            short += usize::from(answer.usage.cpu <= SHORT_CPU_MAX);
        }
        let waiting = execute_processes();
        for _ in 0..2 * STOCK_MAX {
            returned(&host.validate(&code, block(), &Settings::default()).await.unwrap());
        }
        let there = execute_processes();
        assert!(there <= most, "{there}");
        drop(host);
        until("no process of that host", || (execute_processes() == 0).then_some(())).await;
        (waiting > without + STOCK_MAX / 4, short > STOCK_MAX * 3 / 8)
    };
    let mut were_short = false;
    // A pause of two milliseconds, and they end.
    for _ in 0..30 {
        let (some_waited, are_short) = tried().await;
        if some_waited {
            return;
        }
        were_short |= are_short;
    }
    assert!(!were_short, "no job waited");
    skipped(1, "jobs that wait: here calls are slow");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_urgent_lane_goes_first_and_no_lane_waits_for_ever() {
    let _alone = ALONE.lock().await;
    let cache = tempfile::tempdir().unwrap();
    let host = started(builder(cache.path()).execute_workers(1)).await;
    let (blocking, quick) = (endless(), trivial(1));
    host.prepare(&blocking, &Params::default()).await.unwrap();
    host.prepare(&quick, &Params::default()).await.unwrap();
    let blocking = call(&host, &blocking, settings(40 * SECOND, Retry::Never));
    running_job(me()).await;
    let (order, mut ended) = tokio::sync::mpsc::unbounded_channel();
    let mut waiting = 0;
    for (lane, count) in [(Lane::BACKING, 2), (Lane::DISPUTE, 30)] {
        for _ in 0..count {
            let mut settings = settings(SECOND, Retry::Never);
            settings.lane = lane;
            let (call, order) = (call(&host, &quick, settings), order.clone());
            tokio::spawn(async move {
                returned(&call.await.unwrap().unwrap());
                order.send(lane).unwrap();
            });
            waiting += 1;
            until_waiting(&host, waiting).await;
        }
    }
    blocking.abort();
    let mut lanes = Vec::new();
    for _ in 0..waiting {
        lanes.push(ended.recv().await.unwrap());
    }
    assert_eq!(lanes[0], Lane::DISPUTE, "it came last and goes first");
    let backing: Vec<_> = (0..lanes.len()).filter(|&n| lanes[n] == Lane::BACKING).collect();
    assert!(backing[1] < 20, "passed over for long: {backing:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn shutdown_waits_for_answers_and_then_no_longer() {
    let _alone = ALONE.lock().await;
    let cache = tempfile::tempdir().unwrap();
    let host = started(builder(cache.path()).execute_workers(1)).await;
    let code = endless();
    host.prepare(&code, &Params::default()).await.unwrap();
    let drained = call(&host, &code, settings(SECOND, Retry::Never));
    running_job(me()).await;
    let cancelled = call(&host, &code, settings(60 * SECOND, Retry::Never));
    until_waiting(&host, 1).await;
    let begin = Instant::now();
    host.shut_down(8 * SECOND).await;
    assert!(begin.elapsed() < 30 * SECOND);
    assert!(matches!(drained.await.unwrap().unwrap().verdict, Verdict::Refused(_)));
    assert!(matches!(cancelled.await.unwrap(), Err(Fault::ShuttingDown)));
    let late = host.validate(&code, block(), &Settings::default()).await;
    assert!(matches!(late, Err(Fault::ShuttingDown)));
    let late = host.precheck(&code, &Params::default()).await;
    assert!(matches!(late, Err(Fault::ShuttingDown)));
}

#[tokio::test(flavor = "multi_thread")]
async fn workers_that_have_nothing_to_do_are_ended_but_for_one() {
    let _alone = ALONE.lock().await;
    let cache = tempfile::tempdir().unwrap();
    let idle_max = Duration::from_millis(400);
    let host = started(builder(cache.path()).execute_workers(3).idle_max(idle_max)).await;
    let code = endless();
    host.prepare(&code, &Params::default()).await.unwrap();
    let calls = [1, 2, 3].map(|_| call(&host, &code, settings(SECOND / 5, Retry::Never)));
    for call in calls {
        call.await.unwrap().unwrap();
    }
    let workers = || {
        let mut processes = descendants(me());
        processes.retain(|process| process.parent == me() && process.name.contains("execute"));
        processes.len()
    };
    until("one worker", || (workers() == 1).then_some(())).await;
    returned(&host.validate(&trivial(1), block(), &Settings::default()).await.unwrap());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_artifact_whose_jobs_die_is_made_anew() {
    let _alone = ALONE.lock().await;
    let cache = tempfile::tempdir().unwrap();
    let host = started(builder(cache.path()).execute_workers(1)).await;
    let code = endless();
    host.prepare(&code, &Params::default()).await.unwrap();
    for (input, origin) in
        [(1, Origin::Memory), (2, Origin::Memory), (3, Origin::Memory), (4, Origin::Prepared)]
    {
        let validation = tokio::spawn({
            let (host, code) = (host.clone(), code.clone());
            let settings = settings(20 * SECOND, Retry::Never);
            async move { host.validate(&code, Block::encoded(vec![input]), &settings).await }
        });
        let (job, _) = running_job(me()).await;
        kill(job.pid);
        let answer = validation.await.unwrap().unwrap();
        assert_eq!(answer.verdict, Verdict::Inconclusive(Doubt::Signaled { signal: 9 }));
        assert_eq!(answer.artifact.unwrap().origin, origin, "input {input}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn workers_that_cannot_start_are_a_fault_to_each_who_asks_and_soon() {
    let _alone = ALONE.lock().await;
    let folder = tempfile::tempdir().unwrap();
    let program = folder.path().join("worker");
    std::fs::copy(PROGRAM, &program).unwrap();
    let host = started(
        builder(folder.path().join("cache").as_path())
            .worker_program(&program)
            .execute_workers(1)
            .prepare_retry(PrepareRetry::default()),
    )
    .await;
    let code = trivial(1);
    returned(&host.validate(&code, block(), &Settings::default()).await.unwrap());
    // The file that the host holds open is emptied: from now on it is no program.
    emptied(&program).await;
    let begin = Instant::now();
    for _ in 0..100 {
        let answer = host.validate(&code, block(), &settings(SECOND, Retry::Once)).await;
        assert!(matches!(answer, Err(Fault::Spawn(_))), "{answer:?}");
    }
    assert!(begin.elapsed() < 30 * SECOND, "{:?}", begin.elapsed());
    std::fs::copy(PROGRAM, &program).unwrap();
    let recovered = until_returned(&host, &code).await;
    returned(&recovered);
}

async fn until_returned(host: &Host, code: &Code) -> lazaret::Answer<Validated> {
    let begin = Instant::now();
    loop {
        match host.validate(code, block(), &Settings::default()).await {
            Ok(answer) => return answer,
            Err(fault) => assert!(begin.elapsed() < 60 * SECOND, "no recovery: {fault}"),
        }
        tokio::task::yield_now().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_makes_the_next_jobs_is_kept_off_the_processor_of_a_call_and_a_long_call_is_on_any() {
    let _alone = ALONE.lock().await;
    let all = processors("self").unwrap();
    // As the host counts them, which is fewer under a quota.
    if std::thread::available_parallelism().is_ok_and(|count| count.get() < 2) {
        return skipped(1, "two processors: this process may use one");
    }
    let cache = tempfile::tempdir().unwrap();
    let host = started(builder(cache.path()).execute_workers(1)).await;
    let code = endless();
    for _ in 0..2 {
        call(&host, &code, settings(SECOND / 10, Retry::Never)).await.unwrap().unwrap();
    }
    let third = call(&host, &code, settings(SECOND / 2, Retry::Never));
    let (job, worker) = running_job(me()).await;
    assert_eq!(processors(&job.pid.to_string()), Some(all.clone()));
    assert_eq!(processors(&worker.pid.to_string()), Some(all.clone()));
    let is_kept_off = |process: &Process| {
        process.parent == worker.pid
            && processors(&process.pid.to_string()).is_some_and(|own| own != all)
    };
    until("a template", || descendants(me()).iter().any(is_kept_off).then_some(())).await;
    third.await.unwrap().unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn where_each_processor_has_a_call_a_worker_keeps_to_one_and_a_long_call_does_not() {
    let _alone = ALONE.lock().await;
    let all = processors("self").unwrap();
    let count = std::thread::available_parallelism().map_or(1, usize::from);
    let own = rustix::thread::sched_getaffinity(None).map_or(0, |set| set.count() as usize);
    if !(2..=WORKERS_MAX).contains(&count) || count != own {
        return skipped(1, "2 to 16 processors that are this process's own");
    }
    let cache = tempfile::tempdir().unwrap();
    let host = started(builder(cache.path()).execute_workers(count)).await;
    let code = trivial(0);
    let calls: Vec<_> = (0..20 * count).map(|_| call(&host, &code, Settings::default())).collect();
    for call in calls {
        returned(&call.await.unwrap().unwrap());
    }
    let kept_to = || {
        let processes = descendants(me());
        let is_worker = |process: &&Process| {
            process.parent == me() && process.name.starts_with("lazaret-execute")
        };
        let of = |process: &Process| processors(&process.pid.to_string());
        processes.iter().filter(is_worker).filter_map(of).collect::<Vec<_>>()
    };
    let workers = kept_to();
    let different: std::collections::BTreeSet<_> = workers.iter().collect();
    let is_one = |processors: &String| processors.parse::<usize>().is_ok();
    assert!(workers.len() == count && different.len() == count, "{workers:?}");
    assert!(workers.iter().all(is_one), "{workers:?}");

    let long = call(&host, &endless(), settings(SECOND / 2, Retry::Never));
    let (job, _) = running_job(me()).await;
    let of_job = || processors(&job.pid.to_string());
    until("a job that may run anywhere", || (of_job().as_ref() == Some(&all)).then_some(())).await;
    assert_eq!(kept_to(), workers);
    long.await.unwrap().unwrap();
}

/// Those that a process may use, as the kernel writes them.
fn processors(process: &str) -> Option<String> {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).ok()?;
    let line = |line: &str| line.strip_prefix("Cpus_allowed_list:\t").map(str::to_owned);
    status.lines().find_map(line)
}

#[tokio::test(flavor = "multi_thread")]
async fn workers_and_their_jobs_stay_on_their_processors() {
    let _alone = ALONE.lock().await;
    let allowed = processors("self").unwrap();
    let first = allowed.split([',', '-']).next().unwrap().to_owned();
    let cache = tempfile::tempdir().unwrap();
    let one: lazaret::Cpus = first.parse().unwrap();
    let host = started(builder(cache.path()).execute_workers(1).execute_cpus([one])).await;
    let call = call(&host, &endless(), settings(SECOND / 2, Retry::Never));
    let (job, worker) = running_job(me()).await;
    for process in [job, worker] {
        let own = processors(&process.pid.to_string());
        assert!(process.name.contains("prepare") || own == Some(first.clone()), "{own:?}");
    }
    call.await.unwrap().unwrap();

    let absent = builder(cache.path()).execute_cpus(["1023".parse().unwrap()]).start().await;
    let words = absent.err().map(|fault| with_causes(&fault)).unwrap_or_default();
    assert!(words.contains("processors 1023"), "{words}");
}

/// An error and its causes.
fn with_causes(error: &dyn std::error::Error) -> String {
    std::iter::successors(Some(error), |error| error.source())
        .map(|error| error.to_string())
        .collect()
}
