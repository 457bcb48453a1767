//! What the tests with puppets share: a folder that says what the puppets do, and what `/proc` says
//! of this process and its children.

#![allow(unreachable_pub, reason = "a module of a test program")]

use std::{
    fs::{self, File},
    io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use lazaret::{Code, pvf::Block};
use rustix::process::{Pid, Resource, Rlimit, Signal, getrlimit, kill_process, setrlimit};
use tempfile::TempDir;

/// Held by each test: they look at all children and all descriptors of this process.
pub static ALONE: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());

const STUCK_AFTER: Duration = Duration::from_secs(60);

/// A puppet program with its script beside it.
pub struct Stage(TempDir);

impl Stage {
    /// What the first, second... worker of each role does; all later ones behave.
    pub fn new(execute: &[&str], prepare: &[&str]) -> Self {
        // On the file system of the program, so that a link will do.
        let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a folder");
        for (role, acts) in [("execute", execute), ("prepare", prepare)] {
            fs::create_dir(folder.path().join(role)).expect("a folder");
            for (number, act) in acts.iter().enumerate() {
                let file = folder.path().join(role).join(format!("{number:02}-{act}"));
                fs::write(file, "").expect("a file");
            }
        }
        let stage = Self(folder);
        fs::hard_link(env!("CARGO_BIN_EXE_puppet"), stage.program()).expect("a link");
        stage
    }

    pub fn program(&self) -> PathBuf {
        self.0.path().join("puppet")
    }

    /// Whether a puppet holds work that it will answer wrongly.
    pub fn is_acting(&self) -> bool {
        self.0.path().join("acting").exists()
    }
}

/// What is logged from now on by all tests. No other of them has a puppet that writes.
pub fn log_lines() -> Arc<Mutex<Vec<u8>>> {
    let lines = Arc::new(Mutex::new(Vec::new()));
    let kept = lines.clone();
    let log = tracing_subscriber::fmt()
        .with_ansi(false)
        .with_max_level(tracing_subscriber::filter::LevelFilter::WARN);
    log.with_writer(move || Kept(kept.clone())).init();
    lines
}

struct Kept(Arc<Mutex<Vec<u8>>>);

impl io::Write for Kept {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().expect("no panic while locked").write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Not looked at by a puppet.
pub fn code() -> Code {
    Code::new(b"code").expect("code")
}

pub fn block() -> Block {
    Block::encoded(vec![1, 2, 3])
}

/// Looks until there is one, giving way to other tasks in between.
pub async fn until<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let begin = Instant::now();
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(begin.elapsed() < STUCK_AFTER, "waited in vain for {what}");
        tokio::task::yield_now().await;
    }
}

/// The fields of `/proc/PID/stat` from the state on (proc(5)).
fn stat(pid: i32) -> Option<Vec<String>> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (_, after) = stat.rsplit_once(") ")?;
    Some(after.split(' ').map(str::to_owned).collect())
}

/// Every child, also one that is dead and not reaped.
pub fn children() -> Vec<i32> {
    let me = std::process::id().to_string();
    let mut children: Vec<i32> = fs::read_dir("/proc")
        .expect("/proc")
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .filter(|pid| stat(*pid).is_some_and(|fields| fields[1] == me))
        .collect();
    children.sort_unstable();
    children
}

/// Whether a child has died; it is reaped when its host notices.
pub fn is_dead(pid: i32) -> bool {
    stat(pid).is_none_or(|fields| fields[0] == "Z")
}

/// The one child that is a living worker for calls.
pub fn execute_worker() -> i32 {
    let is_one = |pid: &i32| {
        let title = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        title.starts_with(b"lazaret-execute")
    };
    children().into_iter().find(is_one).expect("a worker")
}

pub fn kill(pid: i32) {
    kill_process(Pid::from_raw(pid).expect("a process id"), Signal::KILL).expect("a process");
}

/// How many descriptors this process has open, but for those of async runtimes: each test of the
/// program has a runtime, and the next one's may begin at any moment.
pub fn descriptors() -> usize {
    let is_a_runtimes = |path: &Path| {
        let named = path.to_string_lossy();
        named.contains("[eventpoll]") || named.contains("[eventfd]")
    };
    fs::read_dir("/proc/self/fd")
        .expect("/proc")
        .flatten()
        .filter_map(|entry| fs::read_link(entry.path()).ok())
        .filter(|path| !is_a_runtimes(path))
        .count()
}

/// Bytes that this process has resident (proc(5), `VmRSS`).
pub fn resident_bytes() -> u64 {
    let status = fs::read_to_string("/proc/self/status").expect("/proc");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("VmRSS");
    line.trim().trim_end_matches(" kB").parse::<u64>().expect("a number") * 1024
}

/// While this lives, the process can open no descriptor.
pub struct Shortage {
    before: Rlimit,
    _taken: Vec<File>,
}

impl Shortage {
    pub fn total() -> Self {
        let before = getrlimit(Resource::Nofile);
        let limit = descriptors() as u64 + 64;
        setrlimit(Resource::Nofile, Rlimit { current: Some(limit), ..before }).expect("a limit");
        let mut taken = Vec::new();
        while let Ok(file) = File::open("/dev/null") {
            taken.push(file);
        }
        Self { before, _taken: taken }
    }
}

impl Drop for Shortage {
    fn drop(&mut self) {
        setrlimit(Resource::Nofile, self.before).expect("the limit of before");
    }
}
