//! What the end-to-end tests share: a host whose workers are this very program, guests, processes,
//! and the loud word for what could not be tested.
#![allow(dead_code, unreachable_pub, reason = "each test program uses a part of it")]

pub mod programs;

use std::{
    fs,
    io::Write,
    os::fd::OwnedFd,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use lazaret::{
    Answer, Builder, Code, Fault, Host, JailLevel, Refusal, Retry, Verdict,
    pvf::{Block, Settings, Validated},
};
use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal},
};

/// No step of a test takes longer; what does is stuck.
pub const STUCK_AFTER: Duration = Duration::from_secs(60);

/// How long anything may outlive its kill on a busy machine. Jobs that must not end by themselves
/// meanwhile have a limit that is further off.
pub const LINGER_MAX: Duration = Duration::from_secs(5);

/// The program under test, which is also the worker.
pub const PROGRAM: &str = env!("CARGO_BIN_EXE_lazaret");

/// Says what is not tested here, past the capture of test output.
pub fn skipped(count: usize, what: &str) {
    let line = format!("SKIPPED ({count}): {what}\n");
    std::io::stderr().write_all(line.as_bytes()).expect("standard error");
}

/// A host as most tests want it. On a machine that has not every layer of the strict jail the tests
/// still run, and say so.
pub async fn host(cache: &Path) -> Host {
    started(builder(cache)).await
}

pub fn builder(cache: &Path) -> Builder {
    Host::builder().cache_dir(cache).worker_program(PROGRAM).execute_workers(2).prepare_workers(2)
}

pub async fn started(builder: Builder) -> Host {
    match builder.clone().start().await {
        Ok(host) => host,
        Err(fault @ Fault::Jail { .. }) => {
            skipped(1, &format!("the strict jail: {fault}"));
            builder.jail(JailLevel::Weak).start().await.expect("a host with whatever jail there is")
        }
        Err(fault) => panic!("the host does not start: {fault}"),
    }
}

/// Whether this machine gives the strict jail. Asked once, with a loud word where it does not.
pub fn has_strict_jail() -> bool {
    static HAS: std::sync::OnceLock<bool> = std::sync::OnceLock::new();
    *HAS.get_or_init(|| {
        let cache = tempfile::tempdir().expect("a folder");
        let hello = cache.path().join("hello.wat");
        fs::write(&hello, programs::hello()).expect("a file");
        let output = std::process::Command::new(PROGRAM)
            .args(["run", "--cache"])
            .args([cache.path(), &hello])
            .output()
            .expect("the program starts");
        if !output.status.success() {
            skipped(1, &format!("the strict jail: {}", String::from_utf8_lossy(&output.stderr)));
        }
        output.status.success()
    })
}

/// Code from the text format.
pub fn code(wat: &str) -> Code {
    Code::new(&wat::parse_str(wat).expect("a guest of a test")).expect("code")
}

/// A guest whose `validate_block` has this body.
pub fn guest(body: &str) -> Code {
    code(&format!(
        r#"(module
            (memory (export "memory") 1)
            (global (export "__heap_base") i32 (i32.const 1024))
            (func (export "validate_block") (param i32 i32) (result i64) {body}))"#
    ))
}

/// A guest whose `start` function has this body.
pub fn starting(body: &str) -> Code {
    code(&format!(
        r#"(module
            (memory (export "memory") 1)
            (global (export "__heap_base") i32 (i32.const 1024))
            (func (export "validate_block") (param i32 i32) (result i64) (i64.const 0))
            (func $start {body})
            (start $start))"#
    ))
}

/// A guest that never ends.
pub fn endless() -> Code {
    guest("(loop (br 0)) (unreachable)")
}

/// The smallest `ValidationResult`: an empty head, nothing else.
pub const EMPTY_RESULT: [u8; 12] = [0; 12];

/// A guest that returns [`EMPTY_RESULT`]. `salt` makes it another code.
pub fn trivial(salt: u32) -> Code {
    guest(&format!(
        "(drop (i32.const {salt})) (i64.const {})",
        (EMPTY_RESULT.len() as i64) << 32 | 512
    ))
}

/// The data shared between projects, where it is.
pub fn data(folder: &str) -> Option<PathBuf> {
    let root = std::env::var_os("LAZARET_TEST_DATA").map_or_else(
        || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/data"),
        PathBuf::from,
    );
    let folder = root.join(folder);
    folder.is_dir().then_some(folder)
}

/// Entries of a folder, sorted.
pub fn entries(folder: &Path) -> Vec<PathBuf> {
    let mut entries: Vec<_> =
        fs::read_dir(folder).expect("a folder").flatten().map(|entry| entry.path()).collect();
    entries.sort();
    entries
}

/// A process as `/proc` tells.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Process {
    pub pid: i32,
    pub parent: i32,
    pub name: String,
    /// Whether it is the first process of the pid namespace of a worker's jobs.
    pub is_keeper: bool,
    /// Clock ticks of CPU time so far.
    pub ticks: u64,
    /// When it began, in clock ticks since the machine did.
    pub began: u64,
}

/// All processes that descend from `ancestor`.
pub fn descendants(ancestor: i32) -> Vec<Process> {
    let all: Vec<_> = fs::read_dir("/proc")
        .expect("/proc")
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .filter_map(process)
        .collect();
    let mut found: Vec<Process> = Vec::new();
    let mut parents = vec![ancestor];
    while let Some(parent) = parents.pop() {
        let children: Vec<_> = all.iter().filter(|process| process.parent == parent).collect();
        parents.extend(children.iter().map(|process| process.pid));
        found.extend(children.into_iter().cloned());
    }
    found
}

fn process(pid: i32) -> Option<Process> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name stands in parentheses and may hold anything.
    let (before, after) = stat.rsplit_once(") ")?;
    let fields: Vec<_> = after.split(' ').collect();
    if fields[0] == "Z" {
        return None;
    }
    let command = fs::read(format!("/proc/{pid}/cmdline")).ok()?;
    let command = command.split(|byte| *byte == 0).next().unwrap_or_default();
    let name = match command {
        [] => before.split_once('(')?.1.to_owned(),
        command => String::from_utf8_lossy(command).into_owned(),
    };
    let ticks = fields[11].parse::<u64>().ok()? + fields[12].parse::<u64>().ok()?;
    let (parent, began) = (fields[1].parse().ok()?, fields[19].parse().ok()?);
    let is_keeper = before.ends_with("(keeper");
    Some(Process { pid, parent, name, is_keeper, ticks, began })
}

/// All processes that descend from `ancestor`, each with a handle that outlives it. One that ends
/// while they are looked up is none of them: workers begin and end processes all the time.
pub fn held(ancestor: i32) -> Vec<(Process, OwnedFd)> {
    let hold = |process: Process| pidfd_of(process.pid).ok().map(|handle| (process, handle));
    descendants(ancestor).into_iter().filter_map(hold).collect()
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

/// A job of `ancestor` that runs its guest, and the worker it belongs to: the job is the one that
/// burns CPU time.
pub async fn running_job(ancestor: i32) -> (Process, Process) {
    until("a job that runs", || {
        let processes = descendants(ancestor);
        let job = processes.iter().find(|job| job.parent != ancestor && job.ticks > 3)?;
        let worker = processes.iter().find(|worker| worker.pid == job.parent)?;
        Some((job.clone(), worker.clone()))
    })
    .await
}

/// A handle that outlives the process.
pub fn pidfd(pid: i32) -> OwnedFd {
    pidfd_of(pid).expect("a living process")
}

fn pidfd_of(pid: i32) -> rustix::io::Result<OwnedFd> {
    pidfd_open(Pid::from_raw(pid).expect("a process id"), PidfdFlags::empty())
}

/// Whether the process ends within the time (pidfd_open(2): readable when it has).
pub fn ends_within(pidfd: &OwnedFd, time: Duration) -> bool {
    let time = Timespec { tv_sec: time.as_secs() as i64, tv_nsec: time.subsec_nanos().into() };
    poll(&mut [PollFd::new(pidfd, PollFlags::IN)], Some(&time)).expect("poll") == 1
}

/// The same of a process by its name. The first of a pid namespace ends when the others in it have been
/// reaped, which after their worker's death is for the machine's init to do; what counts here is that it
/// has given up its memory, which is when it runs no more (proc_pid_statm(5)).
pub fn process_ends_within(process: &Process, pidfd: &OwnedFd, time: Duration) -> bool {
    let begin = Instant::now();
    let runs_no_more = || {
        let statm = fs::read_to_string(format!("/proc/{}/statm", process.pid));
        statm.is_ok_and(|sizes| sizes.starts_with("0 "))
    };
    while process.is_keeper && begin.elapsed() < time {
        if runs_no_more() || ends_within(pidfd, Duration::ZERO) {
            return true;
        }
        std::thread::yield_now();
    }
    ends_within(pidfd, time.saturating_sub(begin.elapsed()))
}

pub fn kill(pid: i32) {
    let pid = Pid::from_raw(pid).expect("a process id");
    rustix::process::kill_process(pid, rustix::process::Signal::KILL).expect("a process to kill");
}

/// Kills what runs a program, which is the workers of this process, and empties its file, which is then no
/// program any more. The kernel keeps it from being written for as long as the last job runs it (ETXTBSY), one
/// that was forked meanwhile too.
pub async fn emptied(program: &Path) {
    let me = std::process::id() as i32;
    let empty = || {
        let all = held(me);
        for (_, worker) in all.iter().filter(|(one, _)| one.parent == me) {
            // It may have ended by itself.
            let _ = pidfd_send_signal(worker, Signal::KILL);
        }
        assert!(all.iter().all(|(one, handle)| process_ends_within(one, handle, STUCK_AFTER)));
        fs::File::options().write(true).truncate(true).open(program).ok()
    };
    until("nobody who runs the program", empty).await;
}

/// A block for guests that do not look at it.
pub fn block() -> Block {
    Block::encoded(vec![1, 2, 3])
}

pub fn settings(cpu: Duration, retry: Retry) -> Settings {
    let mut settings = Settings::default();
    settings.limits.cpu = cpu;
    settings.retry = retry;
    settings
}

pub fn returned(answer: &Answer<Validated>) -> &Validated {
    match &answer.verdict {
        Verdict::Returned(validated) => validated,
        other => panic!("not returned: {other:?}"),
    }
}

pub fn refusal<T: std::fmt::Debug>(answer: &Answer<T>) -> &Refusal {
    match &answer.verdict {
        Verdict::Refused(refusal) => refusal,
        other => panic!("not refused: {other:?}"),
    }
}

/// A sample of the host's metrics, by its whole name with labels; 0 if nothing was counted yet.
pub fn sample(host: &Host, name: &str) -> f64 {
    let text = host.metrics_text();
    let value = |line: &str| line.strip_prefix(name)?.strip_prefix(' ')?.parse().ok();
    text.lines().find_map(value).unwrap_or(0.0)
}
