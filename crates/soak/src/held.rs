//! What this program and its workers hold: descriptors, processes, memory, files.

use std::{collections::BTreeMap, fmt, fs, path::Path};

use lazaret::Host;

use crate::bounds::{
    EXECUTE_WORKERS, HOST_GROWTH_BYTES_MAX, PREPARE_WORKERS, WORKER_GROWTH_BYTES_MAX,
};

/// The kind of descriptor that an artifact in memory has.
const MEMORY_FILE: &str = "/memfd";
/// How a worker's input file begins; the host has two descriptors of each.
const INPUT_FILE: &str = "/memfd:lazaret-input";

/// A process below this one, as `/proc` tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Process {
    pub(crate) pid: i32,
    parent: i32,
    is_dead: bool,
    /// The first process of the pid namespace of a worker's jobs.
    is_keeper: bool,
}

impl Process {
    /// Whether it was started by this program; a job is started by a worker.
    pub(crate) fn is_worker(&self) -> bool {
        self.parent == me()
    }
}

/// Templates of a worker and their copies (`lazaret_wire::work::TEMPLATES_MAX`, and four each), and those that wait for a burst.
const EXPECTING_MAX: usize = 32 * 5 + 128;

/// What is held at one moment.
#[derive(Clone, Debug)]
pub(crate) struct Held {
    /// By kind; without those of artifacts in memory, which come and go, and of input files, which a worker has
    /// from its first large input on.
    descriptors: BTreeMap<String, usize>,
    input_files: usize,
    /// A file of the cache is open, or its directory.
    is_writing: bool,
    workers: usize,
    /// With nothing under way these are standby jobs.
    jobs: usize,
    /// Processes that have died and were not reaped.
    dead: usize,
    host_bytes: u64,
    /// Of the largest worker.
    worker_bytes: u64,
    /// Files of the cache that are no artifacts.
    strange_files: usize,
}

impl Held {
    pub(crate) fn now(host: &Host, cache: &Path) -> Self {
        let (dead, living): (Vec<Process>, Vec<_>) =
            processes().into_iter().partition(|one| one.is_dead);
        let workers: Vec<_> = living.iter().filter(|one| one.is_worker()).collect();
        let mut descriptors = descriptors_by_kind();
        let input_files = descriptors.remove(INPUT_FILE).unwrap_or(0);
        let hot = sum(&host.metrics_text(), "lazaret_hot_artifacts") as usize;
        if let Some(memory_files) = descriptors.get_mut(MEMORY_FILE) {
            *memory_files = memory_files.saturating_sub(hot);
        }
        let artifact = |name: &str| name.ends_with(".artifact");
        let files = fs::read_dir(cache).into_iter().flatten().flatten();
        let cache_name = cache.to_string_lossy();
        Self {
            is_writing: descriptors.keys().any(|kind| kind.starts_with(&*cache_name)),
            descriptors,
            input_files,
            workers: workers.len(),
            jobs: living.iter().filter(|one| !one.is_worker() && !one.is_keeper).count(),
            dead: dead.len(),
            host_bytes: private_bytes(me()),
            worker_bytes: workers.iter().map(|one| private_bytes(one.pid)).max().unwrap_or(0),
            strange_files: files
                .filter(|entry| !artifact(&entry.file_name().to_string_lossy()))
                .count(),
        }
    }

    /// Whether some worker is not there.
    pub(crate) fn lacks_workers(&self) -> bool {
        self.workers < EXECUTE_WORKERS + PREPARE_WORKERS
    }

    /// Why this is not what a host holds with every worker there and nothing under way; with what a
    /// warm one held, why it is more.
    pub(crate) fn complaint(&self, warm: Option<&Self>) -> Option<String> {
        let workers = EXECUTE_WORKERS + PREPARE_WORKERS;
        let mut wrong = Vec::new();
        let mut must_be = |what: &str, is: usize, should: usize| {
            if is != should {
                wrong.push(format!("{is} {what}, not {should}"));
            }
        };
        must_be("workers", self.workers, workers);
        must_be("dead processes", self.dead, 0);
        must_be("strange files in the cache", self.strange_files, 0);
        if self.input_files > 2 * EXECUTE_WORKERS {
            wrong.push(format!("{} descriptors of input files", self.input_files));
        }
        // A worker that calls has more while it expects calls: templates, and copies of each.
        let standby = workers..=workers + EXECUTE_WORKERS * EXPECTING_MAX;
        if !standby.contains(&self.jobs) {
            wrong.push(format!("{} standby jobs, not {standby:?}", self.jobs));
        }
        if let Some(warm) = warm {
            for (what, now, before, most) in [
                ("host", self.host_bytes, warm.host_bytes, HOST_GROWTH_BYTES_MAX),
                ("largest worker", self.worker_bytes, warm.worker_bytes, WORKER_GROWTH_BYTES_MAX),
            ] {
                let grown = now.saturating_sub(before);
                if grown > most {
                    wrong.push(format!("the {what} grew by {grown} bytes"));
                }
            }
        }
        let before = |warm: &Self, kind| warm.descriptors.get(kind).copied().unwrap_or(0);
        let is_more =
            |warm: &&Self| self.descriptors.iter().any(|(kind, now)| *now > before(warm, kind));
        if let Some(warm) = warm.filter(is_more) {
            wrong.push(format!("descriptors {:?}, not {:?}", self.descriptors, warm.descriptors));
        }
        // A heads-up that is prepared and not yet kept: nobody's, neither waiting nor running.
        if self.is_writing {
            wrong.push("an artifact is being written".into());
        }
        (!wrong.is_empty()).then(|| wrong.join(", "))
    }
}

impl Held {
    /// What the next look is compared with: memory as at first, descriptors as few as ever, because at
    /// the first look something may have been under way all the same.
    pub(crate) fn baseline(self, warm: Option<Self>) -> Self {
        match warm {
            Some(warm) => Self { descriptors: self.descriptors, ..warm },
            None => self,
        }
    }
}

impl fmt::Display for Held {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} descriptors, {} workers, {} standby jobs, host {} KiB, largest worker {} KiB",
            self.descriptors.values().sum::<usize>(),
            self.workers,
            self.jobs,
            self.host_bytes / 1024,
            self.worker_bytes / 1024,
        )
    }
}

fn me() -> i32 {
    std::process::id() as i32
}

/// All samples of metrics whose name is this, with whatever labels.
pub(crate) fn sum(metrics: &str, name: &str) -> u64 {
    let value = |line: &str| {
        let rest = line.strip_prefix(name)?;
        let is_name = rest.starts_with(['{', ' ']);
        rest.rsplit(' ').next().filter(|_| is_name)?.parse::<u64>().ok()
    };
    metrics.lines().filter_map(value).sum()
}

/// What the descriptors of this program are, counted by kind, so that a complaint says which.
fn descriptors_by_kind() -> BTreeMap<String, usize> {
    let mut kinds = BTreeMap::new();
    for entry in fs::read_dir("/proc/self/fd").into_iter().flatten().flatten() {
        let target = fs::read_link(entry.path()).unwrap_or_default();
        // `socket:[1]`, `/memfd:name (deleted)`, a path.
        let target = target.to_string_lossy();
        let kind = match target.starts_with(INPUT_FILE) {
            true => INPUT_FILE.to_owned(),
            false => target.split([':', ' ']).next().unwrap_or_default().to_owned(),
        };
        *kinds.entry(kind).or_default() += 1;
    }
    kinds
}

/// Every process that descends from this one.
pub(crate) fn processes() -> Vec<Process> {
    let all: Vec<_> = fs::read_dir("/proc")
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| process(entry.file_name().to_str()?.parse().ok()?))
        .collect();
    let mut found: Vec<Process> = Vec::new();
    let mut parents = vec![me()];
    while let Some(parent) = parents.pop() {
        let children = all.iter().filter(|one| one.parent == parent);
        parents.extend(children.clone().map(|one| one.pid));
        found.extend(children);
    }
    found
}

/// A process by its number, if it is there (proc_pid_stat(5)).
pub(crate) fn process(pid: i32) -> Option<Process> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name stands in parentheses and may hold anything.
    let (name, fields) = stat.rsplit_once(") ")?;
    let is_keeper = name.ends_with("(keeper");
    let mut fields = fields.split(' ');
    let is_dead = fields.next()? == "Z";
    Some(Process { pid, parent: fields.next()?.parse().ok()?, is_dead, is_keeper })
}

/// Bytes resident of no file (proc_pid_status(5), `RssAnon`); 0 of a process that has ended.
fn private_bytes(pid: i32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:")).unwrap_or("0 kB");
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap_or(0) * 1024
}
