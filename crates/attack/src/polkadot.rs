//! The same battery in a jail made as Polkadot's PVF host 36 makes its own: one user and mount
//! namespace for the worker, a bind mount of its folder as root (whose flags Linux ignores on a first
//! bind), Landlock version 1 with one rule, six denied calls, a hard link to the artifact in the
//! folder, and for each job a clone with six namespaces. Written from a description of what it does.
//!
//! What it has beside that is kept as it is there: no limit of memory, files or processes; standard
//! output and error stay open; capabilities over the worker's namespace stay; a thread of the job
//! itself watches its CPU time. Replies are of another kind there, so family G is left out.
//!
//! Where an attack ends by a fault it counts as held, although unmapping its own text, for one, did
//! succeed before that: the count errs in favour of the other host.

use std::{
    error::Error,
    ffi::CString,
    fs,
    io::{Read, Write},
    os::{
        fd::{AsRawFd, OwnedFd},
        unix::ffi::OsStrExt,
    },
    path::Path,
    process::{Child, Command, Stdio},
    ptr,
    time::{Duration, Instant},
};

use landlock::{
    ABI, Access, AccessFs, PathBeneath, PathFd, Ruleset, RulesetAttr, RulesetCreatedAttr,
};
use lazaret_sandbox::job;
use rustix::{
    mm::{MapFlags, MprotectFlags, ProtFlags, mmap_anonymous, mprotect},
    mount::{MountPropagationFlags, UnmountFlags, mount_change},
    process::{WaitOptions, WaitStatus, chdir, getpid, pivot_root, set_child_subreaper, waitpid},
    thread::UnshareFlags,
    time::{ClockId, clock_gettime},
};
use seccompiler::{BpfProgram, SeccompAction, SeccompFilter, TargetArch};

use crate::{
    battery::Tally,
    blob::{self, Order},
    invariants::{Outside, end_children},
    list::ROWS,
    native,
    seen::Seen,
};

/// The first argument of a worker of this kind; its folder is the second.
pub(crate) const WORKER_ARGUMENT: &str = "--polkadot-worker";
const CPU: Duration = Duration::from_millis(300);
/// Its host's patience, as a multiple of the CPU limit.
const WALL: Duration = Duration::from_millis(1200);
/// More than any order has.
const ORDER_BYTES_MAX: usize = 4096;
/// How the watching thread ends a job.
const EXIT_CPU_LIMIT: i32 = 77;

/// Tries every row and prints what came of it. There is nothing to miss: this is what was seen.
pub(crate) fn run(only: &str) -> Result<bool, Box<dyn Error>> {
    let blobs = blob::compile_all()?;
    set_child_subreaper(Some(getpid()))?;
    println!("{:<5} {:<62} {:<14} {:<40} left changed", "id", "attempt", "in Lazaret", "seen");
    let mut tally = Tally::default();
    for row in ROWS.iter().filter(|row| row.family != 'g' && row.id.starts_with(only)) {
        let mut seen = Vec::new();
        let mut broken = Vec::new();
        for argument in row.cases(false) {
            let (came, left) = attack(&blobs[&row.family], row.attempt, argument)?;
            if !seen.contains(&came) {
                seen.push(came);
            }
            broken.extend(left.into_iter().filter(|what| !what.is_empty()));
        }
        broken.dedup();
        tally.count(row, broken.is_empty() && seen.iter().all(Seen::held));
        let seen: Vec<_> = seen.iter().map(ToString::to_string).collect();
        let (expected, seen) = (format!("{:?}", row.expected), seen.join(", "));
        println!("{:<5} {:<62} {expected:<14} {seen:<40} {}", row.id, row.what, broken.join("; "));
    }
    println!("polkadot's posture: {} of {} rows held ({tally})", tally.held(), tally.rows());
    Ok(true)
}

/// One attempt in a fresh folder with a fresh artifact.
fn attack(blob: &[u8], attempt: u32, argument: u32) -> Result<(Seen, Vec<String>), Box<dyn Error>> {
    let (cache, folder, canary) =
        (tempfile::tempdir()?, tempfile::tempdir()?, tempfile::tempdir()?);
    fs::write(canary.path().join("canary"), "alive")?;
    fs::write(cache.path().join("artifact"), blob)?;
    fs::hard_link(cache.path().join("artifact"), folder.path().join("artifact"))?;
    let name = rustix::system::uname().nodename().to_string_lossy().into_owned();
    let words = [cache.path().display().to_string(), name];
    let needles = if words[1].len() > 3 { &words[..] } else { &words[..1] };
    let canary_file = canary.path().join("canary").display().to_string();
    let order = Order { attempt, argument, canary: &canary_file, needles };

    let before = Outside::look(&[cache.path(), canary.path()]);
    let seen = end_of(worker(folder.path(), &order.encode())?)?;
    // A job outlives its worker in this posture.
    end_children();
    let after = Outside::look(&[cache.path(), canary.path()]);
    let left = before.changes(&after).into_iter();
    // By its name in the folder: the folder's own path is another each time.
    let left = left.map(|what| what.rsplit('/').next().unwrap_or_default().to_owned());
    Ok((seen, left.collect()))
}

fn worker(folder: &Path, arena: &[u8]) -> Result<Child, Box<dyn Error>> {
    let mut child = Command::new("/proc/self/exe")
        .arg(WORKER_ARGUMENT)
        .arg(folder)
        .env_clear()
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()?;
    child.stdin.take().ok_or("a pipe")?.write_all(arena)?;
    Ok(child)
}

fn end_of(mut worker: Child) -> Result<Seen, Box<dyn Error>> {
    let begin = Instant::now();
    let mut ended = None;
    while ended.is_none() && begin.elapsed() < WALL + CPU {
        ended = worker.try_wait()?;
        std::thread::sleep(Duration::from_millis(2));
    }
    if ended.is_none() {
        worker.kill()?;
        worker.wait()?;
        return Ok(Seen::WallLimit);
    }
    let mut said = String::new();
    worker.stdout.take().ok_or("a pipe")?.take(1 << 16).read_to_string(&mut said)?;
    let words = said.rsplit('\n').find_map(|line| line.strip_prefix("ended by "));
    match words.and_then(|words| words.split_once(' ')) {
        Some(("status", status)) if status.parse() == Ok(EXIT_CPU_LIMIT) => Ok(Seen::CpuLimit),
        Some(("status", status)) => Ok(Seen::of_status(status.parse()?)),
        Some(("signal", signal)) => Ok(Seen::of_signal(signal.parse()?)),
        Some(("reply", bytes)) => Ok(Seen::NotBelieved(format!("{bytes} bytes of reply"))),
        _ => Err(format!("the worker said: {said:?} and ended {ended:?}").into()),
    }
}

/// Becomes a worker of this kind and ends, if that is what this process was started for.
pub(crate) fn run_if_worker() {
    let arguments: Vec<_> = std::env::args_os().collect();
    if arguments.get(1).is_some_and(|argument| argument == WORKER_ARGUMENT) {
        let ended = be_worker(Path::new(&arguments[2]));
        println!("\nended by {}", ended.unwrap_or_else(|error| format!("error {error}")));
        std::process::exit(0)
    }
}

fn be_worker(folder: &Path) -> Result<String, Box<dyn Error>> {
    // Without a buffer, and in one piece, so that what the attack looks for is in its arena only.
    let mut arena = vec![0; ORDER_BYTES_MAX];
    let mut read = 0;
    while let bytes @ 1.. = rustix::io::read(rustix::stdio::stdin(), &mut arena[read..])? {
        read += bytes;
    }
    change_root(folder)?;
    allow_reading_the_folder()?;
    deny_six_calls()?;
    let text = fs::read("/artifact")?;
    let (reply, reply_end) = std::io::pipe()?;
    match clone_job()? {
        0 => {
            drop(reply);
            be_job(&text, arena, reply_end.into())
        }
        job => {
            drop(reply_end);
            let read = drain(reply);
            let status = waitpid(rustix::process::Pid::from_raw(job), WaitOptions::empty())?;
            Ok(status.map_or_else(|| "error lost".into(), |(_, status)| words(status, read)))
        }
    }
}

fn words(status: WaitStatus, read: usize) -> String {
    match (status.exit_status(), status.terminating_signal()) {
        (Some(0), _) => format!("reply {read}"),
        (Some(status), _) => format!("status {status}"),
        (None, signal) => format!("signal {}", signal.unwrap_or(0)),
    }
}

/// Reads the whole reply; its real host would keep it all.
fn drain(mut reply: impl Read) -> usize {
    let mut read = 0;
    let mut piece = [0; 1 << 16];
    while let Ok(bytes @ 1..) = reply.read(&mut piece) {
        read += bytes;
    }
    read
}

fn change_root(folder: &Path) -> Result<(), Box<dyn Error>> {
    // SAFETY: unshare(2) asks for care with shared descriptor tables; these flags share none.
    unsafe { rustix::thread::unshare_unsafe(UnshareFlags::NEWUSER | UnshareFlags::NEWNS) }?;
    mount_change("/", MountPropagationFlags::PRIVATE | MountPropagationFlags::REC)?;
    let path = CString::new(folder.as_os_str().as_bytes())?;
    // The flags after MS_REC are meant to make it read-only; Linux ignores them on a first bind.
    let flags = libc::MS_BIND
        | libc::MS_REC
        | (libc::MS_RDONLY | libc::MS_NOEXEC | libc::MS_NODEV | libc::MS_NOSUID | libc::MS_NOATIME);
    // SAFETY: mount(2) reads two C strings, which live until it returns, and two null pointers.
    let mounted =
        unsafe { libc::mount(path.as_ptr(), path.as_ptr(), ptr::null(), flags, ptr::null()) };
    if mounted != 0 {
        return Err(std::io::Error::last_os_error().into());
    }
    chdir(folder)?;
    pivot_root(".", ".")?;
    rustix::mount::unmount(".", UnmountFlags::DETACH)?;
    chdir("/")?;
    Ok(())
}

fn allow_reading_the_folder() -> Result<(), Box<dyn Error>> {
    Ruleset::default()
        .handle_access(AccessFs::from_all(ABI::V1))?
        .create()?
        .add_rule(PathBeneath::new(PathFd::new("/")?, AccessFs::ReadFile))?
        .restrict_self()?;
    Ok(())
}

fn deny_six_calls() -> Result<(), Box<dyn Error>> {
    let denied = [
        libc::SYS_socket,
        libc::SYS_socketpair,
        libc::SYS_connect,
        libc::SYS_io_uring_setup,
        libc::SYS_io_uring_enter,
        libc::SYS_io_uring_register,
    ];
    let rules = denied.map(|call| (call, Vec::new())).into_iter().collect();
    let (allow, kill) = (SeccompAction::Allow, SeccompAction::KillProcess);
    let filter = SeccompFilter::new(rules, allow, kill, TargetArch::x86_64)?;
    Ok(seccompiler::apply_filter(&BpfProgram::try_from(filter)?)?)
}

/// `clone(2)` with the six namespaces of a job; 0 in the job.
fn clone_job() -> std::io::Result<i32> {
    let flags = libc::CLONE_NEWCGROUP
        | libc::CLONE_NEWIPC
        | libc::CLONE_NEWNET
        | libc::CLONE_NEWNS
        | libc::CLONE_NEWPID
        | libc::CLONE_NEWUTS
        | libc::SIGCHLD;
    // SAFETY: without CLONE_VM and with a null stack this is a fork, and this process has one thread.
    let pid = unsafe { libc::syscall(libc::SYS_clone, flags, 0_usize, 0_usize, 0_usize, 0_usize) };
    if pid < 0 { Err(std::io::Error::last_os_error()) } else { Ok(pid as i32) }
}

/// The job: one thread runs the code, the first one watches its CPU time.
fn be_job(text: &[u8], mut order: Vec<u8>, reply: OwnedFd) -> ! {
    let Ok(text) = map(text) else { job::end(1) };
    let arena = native::arena(&order);
    order.fill(0);
    std::hint::black_box(&order);
    let _runs = std::thread::spawn(move || job::end(native::call(text, reply.as_raw_fd(), arena)));
    loop {
        let now = clock_gettime(ClockId::ProcessCPUTime);
        let used = Duration::new(now.tv_sec as u64, now.tv_nsec as u32);
        let Some(left) = CPU.checked_sub(used) else { job::end(EXIT_CPU_LIMIT) };
        std::thread::sleep(left + Duration::from_millis(10));
    }
}

/// As its engine does: copied, then made executable.
fn map(code: &[u8]) -> std::io::Result<&'static [u8]> {
    let bytes = code.len().next_multiple_of(4096);
    let write = ProtFlags::READ | ProtFlags::WRITE;
    // SAFETY: a null hint makes mmap(2) choose unused addresses; the mapping is as long as what is
    // copied into it and is never unmapped or written again.
    unsafe {
        let start = mmap_anonymous(ptr::null_mut(), bytes, write, MapFlags::PRIVATE)?;
        ptr::copy_nonoverlapping(code.as_ptr(), start.cast(), code.len());
        mprotect(start, bytes, MprotectFlags::READ | MprotectFlags::EXEC)?;
        Ok(std::slice::from_raw_parts(start.cast(), code.len()))
    }
}
