//! `kill -9` of jobs and workers at random moments, request after request. Every request is answered
//! once and by the table; afterwards descriptors, processes and memory are as before.
//!
//! Memory is compared with that of a warm host. Bytes on the heap are counted by the allocator, so that
//! what leaks per request shows at once. Resident pages also depend on how many threads of the runtime
//! ever read two files at once, because the C library keeps pages for each, and on how many files the
//! cache has, because pruning looks at each: so the host is warm first, and the cache is emptied at
//! each look.
//!
//! `LAZARET_KILLS=10000` runs so many requests (300 otherwise), `LAZARET_SEED` repeats a run's
//! choices; moments depend on the machine too.

mod support;

use std::{
    alloc::{GlobalAlloc, Layout, System},
    fmt, fs,
    sync::atomic::{AtomicU64, Ordering},
    time::{Duration, Instant},
};

use lazaret::{
    Answer, Code, Doubt, Fault, Host, NoGreeting, Refusal, Retry, Verdict, pvf::Validated,
};
use rustix::process::{Pid, PidfdFlags, Signal, kill_process, pidfd_open};
use support::{
    Process, STUCK_AFTER, block, builder, descendants, endless, process_ends_within, started,
    trivial, until,
};

const REQUESTS: u32 = 300;
const WORKERS: usize = 2;
/// How often memory is looked at; the first time counts as warm.
const LOOKS: u32 = 10;
/// What the host's heap may have grown since then: what may be under way at one look and not at another.
const HEAP_GROWTH_BYTES_MAX: u64 = 64 << 10;
/// What the resident pages of the host may have grown: its heap is counted apart, so this is what its
/// allocator keeps for threads that a busy machine made it start.
const HOST_GROWTH_BYTES_MAX: u64 = 16 << 20;
/// What those of its workers may have grown.
const WORKERS_GROWTH_BYTES_MAX: u64 = 1 << 20;
/// The CPU limit of a guest that never ends: long enough to be found and killed.
const ENDLESS_CPU: Duration = Duration::from_millis(20);
/// That of a guest that ends at once, on a machine that is busy with these tests.
const QUICK_CPU: Duration = Duration::from_secs(5);

type Ended = Result<Answer<Validated>, Fault>;

/// The system's allocator, and how many bytes it has given out.
struct Counted;

#[global_allocator]
static ALLOCATOR: Counted = Counted;
static HEAP_BYTES: AtomicU64 = AtomicU64::new(0);

// SAFETY: every call goes to the system's allocator as it came.
unsafe impl GlobalAlloc for Counted {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        HEAP_BYTES.fetch_add(layout.size() as u64, Ordering::Relaxed);
        // SAFETY: the caller's promise is passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        HEAP_BYTES.fetch_sub(layout.size() as u64, Ordering::Relaxed);
        // SAFETY: the caller's promise is passed on.
        unsafe { System.dealloc(block, layout) }
    }
}

/// xorshift64*: enough for choices, the same on every machine.
struct Choices(u64);

impl Choices {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) % bound
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Guest {
    Quick,
    Endless,
    /// Never seen before, so that it must be prepared.
    New(u32),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Victim {
    Nobody,
    Job,
    Worker,
}

/// What this process and its workers hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Held {
    descriptors: usize,
    workers: usize,
    jobs: usize,
    zombies: usize,
    heap_bytes: u64,
    host_bytes: u64,
    workers_bytes: u64,
}

impl Held {
    /// Fails unless as much is held as by a warm host.
    fn is_as(&self, warm: &Self) {
        assert!(self.descriptors <= warm.descriptors, "{self}, and a warm host: {warm}");
        assert_eq!(self.workers, warm.workers);
        assert_eq!(self.zombies, 0);
        for (what, now, warm, most) in [
            ("heap", self.heap_bytes, warm.heap_bytes, HEAP_GROWTH_BYTES_MAX),
            ("host", self.host_bytes, warm.host_bytes, HOST_GROWTH_BYTES_MAX),
            ("workers", self.workers_bytes, warm.workers_bytes, WORKERS_GROWTH_BYTES_MAX),
        ] {
            let grown = now.saturating_sub(warm);
            assert!(grown < most, "the {what} grew by {grown} bytes");
        }
    }
}

impl fmt::Display for Held {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} descriptors, {} workers, {} standby jobs, {} zombies, heap {} KiB, host {} KiB, \
             workers {} KiB",
            self.descriptors,
            self.workers,
            self.jobs,
            self.zombies,
            self.heap_bytes / 1024,
            self.host_bytes / 1024,
            self.workers_bytes / 1024,
        )
    }
}

fn me() -> i32 {
    std::process::id() as i32
}

fn from_environment(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

#[tokio::test(flavor = "multi_thread")]
async fn random_kills_leave_nothing_behind_and_no_request_unanswered() {
    let requests = from_environment("LAZARET_KILLS").map_or(REQUESTS, |count| count as u32);
    let seed = from_environment("LAZARET_SEED").unwrap_or(u64::from(std::process::id()) << 20 | 1);
    say(&format!("kills: {requests} requests, LAZARET_SEED={seed}"));
    let mut choices = Choices(seed.max(1));
    let cache = tempfile::tempdir().unwrap();
    // Artifacts in memory are descriptors, and new code is prepared here: none is kept.
    let settings = builder(cache.path()).execute_workers(WORKERS).prepare_workers(1);
    let host = started(settings.hot_bytes_max(0)).await;
    let guests = (trivial(0), endless());

    let mut tally = Tally::default();
    let mut warm = None;
    for number in 1..=requests {
        one_request(&host, &guests, number, &mut choices, &mut tally).await;
        if number % (requests / LOOKS).max(1) == 0 {
            for path in support::entries(cache.path()) {
                fs::remove_file(path).unwrap();
            }
            let now = settled(&host, &guests, warm.as_ref()).await;
            say(&format!("kills: after {number}: {now}"));
            now.is_as(warm.get_or_insert(now));
        }
    }
    say(&format!("kills: {tally:?}"));
    drop(host);
    until("every process to end", || {
        (descendants(me()).is_empty() && zombies() == 0).then_some(())
    })
    .await;
}

/// Asks for something, has somebody killed meanwhile or not, and counts what came of it.
async fn one_request(
    host: &Host,
    guests: &(Code, Code),
    number: u32,
    choices: &mut Choices,
    tally: &mut Tally,
) {
    let guest = match choices.below(10) {
        0 => Guest::New(number + 1),
        1..5 => Guest::Endless,
        _ => Guest::Quick,
    };
    let victim = match choices.below(5) {
        0 => Victim::Nobody,
        1 | 2 => Victim::Worker,
        _ => Victim::Job,
    };
    // Most are not tried again, so that each kill shows in an answer.
    let retry = if choices.below(8) == 0 { Retry::Once } else { Retry::Never };
    let (code, cpu) = match guest {
        Guest::Quick => (guests.0.clone(), QUICK_CPU),
        Guest::Endless => (guests.1.clone(), ENDLESS_CPU),
        Guest::New(salt) => (trivial(salt), QUICK_CPU),
    };
    let request = tokio::spawn({
        let host = host.clone();
        async move { host.validate(&code, block(), &support::settings(cpu, retry)).await }
    });
    kill_one(choices, victim, || request.is_finished(), tally).await;
    let ended = request.await.expect("no request panics");
    tally.count(guest, victim, &ended);
}

/// Kills a worker or a job of any role as long as the request runs, at a moment that is a random
/// number of looks away.
async fn kill_one(
    choices: &mut Choices,
    victim: Victim,
    is_over: impl Fn() -> bool,
    tally: &mut Tally,
) {
    for _ in 0..choices.below(12) {
        tokio::task::yield_now().await;
    }
    while victim != Victim::Nobody && !is_over() {
        let found: Vec<Process> = descendants(me())
            .into_iter()
            .filter(|process| (process.parent == me()) == (victim == Victim::Worker))
            .collect();
        if let Some(chosen) = found.get(choices.below(found.len().max(1) as u64) as usize) {
            let pid = Pid::from_raw(chosen.pid).expect("a process id");
            // It may have ended between the look and now.
            if let Ok(handle) = pidfd_open(pid, PidfdFlags::empty())
                && kill_process(pid, Signal::KILL).is_ok()
            {
                // Who looks at processes afterwards must not find it half alive.
                let ended = process_ends_within(chosen, &handle, STUCK_AFTER);
                assert!(ended, "{chosen:?} survived SIGKILL");
                tally.killed += 1;
                return;
            }
        }
        tokio::task::yield_now().await;
    }
}

/// Runs what needs every worker at once, and sees every worker served.
async fn settle(host: &Host, quick: &Code, endless: &Code) {
    // Workers that were killed at their start are not started again at once.
    let begin = Instant::now();
    while host.validate(quick, block(), &support::settings(QUICK_CPU, Retry::Never)).await.is_err()
        || host.inspect(quick, &Default::default()).await.is_err()
    {
        assert!(begin.elapsed() < STUCK_AFTER, "no worker starts");
        tokio::task::yield_now().await;
    }
    let running: Vec<_> = (0..WORKERS)
        .map(|_| {
            let (host, code) = (host.clone(), endless.clone());
            let settings = support::settings(10 * ENDLESS_CPU, Retry::Once);
            tokio::spawn(async move { host.validate(&code, block(), &settings).await })
        })
        .collect();
    for request in running {
        let ended = request.await.expect("no request panics");
        assert!(is_over_limit(&ended) || matches!(ended, Err(Fault::Stalled { .. })), "{ended:?}");
    }
    host.inspect(quick, &Default::default()).await.expect("a prepare worker");
    for _ in 0..2 * WORKERS {
        let settings = support::settings(QUICK_CPU, Retry::Never);
        let answer = host.validate(quick, block(), &settings).await.expect("an honest request");
        support::returned(&answer);
    }
}

/// What is held when every worker is there with a standby job and nothing is under way. The log pipe of
/// a dead worker is closed a moment after it.
async fn settled(host: &Host, (quick, endless): &(Code, Code), warm: Option<&Held>) -> Held {
    settle(host, quick, endless).await;
    until("workers and standby jobs", || {
        let processes = descendants(me());
        let workers: Vec<_> = processes.iter().filter(|one| one.parent == me()).collect();
        let keepers = processes.iter().filter(|one| one.is_keeper).count();
        let jobs = processes.len() - workers.len() - keepers;
        let held = Held {
            descriptors: fs::read_dir("/proc/self/fd").expect("/proc").count(),
            workers: workers.len(),
            jobs,
            zombies: zombies(),
            heap_bytes: HEAP_BYTES.load(Ordering::Relaxed),
            host_bytes: resident_bytes(me()),
            workers_bytes: workers.iter().map(|worker| resident_bytes(worker.pid)).sum(),
        };
        // A worker that calls has two more while it expects a call: a template and a copy.
        let standby = held.workers..=held.workers + 2 * WORKERS;
        let is_whole =
            held.workers == WORKERS + 1 && keepers == held.workers && standby.contains(&held.jobs);
        let is_closed = warm.is_none_or(|warm| held.descriptors <= warm.descriptors);
        (is_whole && is_closed && held.zombies == 0).then_some(held)
    })
    .await
}

/// Answers, counted by what they say; [`Tally::count`] fails on what the table does not allow.
#[derive(Debug, Default)]
struct Tally {
    killed: u32,
    returned: u32,
    over_limit: u32,
    job_died: u32,
    worker_lost_with_job: u32,
    in_preparation: u32,
    faults: u32,
}

impl Tally {
    fn count(&mut self, guest: Guest, victim: Victim, ended: &Ended) {
        let place = match ended {
            Ok(answer) => match &answer.verdict {
                Verdict::Returned(_) if guest != Guest::Endless => &mut self.returned,
                Verdict::Refused(Refusal::CpuLimit { .. }) if guest == Guest::Endless => {
                    &mut self.over_limit
                }
                Verdict::Inconclusive(Doubt::Signaled { signal: 9 }) => &mut self.job_died,
                Verdict::Inconclusive(Doubt::WorkerLost) => &mut self.worker_lost_with_job,
                Verdict::Inconclusive(Doubt::Preparation(_)) if matches!(guest, Guest::New(_)) => {
                    &mut self.in_preparation
                }
                _ => panic!("{guest:?}, {victim:?} killed: {ended:?}"),
            },
            Err(
                Fault::WorkerLost
                | Fault::NoGreeting(
                    NoGreeting::Ended(_) | NoGreeting::Broken(_) | NoGreeting::ProbeKilled { .. },
                )
                | Fault::NotStarted { .. },
            ) => &mut self.faults,
            Err(_) => panic!("{guest:?}, {victim:?} killed: {ended:?}"),
        };
        *place += 1;
        let is_clean = match ended {
            Ok(answer) => !matches!(answer.verdict, Verdict::Inconclusive(_)),
            Err(_) => false,
        };
        // A standby job that is killed, or a worker that is killed idle, is this request's or a
        // later one's; a request is never in doubt in a run in which nobody was killed.
        assert!(is_clean || self.killed > 0, "nobody was killed: {ended:?}");
    }
}

fn is_over_limit(ended: &Ended) -> bool {
    matches!(ended, Ok(Answer { verdict: Verdict::Refused(Refusal::CpuLimit { .. }), .. }))
}

/// Children that have died and that nobody has reaped.
fn zombies() -> usize {
    let me = me().to_string();
    let is_one = |stat: &str| {
        let after = stat.rsplit_once(") ").map_or("", |(_, after)| after);
        after.strip_prefix("Z ").and_then(|rest| rest.split(' ').next()) == Some(me.as_str())
    };
    let stats = fs::read_dir("/proc").expect("/proc").flatten();
    stats
        .filter_map(|entry| fs::read_to_string(entry.path().join("stat")).ok())
        .filter(|stat| is_one(stat))
        .count()
}

/// Bytes resident of no file (proc(5), `RssAnon`); 0 of a process that has ended.
fn resident_bytes(pid: i32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:")).unwrap_or("0 kB");
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap_or(0) * 1024
}

/// Past the capture of test output: numbers that are the point of the test.
fn say(line: &str) {
    use std::io::Write;
    std::io::stderr().write_all(format!("{line}\n").as_bytes()).expect("standard error");
}
