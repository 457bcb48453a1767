//! Faults 5 to 9: what a job is, as this machine sees it. What it can do is for `attack` to show, whose
//! programs are native code in a job's place.

use std::{
    fs::{self, File},
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};

use lazaret::{
    Host, LayerState, Origin, Refusal, Retry,
    pvf::{Block, Settings},
};
use tokio::task::JoinHandle;

use crate::{
    ALONE, Ended, SECOND, call, me,
    support::{
        EMPTY_RESULT, LINGER_MAX, Process, block, builder, code, endless, ends_within, entries,
        guest, host, kill, pidfd, refusal, returned, running_job, settings, skipped, started,
        trivial,
    },
};

/// A host with a job that runs for ever, and the request that it is for.
async fn with_running_job(cache: &Path) -> (Host, JoinHandle<Ended>, Process, Process) {
    let host = started(builder(cache).execute_workers(1)).await;
    let code = endless();
    host.prepare(&code, &Default::default()).await.unwrap();
    let validation = call(&host, &code, settings(40 * SECOND, Retry::Never));
    let (job, worker) = running_job(me()).await;
    (host, validation, job, worker)
}

/// The layers of these names are on, or it is said that they are not.
fn are_on(host: &Host, names: &[&str]) -> bool {
    let is_on = |name: &&&str| {
        let mut layers = host.security().layers.iter();
        layers.any(|one| one.name.as_str() == **name && one.state == LayerState::On)
    };
    let off: Vec<_> = names.iter().filter(|name| !is_on(name)).collect();
    if !off.is_empty() {
        skipped(1, &format!("layers of the jail that are off here: {off:?}"));
    }
    off.is_empty()
}

/// Whether this program may look into that process, which takes root.
fn is_open(pid: i32) -> bool {
    let open = fs::read_dir(format!("/proc/{pid}/fd")).is_ok();
    if !open {
        skipped(1, "a job seen from outside: this user may not look into /proc of it");
    }
    open
}

/// A field of `/proc/PID/status`.
fn status(pid: i32, field: &str) -> String {
    let text = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = text.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(':'));
    line.unwrap_or_else(|| panic!("no {field} in {text}")).trim().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn fault_05_a_job_ends_with_its_worker() {
    let _alone = ALONE.lock().await;
    let cache = tempfile::tempdir().unwrap();
    let (_host, validation, job, worker) = with_running_job(cache.path()).await;
    let job = pidfd(job.pid);
    kill(worker.pid);
    assert!(ends_within(&job, LINGER_MAX), "the job outlived its worker");
    validation.abort();
}

#[tokio::test(flavor = "multi_thread")]
async fn fault_06_the_root_of_a_worker_and_of_a_job_is_empty_and_cannot_be_written() {
    let _alone = ALONE.lock().await;
    let cache = tempfile::tempdir().unwrap();
    let (host, validation, job, worker) = with_running_job(cache.path()).await;
    if are_on(&host, &["empty-root", "landlock"]) && is_open(job.pid) {
        for process in [job, worker] {
            let root = PathBuf::from(format!("/proc/{}/root/", process.pid));
            assert!(entries(&root).is_empty(), "{:?}", entries(&root));
            let made = File::create(root.join("file")).map_err(|error| error.kind());
            let read_only = std::io::ErrorKind::ReadOnlyFilesystem;
            assert_eq!(made.expect_err("a file was made"), read_only);
            let mounts = fs::read_to_string(format!("/proc/{}/mountinfo", process.pid)).unwrap();
            // proc_pid_mountinfo(5): the mount point, then its own options.
            for mount in mounts.lines() {
                let options = mount.split(' ').nth(5).unwrap_or_default();
                assert!(options.split(',').any(|option| option == "ro"), "{mount}");
            }
        }
    }
    validation.abort();
}

#[tokio::test(flavor = "multi_thread")]
async fn fault_07_a_job_has_no_capability_one_descriptor_and_limits() {
    let _alone = ALONE.lock().await;
    let cache = tempfile::tempdir().unwrap();
    let (host, validation, job, _) = with_running_job(cache.path()).await;
    if are_on(&host, &["job-capabilities", "no-new-privs", "job-filter", "job-limits"]) {
        for set in ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"] {
            assert_eq!(u64::from_str_radix(&status(job.pid, set), 16), Ok(0), "{set}");
        }
        assert_eq!(status(job.pid, "NoNewPrivs"), "1");
        // A filter (PR_GET_SECCOMP(2const)).
        assert_eq!(status(job.pid, "Seccomp"), "2");
        assert_eq!(status(job.pid, "Threads"), "1");
        let limits = fs::read_to_string(format!("/proc/{}/limits", job.pid)).unwrap();
        let soft = |name: &str| {
            let line = limits.lines().find_map(|line| line.strip_prefix(name));
            line.unwrap_or_default().split_whitespace().next().unwrap_or_default().to_owned()
        };
        for name in ["Max data size", "Max cpu time", "Max stack size", "Max file size"] {
            assert!(soft(name).parse::<u64>().is_ok(), "{name}: {limits}");
        }
        assert_eq!(soft("Max processes"), "0", "{limits}");
        if is_open(job.pid) {
            let held = entries(Path::new(&format!("/proc/{}/fd", job.pid)));
            let targets: Vec<_> = held.iter().map(fs::read_link).collect();
            assert_eq!(held.len(), 1, "{targets:?}");
            let target = targets[0].as_ref().unwrap().to_string_lossy();
            assert!(target.starts_with("socket:"), "{target}");
        }
    }
    validation.abort();
}

#[tokio::test(flavor = "multi_thread")]
async fn fault_08_no_job_holds_the_file_of_its_artifact() {
    let _alone = ALONE.lock().await;
    let cache = tempfile::tempdir().unwrap();
    // The file, and what a job could change of it: owner, mode, links, length, times, bytes.
    let look = |path: &Path| {
        let found = fs::metadata(path).unwrap();
        let what = [u64::from(found.uid()), found.mode().into(), found.nlink(), found.len()];
        (what, found.ino(), found.mtime_nsec(), fs::read(path).unwrap())
    };
    let (_host, validation, job, worker) = with_running_job(cache.path()).await;
    let path = entries(cache.path()).remove(0);
    let before = look(&path);
    assert_eq!(before.0[2], 1, "a second name for the artifact");
    if is_open(job.pid) {
        for process in [&job, &worker] {
            let maps = fs::read_to_string(format!("/proc/{}/maps", process.pid)).unwrap();
            let name = path.file_name().unwrap().to_str().unwrap();
            assert!(!maps.contains(name), "the file is mapped: {maps}");
            for entry in entries(Path::new(&format!("/proc/{}/fd", process.pid))) {
                let inode = fs::metadata(&entry).map_or(0, |found| found.ino());
                assert_ne!(inode, before.1, "the file is open: {entry:?}");
            }
        }
    }
    validation.abort();
    assert!(ends_within(&pidfd_or_gone(job.pid), LINGER_MAX));
    assert_eq!(look(&path), before);
    // Were its mode spoilt all the same, that would cost a compilation and no vote.
    let spoilt = std::os::unix::fs::PermissionsExt::from_mode(0o000);
    fs::set_permissions(&path, spoilt).unwrap();
    let host = host(cache.path()).await;
    let answer = host.validate(&endless(), block(), &settings(SECOND / 5, Retry::Never)).await;
    assert!(matches!(refusal(&answer.unwrap()), Refusal::CpuLimit { .. }));
}

/// A handle on a process; on this one's own end of nothing if it is gone already.
fn pidfd_or_gone(pid: i32) -> std::os::fd::OwnedFd {
    use rustix::process::{Pid, PidfdFlags, pidfd_open};
    let gone = || {
        // Readable for ever: its other end is closed.
        let (read, _) = rustix::pipe::pipe().expect("a pipe");
        read
    };
    pidfd_open(Pid::from_raw(pid).expect("a process id"), PidfdFlags::empty())
        .unwrap_or_else(|_| gone())
}

/// A guest that logs for ever.
fn chatty() -> lazaret::Code {
    code(
        r#"(module
            (import "env" "ext_logging_log_version_1" (func $log (param i32 i64 i64)))
            (memory (export "memory") 16)
            (global (export "__heap_base") i32 (i32.const 1024))
            (func (export "validate_block") (param i32 i32) (result i64)
                (loop $on
                    (call $log (i32.const 0) (i64.const 0x0008_0000_0000_0000)
                        (i64.const 0x0008_0000_0000_0000))
                    (br $on))
                (unreachable)))"#,
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn fault_09_what_a_job_says_is_read_up_to_a_limit_and_its_lengths_are_not_believed() {
    const LOG_LINES_MAX: usize = 64;
    const LOG_BYTES_MAX: usize = 32 * 1024;
    let _alone = ALONE.lock().await;
    let cache = tempfile::tempdir().unwrap();
    let host = host(cache.path()).await;
    // Lengths of 4 GiB, and of more than the memory has.
    for body in ["(i64.const -1)", "(i64.const 0xffff_ffff_0000_0000)"] {
        let answer = host.validate(&guest(body), block(), &Settings::default()).await.unwrap();
        let wanted =
            matches!(refusal(&answer), Refusal::BadOutput(_) | Refusal::OutputTooLarge { .. });
        assert!(wanted, "{answer:?}");
    }
    // A length that the memory has and the caller does not want.
    let mut small = Settings::default();
    small.limits.output_bytes_max = 100;
    let long = guest("(i64.const 0x0000_0065_0000_0000)");
    let answer = host.validate(&long, Block::encoded(vec![9]), &small).await.unwrap();
    assert_eq!(refusal(&answer), &Refusal::OutputTooLarge { limit_bytes: 100 });
    // Half a megabyte of log, again and again.
    let loud = settings(SECOND / 2, Retry::Never);
    let answer = host.validate(&chatty(), block(), &loud).await.unwrap();
    assert!(matches!(refusal(&answer), Refusal::CpuLimit { .. }), "{:?}", answer.verdict);
    assert!(answer.log.len() <= LOG_LINES_MAX);
    assert!(
        answer.log.iter().map(|line| line.message.as_str().len()).sum::<usize>() <= LOG_BYTES_MAX
    );
    let next = host.validate(&trivial(9), block(), &Settings::default()).await.unwrap();
    assert_eq!(returned(&next).encoded, EMPTY_RESULT);
    assert_eq!(next.artifact.unwrap().origin, Origin::Prepared);
}
