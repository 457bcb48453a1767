//! `kill -9` of the host, of a worker and of a job at every step of a request, from before there is a
//! worker until after the reply has come.
//!
//! After a kill no process, no memory file and no temporary file is left within a second, the artifact
//! is whole or absent, and the next host on the same cache answers the request.

use std::{fs, os::fd::OwnedFd, time::Instant};

use rustix::process::{Signal, pidfd_send_signal};

use crate::{
    staged::{
        Did::{Made, Named, Received, Sent, Started, Synced, Written},
        Host, RETURNED, Stage, Step, is_answered, is_possible, memory_files, step,
    },
    support::{self, LINGER_MAX, entries, process_ends_within},
};

const FAULT: i32 = 4;

const NOT_GREETED: Step = step("an execute worker that has not greeted", Started, 1);
const GREETED: Step = step("an execute worker that has greeted, with a standby job", Received, 1);
const OTHER_NOT_GREETED: Step = step("a prepare worker that has not greeted", Started, 2);
const PREPARE_SENT: Step = step("code sent to a prepare worker", Sent, 3);
const PREPARING: Step = Step { runs: true, ..step("a prepare job that runs", Sent, 3) };
const PREPARED: Step = step("an artifact that has come", Received, 3);
const NAMED: Step = step("an artifact's file that has its name", Named, 1);
const CALL_SENT: Step = step("a call sent to an execute worker", Sent, 4);
const EXECUTING: Step = Step { runs: true, ..step("an execute job that runs", Sent, 4) };
const REPLIED: Step = step("a reply that has come", Received, 4);

const STEPS: &[Step] = &[
    step("a greeting for a worker that is not there yet", Sent, 1),
    NOT_GREETED,
    GREETED,
    OTHER_NOT_GREETED,
    PREPARE_SENT,
    PREPARING,
    PREPARED,
    step("an artifact's file that is empty", Made, 1),
    step("one that has a header", Written, 1),
    step("one that has all its bytes", Written, 2),
    step("one that is synced", Synced, 1),
    NAMED,
    step("one whose directory is synced", Synced, 2),
    CALL_SENT,
    EXECUTING,
    REPLIED,
];

impl Stage {
    /// Begins with an empty cache.
    async fn fresh_host_at(&self, step: &Step) -> Host {
        let _ = fs::remove_dir_all(self.file("cache"));
        self.host_at(step).await
    }

    /// What a crash may leave: a whole artifact, if the step is so far.
    fn is_clean(&self, step: &Step) {
        let there = entries(self.folder()).len();
        let cache = self.file("cache").is_dir();
        assert_eq!(there, 4 + usize::from(cache), "{}: temporary files are left", step.name);
        let kept = if cache { entries(&self.file("cache")) } else { Vec::new() };
        let whole = kept.iter().all(|path| path.extension().is_some_and(|end| end == "artifact"));
        assert!(whole && kept.len() <= 1, "{}: {kept:?} is left", step.name);
    }

    /// The next host on this cache answers the request.
    fn is_served(&self, step: &Step, is_kept: bool) {
        let ended = self.command(step).output().expect("a host");
        let words = String::from_utf8_lossy(&ended.stdout);
        is_answered(step, ended.status, &words);
        let origin = format!(r#""origin":"{}""#, if is_kept { "disk" } else { "prepared" });
        assert!(words.contains(&origin), "{}: not {origin}: {words}", step.name);
    }
}

impl Host {
    /// The newest worker, or a job of it: that one which the step is about.
    fn newest(&self, is_worker: bool) -> &OwnedFd {
        let host = self.program.pid();
        let found = self.processes.iter().filter(|(one, _)| (one.parent == host) == is_worker);
        let newest = found.max_by_key(|(one, _)| (one.began, one.pid));
        &newest.expect("a process to kill").1
    }
}

fn all_end_by(deadline: Instant, processes: &[(support::Process, OwnedFd)], step: &Step) {
    for (process, pidfd) in processes {
        let left = deadline.saturating_duration_since(Instant::now());
        assert!(process_ends_within(process, pidfd, left), "{}: {process:?} is left", step.name);
    }
}

#[tokio::test]
async fn a_host_killed_at_any_step_leaves_nothing_and_the_next_one_answers() {
    if !is_possible(STEPS.len()) {
        return;
    }
    let stage = Stage::set();
    let named = STEPS.iter().position(|step| step.at == NAMED.at).expect("a step");
    for (number, step) in STEPS.iter().enumerate() {
        let host = stage.fresh_host_at(step).await;
        let deadline = Instant::now() + LINGER_MAX;
        host.program.kill().expect("a host to kill");
        all_end_by(deadline, &host.processes, step);
        // A worker that was being started may hold the program for as long as that takes.
        let left = || memory_files(0).intersection(&host.memory_files).copied().collect::<Vec<_>>();
        while !left().is_empty() {
            assert!(Instant::now() < deadline, "{}: memory files {:?} are left", step.name, left());
            std::thread::yield_now();
        }
        assert!(Instant::now() < deadline, "{}: it took too long", step.name);
        stage.is_clean(step);
        stage.is_served(step, number >= named);
    }
}

/// What the host says when its victim is killed at the step and it goes on.
async fn goes_on(stage: &Stage, step: &Step, is_worker: bool, expected: i32) {
    let host = stage.fresh_host_at(step).await;
    // A job that has replied may have ended by itself.
    let _ = pidfd_send_signal(host.newest(is_worker), Signal::KILL);
    let (status, words) = host.program.finish().expect("a host that ends");
    match expected {
        RETURNED => is_answered(step, status, &words),
        expected => assert_eq!(status.code(), Some(expected), "{}: {words}", step.name),
    }
    all_end_by(Instant::now() + LINGER_MAX, &host.processes, step);
    stage.is_clean(step);
}

#[tokio::test]
async fn a_worker_killed_at_any_step_costs_its_request_nothing_but_time() {
    let cases = [
        (NOT_GREETED, FAULT),
        (GREETED, RETURNED),
        (OTHER_NOT_GREETED, RETURNED),
        (PREPARE_SENT, RETURNED),
        (PREPARING, RETURNED),
        (PREPARED, RETURNED),
        (NAMED, RETURNED),
        (CALL_SENT, RETURNED),
        (EXECUTING, RETURNED),
        (REPLIED, RETURNED),
    ];
    if !is_possible(cases.len()) {
        return;
    }
    let stage = Stage::set();
    for (step, expected) in cases {
        goes_on(&stage, &step, true, expected).await;
    }
}

#[tokio::test]
async fn a_job_killed_at_any_step_costs_its_request_nothing_but_time() {
    let steps = [GREETED, PREPARING, PREPARED, NAMED, EXECUTING, REPLIED];
    if !is_possible(steps.len()) {
        return;
    }
    let stage = Stage::set();
    for step in steps {
        goes_on(&stage, &step, false, RETURNED).await;
    }
}
