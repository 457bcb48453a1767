//! Control groups of workers and jobs as the machine shows them from outside: who is born where, what
//! a kill of a group does, what is left when a host ends well or by `kill -9`. Takes a cgroup2 that
//! can be written; what needs its controllers says so where there are none. One at a time, because
//! jobs are found by being below this process.

mod support;

use std::{
    fs, io,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::atomic::{AtomicU32, Ordering},
    time::{Duration, Instant},
};

use lazaret::{Builder, Code, Doubt, Fault, Host, LayerState, Retry, Verdict, pvf::Settings};
use support::{
    LINGER_MAX, PROGRAM, Process, block, builder, code, endless, ends_within, pidfd, returned,
    running_job, settings, skipped, trivial, until,
};
use tokio::{sync::Mutex, task::JoinHandle};

const SECOND: Duration = Duration::from_secs(1);
const ORDINARY_USER: u32 = 1000;

/// Held by each test for its whole length.
static ALONE: Mutex<()> = Mutex::const_new(());

/// A control group for one test, removed when dropped.
struct Place(PathBuf);

impl Place {
    /// Nothing, loudly, where no control group can be made.
    fn make() -> Option<Self> {
        static MADE: AtomicU32 = AtomicU32::new(0);
        let number = MADE.fetch_add(1, Ordering::Relaxed);
        let name = format!("test-of-lazaret-{}-{number}", std::process::id());
        let made = cgroup2().ok_or("cgroup2 is not mounted".to_owned()).and_then(|root| {
            let place = root.join(name);
            fs::create_dir(&place).map(|()| Self(place)).map_err(|error| error.to_string())
        });
        made.inspect_err(|why| skipped(1, &format!("control groups: {why}"))).ok()
    }

    fn path(&self, below: &str) -> PathBuf {
        self.0.join(below)
    }

    fn groups(&self) -> Vec<PathBuf> {
        let entries = fs::read_dir(&self.0).unwrap().flatten().map(|entry| entry.path());
        entries.filter(|path| path.is_dir()).collect()
    }

    fn offers_limits(&self) -> bool {
        let offered = fs::read_to_string(self.path("cgroup.controllers")).unwrap();
        let has = |name: &str| offered.split_whitespace().any(|word| word == name);
        has("memory") && has("pids")
    }

    fn host(&self, cache: &Path) -> Builder {
        builder(cache).execute_workers(1).prepare_workers(1).cgroup(&self.0)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = fs::write(self.path("cgroup.kill"), "1");
        let removed = remove(&self.0);
        if !std::thread::panicking() {
            removed.expect("an empty control group");
        }
    }
}

/// Removes a group once those who were in it are gone.
fn remove(group: &Path) -> io::Result<()> {
    let began = Instant::now();
    loop {
        match fs::remove_dir(group) {
            Err(error) if error.kind() == io::ErrorKind::ResourceBusy => {
                if began.elapsed() > LINGER_MAX {
                    return Err(error);
                }
                std::thread::yield_now();
            }
            removed => return removed,
        }
    }
}

fn cgroup2() -> Option<PathBuf> {
    let mounts = fs::read_to_string("/proc/self/mountinfo").ok()?;
    let line = mounts.lines().find(|line| line.contains(" - cgroup2 "))?;
    line.split(' ').nth(4).map(PathBuf::from)
}

/// Where a process is, below `place`.
fn group_of(process: &Process, place: &Place) -> PathBuf {
    let text = fs::read_to_string(format!("/proc/{}/cgroup", process.pid)).unwrap();
    let group = text.lines().find_map(|line| line.strip_prefix("0::/")).unwrap();
    let place = place.0.strip_prefix(cgroup2().unwrap()).unwrap();
    Path::new(group).strip_prefix(place).expect("a group below the place").to_owned()
}

fn state<'a>(host: &'a Host, name: &str) -> &'a LayerState {
    let layers = &host.security().layers;
    &layers.iter().find(|layer| layer.name.as_str() == name).expect("a layer of that name").state
}

async fn validation(host: &Host, code: &Code) -> JoinHandle<Verdict<lazaret::pvf::Validated>> {
    host.prepare(code, &Default::default()).await.unwrap();
    let (host, code) = (host.clone(), code.clone());
    tokio::spawn(async move {
        let settings = settings(20 * SECOND, Retry::Never);
        host.validate(&code, block(), &settings).await.unwrap().verdict
    })
}

fn me() -> i32 {
    std::process::id() as i32
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_is_born_apart_from_its_worker_and_nothing_is_left_of_either() {
    let _alone = ALONE.lock().await;
    let Some(place) = Place::make() else { return };
    let cache = tempfile::tempdir().unwrap();
    let host = place.host(cache.path()).start().await.unwrap();
    assert_eq!(*state(&host, "job-cgroup"), LayerState::On);
    let running = validation(&host, &endless()).await;
    let (job, worker) = running_job(me()).await;
    let (jobs, own) = (group_of(&job, &place), group_of(&worker, &place));
    assert!(jobs.ends_with("jobs") && own.ends_with("own"), "{jobs:?} {own:?}");
    assert_eq!(jobs.parent(), own.parent());
    let host_group = format!("lazaret-{}-", std::process::id());
    assert!(jobs.starts_with(place.groups()[0].file_name().unwrap()), "{jobs:?}");
    assert!(jobs.to_str().unwrap().starts_with(&host_group), "{jobs:?}");

    let (job, worker) = (pidfd(job.pid), pidfd(worker.pid));
    running.abort();
    drop(host);
    // The request's own task may hold the host a moment longer.
    until("the groups to go", || place.groups().is_empty().then_some(())).await;
    assert!(ends_within(&job, LINGER_MAX) && ends_within(&worker, LINGER_MAX));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_group_is_killed_as_a_whole() {
    let _alone = ALONE.lock().await;
    let Some(place) = Place::make() else { return };
    let cache = tempfile::tempdir().unwrap();
    let host = place.host(cache.path()).start().await.unwrap();

    let running = validation(&host, &endless()).await;
    let (job, worker) = running_job(me()).await;
    let jobs = place.path("").join(group_of(&job, &place));
    fs::write(jobs.join("cgroup.kill"), "1").unwrap();
    assert_eq!(running.await.unwrap(), Verdict::Inconclusive(Doubt::Signaled { signal: 9 }));
    assert!(ends_within(&pidfd_or_gone(worker.pid), LINGER_MAX), "a doubtful worker is not kept");

    let running = validation(&host, &endless()).await;
    let (job, _) = running_job(me()).await;
    let whole = place.path("").join(group_of(&job, &place).parent().unwrap());
    fs::write(whole.join("cgroup.kill"), "1").unwrap();
    assert_eq!(running.await.unwrap(), Verdict::Inconclusive(Doubt::WorkerLost));
    returned(&host.validate(&trivial(1), block(), &Settings::default()).await.unwrap());
    drop(host);
    assert!(place.groups().is_empty(), "{:?}", place.groups());
}

/// A handle on a process that may have ended: then on one that has, too.
fn pidfd_or_gone(pid: i32) -> std::os::fd::OwnedFd {
    let pid = rustix::process::Pid::from_raw(pid).unwrap();
    rustix::process::pidfd_open(pid, rustix::process::PidfdFlags::empty()).unwrap_or_else(|_| {
        let mut ended = Command::new("true").spawn().unwrap();
        let pidfd = pidfd(ended.id() as i32);
        ended.wait().unwrap();
        pidfd
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_killed_host_left_is_swept_and_what_a_living_one_has_is_not() {
    let _alone = ALONE.lock().await;
    let Some(place) = Place::make() else { return };
    let cache = tempfile::tempdir().unwrap();
    let mut program = validate_endlessly(&place, cache.path());
    let (job, worker) = running_job(program.id() as i32).await;
    let (job, worker) = (pidfd(job.pid), pidfd(worker.pid));
    program.kill().unwrap();
    program.wait().unwrap();
    assert!(ends_within(&job, LINGER_MAX) && ends_within(&worker, LINGER_MAX));
    let left = place.groups();
    assert_eq!(left.len(), 1, "the killed host's group");
    // Somebody who outlived all that, as nobody should.
    let mut straggler = Command::new("sleep").arg("1000").spawn().unwrap();
    let procs = left[0].join("worker-0/own/cgroup.procs");
    fs::write(procs, straggler.id().to_string()).unwrap();

    let first = place.host(cache.path()).start().await.unwrap();
    assert!(!left[0].exists(), "{left:?} was not swept");
    assert!(!straggler.wait().unwrap().success(), "the straggler lives");
    let second = place.host(cache.path()).start().await.unwrap();
    assert_eq!(place.groups().len(), 2, "the second host swept the first one's group");
    for host in [&first, &second] {
        returned(&host.validate(&trivial(2), block(), &Settings::default()).await.unwrap());
    }
    drop((first, second));
    assert!(place.groups().is_empty(), "{:?}", place.groups());
}

fn layer_of<'a>(seen: &'a serde_json::Value, name: &str) -> &'a serde_json::Value {
    let layers = seen["layers"].as_array().expect("layers");
    layers.iter().find(|layer| layer["name"] == name).expect("every layer is listed")
}

fn validate_endlessly(place: &Place, cache: &Path) -> Child {
    let (code, params) = (cache.join("endless.wat"), cache.join("params"));
    let wat = r#"(module
        (memory (export "memory") 1)
        (global (export "__heap_base") i32 (i32.const 1024))
        (func (export "validate_block") (param i32 i32) (result i64) (loop (br 0)) (unreachable)))"#;
    fs::write(&code, wat).unwrap();
    fs::write(&params, [1, 2, 3]).unwrap();
    let mut program = Command::new(PROGRAM);
    program.args(["pvf", "validate", "--cpu-limit", "50s"]);
    program.arg("--code").arg(code).arg("--params").arg(params);
    program.arg("--cache").arg(cache).arg("--cgroup").arg(&place.0);
    program.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
}

/// As a service has it: a group that belongs to its user, and the program in one below.
#[tokio::test(flavor = "multi_thread")]
async fn an_ordinary_user_has_control_groups_where_one_was_delegated() {
    let _alone = ALONE.lock().await;
    if !rustix::process::geteuid().is_root() {
        return skipped(1, "control groups of another user: takes root");
    }
    let Some(place) = Place::make() else { return };
    let cache = tempfile::tempdir().unwrap();
    let program = place.path("program");
    fs::create_dir(&program).unwrap();
    let own =
        |path: &Path| std::os::unix::fs::chown(path, Some(ORDINARY_USER), Some(ORDINARY_USER));
    for path in ["", "cgroup.procs", "cgroup.subtree_control", "program/cgroup.procs"] {
        own(&place.path(path)).unwrap();
    }
    own(cache.path()).unwrap();
    let become_user = "echo $$ >\"$1/cgroup.procs\" && shift && exec setpriv --reuid 1000 \
                       --regid 1000 --clear-groups \"$@\"";
    let ran = Command::new("sh")
        .args(["-c", become_user, "sh"])
        .arg(&program)
        .args([PROGRAM, "doctor", "--json", "--cgroup"])
        .arg(&place.0)
        .arg("--cache")
        .arg(cache.path())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&ran.stdout);
    let seen: serde_json::Value = serde_json::from_str(&said).expect("the doctor's object");
    assert_eq!(seen["canary"]["state"], "right", "{said}");
    let layer = layer_of(&seen, "job-cgroup");
    assert_eq!(layer["state"], "on", "{layer}");
    remove(&program).unwrap();
    assert!(place.groups().is_empty(), "{:?}", place.groups());
}

/// By the mark that systemd leaves, on the program's own group or on the one above it.
#[tokio::test(flavor = "multi_thread")]
async fn a_delegated_group_is_found_by_its_mark() {
    let _alone = ALONE.lock().await;
    if !rustix::process::geteuid().is_root() {
        return skipped(1, "a delegated control group: an ordinary user owns its group already");
    }
    for (program, marked) in [("", false), ("", true), ("program", true)] {
        let Some(place) = Place::make() else { return };
        let program = place.path(program);
        fs::create_dir_all(&program).unwrap();
        if marked {
            let flags = rustix::fs::XattrFlags::empty();
            rustix::fs::setxattr(&place.0, "trusted.delegate", b"1", flags).unwrap();
        }
        let cache = tempfile::tempdir().unwrap();
        let ran = Command::new("sh")
            .args(["-c", "echo $$ >\"$1/cgroup.procs\" && shift && exec \"$@\"", "sh"])
            .arg(&program)
            .args([PROGRAM, "doctor", "--json", "--cache"])
            .arg(cache.path())
            .output()
            .unwrap();
        let seen: serde_json::Value = serde_json::from_slice(&ran.stdout).unwrap();
        let layer = layer_of(&seen, "job-cgroup");
        match (marked, place.offers_limits()) {
            (true, true) => assert_eq!(layer["state"], "on", "{layer}"),
            (true, false) => assert_eq!(layer["call"], "memory and pids in cgroup.controllers"),
            (false, _) => assert_eq!(layer["call"], "a delegated control group"),
        }
        assert_eq!(seen["strict"], true);
        // Where the program stepped aside, its group is whoever's the delegated one is.
        place.groups().iter().for_each(|group| remove(group).unwrap());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_place_that_was_named_and_is_none_is_a_fault() {
    let _alone = ALONE.lock().await;
    let cache = tempfile::tempdir().unwrap();
    for place in [cache.path().to_owned(), cache.path().join("nowhere")] {
        let refused = builder(cache.path()).cgroup(&place).start().await;
        let Err(Fault::Jail { layer, .. }) = refused else { panic!("{refused:?}") };
        assert_eq!(layer.as_str(), "job-cgroup");
    }
    let without = builder(cache.path()).without_cgroup().start().await;
    let Ok(host) = without else { return skipped(1, "the strict jail") };
    assert!(matches!(state(&host, "job-cgroup"), LayerState::Off { errno: 19, .. }));
    assert!(matches!(state(&host, "cgroup-limits"), LayerState::Off { errno: 19, .. }));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_beyond_its_groups_memory_is_told_from_one_that_was_killed() {
    let _alone = ALONE.lock().await;
    let Some(place) = Place::make() else { return };
    if !place.offers_limits() {
        return skipped(1, "limits of control groups: this cgroup2 has not memory and pids");
    }
    let cache = tempfile::tempdir().unwrap();
    let host = place.host(cache.path()).start().await.unwrap();
    assert_eq!(*state(&host, "cgroup-limits"), LayerState::On);
    let running = validation(&host, &toucher()).await;
    let (job, worker) = running_job(me()).await;
    let jobs = place.path("").join(group_of(&job, &place));
    let limit = |name| fs::read_to_string(jobs.join(name)).unwrap().trim().to_owned();
    assert!(limit("memory.max").parse::<u64>().is_ok() && limit("memory.oom.group") == "1");
    assert_eq!(limit("pids.max"), "20");
    // Far below what it holds; what is written does not count until the next job.
    let _ = fs::write(jobs.join("memory.max"), "4194304");
    assert_eq!(running.await.unwrap(), Verdict::Inconclusive(Doubt::OutOfMemory));
    assert!(ends_within(&pidfd_or_gone(worker.pid), LINGER_MAX), "a doubtful worker is not kept");
}

/// Writes to each of its pages, over and over.
fn toucher() -> Code {
    code(
        r#"(module
            (memory (export "memory") 1024)
            (global (export "__heap_base") i32 (i32.const 1024))
            (func (export "validate_block") (param i32 i32) (result i64)
                (local $at i32)
                (loop
                    (i32.store (local.get $at) (i32.const 1))
                    (local.set $at (i32.and (i32.add (local.get $at) (i32.const 4096)) (i32.const 0x3ffffff)))
                    (br 0))
                (unreachable)))"#,
    )
}
