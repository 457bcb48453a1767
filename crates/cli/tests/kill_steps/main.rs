//! `kill -9` of the host, of a worker and of a job at every step of a request, from before there is a
//! worker until after the reply has come. The host stands still at the step: it runs from one system
//! call to the next (`traced`), and a step is one that it has just made.
//!
//! After a kill no process, no memory file and no temporary file is left within a second, the artifact
//! is whole or absent, and the next host on the same cache answers the request.

#[path = "../support/mod.rs"]
mod support;
mod traced;

use std::{
    collections::BTreeSet,
    fs,
    os::{fd::OwnedFd, unix::fs::MetadataExt},
    path::{Path, PathBuf},
    process::{Command, ExitStatus},
    time::{Duration, Instant},
};

use libc as c;
use rustix::fs::{Mode, OFlags};
use support::{
    EMPTY_RESULT, PROGRAM, descendants, ends_within, entries, kill, pidfd, running_job, skipped,
    until,
};
use tempfile::TempDir;
use traced::{Call, Event, Traced};

/// How long anything may outlive a kill.
const LINGER_MAX: Duration = Duration::from_secs(1);
const RETURNED: i32 = 0;
const FAULT: i32 = 4;

/// A kind of progress.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Did {
    /// It started a worker.
    Started,
    /// It sent a worker a frame: a greeting to each of the two, one piece of work to each.
    Sent,
    /// A worker's frame came.
    Received,
    /// It made the artifact's file, which has no name yet.
    Made,
    /// It wrote to that file: the header, the artifact.
    Written,
    /// It synced the file, and later the directory.
    Synced,
    /// It gave the file its name.
    Named,
}
use Did::{Made, Named, Received, Sent, Started, Synced, Written};

#[derive(Clone, Copy, Debug)]
struct Step {
    name: &'static str,
    /// What the host has just done, and for which time.
    at: (Did, u32),
    /// Whether a job must be running its guest.
    runs: bool,
}

const fn step(name: &'static str, did: Did, time: u32) -> Step {
    Step { name, at: (did, time), runs: false }
}

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

/// Returns [`EMPTY_RESULT`], after so many turns of a loop when it is prepared and when it is called.
fn guest(turns: u32) -> String {
    format!(
        r#"(module
            (memory (export "memory") 1)
            (global (export "__heap_base") i32 (i32.const 1024))
            (func $spin (local i32)
                (local.set 0 (i32.const {turns}))
                (loop (br_if 0 (local.tee 0 (i32.sub (local.get 0) (i32.const 1))))))
            (start $spin)
            (func (export "validate_block") (param i32 i32) (result i64)
                (call $spin)
                (i64.const 0x0000_000c_0000_0200)))"#
    )
}

/// Enough for a job to be seen while it runs.
const TURNS: u32 = 2_000_000_000;

/// A folder with a request in it, and a cache that each case begins empty.
struct Stage(TempDir);

impl Stage {
    fn set() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        for (name, turns) in [("quick.wat", 1), ("slow.wat", TURNS)] {
            fs::write(folder.path().join(name), guest(turns)).expect("a file");
        }
        fs::write(folder.path().join("params"), [0; 40]).expect("a file");
        assert_eq!(EMPTY_RESULT.len(), 0xc, "what the guest returns");
        Self(folder)
    }

    fn file(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// A host that answers the request and ends.
    fn command(&self, step: &Step) -> Command {
        let code = self.file(if step.runs { "slow.wat" } else { "quick.wat" });
        let mut program = Command::new(PROGRAM);
        program.args(["pvf", "validate", "--json", "--accept-weaker-jail", "--cache"]);
        program.arg(self.file("cache")).arg("--code").arg(code);
        program.arg("--params").arg(self.file("params")).env("TMPDIR", self.0.path());
        program
    }

    /// A host that stands still at the step.
    async fn host_at(&self, step: &Step) -> Host {
        let _ = fs::remove_dir_all(self.file("cache"));
        let mut program =
            Traced::start(&mut self.command(step)).expect("a host that can be traced");
        run_to(&mut program, step);
        let pid = program.pid();
        if step.runs {
            running_job(pid).await;
        }
        if step.at.0 == Received {
            until("a standby job", || {
                descendants(pid).iter().find(|one| one.parent != pid).cloned()
            })
            .await;
        }
        Host { memory_files: memory_files(pid), processes: processes(pid), program }
    }

    /// What a crash may leave: a whole artifact, if the step is so far.
    fn is_clean(&self, step: &Step) {
        let there = entries(self.0.path()).len();
        let cache = self.file("cache").is_dir();
        assert_eq!(there, 3 + usize::from(cache), "{}: temporary files are left", step.name);
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

struct Host {
    program: Traced,
    /// Every process below it.
    processes: Vec<(support::Process, OwnedFd)>,
    /// Device and number of each memory file that it or one of them holds.
    memory_files: BTreeSet<(u64, u64)>,
}

impl Host {
    /// The newest worker, or a job of it: that one which the step is about.
    fn newest(&self, is_worker: bool) -> i32 {
        let host = self.program.pid();
        let found = self.processes.iter().filter(|(one, _)| (one.parent == host) == is_worker);
        found.map(|(one, _)| one.pid).max().expect("a process to kill")
    }
}

/// Runs until the host has done what the step names.
fn run_to(program: &mut Traced, step: &Step) {
    let (mut file, mut left) = (None, step.at.1);
    loop {
        let did = match program.next().expect("the next event") {
            Event::Started => Some(Started),
            Event::Returned(call) => did(&call, &mut file),
            Event::Ended(status) => panic!("{}: the host ended before: {status}", step.name),
        };
        left -= u32::from(did == Some(step.at.0));
        if left == 0 {
            return;
        }
    }
}

fn did(call: &Call, file: &mut Option<u64>) -> Option<Did> {
    let with_flags = |at: usize| call.arguments[at] & c::O_TMPFILE as u64 == c::O_TMPFILE as u64;
    match call.number {
        _ if call.result < 0 => None,
        c::SYS_sendmsg => Some(Sent),
        c::SYS_recvmsg => (call.result > 0).then_some(Received),
        c::SYS_open if with_flags(1) => {
            *file = Some(call.result as u64);
            Some(Made)
        }
        c::SYS_openat if with_flags(2) => {
            *file = Some(call.result as u64);
            Some(Made)
        }
        c::SYS_write => (*file == Some(call.arguments[0])).then_some(Written),
        c::SYS_fsync => Some(Synced),
        c::SYS_linkat => Some(Named),
        _ => None,
    }
}

fn processes(host: i32) -> Vec<(support::Process, OwnedFd)> {
    let all = descendants(host).into_iter();
    all.map(|process| (process.clone(), pidfd(process.pid))).collect()
}

/// The memory files of a process and of those below it; of no process, those of all.
fn memory_files(host: i32) -> BTreeSet<(u64, u64)> {
    let below = descendants(host).into_iter().map(|process| process.pid);
    below.chain((host > 0).then_some(host)).flat_map(memory_files_of).collect()
}

fn memory_files_of(pid: i32) -> Vec<(u64, u64)> {
    let descriptors = fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten().flatten();
    let is_one = |path: &Path| {
        fs::read_link(path).is_ok_and(|target| target.to_string_lossy().starts_with("/memfd:"))
    };
    descriptors
        .filter(|entry| is_one(&entry.path()))
        .filter_map(|entry| fs::metadata(entry.path()).ok())
        .map(|facts| (facts.dev(), facts.ino()))
        .collect()
}

fn is_answered(step: &Step, status: ExitStatus, words: &str) {
    assert_eq!(status.code(), Some(RETURNED), "{}: {words}", step.name);
    assert!(words.contains(r#""head_data":"0x","#), "{}: {words}", step.name);
}

fn all_end_by(deadline: Instant, processes: &[(support::Process, OwnedFd)], step: &Step) {
    for (process, pidfd) in processes {
        let left = deadline.saturating_duration_since(Instant::now());
        assert!(ends_within(pidfd, left), "{}: {process:?} is left", step.name);
    }
}

/// Whether a host can be traced here, and can make files without names; says so if not.
fn is_possible(cases: usize) -> bool {
    let traced = Traced::start(&mut Command::new("true")).and_then(Traced::finish);
    let folder = tempfile::tempdir().expect("a folder");
    let flags = OFlags::WRONLY | OFlags::TMPFILE;
    let unnamed = rustix::fs::open(folder.path(), flags, Mode::from(0o600));
    match (traced, unnamed) {
        (Ok(_), Ok(_)) => return true,
        (Err(error), _) => skipped(cases, &format!("kills at every step: ptrace: {error}")),
        (_, Err(errno)) => skipped(cases, &format!("kills at every step: O_TMPFILE: {errno}")),
    }
    false
}

#[tokio::test]
async fn a_host_killed_at_any_step_leaves_nothing_and_the_next_one_answers() {
    if !is_possible(STEPS.len()) {
        return;
    }
    let stage = Stage::set();
    let named = STEPS.iter().position(|step| step.at == NAMED.at).expect("a step");
    for (number, step) in STEPS.iter().enumerate() {
        let host = stage.host_at(step).await;
        let deadline = Instant::now() + LINGER_MAX;
        host.program.kill().expect("a host to kill");
        all_end_by(deadline, &host.processes, step);
        let left: Vec<_> = memory_files(0).intersection(&host.memory_files).copied().collect();
        assert!(left.is_empty(), "{}: memory files {left:?} are left", step.name);
        assert!(Instant::now() < deadline, "{}: it took too long", step.name);
        stage.is_clean(step);
        stage.is_served(step, number >= named);
    }
}

/// What the host says when its victim is killed at the step and it goes on.
async fn goes_on(stage: &Stage, step: &Step, is_worker: bool, expected: i32) {
    let host = stage.host_at(step).await;
    kill(host.newest(is_worker));
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
