//! What a scrape says is what happened.

mod support;

use std::{
    fs,
    time::{Duration, SystemTime},
};

use lazaret::{Params, Retry, pvf::Settings};
use support::{
    block, builder, code, endless, entries, guest, returned, settings, started, trivial, until,
};

/// How many calls may come before one finds a job that has loaded its artifact.
const CALLS_UNTIL_LOADED_MAX: f64 = 1000.0;

/// The value of a sample, by its whole name with labels.
fn sample(text: &str, name: &str) -> Option<f64> {
    let line =
        text.lines().find(|line| line.strip_prefix(name).is_some_and(|l| l.starts_with(' ')))?;
    line.rsplit(' ').next()?.parse().ok()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_scrape_says_what_happened() {
    let cache = tempfile::tempdir().unwrap();
    let host = started(builder(cache.path())).await;
    // Until a call finds a job that has loaded the artifact, which is made when it was called twice.
    let mut returns = 0.0;
    while support::sample(&host, r#"lazaret_jobs_total{role="execute",from="loaded"}"#) == 0.0 {
        returned(&host.validate(&trivial(1), block(), &Settings::default()).await.unwrap());
        returns += 1.0;
        assert!(returns < CALLS_UNTIL_LOADED_MAX, "no job has loaded it");
    }
    host.validate(&guest("unreachable"), block(), &Settings::default()).await.unwrap();
    let short = settings(Duration::from_millis(20), Retry::Never);
    host.validate(&endless(), block(), &short).await.unwrap();
    host.precheck(&code("(module)"), &Params::default()).await.unwrap();
    host.shut_down(Duration::ZERO).await;
    host.validate(&trivial(1), block(), &Settings::default()).await.unwrap_err();

    let text = host.metrics_text();
    let concluded = |request: &str, conclusion: &str, reason: &str| {
        format!(
            "lazaret_concluded_total{{request=\"{request}\",conclusion=\"{conclusion}\",\
             reason=\"{reason}\"}}"
        )
    };
    for (name, value) in [
        ("lazaret_requests_total{request=\"execute\"}".to_owned(), returns + 3.0),
        ("lazaret_requests_total{request=\"precheck\"}".to_owned(), 1.0),
        (concluded("execute", "returned", ""), returns),
        (concluded("execute", "refused", "trap"), 1.0),
        (concluded("execute", "refused", "cpu-limit"), 1.0),
        (concluded("precheck", "refused", "code"), 1.0),
        (concluded("execute", "fault", "shutting-down"), 1.0),
        ("lazaret_artifacts_total{origin=\"prepared\"}".to_owned(), 3.0),
        ("lazaret_artifacts_total{origin=\"memory\"}".to_owned(), returns - 1.0),
        ("lazaret_kills_total{role=\"execute\",reason=\"cpu-limit\"}".to_owned(), 1.0),
        ("lazaret_jobs_total{role=\"execute\",from=\"standby\"}".to_owned(), returns + 1.0),
        ("lazaret_jobs_total{role=\"execute\",from=\"loaded\"}".to_owned(), 1.0),
        ("lazaret_job_cpu_seconds_count{role=\"execute\"}".to_owned(), returns + 2.0),
        ("lazaret_job_resident_bytes_count{role=\"prepare\"}".to_owned(), 4.0),
        ("lazaret_input_bytes_count".to_owned(), returns + 3.0),
        ("lazaret_workers_total{role=\"execute\",event=\"spawned\"}".to_owned(), 1.0),
        ("lazaret_waiting{queue=\"execute\",lane=\"dispute\"}".to_owned(), 0.0),
        ("lazaret_running{role=\"prepare\"}".to_owned(), 0.0),
        ("lazaret_hot_artifacts".to_owned(), 3.0),
    ] {
        assert_eq!(sample(&text, &name), Some(value), "{name} in\n{text}");
    }
    // One look at the jail when the host began, and one for each call that ran.
    let waited = "lazaret_queue_time_seconds_count{queue=\"execute\",lane=\"approval\"}";
    assert_eq!(sample(&text, waited), Some(returns + 3.0), "{text}");
    assert!(text.ends_with("# EOF\n"), "the OpenMetrics format ends so");
}

/// Three artifacts, one of which nobody used for days; what a crash left of a fourth; and room for one.
#[tokio::test(flavor = "multi_thread")]
async fn a_scrape_says_what_was_pruned_and_why() {
    let cache = tempfile::tempdir().unwrap();
    let host = started(builder(cache.path())).await;
    for salt in 1..=3 {
        host.prepare(&trivial(salt), &Params::default()).await.unwrap();
    }
    drop(host);
    let files = entries(cache.path());
    let bytes = fs::metadata(&files[0]).unwrap().len();
    let abandoned = cache.path().join(format!("{}.{:016x}.writing", "a".repeat(64), 1));
    fs::write(&abandoned, [7; 77]).unwrap();
    for old in [&files[0], &abandoned] {
        let then = SystemTime::now() - Duration::from_secs(3 * 24 * 60 * 60);
        fs::File::open(old).unwrap().set_modified(then).unwrap();
    }

    // Room for one and a half, of which a tenth is made free.
    let host = started(builder(cache.path()).cache_bytes_max(bytes + bytes / 2)).await;
    let pruned = |what: &str, reason: &str| {
        let name = format!("lazaret_cache_pruned_{what}_total{{reason=\"{reason}\"}}");
        sample(&host.metrics_text(), &name)
    };
    until("an artifact that had to make room", || pruned("files", "room")).await;
    for (reason, size) in [("unused", bytes), ("abandoned", 77), ("room", bytes)] {
        assert_eq!(pruned("files", reason), Some(1.0), "{reason}");
        let difference = pruned("bytes", reason).unwrap() - size as f64;
        assert!(difference.abs() < 64.0, "{reason}: {difference} bytes from {size}");
    }
    assert_eq!(entries(cache.path()).len(), 1);
}
