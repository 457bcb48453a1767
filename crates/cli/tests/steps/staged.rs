//! A request, and a host that stands still at a step of it.
#![allow(unreachable_pub, reason = "a module of a test program")]

use std::{
    collections::BTreeSet,
    fs,
    os::{fd::OwnedFd, unix::fs::MetadataExt},
    path::{Path, PathBuf},
    process::{Command, ExitStatus},
};

use libc as c;
use rustix::fs::{Mode, OFlags};
use tempfile::TempDir;

use crate::{
    support::{self, EMPTY_RESULT, PROGRAM, descendants, held, running_job, skipped, until},
    traced::{Call, Event, Traced},
};

/// The exit code of a host whose guest returned.
pub const RETURNED: i32 = 0;

/// A kind of progress.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Did {
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
    /// It opened the artifact's file of an earlier host.
    Opened,
    /// It read that file: the header, the artifact, nothing more.
    Read,
    /// It sealed the memory file that it copied the artifact to.
    Sealed,
}
use Did::{Made, Named, Opened, Read, Received, Sealed, Sent, Started, Synced, Written};

#[derive(Clone, Copy, Debug)]
pub struct Step {
    pub name: &'static str,
    /// What the host has just done, and for which time.
    pub at: (Did, u32),
    /// Whether a job must be running its guest.
    pub runs: bool,
}

pub const fn step(name: &'static str, did: Did, time: u32) -> Step {
    Step { name, at: (did, time), runs: false }
}

/// Where a guest has [`EMPTY_RESULT`], and a result with a head: lengths and addresses.
const EMPTY_RESULT_AT: u64 = (EMPTY_RESULT.len() as u64) << 32 | 512;
const OTHER_RESULT_AT: u64 = (EMPTY_RESULT.len() as u64 + 1) << 32 | 768;

/// Returns a result after so many turns of a loop, which it also makes when it is prepared.
fn guest(turns: u32, result: u64) -> String {
    format!(
        r#"(module
            (memory (export "memory") 1)
            (global (export "__heap_base") i32 (i32.const 1024))
            (data (i32.const 768) "\04\07")
            (func $spin (local i32)
                (local.set 0 (i32.const {turns}))
                (loop (br_if 0 (local.tee 0 (i32.sub (local.get 0) (i32.const 1))))))
            (start $spin)
            (func (export "validate_block") (param i32 i32) (result i64)
                (call $spin)
                (i64.const {result})))"#
    )
}

/// Enough for a job to be seen while it runs.
const TURNS: u32 = 2_000_000_000;

/// A folder with a request in it, and a cache that each case begins empty.
pub struct Stage(TempDir);

impl Stage {
    pub fn set() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        for (name, turns, result) in [
            ("quick.wat", 1, EMPTY_RESULT_AT),
            ("slow.wat", TURNS, EMPTY_RESULT_AT),
            ("other.wat", 1, OTHER_RESULT_AT),
        ] {
            fs::write(folder.path().join(name), guest(turns, result)).expect("a file");
        }
        fs::write(folder.path().join("params"), [0; 40]).expect("a file");
        Self(folder)
    }

    pub fn folder(&self) -> &Path {
        self.0.path()
    }

    pub fn file(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// A host that answers the request and ends.
    pub fn command(&self, step: &Step) -> Command {
        self.command_for(if step.runs { "slow.wat" } else { "quick.wat" })
    }

    /// The same for a code of this stage.
    pub fn command_for(&self, code: &str) -> Command {
        let mut program = Command::new(PROGRAM);
        program.args(["pvf", "validate", "--json", "--accept-weaker-jail", "--cache"]);
        program.arg(self.file("cache")).arg("--code").arg(self.file(code));
        program.arg("--params").arg(self.file("params")).env("TMPDIR", self.0.path());
        program
    }

    /// A host that stands still at the step.
    pub async fn host_at(&self, step: &Step) -> Host {
        let mut program =
            Traced::start(&mut self.command(step)).expect("a host that can be traced");
        run_to(&mut program, step);
        let pid = program.pid();
        if step.runs {
            running_job(pid).await;
        }
        if step.at.0 == Received {
            until("a standby job", || {
                descendants(pid).into_iter().find(|one| one.parent != pid && !one.is_keeper)
            })
            .await;
        }
        Host { memory_files: memory_files(pid), processes: held(pid), program }
    }
}

pub struct Host {
    pub program: Traced,
    /// Every process below it.
    pub processes: Vec<(support::Process, OwnedFd)>,
    /// Device and number of each memory file that it or one of them holds.
    pub memory_files: BTreeSet<(u64, u64)>,
}

/// Runs until the host has done what the step names.
fn run_to(program: &mut Traced, step: &Step) {
    let (mut file, mut left) = (None, step.at.1);
    loop {
        let did = match program.next().expect("the next event") {
            Event::Started => Some(Started),
            Event::Returned(call) => did(&call, &mut file),
            Event::Ended(status) => panic!("{}: the host ended before: {status}", step.name),
            Event::Begun { .. } | Event::Leaves { .. } => None,
        };
        left -= u32::from(did == Some(step.at.0));
        if left == 0 {
            return;
        }
    }
}

/// What a call was. `file` is the artifact's, once it is open.
fn did(call: &Call, file: &mut Option<u64>) -> Option<Did> {
    let of_file = *file == Some(call.arguments[0]);
    match call.number {
        _ if call.result < 0 => None,
        c::SYS_sendmsg => Some(Sent),
        c::SYS_recvmsg => (call.result > 0).then_some(Received),
        c::SYS_open => opened(call, call.arguments[1], file),
        c::SYS_openat => opened(call, call.arguments[2], file),
        c::SYS_read => of_file.then_some(Read),
        c::SYS_write => of_file.then_some(Written),
        c::SYS_fsync => Some(Synced),
        c::SYS_linkat => Some(Named),
        c::SYS_fcntl if call.arguments[1] == c::F_ADD_SEALS as u64 => file.map(|_| Sealed),
        _ => None,
    }
}

/// The flags tell the artifact's file: nothing else is made without a name, or not followed.
fn opened(call: &Call, flags: u64, file: &mut Option<u64>) -> Option<Did> {
    let has = |all: i32| flags & all as u64 == all as u64;
    let did = match () {
        () if has(c::O_TMPFILE) => Made,
        () if has(c::O_NOFOLLOW) => Opened,
        () => return None,
    };
    *file = Some(call.result as u64);
    Some(did)
}

/// The memory files of a process and of those below it; of no process, those of all.
pub fn memory_files(host: i32) -> BTreeSet<(u64, u64)> {
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

pub fn is_answered(step: &Step, status: ExitStatus, words: &str) {
    assert_eq!(status.code(), Some(RETURNED), "{}: {words}", step.name);
    assert!(words.contains(r#""head_data":"0x","#), "{}: {words}", step.name);
}

/// Whether a host can be traced here, and can make files without names; says so if not.
pub fn is_possible(cases: usize) -> bool {
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
