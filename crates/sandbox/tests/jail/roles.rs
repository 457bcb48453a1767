//! The roles in which the test program starts itself: worker, lingering worker, host.
//!
//! Called by `main`. A role never returns, and tells what happened on its log.

use std::io::Write;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use lazaret_sandbox::ends::Ends;
use lazaret_sandbox::fork::{Child, Forked, JobStart, fork_job};
use lazaret_sandbox::home::Home;
use lazaret_sandbox::job::{self, Clocks, JobKind, JobLimits, Seal};
use lazaret_sandbox::layer::{Layer, LayerState, Layers};
use lazaret_sandbox::level::Level;
use lazaret_sandbox::markers;
use lazaret_sandbox::watch::{self, CpuLimit, End};
use lazaret_sandbox::worker::{self, Policy, WorkerJail};
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use crate::attacks::{self, Case};
use crate::{cgroups, levels, streams, work};

/// Plays the role.
pub(crate) fn run(arguments: &[String]) -> ! {
    match arguments {
        [role, name] if role == "worker" => {
            let mut cases = attacks::CASES.iter().chain(streams::CASES);
            let case = cases.find(|case| case.name == name);
            play_case(case.expect("a listed case"), Level::Strict);
        }
        [role, name] if role == "level" => {
            let case = levels::CASES.iter().find(|case| case.name == name).expect("a listed case");
            levels::refuse(case);
            play_case(&attacks::CASES[0], case.level);
        }
        [role, name] if role == "grouped" => be_grouped(name),
        [role] if role == "linger" => linger(),
        [role] if role == "host" => be_host(),
        _ => say("no such role"),
    }
    job::end(0)
}

fn play_case(case: &'static Case, level: Level) {
    markers::install().expect("signal actions can be set");
    let home = Home::of_caller();
    let Some(jail) = confine(case.left_out, level) else { return };
    let (ours, theirs) = UnixStream::pair().expect("a socket pair");
    work::in_the_worker(&ours);
    let _held = case.streams.map(|_| work::give_streams(&ours));
    match fork_job(&jail).expect("a job") {
        Forked::Job(start) => play_job(case, start, theirs.into()),
        Forked::Worker(child) => {
            drop(theirs);
            watch_to_the_end(case, child, &home, jail.ends());
            match rustix::io::read(&ours, &mut [0u8; 1]) {
                Ok(1) => say("the attack began"),
                other => say(&format!("the attack never began: {other:?}")),
            }
        }
    }
}

fn confine(left_out: &[Layer], level: Level) -> Option<WorkerJail> {
    confine_by(&policy(level).leaving_out(left_out))
}

fn policy(level: Level) -> Policy {
    let parent = rustix::process::getppid().expect("started by the harness");
    Policy::new(level, parent, 1 << 20)
}

fn confine_by(policy: &Policy) -> Option<WorkerJail> {
    let mut jail = match worker::confine(policy) {
        Ok(jail) => jail,
        Err(error) => {
            say(&format!("refused {error}"));
            return None;
        }
    };
    if let Err(error) = jail.enter_filter() {
        say(&format!("refused {error}"));
        return None;
    }
    tell(jail.layers());
    Some(jail)
}

/// A worker in a control group, whose first job shows that it can be made.
fn be_grouped(name: &str) {
    markers::install().expect("signal actions can be set");
    let policy = policy(Level::Strict).born_in_cgroup();
    let Some(jail) = confine_by(&policy) else { return };
    if !jail.layers().is_on(Layer::JobCgroup) {
        return say("refused job-cgroup");
    }
    let (ours, theirs) = UnixStream::pair().expect("a socket pair");
    match fork_job(&jail).expect("a job") {
        Forked::Job(start) => {
            let jail = job::confine(start, JobKind::Execute, theirs.into())
                .unwrap_or_else(|_| job::end(markers::EXIT_NOT_CONFINED));
            tell_that_it_begins(&jail);
            job::end(cgroups::job_after_confine(name))
        }
        Forked::Worker(child) => {
            drop(theirs);
            rustix::io::read(&ours, &mut [0u8; 1]).expect("the job is confined");
            let ended = watch::reap(child).expect("reap");
            say(&format!("job {:?}", ended.end));
            cgroups::worker_after_its_job(name);
            say("through");
        }
    }
}

fn play_job(case: &Case, start: JobStart, channel: OwnedFd) -> ! {
    let limits = JobLimits {
        memory_bytes: 64 << 20,
        cpu: Duration::ZERO,
        stack_bytes: 1 << 20,
        file_bytes: if case.kind == JobKind::Prepare { 1 << 20 } else { 0 },
        descriptors: job::STDERR as u32,
        processes: 0,
    };
    let Ok(mut jail) = job::confine(start, case.kind, channel) else {
        job::end(markers::EXIT_NOT_CONFINED)
    };
    jail.limit(&limits).expect("limited");
    work::in_the_job(&jail);
    if let Some(early) = case.before_seal {
        tell_that_it_begins(&jail);
        job::end(early());
    }
    let streams = case.streams.map(|time| {
        let streams = work::take_streams(&jail);
        jail.keep_streams(streams, time).expect("streams in their places")
    });
    let text = attacks::map_text();
    jail.seal(&Seal { text: &[text], clocks: Clocks::Removed }).expect("sealed");
    jail.enter_final_filter().expect("the final filter");
    tell_that_it_begins(&jail);
    let status = (case.attack)(text);
    // A descriptor cannot be closed under the final list.
    std::mem::forget(streams);
    job::end(status)
}

/// So that a job which died on its way into the jail is not taken for one that was stopped.
fn tell_that_it_begins(jail: &job::JobJail) {
    rustix::io::write(jail.channel(), b"!").expect("the worker holds the other end");
}

/// Tells how the job ended; stops it at its CPU limit if the case sets one.
fn watch_to_the_end(case: &Case, child: Child, home: &Home, ends: Option<&Ends>) {
    let begin = Instant::now();
    let used = watch::cpu_time(&child).expect("a CPU clock");
    let mut limit = case.cpu_limit.map(|limit| CpuLimit::new(begin, used, limit));
    let mut is_reached = false;
    while !is_reached && !ends_within(&child, ends, limit.map(|limit| limit.patience())) {
        is_reached =
            limit.as_mut().is_some_and(|limit| limit.is_reached(&child, home).expect("a clock"));
    }
    if is_reached {
        assert!(watch::cpu_time(&child).expect("a CPU clock") >= case.cpu_limit.unwrap());
        watch::kill(&child).expect("kill");
    }
    let ended = watch::reap(child).expect("reap");
    let used = ended.user + ended.system;
    let limit = case.cpu_limit.unwrap_or_default();
    match ended.end {
        End::Exited(status) => say(&format!("ended exited {status}")),
        End::Killed(9) if is_reached && used >= limit => say("ended at its limit"),
        End::Killed(signal) => say(&format!("ended killed {signal}")),
    }
}

/// Whether the job has ended; one that asks is let.
fn ends_within(child: &Child, ends: Option<&Ends>, patience: Option<Duration>) -> bool {
    let patience = patience.map(|patience| Timespec {
        tv_sec: patience.as_secs() as i64,
        tv_nsec: patience.subsec_nanos().into(),
    });
    let mut polled = vec![PollFd::new(child, PollFlags::IN)];
    polled.extend(ends.map(|ends| PollFd::new(ends, PollFlags::IN)));
    poll(&mut polled, patience.as_ref()).expect("poll");
    let [has_ended, asks] =
        [0, 1].map(|at| polled.get(at).is_some_and(|p| !p.revents().is_empty()));
    if asks && let Some(asking) = ends.and_then(|ends| ends.next().expect("who asks")) {
        assert!(asking.is(child) && !has_ended, "{asking:?}");
        say(&format!("asked {}", asking.status()));
        ends.expect("just heard").let_go(asking);
    }
    has_ended
}

/// A worker with a job that waits for ever, which tells both their pids.
fn linger() {
    let Some(jail) = confine(&[], Level::Strict) else { return };
    let (ours, theirs) = UnixStream::pair().expect("a socket pair");
    match fork_job(&jail).expect("a job") {
        Forked::Job(start) => {
            let limits = JobLimits {
                memory_bytes: 64 << 20,
                cpu: Duration::from_secs(60),
                stack_bytes: 1 << 20,
                file_bytes: 0,
                descriptors: 0,
                processes: 0,
            };
            let mut jail = job::confine(start, JobKind::Execute, theirs.into())
                .unwrap_or_else(|_| job::end(markers::EXIT_NOT_CONFINED));
            jail.limit(&limits).expect("limited");
            // Told before the filter; then it spins, so only a signal can end it.
            tell_that_it_begins(&jail);
            loop {
                std::hint::spin_loop();
            }
        }
        Forked::Worker(child) => {
            drop(theirs);
            rustix::io::read(&ours, &mut [0u8; 1]).expect("the job is confined");
            say(&format!("pids {} {}", rustix::process::getpid().as_raw_nonzero(), child.pid()));
            poll(&mut [PollFd::new(&child, PollFlags::IN)], None).expect("poll");
        }
    }
}

/// A host that starts a lingering worker and waits for it.
fn be_host() {
    let mut worker = Command::new("/proc/self/exe");
    worker.args(["--role", "linger"]).env_clear().stdin(Stdio::null()).stdout(Stdio::null());
    worker.spawn().expect("a worker").wait().expect("own child");
}

fn tell(layers: &Layers) {
    for (layer, state) in layers.iter() {
        if let LayerState::Off(refusal) = state {
            say(&format!("off {layer}: {refusal}"));
        }
    }
}

fn say(line: &str) {
    let _ = std::io::stderr().write_all(format!("{line}\n").as_bytes());
}
