//! The control groups of one worker: its own, and that of its jobs with its limits.

use std::{
    fs::{self, File, Permissions},
    io,
    os::unix::fs::{FileExt, PermissionsExt},
    sync::Mutex,
};

use rustix::process::geteuid;

use super::{
    EMPTY_MAX, Refusal,
    events::Events,
    group::{During, Group},
    place,
};
use crate::judge::OomKill;

/// Processes in the jobs' group: the job, one that waits for any work, a template and its four copies, four that are ending,
/// and a template and its copies before while the kernel puts those away.
const JOB_PROCESSES_MAX: &str = "20";
/// What a job takes that its own limit (`RLIMIT_DATA`) does not count and that is not the guest's:
/// its stack, page tables, the program's own pages, buffers of the kernel. That limit is met first.
const JOB_OVERHEAD_BYTES: u64 = 128 << 20;
/// Longer than any `memory.events`.
const EVENTS_BYTES_MAX: usize = 1024;

/// The groups of one worker. [`WorkerGroup::remove`] ends them.
#[derive(Debug)]
pub(crate) struct WorkerGroup {
    /// The worker is born here; later there is no process in it.
    group: Group,
    jobs: Group,
    limits: Result<(), Refusal>,
}

/// The limit of the jobs' memory, and what came of it.
#[derive(Debug)]
pub(crate) struct JobMemory {
    jobs: Group,
    events: File,
    /// What was set and seen last.
    last: Mutex<(u64, Events)>,
}

impl WorkerGroup {
    pub(super) fn make(group: Group, limits: Result<(), Refusal>) -> Result<Self, Refusal> {
        let below = |name| group.make(name).during("mkdir in a worker's control group");
        let (own, jobs) = (below("own")?, below("jobs")?);
        if geteuid().is_root() {
            // A worker that root started becomes somebody else, who has to enter its own group and
            // to fork into the other. Nobody outside can use this, because that would take the same
            // right to a group above all three (cgroups(7), delegation containment).
            for group in [&group, &own, &jobs] {
                let anybody = Permissions::from_mode(0o666);
                fs::set_permissions(group.file("cgroup.procs"), anybody)
                    .during("chmod cgroup.procs")?;
            }
        }
        Ok(Self { group, jobs, limits })
    }

    /// Puts a worker in that has not been told anything yet.
    pub(crate) fn admit(&self, pid: u32) -> Result<(), Refusal> {
        self.group.write("cgroup.procs", &pid.to_string()).during("write cgroup.procs")
    }

    /// Sets the limits that are the same for every job. Only once the worker is in its own group: one
    /// that has processes cannot give controllers to those below.
    pub(crate) fn limit_jobs(&self) -> Result<JobMemory, Refusal> {
        self.limits?;
        place::enable(&self.group)?;
        self.jobs.write("pids.max", JOB_PROCESSES_MAX).during("write pids.max")?;
        self.jobs.write("memory.oom.group", "1").during("write memory.oom.group")?;
        match self.jobs.write("memory.swap.max", "0") {
            // The kernel was built or started without swap accounting.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            written => written.during("write memory.swap.max")?,
        }
        let events = File::open(self.jobs.file("memory.events")).during("open memory.events")?;
        Ok(JobMemory { jobs: self.jobs.clone(), events, last: Mutex::default() })
    }

    /// Kills the worker and its job, whatever became of either.
    pub(crate) fn kill(&self) {
        self.group.kill();
    }

    /// Waits until they are gone, and removes the groups. What stays is removed with the host's.
    pub(crate) fn remove(self) {
        if let Err(error) = self.group.remove(EMPTY_MAX) {
            let group = self.group.path().display();
            tracing::debug!(target: "lazaret", %group, %error, "a worker's control group stays");
        }
    }
}

impl JobMemory {
    /// Sets the limit of the job that runs next, and looks at what was counted before it.
    pub(crate) fn limit(&self, memory_bytes: u64) -> Result<(), Refusal> {
        let bytes = memory_bytes.saturating_add(JOB_OVERHEAD_BYTES);
        let mut last = self.last.lock().expect("no panic while locked");
        if last.0 != bytes {
            self.jobs.write("memory.max", &bytes.to_string()).during("write memory.max")?;
            last.0 = bytes;
        }
        last.1 = self.events().during("read memory.events")?;
        Ok(())
    }

    /// What the kernel did for want of memory since the limit was set. If that cannot be read, nothing
    /// is held against the job.
    pub(crate) fn oom_kill(&self) -> OomKill {
        let before = self.last.lock().expect("no panic while locked").1;
        self.events().map_or(OomKill::None, |now| now.since(before))
    }

    fn events(&self) -> io::Result<Events> {
        let mut text = [0; EVENTS_BYTES_MAX];
        let read = self.events.read_at(&mut text, 0)?;
        Ok(Events::parse(&String::from_utf8_lossy(&text[..read])))
    }
}

/// What is written and read, in a directory that only looks like a control group: that a kernel acts
/// on it is shown by the end-to-end tests, where there are controllers.
#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_limits_of_a_job_are_written_and_its_events_are_counted_from_there() {
        let fake = tempfile::tempdir().unwrap();
        let file = |name: &str| fake.path().join(name);
        fs::create_dir(file("worker-0")).unwrap();
        for name in ["cgroup.procs", "cgroup.subtree_control"] {
            fs::write(file("worker-0").join(name), "").unwrap();
        }
        fs::write(file("worker-0/cgroup.controllers"), "cpu memory pids\n").unwrap();
        let group = Group::at(file("worker-0"));
        let jobs = group.make("jobs").unwrap();
        for name in ["memory.max", "memory.oom.group", "pids.max"] {
            fs::write(jobs.file(name), "").unwrap();
        }
        fs::write(jobs.file("memory.events"), "oom 3\noom_kill 3\n").unwrap();
        let worker = WorkerGroup { group, jobs: jobs.clone(), limits: Ok(()) };

        let memory = worker.limit_jobs().unwrap();
        memory.limit(1 << 30).unwrap();
        let written = |name| fs::read_to_string(jobs.file(name)).unwrap();
        assert_eq!(written("memory.max"), ((1 << 30) + JOB_OVERHEAD_BYTES).to_string());
        assert_eq!(written("memory.oom.group"), "1");
        assert_eq!(written("pids.max"), JOB_PROCESSES_MAX);
        assert_eq!(memory.oom_kill(), OomKill::None, "counted before this job");
        fs::write(jobs.file("memory.events"), "oom 4\noom_kill 4\n").unwrap();
        assert_eq!(memory.oom_kill(), OomKill::OwnLimit);
        memory.limit(1 << 30).unwrap();
        assert_eq!(memory.oom_kill(), OomKill::None, "the next job begins anew");
    }
}
