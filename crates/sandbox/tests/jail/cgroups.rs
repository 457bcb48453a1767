//! A worker that was given a control group: its jobs are born there, and it can make no process in
//! another way.
//!
//! Called by `play` and, as a worker, by `roles`. Takes a cgroup2 in which this user may make groups,
//! as root may; no controller is needed.

use std::ffi::CStr;
use std::fs::{self, Permissions};
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use libc as c;

use crate::play::{Identity, Outcome, read_log};

/// The cases. What the worker does after its first job, and how it ends.
pub(crate) const NAMES: [&str; 5] = [
    "a_worker_with_a_cgroup_forks_jobs_into_it",
    "a_job_has_no_descriptor_of_its_cgroup",
    "clone3_with_other_arguments_kills_the_worker",
    "clone_kills_a_worker_that_has_a_cgroup",
    "no_path_leads_from_a_cgroup_to_the_machine",
];

/// How long what is being killed may stay in a group.
const EMPTY_MAX: Duration = Duration::from_secs(10);

/// Plays a case in a group that is made for it.
fn removed_when_empty(group: &Path) -> io::Result<()> {
    let begun = Instant::now();
    loop {
        match fs::remove_dir(group) {
            Err(error) if is_busy(&error) && begun.elapsed() < EMPTY_MAX => {
                std::thread::yield_now()
            }
            done => return done,
        }
    }
}

fn is_busy(error: &io::Error) -> bool {
    error.raw_os_error() == Some(c::EBUSY)
}

pub(crate) fn play(identity: &Identity, name: &str) -> Outcome {
    let group = match make_group() {
        Ok(group) => group,
        Err(error) => return Outcome::Skipped(format!("no control group can be made: {error}")),
    };
    // A child is born where its parent is.
    let own = own_group().expect("a group of cgroup2");
    let me = std::process::id().to_string();
    fs::write(group.join("cgroup.procs"), &me).expect("own process into an own group");
    let mut worker = identity.start(&["grouped", name]);
    fs::write(own.join("cgroup.procs"), &me).expect("own process back");
    let log = read_log(&mut worker);
    let ended = worker.wait().expect("own child");
    // The keeper ends when its worker has, which is a moment later.
    let removed =
        ["own", "jobs", ""].iter().try_for_each(|below| removed_when_empty(&group.join(below)));
    if let Some(refusal) = log.lines().find(|line| line.starts_with("refused ")) {
        return Outcome::Skipped(refusal.to_owned());
    }
    let killed = name.contains("kills").then_some(c::SIGSYS);
    let held = log.contains("job Exited(0)\n")
        && ended.signal() == killed
        && log.contains("through\n") == killed.is_none()
        && removed.is_ok();
    match held {
        true => Outcome::Held,
        false => Outcome::Failed(format!("{ended}, groups removed: {removed:?}, log:\n{log}")),
    }
}

fn make_group() -> io::Result<PathBuf> {
    let above = own_group().ok_or(io::ErrorKind::NotFound)?;
    let group = above.join(format!("jail-test-of-lazaret-{}", std::process::id()));
    for below in ["", "own", "jobs"] {
        let made = group.join(below);
        fs::create_dir(&made)?;
        // The worker becomes somebody else.
        fs::set_permissions(made.join("cgroup.procs"), Permissions::from_mode(0o666))?;
    }
    Ok(group)
}

/// The directory of this process's group, where cgroup2 is mounted as a whole.
fn own_group() -> Option<PathBuf> {
    let mounts = fs::read_to_string("/proc/self/mountinfo").ok()?;
    let mount = mounts.lines().find(|line| line.contains(" - cgroup2 "))?.split(' ').nth(4)?;
    let groups = fs::read_to_string("/proc/self/cgroup").ok()?;
    let group = groups.lines().find_map(|line| line.strip_prefix("0::/"))?;
    Some(Path::new(mount).join(group))
}

/// Job, once it is confined: the status it ends with.
pub(crate) fn job_after_confine(name: &str) -> i32 {
    if name != NAMES[1] {
        return 0;
    }
    // SAFETY: F_GETFD touches no memory.
    let is_open = |fd: &i32| unsafe { c::fcntl(*fd, c::F_GETFD) } != -1;
    (1..64).filter(is_open).count() as i32
}

/// Worker: what its filter should kill it for.
pub(crate) fn worker_after_its_job(name: &str) {
    // SAFETY: all zeros is a valid clone_args.
    let mut args: c::clone_args = unsafe { std::mem::zeroed() };
    args.exit_signal = c::SIGCHLD as u64;
    match name {
        // SAFETY: without CLONE_VM this is a fork, and the child says that it came through.
        "clone3_with_other_arguments_kills_the_worker" => unsafe {
            c::syscall(c::SYS_clone3, &raw const args, size_of::<c::clone_args>());
        },
        // SAFETY: as above; the kernel writes one int to where the third argument points.
        "clone_kills_a_worker_that_has_a_cgroup" => unsafe {
            let mut pidfd = -1;
            let flags = c::CLONE_NEWPID | c::CLONE_PIDFD | c::SIGCHLD;
            c::syscall(c::SYS_clone, flags, 0usize, &raw mut pidfd, 0usize, 0usize);
        },
        "no_path_leads_from_a_cgroup_to_the_machine" => {
            // What its filter lets a worker ask with the one directory that it holds.
            let above = |path: &CStr| stat_from(jobs_directory(), path);
            assert_eq!(above(c".."), above(c"../../../../../.."), "a way out");
            assert_ne!(above(c".."), above(c""), "no way at all: not what this is to show");
        }
        _ => {}
    }
}

fn jobs_directory() -> i32 {
    // SAFETY: F_GETFL touches no memory.
    let flags = |fd| unsafe { c::fcntl(fd, c::F_GETFL) };
    let mut open = (3..64).filter(|fd| flags(*fd) != -1 && flags(*fd) & c::O_PATH != 0);
    open.next().expect("the jobs' cgroup")
}

/// Device and inode.
fn stat_from(directory: i32, path: &CStr) -> (u64, u64) {
    // SAFETY: all zeros is a valid stat, and newfstatat(2) writes one.
    let (done, stat) = unsafe {
        let mut stat: c::stat = std::mem::zeroed();
        let flags = c::AT_EMPTY_PATH;
        let done = c::syscall(c::SYS_newfstatat, directory, path.as_ptr(), &raw mut stat, flags);
        (done, stat)
    };
    assert_eq!(done, 0, "{path:?}: {}", io::Error::last_os_error());
    (stat.st_dev, stat.st_ino)
}
