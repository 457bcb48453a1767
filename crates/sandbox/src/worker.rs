//! Puts the worker into its jail: the list of steps of a long-lived process that runs only
//! trusted code, but talks to jobs that do not.
//!
//! Called once, at the start of the worker program, before anything else is opened. After
//! [`confine`] no path leads anywhere; after [`WorkerJail::enter_filter`] only the system calls
//! of [`crate::filter::worker`] are left. Between the two the caller sets up what it needs.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::rc::Rc;

use rustix::process::Pid;
use rustix::thread::CapabilitySet;

use crate::ends::Ends;
use crate::filter::{self, Filters, Program};
use crate::fork::ForkWay;
use crate::keeper::{Keeper, keep_pid_namespace};
use crate::layer::{Layer, Layers, Record, Refusal, StepError, check};
use crate::level::Level;
use crate::probe::ProbeKilled;
use crate::steps::clocks::ClockPages;
use crate::steps::{
    cgroup, descriptors, file_rights, identity, limits, namespaces, privileges, root,
};
use crate::written::Written;

/// What the host asks of a worker's jail.
#[derive(Clone, Debug)]
pub struct Policy {
    /// How much must hold.
    pub level: Level,
    /// The host: the worker dies with it. More exactly with the *thread* of the host that
    /// started the worker (`PR_SET_PDEATHSIG`), so that thread has to live as long as the host.
    pub parent: Pid,
    /// The largest file (memfd) that the worker or one of its jobs writes; 0 for one that
    /// executes only. It bounds a log that is a file, too: the log has to be a pipe.
    pub file_bytes_max: u64,
    born_in_cgroup: bool,
    keeps_text: bool,
    left_out: Vec<Layer>,
}

impl Policy {
    /// A policy that leaves nothing out.
    pub fn new(level: Level, parent: Pid, file_bytes_max: u64) -> Self {
        Policy {
            level,
            parent,
            file_bytes_max,
            born_in_cgroup: false,
            keeps_text: false,
            left_out: Vec::new(),
        }
    }

    /// Says that the worker was born in a control group in which the host made two more, `own` and
    /// `jobs`, and that the worker may write `cgroup.procs` of all three.
    #[must_use]
    pub fn born_in_cgroup(mut self) -> Self {
        self.born_in_cgroup = true;
        self
    }

    /// Keeps descriptor 1 open, which is the program's text ([`crate::text::LargeText`]).
    #[must_use]
    pub fn keeping_text(mut self, keeps_text: bool) -> Self {
        self.keeps_text = keeps_text;
        self
    }

    /// Leaves layers out, so that a test can show what the next one holds.
    ///
    /// Not a cargo feature: features are united over a workspace, so a test crate that asked for one
    /// would switch it on in the program that is shipped beside it. Instead nobody but a program that
    /// is an attack or a test says this word, which the `tidy` test sees to.
    #[doc(hidden)]
    #[must_use]
    pub fn leaving_out(mut self, layers: &[Layer]) -> Self {
        self.left_out = layers.to_vec();
        self
    }
}

/// A confined worker. It cannot leave the thread that it was made on.
#[derive(Debug)]
pub struct WorkerJail {
    record: Record,
    clock_pages: Option<ClockPages>,
    written: Rc<Written>,
    fork_way: ForkWay,
    /// Where jobs have a pid namespace.
    keeper: Option<Keeper>,
    filters: Rc<Filters>,
    worker_filter: Program,
    ends: Option<Ends>,
}

/// Why a process is not confined.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConfineError {
    /// The first layer that the level requires and the machine refuses.
    #[error(transparent)]
    Step(#[from] StepError),
    /// Whether a layer holds could not be seen.
    #[error(transparent)]
    Probe(#[from] ProbeKilled),
}

/// Confines this process, in the order of docs/jail.md, steps 1 to 7. Only descriptors 0 and 2
/// stay open, 1 if it is kept, and that of the jobs' control group.
///
/// # Errors
/// As [`ConfineError`] says. The process is then half confined and must end.
pub fn confine(policy: &Policy) -> Result<WorkerJail, ConfineError> {
    let mut record = Record::new(policy.level);
    record.leave_out(&policy.left_out);

    record.apply(Layer::Descriptors, || descriptors::keep_socket_and_log(policy.keeps_text))?;
    record.apply(Layer::SingleThread, identity::be_single_threaded)?;
    record.apply(Layer::Session, identity::lead_own_session)?;
    // Needs /proc, which is about to go; if it cannot be read, the job's layer says so.
    let (clock_pages, written) = (ClockPages::find().ok(), Rc::new(Written::find()));

    let jobs_cgroup = leave_the_machine(&mut record, policy)?;
    give_up_privileges(&mut record, policy)?;
    let keeper = enter_pid_namespace(&mut record)?;
    let fork_way = try_cgroup(&mut record, jobs_cgroup)?;
    policy.level.check_whole(record.layers())?;

    // Compiled here, so that a job only has to install its filter.
    let refused = |refusal| StepError { layer: Layer::WorkerFilter, refusal };
    Ok(WorkerJail {
        worker_filter: filter::compile_worker(&fork_way).map_err(refused)?,
        filters: Rc::new(Filters::compile().map_err(refused)?),
        record,
        clock_pages,
        written,
        fork_way,
        keeper,
        ends: None,
    })
}

/// The namespaces. The user namespace comes first, because it gives an ordinary user the right
/// to the others; the root last, because it hides what the others are verified by. In between the
/// directory of the jobs' control group is opened, which could not be found any more later.
fn leave_the_machine(
    record: &mut Record,
    policy: &Policy,
) -> Result<Result<OwnedFd, Refusal>, StepError> {
    record.apply(Layer::UserNamespace, identity::enter_user_namespace)?;
    record.apply(Layer::MountNamespace, namespaces::leave_mounts)?;
    record.apply(Layer::IpcNamespace, namespaces::leave_ipc)?;
    record.apply(Layer::UtsNamespace, namespaces::leave_host_name)?;
    record.apply(Layer::CgroupNamespace, namespaces::leave_cgroups)?;
    let jobs_cgroup = enter_cgroup(record, policy);
    record.apply(Layer::NetworkNamespace, namespaces::leave_network)?;
    // Never outside a user namespace of its own: the bounds written would be the machine's.
    let own_users = record.layers().is_on(Layer::UserNamespace);
    record.apply(Layer::NoNestedNamespaces, || {
        check(own_users, "a user namespace of its own")?;
        namespaces::forbid_more()
    })?;
    // Never in the machine's own mount namespace: a worker that root started would empty the
    // machine's root.
    let own_mounts = record.layers().is_on(Layer::MountNamespace);
    record.apply(Layer::EmptyRoot, || {
        check(own_mounts, "a mount namespace of its own")?;
        root::empty_root()
    })?;
    Ok(jobs_cgroup)
}

fn enter_cgroup(record: &Record, policy: &Policy) -> Result<OwnedFd, Refusal> {
    // ENODEV: it is not there to be had, which every level forgives.
    let absent = |call| Err(Refusal { call, errno: libc::ENODEV });
    if !policy.born_in_cgroup {
        return absent("a control group of the host's");
    }
    // Without it what is found below would be the machine's.
    if !record.layers().is_on(Layer::CgroupNamespace) {
        return absent("a cgroup namespace of its own");
    }
    cgroup::enter_own()
}

fn give_up_privileges(record: &mut Record, policy: &Policy) -> Result<(), StepError> {
    // The one that making a pid namespace asks for, and only over the worker's own user namespace:
    // without that namespace it would be the machine's. It goes when that one is made.
    let kept = match record.layers().is_on(Layer::UserNamespace) {
        true => CapabilitySet::SYS_ADMIN,
        false => CapabilitySet::empty(),
    };
    record.apply(Layer::WorkerCapabilities, || privileges::keep_capabilities(kept))?;
    record.apply(Layer::NoNewPrivs, privileges::refuse_new_privileges)?;
    record.apply(Layer::SessionKeyring, privileges::leave_keyring)?;
    record.apply(Layer::WorkerLimits, || limits::limit_worker(policy.file_bytes_max))?;
    record.apply(Layer::NotDumpable, privileges::refuse_dumps)?;
    // After the last change of credentials, each of which clears it.
    record.apply(Layer::ParentDeath, || identity::die_with(policy.parent))?;
    record.apply(Layer::Landlock, file_rights::deny_everything)
}

/// Makes the jobs' pid namespace. The capability that this took is given up, whatever came of it.
fn enter_pid_namespace(record: &mut Record) -> Result<Option<Keeper>, ConfineError> {
    let mut keeper = None;
    record.apply_probed(Layer::PidNamespace, || {
        keeper = Some(keep_pid_namespace()?);
        Ok(())
    })??;
    if let Err(refusal) = privileges::drop_capabilities() {
        record.apply(Layer::WorkerCapabilities, || Err(refusal))?;
    }
    Ok(keeper)
}

/// Makes a throw-away job in the jobs' control group, and gives back how the others are forked.
fn try_cgroup(
    record: &mut Record,
    jobs_cgroup: Result<OwnedFd, Refusal>,
) -> Result<ForkWay, ConfineError> {
    let mut way = ForkWay::Plain;
    record.apply_probed(Layer::JobCgroup, || {
        way = cgroup::separate_jobs(jobs_cgroup?)?;
        Ok(())
    })??;
    Ok(way)
}

impl WorkerJail {
    /// Leaves the worker, and every job it makes from now on, only the system calls of the
    /// worker's list (docs/jail.md, step 8).
    ///
    /// # Errors
    /// The layer, if the level requires it and the kernel refuses the filter.
    pub fn enter_filter(&mut self) -> Result<(), StepError> {
        // Before it, since afterwards no filter with a listener can be made. A machine that has none to give, or has
        // given it to whoever confined the host, gives none here, and then no job asks.
        self.ends = Ends::listen().ok();
        self.record.apply(Layer::WorkerFilter, || filter::install(&self.worker_filter))
    }

    /// Whether the memory of jobs is counted together, in a control group.
    pub fn jobs_share_a_limit(&self) -> bool {
        matches!(self.fork_way, ForkWay::IntoCgroup { .. })
    }

    /// Where jobs that ask before they end are heard, if they do.
    pub fn ends(&self) -> Option<&Ends> {
        self.ends.as_ref()
    }

    /// The layers of the worker, as far as they were tried.
    pub fn layers(&self) -> &Layers {
        self.record.layers()
    }

    /// Readable for `poll(2)` when the jobs' pid namespace has ended, if they have one: every job has then
    /// been killed and none can be made. A worker to which that happens ends.
    pub fn namespace_end(&self) -> Option<BorrowedFd<'_>> {
        self.keeper.as_ref().map(AsFd::as_fd)
    }

    pub(crate) fn record(&self) -> &Record {
        &self.record
    }

    pub(crate) fn fork_way(&self) -> &ForkWay {
        &self.fork_way
    }

    pub(crate) fn clock_pages(&self) -> Result<ClockPages, Refusal> {
        self.clock_pages.clone().ok_or(Refusal { call: "read /proc/self/maps", errno: 0 })
    }

    pub(crate) fn written(&self) -> Rc<Written> {
        Rc::clone(&self.written)
    }

    pub(crate) fn filters(&self) -> Rc<Filters> {
        Rc::clone(&self.filters)
    }
}
