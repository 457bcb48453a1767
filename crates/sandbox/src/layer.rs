//! The layers of the jail by name, and the record of which of them are on.
//!
//! Steps report here; the worker sends the record to the host, which shows it in every verdict
//! and in `lazaret doctor`. Nothing here makes a system call or decides what is required: that
//! is [`crate::level`].

use std::fmt;

use crate::level::Level;
use crate::probe::{ProbeFailure, ProbeKilled};

macro_rules! layers {
    ($($(#[$doc:meta])* $layer:ident = $name:literal,)*) => {
        /// One thing that confines a worker or a job. The names are stable: other programs
        /// read them.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Layer { $($(#[$doc])* $layer,)* }

        impl Layer {
            /// Every layer, in the order in which they are put on.
            pub const ALL: &[Layer] = &[$(Layer::$layer,)*];

            /// The stable name, in kebab case.
            pub const fn name(self) -> &'static str {
                match self { $(Layer::$layer => $name,)* }
            }
        }
    };
}

layers! {
    /// Worker: no descriptor but 0 and 2.
    Descriptors = "descriptors",
    /// Worker: one thread, so that a fork copies everything there is.
    SingleThread = "single-thread",
    /// Worker: a session of its own, without a terminal.
    Session = "session",
    /// Worker: a user namespace that maps one unused id (`user_namespaces(7)`).
    UserNamespace = "user-namespace",
    /// Worker: mounts of its own (`mount_namespaces(7)`).
    MountNamespace = "mount-namespace",
    /// Worker: no shared memory or queues of others (`ipc_namespaces(7)`).
    IpcNamespace = "ipc-namespace",
    /// Worker: an empty host name (`uts_namespaces(7)`).
    UtsNamespace = "uts-namespace",
    /// Worker: its place in the cgroup tree hidden (`cgroup_namespaces(7)`).
    CgroupNamespace = "cgroup-namespace",
    /// Worker: no network but a loopback that is down (`network_namespaces(7)`).
    NetworkNamespace = "network-namespace",
    /// Worker and jobs: no namespace of another kind than the jobs' pid namespace can be made.
    NoNestedNamespaces = "no-nested-namespaces",
    /// Worker: `/` is empty and cannot be written.
    EmptyRoot = "empty-root",
    /// Worker: no capability (`capabilities(7)`). The one that makes pid namespaces goes last.
    WorkerCapabilities = "worker-capabilities",
    /// Worker and jobs: nothing it executes can gain a privilege.
    NoNewPrivs = "no-new-privs",
    /// Worker and jobs: no key of the user's session (`keyrings(7)`).
    SessionKeyring = "session-keyring",
    /// Worker: `setrlimit(2)`.
    WorkerLimits = "worker-limits",
    /// Worker and jobs: no core dump, no tracing by the same user.
    NotDumpable = "not-dumpable",
    /// Worker: killed with its host.
    ParentDeath = "parent-death",
    /// Worker and jobs: every file and network right handled, none granted (`landlock(7)`).
    Landlock = "landlock",
    /// Jobs live in a pid namespace apart from the worker (`pid_namespaces(7)`).
    PidNamespace = "pid-namespace",
    /// Each job is born in a control group apart from its worker's (`cgroups(7)`), in which it
    /// can be counted, bounded and killed as a whole.
    JobCgroup = "job-cgroup",
    /// That group's memory and processes are bounded. Only the host can do that, and says so.
    CgroupLimits = "cgroup-limits",
    /// Worker and jobs: the worker's list of system calls.
    WorkerFilter = "worker-filter",
    /// Job: one descriptor, its channel.
    JobDescriptors = "job-descriptors",
    /// Job: a session and so a process group of its own, or `kill(0)` would reach its worker
    /// (`setsid(2)`): a group crosses the border of a pid namespace.
    JobSession = "job-session",
    /// Job: signals and abstract sockets of nobody else, not even of its worker's other jobs
    /// (`landlock(7)`, scopes).
    JobScope = "job-scope",
    /// Job: killed with its worker.
    JobParentDeath = "job-parent-death",
    /// Job: no capability at all.
    JobCapabilities = "job-capabilities",
    /// Job that executes: the list of system calls for taking and loading its work.
    LoadingFilter = "loading-filter",
    /// Job: `setrlimit(2)` for memory, CPU, stack, files, processes.
    JobLimits = "job-limits",
    /// Job: the text cannot be unmapped, remapped or made writable (`mseal(2)`).
    SealedText = "sealed-text",
    /// Job: no mapping becomes executable (`PR_SET_MDWE`).
    DenyWriteExecute = "deny-write-execute",
    /// Job: `rdtsc` faults (`PR_SET_TSC`).
    NoTsc = "no-tsc",
    /// Job: the kernel's clock pages are gone.
    NoVdso = "no-vdso",
    /// Job: `cpuid` faults (`ARCH_SET_CPUID`).
    NoCpuid = "no-cpuid",
    /// Job: indirect branches are not predicted from others' history.
    BranchSpeculation = "branch-speculation",
    /// Job: no stranger on the sibling hardware thread.
    CoreScheduling = "core-scheduling",
    /// Job: no new descriptor.
    NoNewDescriptors = "no-new-descriptors",
    /// Job: the final list of system calls.
    JobFilter = "job-filter",
}

impl fmt::Display for Layer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Whether a layer is on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LayerState {
    /// It is on, and where that can be tried it has been tried.
    On,
    /// It is off.
    Off(Refusal),
}

/// The call that failed, and how.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// The failing call or check, as a person would look it up.
    pub call: &'static str,
    /// The error number of `errno(3)`; 0 where a check failed rather than a call.
    pub errno: i32,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.errno {
            0 => write!(f, "{} does not hold", self.call),
            errno => write!(f, "{}: {}", self.call, std::io::Error::from_raw_os_error(errno)),
        }
    }
}

/// A layer that the level requires could not be put on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("layer {layer} cannot be put on: {refusal}")]
pub struct StepError {
    /// The layer.
    pub layer: Layer,
    /// What failed.
    pub refusal: Refusal,
}

/// The layers tried so far, with their state, in the order in which they were tried.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Layers(Vec<(Layer, LayerState)>);

impl Layers {
    /// Each layer tried so far, in order.
    pub fn iter(&self) -> impl Iterator<Item = (Layer, LayerState)> + '_ {
        self.0.iter().copied()
    }

    /// The state of `layer`, or nothing if it was not tried.
    pub fn get(&self, layer: Layer) -> Option<LayerState> {
        self.iter().find(|(tried, _)| *tried == layer).map(|(_, state)| state)
    }

    /// Whether `layer` was tried and is on.
    pub fn is_on(&self, layer: Layer) -> bool {
        self.get(layer) == Some(LayerState::On)
    }
}

/// What one step gives back.
pub(crate) type Step = Result<(), Refusal>;

/// Puts layers on one after another, and stops at the first that the level requires and the
/// machine refuses.
#[derive(Clone, Debug)]
pub(crate) struct Record {
    level: Level,
    layers: Layers,
    /// Empty in every program but tests; see `Policy::leaving_out`.
    left_out: Vec<Layer>,
}

impl Record {
    pub(crate) fn new(level: Level) -> Self {
        Record { level, layers: Layers::default(), left_out: Vec::new() }
    }

    /// Makes `apply` skip these layers, so that a test can show what the next layer holds.
    pub(crate) fn leave_out(&mut self, layers: &[Layer]) {
        self.left_out = layers.to_vec();
    }

    /// Runs one step and records it.
    pub(crate) fn apply(
        &mut self,
        layer: Layer,
        step: impl FnOnce() -> Step,
    ) -> Result<(), StepError> {
        if self.left_out.contains(&layer) {
            let refusal = Refusal { call: "left out by a test", errno: 0 };
            self.layers.0.push((layer, LayerState::Off(refusal)));
            return Ok(());
        }
        let Err(refusal) = step() else {
            self.layers.0.push((layer, LayerState::On));
            return Ok(());
        };
        self.layers.0.push((layer, LayerState::Off(refusal)));
        match self.level.requires(layer, refusal.errno) {
            true => Err(StepError { layer, refusal }),
            false => Ok(()),
        }
    }

    /// The same for a step that makes a probe job. One that was killed says nothing about the
    /// layer, at no level.
    pub(crate) fn apply_probed(
        &mut self,
        layer: Layer,
        step: impl FnOnce() -> Result<(), ProbeFailure>,
    ) -> Result<Result<(), ProbeKilled>, StepError> {
        let mut killed = Ok(());
        self.apply(layer, || match step() {
            Err(ProbeFailure::Refused(refusal)) => Err(refusal),
            Err(ProbeFailure::Killed(probe)) => {
                killed = Err(probe);
                Ok(())
            }
            Ok(()) => Ok(()),
        })?;
        Ok(killed)
    }

    pub(crate) fn layers(&self) -> &Layers {
        &self.layers
    }
}

/// Names the call that failed.
pub(crate) trait During<T> {
    fn during(self, call: &'static str) -> Result<T, Refusal>;
}

impl<T> During<T> for Result<T, rustix::io::Errno> {
    fn during(self, call: &'static str) -> Result<T, Refusal> {
        self.map_err(|errno| Refusal { call, errno: errno.raw_os_error() })
    }
}

impl<T> During<T> for std::io::Result<T> {
    fn during(self, call: &'static str) -> Result<T, Refusal> {
        self.map_err(|error| Refusal { call, errno: error.raw_os_error().unwrap_or(0) })
    }
}

/// A check that a step makes on its own work.
pub(crate) fn check(holds: bool, what: &'static str) -> Step {
    match holds {
        true => Ok(()),
        false => Err(Refusal { call: what, errno: 0 }),
    }
}
