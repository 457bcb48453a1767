//! A run from start to end: rounds of load and harm, each followed by calm, in which every kind of
//! request must have its exact answer and nothing may be held that was not held before.

use std::{
    net::SocketAddr,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use lazaret::{Fault, Host, JailLevel, Patience, PrepareLimits, PrepareRetry};
use tokio::{net::TcpListener, task::JoinSet, time::sleep};

use crate::{
    bounds::{
        CLIENTS, COOL_DOWN, EXECUTE_WORKERS, GONE_MAX, HOT_BYTES_MAX, LOOK_EVERY, PRECHECK_CPU,
        PREPARE_CPU, PREPARE_WORKERS, RECOVERY_MAX, REQUESTS_PER_ROUND_MAX, SETTLED_MAX,
        WARM_AFTER, rounds,
    },
    choices::Choices,
    guests::{Asked, Guests, KINDS, Kind},
    harm,
    held::{Held, processes, sum},
    load::{Manner, Soak, ask, client},
    tally::Tally,
};

/// Runs, prints, and says whether everything held; an error if it could not begin.
pub(crate) async fn run(
    time: Duration,
    seed: u64,
    metrics: Option<SocketAddr>,
) -> Result<bool, String> {
    let folder = tempfile::tempdir().map_err(|error| error.to_string())?;
    let cache = folder.path().join("cache");
    let soak = Arc::new(Soak {
        host: start(&cache).await.map_err(|fault| fault.to_string())?,
        guests: Guests::new(),
        tally: Tally::default(),
        cache,
        seed,
        left: AtomicU64::new(0),
    });
    if let Some(address) = metrics {
        let listener = TcpListener::bind(address).await;
        let listener = listener.map_err(|error| format!("metrics at {address}: {error}"))?;
        tokio::spawn(soak.host.serve_metrics(listener));
    }
    let (count, length) = rounds(time);
    println!("soak: {count} rounds of {length:?}, --seed {seed}");
    let (begin, mut warm) = (Instant::now(), None::<Held>);
    for round in 1..=count {
        load(&soak, round, length).await;
        recover(&soak, round).await;
        let held = settle(&soak, round, warm.as_ref()).await;
        let all = soak.tally.counts().all();
        println!("{:>6.1?} {} answered; {held}", begin.elapsed(), all.answered());
        warm = Some(held.baseline(warm));
    }
    end(&soak).await;
    let Soak { host, tally, .. } = Arc::into_inner(soak).ok_or("somebody is left")?;
    gone(host, &tally).await;
    let counts = tally.counts();
    println!("\n{}", counts.table());
    match counts.complaints {
        0 => println!("everything held"),
        wrong => println!("{wrong} things did not hold"),
    }
    Ok(counts.complaints == 0)
}

async fn start(cache: &Path) -> Result<Host, Fault> {
    let limits = PrepareLimits {
        precheck_cpu: PRECHECK_CPU,
        execution_cpu: PREPARE_CPU,
        ..PrepareLimits::default()
    };
    let retry = PrepareRetry { cool_down: COOL_DOWN, tries_max: u32::MAX, ..Default::default() };
    let builder = Host::builder()
        .cache_dir(cache)
        .execute_workers(EXECUTE_WORKERS)
        .prepare_workers(PREPARE_WORKERS)
        .critical_prepare_workers(0)
        .hot_bytes_max(HOT_BYTES_MAX)
        .patience(Patience { greeting: Duration::from_secs(10), ..Patience::default() })
        .prepare_limits(limits)
        .prepare_retry(retry);
    match builder.clone().start().await {
        Err(fault @ Fault::Jail { .. }) => {
            eprintln!("SKIPPED (1): the strict jail: {fault}");
            builder.jail(JailLevel::Weak).start().await
        }
        started => started,
    }
}

/// Load and harm, until both have ended.
async fn load(soak: &Arc<Soak>, round: u32, length: Duration) {
    soak.left.store(REQUESTS_PER_ROUND_MAX, Ordering::Relaxed);
    let until = Instant::now() + length;
    let mut tasks = JoinSet::new();
    for who in 0..CLIENTS {
        let (soak, choices) = (soak.clone(), Choices::of(soak.seed, round, who));
        tasks.spawn(async move { client(&soak, choices, until).await });
    }
    let choices = |number| Choices::of(soak.seed, round, CLIENTS + number);
    let (killer, damager, withdrawer) = (choices(0), choices(1), choices(2));
    let shared = soak.clone();
    tasks.spawn(async move { harm::kill(&shared, killer, until).await });
    let shared = soak.clone();
    tasks.spawn(async move { harm::damage(&shared, damager, until).await });
    let shared = soak.clone();
    tasks.spawn(async move { harm::withdraw(&shared, withdrawer, until).await });
    while let Some(ended) = tasks.join_next().await {
        if let Err(error) = ended {
            soak.tally.complain(&format!("a client ended with {error}"));
        }
    }
}

/// Waits until every kind of request has its exact answer again.
async fn recover(soak: &Arc<Soak>, round: u32) {
    let begin = Instant::now();
    let mut choices = Choices::of(soak.seed, round, u64::MAX);
    while let Err(wrong) = every_kind(soak, &mut choices).await {
        if begin.elapsed() > RECOVERY_MAX {
            return soak.tally.complain(&format!("{RECOVERY_MAX:?} after the last harm: {wrong}"));
        }
        sleep(LOOK_EVERY).await;
    }
}

/// As many calls at once as there are workers, so that all are there, and then each kind once.
async fn every_kind(soak: &Arc<Soak>, choices: &mut Choices) -> Result<(), String> {
    let mut calls = JoinSet::new();
    for _ in 0..EXECUTE_WORKERS {
        let (soak, asked) = (soak.clone(), soak.guests.of_kind(Kind::Endless, choices));
        let long = Asked { cpu: 10 * asked.cpu, ..asked };
        calls.spawn(async move { ask(&soak, long, &Manner::calm()).await });
    }
    while let Some(ended) = calls.join_next().await {
        ended.map_err(|error| error.to_string())??;
    }
    for (kind, _) in KINDS {
        ask(soak, soak.guests.of_kind(*kind, choices), &Manner::calm()).await?;
    }
    Ok(())
}

/// Waits until nothing is held beyond what a warm host holds.
async fn settle(soak: &Arc<Soak>, round: u32, warm: Option<&Held>) -> Held {
    let begin = Instant::now();
    let mut choices = Choices::of(soak.seed, round, u64::MAX - 1);
    loop {
        let held = Held::now(&soak.host, &soak.cache);
        let idle = soak.host.calls().running == 0 && soak.host.preparations().running == 0;
        match held.complaint(warm) {
            None if idle && (warm.is_some() || begin.elapsed() > WARM_AFTER) => return held,
            wrong if begin.elapsed() > SETTLED_MAX => {
                let wrong = wrong.unwrap_or_else(|| "something is still under way".into());
                soak.tally.complain(&format!("{wrong}; {held}"));
                return held;
            }
            // On a slow machine one of the calls at once may have ended before the last began.
            Some(_) if held.lacks_workers() => drop(every_kind(soak, &mut choices).await),
            _ => sleep(LOOK_EVERY).await,
        }
    }
}

/// Shuts the host down and sees that every request was answered once.
async fn end(soak: &Arc<Soak>) {
    soak.host.shut_down(GONE_MAX).await;
    let all = soak.tally.counts().all();
    let metrics = soak.host.metrics_text();
    for (what, counted, should) in [
        ("requests without an ending", all.begun, all.ended()),
        ("requests by the host's own count", sum(&metrics, "lazaret_requests_total"), all.begun),
        (
            "answers by the host's own count",
            sum(&metrics, "lazaret_concluded_total"),
            all.answered(),
        ),
    ] {
        if counted != should {
            soak.tally.complain(&format!("{what}: {counted}, not {should}"));
        }
    }
    let waiting = [soak.host.calls(), soak.host.preparations()];
    if waiting.iter().any(|queue| queue.running > 0 || queue.waiting.iter().any(|one| one.1 > 0)) {
        soak.tally.complain(&format!("somebody is left in a queue: {waiting:?}"));
    }
}

/// Drops the host, and sees that its processes go with it.
async fn gone(host: Host, tally: &Tally) {
    drop(host);
    let begin = Instant::now();
    while !processes().is_empty() {
        if begin.elapsed() > GONE_MAX {
            return tally.complain(&format!("processes are left: {:?}", processes()));
        }
        sleep(LOOK_EVERY).await;
    }
}
