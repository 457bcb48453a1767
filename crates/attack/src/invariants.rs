//! What an attack must leave as it was: files outside, processes, artifacts, memory. Read from
//! `/proc` and the disk, by the host's own process, before and after.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    os::unix::{fs::MetadataExt, process::parent_id},
    path::{Path, PathBuf},
};

use rustix::process::{Pid, Signal, WaitOptions, kill_process, waitpid};

use crate::freed_memory;

/// How much memory may have come on: noise of allocators, which a busy machine makes more of.
const MEMORY_BYTES_MAX: u64 = 4 << 20;
/// What every machine has and no attack may change.
const MACHINE: &[&str] = &[
    "/etc/shadow",
    "/etc/passwd",
    "/proc/sys/kernel/hostname",
    "/proc/sys/kernel/core_pattern",
    "/proc/self/mountinfo",
    "/proc/sysvipc/shm",
    "/proc/sysvipc/msg",
    "/proc/sysvipc/sem",
];

/// How the names of input files begin in `/proc/PID/fd`.
const INPUT_FILE: &str = "/memfd:lazaret-input";

/// Everything that must not change.
pub(crate) struct Outside {
    /// Files and what is known of them.
    files: BTreeMap<PathBuf, String>,
    /// Memory files that this process holds and does not write to again, by inode: artifacts, code.
    memory_files: BTreeMap<u64, String>,
    /// What is in its workers' input files.
    input_files: Vec<Vec<u8>>,
}

impl Outside {
    pub(crate) fn look(folders: &[&Path]) -> Self {
        let mut files = BTreeMap::new();
        for folder in folders {
            collect(folder, &mut files);
        }
        for path in MACHINE {
            files.insert(path.into(), digest(Path::new(path)));
        }
        let (mut memory_files, mut input_files) = (BTreeMap::new(), Vec::new());
        for (target, path) in own_memory_files() {
            let (Ok(facts), Ok(bytes)) = (fs::metadata(&path), fs::read(&path)) else { continue };
            if target.starts_with(INPUT_FILE) {
                input_files.push(bytes);
            } else {
                let digest = format!("{} {:?}", blake3::hash(&bytes), facts.mtime());
                memory_files.insert(facts.ino(), digest);
            }
        }
        Self { files, memory_files, input_files }
    }

    /// What has changed outside.
    pub(crate) fn changes(&self, now: &Self) -> Vec<String> {
        let paths: BTreeSet<_> = self.files.keys().chain(now.files.keys()).collect();
        paths
            .into_iter()
            .filter(|path| self.files.get(*path) != now.files.get(*path))
            .map(|path| format!("{} changed", path.display()))
            .collect()
    }

    /// What has changed outside, but for so many new artifacts in the cache.
    pub(crate) fn changes_beside_artifacts(
        &self,
        now: &Self,
        cache: &Path,
        expected: usize,
    ) -> Vec<String> {
        let is_new = |path: &PathBuf| {
            let is_artifact = path.extension().is_some_and(|end| end == "artifact");
            is_artifact && path.parent() == Some(cache) && !self.files.contains_key(path)
        };
        let (new, mut old): (BTreeMap<_, _>, BTreeMap<_, _>) =
            now.files.clone().into_iter().partition(|(path, _)| is_new(path));
        // The folder itself has another time.
        old.extend(
            self.files.get_key_value(cache).map(|(path, facts)| (path.clone(), facts.clone())),
        );
        let mut changes = self.changes(&Self {
            files: old,
            memory_files: BTreeMap::new(),
            input_files: Vec::new(),
        });
        if new.len() != expected {
            changes.push(format!("{} new artifacts, not {expected}", new.len()));
        }
        changes
    }

    /// What has changed in the artifacts that are in memory.
    pub(crate) fn changed_artifacts(&self, now: &Self) -> Vec<String> {
        self.memory_files
            .iter()
            .filter(|(inode, before)| now.memory_files.get(inode).is_some_and(|now| now != *before))
            .map(|(inode, _)| format!("memory file {inode} changed"))
            .collect()
    }

    /// Input files with something else in them than the last input, if that was put in one.
    pub(crate) fn changed_inputs(&self, last: &[u8]) -> Vec<String> {
        let is_changed = |content: &&Vec<u8>| content.as_slice() != last;
        let changed = self.input_files.iter().filter(is_changed);
        changed.map(|content| format!("an input file of {} bytes changed", content.len())).collect()
    }
}

/// Content, and what can be changed beside it.
fn digest(path: &Path) -> String {
    let bytes = fs::read(path).unwrap_or_default();
    let facts = fs::symlink_metadata(path)
        .map(|facts| (facts.mode(), facts.uid(), facts.gid(), facts.size(), facts.nlink()));
    let facts = facts.ok();
    // Times only where an attacker could set them: files of /proc change theirs by being read.
    let modified = fs::metadata(path).ok().filter(|_| !path.starts_with("/proc"));
    let modified = modified.map(|facts| (facts.mtime(), facts.mtime_nsec()));
    format!("{} {facts:?} {modified:?} {}", blake3::hash(&bytes), attributes(path))
}

/// Extended attributes, as bytes of the list of their names.
fn attributes(path: &Path) -> usize {
    rustix::fs::listxattr(path, &mut [0_u8; 4096][..]).unwrap_or(0)
}

fn collect(path: &Path, files: &mut BTreeMap<PathBuf, String>) {
    files.insert(path.to_owned(), digest(path));
    for entry in fs::read_dir(path).into_iter().flatten().flatten() {
        match entry.file_type() {
            Ok(kind) if kind.is_dir() => collect(&entry.path(), files),
            _ => drop(files.insert(entry.path(), digest(&entry.path()))),
        }
    }
}

/// Opens nothing anew that would move an offset: reads go through `/proc/self/fd`.
fn own_memory_files() -> impl Iterator<Item = (String, PathBuf)> {
    let descriptors = fs::read_dir("/proc/self/fd").into_iter().flatten().flatten();
    descriptors.filter_map(|entry| {
        let target = fs::read_link(entry.path()).ok()?.to_str()?.to_owned();
        target.starts_with("/memfd:").then(|| (target, entry.path()))
    })
}

/// A process of this program.
struct Process {
    name: String,
    pid: u32,
    parent: u32,
}

/// Processes of this program beside workers and what each may have ready: left behind. No template is
/// among that but where every call goes to a copy.
pub(crate) fn left_behind(ready_max: usize) -> Vec<String> {
    let own = std::process::id();
    let mut processes = processes_of_this_program();
    // This program's first run may wait for the one that has the far number.
    processes.retain(|process| ![own, parent_id()].contains(&process.pid));
    let workers: BTreeSet<_> =
        processes.iter().filter(|process| process.parent == own).map(|worker| worker.pid).collect();
    let mut ready = BTreeMap::<u32, usize>::new();
    processes
        .iter()
        .filter(|process| !workers.contains(&process.pid))
        .filter(|job| {
            let is_a_workers = workers.contains(&job.parent);
            let count = ready.entry(job.parent).or_default();
            *count += 1;
            (is_a_workers && *count > ready_max) || job.parent == 1
        })
        .map(|left| {
            let of = processes.iter().filter(|process| process.parent == left.parent).count();
            let (name, pid, parent) = (&left.name, left.pid, left.parent);
            format!("process {pid} ({name}) left behind, one of {of} whose parent is {parent}")
        })
        .collect()
}

/// Kills whatever has this process for a parent, and what that leaves to it, until there is nothing.
pub(crate) fn end_children() {
    let own = std::process::id();
    loop {
        let children = processes_of_this_program().into_iter().filter(|child| child.parent == own);
        let pids: Vec<_> = children.filter_map(|child| Pid::from_raw(child.pid as i32)).collect();
        if pids.is_empty() {
            return;
        }
        // One that ended by itself is as good as killed.
        pids.iter().for_each(|pid| _ = kill_process(*pid, Signal::KILL));
        pids.iter().for_each(|pid| _ = waitpid(Some(*pid), WaitOptions::empty()));
    }
}

fn processes_of_this_program() -> Vec<Process> {
    let Ok(program) = fs::metadata("/proc/self/exe") else { return Vec::new() };
    let is_ours = |pid: &u32| {
        let facts = fs::metadata(format!("/proc/{pid}/exe"));
        facts.is_ok_and(|facts| (facts.dev(), facts.ino()) == (program.dev(), program.ino()))
    };
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    pids.filter(is_ours).filter_map(process).collect()
}

fn process(pid: u32) -> Option<Process> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name stands in parentheses and may hold anything.
    let (before, after) = stat.rsplit_once(") ")?;
    let name = before.split_once('(')?.1.to_owned();
    let mut fields = after.split(' ');
    let is_dead = matches!(fields.next()?, "Z" | "X");
    let parent = fields.next()?.parse().ok()?;
    (!is_dead).then_some(Process { name, pid, parent })
}

/// Private memory of this process and of its workers, in bytes.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Memory {
    host: u64,
    worker: u64,
}

impl Memory {
    pub(crate) fn look() -> Self {
        freed_memory::give_back_now();
        let own = std::process::id();
        let workers = processes_of_this_program();
        let workers = workers.iter().filter(|process| process.parent == own);
        Self { host: private_bytes(own), worker: workers.map(|w| private_bytes(w.pid)).sum() }
    }

    /// What has grown too much.
    pub(crate) fn growth(self, now: Self) -> Vec<String> {
        let grown = |who: &str, before: u64, now: u64| {
            let more = now.saturating_sub(before);
            (more > MEMORY_BYTES_MAX).then(|| format!("{who} memory grew by {} KiB", more / 1024))
        };
        [grown("host", self.host, now.host), grown("worker", self.worker, now.worker)]
            .into_iter()
            .flatten()
            .collect()
    }
}

fn private_bytes(pid: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:"));
    let kib = line.and_then(|line| line.trim().trim_end_matches(" kB").parse::<u64>().ok());
    kib.unwrap_or(0) * 1024
}
