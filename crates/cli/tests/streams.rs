//! Streams of programs through the library: who is blamed for a wait, and what is tried again.

mod support;

use std::time::Duration;

use lazaret::{
    Code, CodeFormat, Doubt, Fault, Host, Refusal, Retry, Verdict,
    program::{Command, Settings, Streams},
};
use rustix::process::{Pid, Signal, kill_process};
use support::{programs, running_job, started};

fn code(wat: &str) -> Code {
    Code::new(wat.as_bytes()).expect("code")
}

fn settings(wall: Duration, retry: Retry) -> Settings {
    let mut settings = Settings::wasi();
    settings.params.code_format = CodeFormat::Text;
    settings.limits.wall = Some(wall);
    settings.limits.cpu = support::STUCK_AFTER;
    settings.retry = retry;
    settings
}

/// Sends the job that runs its guest a signal.
async fn signal(signal: Signal) {
    let (job, _) = running_job(std::process::id() as i32).await;
    let job = Pid::from_raw(job.pid).expect("a process id");
    kill_process(job, signal).expect("a job that runs");
}

async fn while_signaled<T>(sent: Signal, run: impl Future<Output = T>) -> T {
    tokio::join!(run, signal(sent)).0
}

/// One test, because each looks for the one job of this process that runs.
#[tokio::test(flavor = "multi_thread")]
async fn who_was_waited_for_decides_who_is_blamed() {
    let cache = tempfile::tempdir().expect("a folder");
    let host = started(support::builder(cache.path()).lanes(lazaret::Lanes::generic())).await;
    a_stopped_job_is_a_stall_where_only_the_host_could_be_waited_for(&host).await;
    a_stopped_job_is_a_doubt_where_the_caller_could_be_waited_for(&host).await;
    a_killed_run_is_tried_again_only_if_nobody_has_seen_it(&host).await;
    a_dropped_run_leaves_no_job(&host).await;
}

async fn a_stopped_job_is_a_stall_where_only_the_host_could_be_waited_for(host: &Host) {
    let settings = settings(Duration::from_secs(2), Retry::Never);
    let endless = code(&programs::endless());
    let command = Command::new("endless").stdin(b"input".to_vec());
    let answer = while_signaled(Signal::STOP, host.run(&endless, command, &settings)).await;
    assert!(matches!(answer, Err(Fault::Stalled { .. })), "{answer:?}");
}

async fn a_stopped_job_is_a_doubt_where_the_caller_could_be_waited_for(host: &Host) {
    let settings = settings(Duration::from_secs(2), Retry::Never);
    let endless = code(&programs::endless());
    let (ours, _theirs) = tokio::io::duplex(1);
    let streams = Streams::default().stdin(ours);
    let run = host.run_streaming(&endless, Command::new("endless"), streams, &settings);
    let answer = while_signaled(Signal::STOP, run).await.expect("no fault of this machine");
    let limit = Duration::from_secs(2);
    assert_eq!(answer.verdict, Verdict::Inconclusive(Doubt::WallLimit { limit }));
}

async fn a_killed_run_is_tried_again_only_if_nobody_has_seen_it(host: &Host) {
    let mut settings = settings(support::STUCK_AFTER, Retry::Once);
    settings.limits.output_bytes_max = u64::MAX;
    let flood = code(&programs::flood());
    let streams = Streams::default().stdout(tokio::io::sink());
    let run = host.run_streaming(&flood, Command::new("flood"), streams, &settings);
    let answer = while_signaled(Signal::KILL, run).await.expect("no fault of this machine");
    assert_eq!(answer.attempts, 1);
    assert!(matches!(answer.verdict, Verdict::Inconclusive(Doubt::Signaled { signal: 9 })));

    settings.limits.cpu = Duration::from_millis(500);
    let endless = code(&programs::endless());
    let run = host.run(&endless, Command::new("endless"), &settings);
    let answer = while_signaled(Signal::KILL, run).await.expect("no fault of this machine");
    assert_eq!(answer.attempts, 2);
    assert!(matches!(answer.verdict, Verdict::Refused(Refusal::CpuLimit { .. })));
}

async fn a_dropped_run_leaves_no_job(host: &Host) {
    let settings = settings(support::STUCK_AFTER, Retry::Never);
    let endless = code(&programs::endless());
    let job = {
        let run = host.run(&endless, Command::new("endless"), &settings);
        let looks = running_job(std::process::id() as i32);
        tokio::select! {
            answer = run => panic!("it has no end: {answer:?}"),
            (job, _) = looks => support::pidfd(job.pid),
        }
    };
    assert!(support::ends_within(&job, support::STUCK_AFTER));
}
