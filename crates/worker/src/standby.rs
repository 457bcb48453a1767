//! Jobs that wait for work, forked and confined: one for anything, and a template of the artifact of the last
//! two calls with copies of it, because the next is likely to have the same.

use std::{
    io,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    time::Duration,
};

use lazaret_sandbox::{
    fork::Child,
    watch::{reap, reap_stranger},
};
use lazaret_wire::{
    frame::Readiness,
    work::{Copy, Execute, Limits, Load, Work},
};
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use crate::{
    template::{Template, copy_for, is_all_in_order},
    watch::{self, Job},
};

/// How long a call waits for a copy that was ordered. Making one takes a tenth of a millisecond; a job that
/// loads by itself takes longer only for large artifacts.
const COPY_PATIENCE: Duration = Duration::from_millis(20);
/// The same where there is to be nothing but copies.
const COPY_PATIENCE_IN_ATTACKS: Duration = Duration::from_secs(10);
/// Templates that may be lost in a row before this worker makes no more: a machine may refuse them what
/// they need.
const TEMPLATES_LOST_MAX: u32 = 8;
/// How often a worker that waits looks for a child that nobody knows, and how long it waits in between.
const STRANGER_LOOKS_MAX: u32 = 20;
/// How long a worker that has answered waits for its host alone.
const HOST_ALONE: Timespec = Timespec { tv_sec: 0, tv_nsec: 2_000_000 };
/// Jobs that are ending while another runs: they hold their memory until they are gone. With one more the worker waits for
/// the first.
const LEAVING_MAX: usize = 1;
const STRANGER_PAUSE: Timespec = Timespec { tv_sec: 0, tv_nsec: 50_000_000 };

/// What waits in a worker.
pub(crate) struct Standby {
    idle: Option<Job>,
    template: Option<(Template, Call)>,
    /// Jobs whose answer has been given, until the kernel is done with them. The first left first.
    leaving: Vec<Child>,
    /// What the last call was; with its artifact, if the call before was alike.
    last: Option<(Call, Option<OwnedFd>)>,
    /// How a copy for a call like the last one waits.
    likely: Copy,
    templates_lost: u32,
    stranger_looks: u32,
    /// Whether every call goes to a copy: of an attack.
    copies_always: bool,
}

/// What a template is to a call.
enum Fit {
    /// It has copies for it.
    Serves,
    /// It has none, and may have some for the next.
    Waits,
    /// It only takes room.
    Useless,
}

/// What calls that one template serves have in common.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Call {
    artifact: u64,
    load: Load,
}

impl Standby {
    pub(crate) fn new(copies_always: bool) -> Self {
        Self {
            idle: None,
            template: None,
            leaving: Vec::with_capacity(LEAVING_MAX + 1),
            last: None,
            likely: Copy::Open,
            templates_lost: 0,
            stranger_looks: 0,
            copies_always,
        }
    }

    /// The job that is nearest to this work. A template of something else is ended first, so that no
    /// artifact is there beside a call of another.
    pub(crate) fn take(&mut self, work: &Work) -> io::Result<Option<(Job, Readiness)>> {
        let fit = match work {
            Work::Execute(execute) => self.fit(execute),
            Work::Prepare(_) | Work::Inspect(_) => Fit::Useless,
        };
        match (&mut self.template, fit, work) {
            (Some((template, _)), Fit::Serves, Work::Execute(execute)) => {
                let patience =
                    if self.copies_always { COPY_PATIENCE_IN_ATTACKS } else { COPY_PATIENCE };
                if let Some(job) = template.take(execute, patience) {
                    self.templates_lost = 0;
                    return Ok(Some((job, Readiness::Loaded)));
                }
                if template.has_ended() {
                    self.end_template()?;
                }
            }
            (Some(_), Fit::Useless, _) => self.end_template()?,
            _ => {}
        }
        Ok(self.idle.take().map(|job| (job, Readiness::Standby)))
    }

    /// What the template is to this call. One for calls of another form is kept until the second of that form in
    /// a row.
    fn fit(&self, execute: &Execute) -> Fit {
        let Some((_, call)) = self.template.as_ref().filter(|(_, call)| call.is_of_same(execute))
        else {
            return Fit::Useless;
        };
        let is_second = self.last.as_ref().is_some_and(|(last, _)| last.is_like(execute));
        match (call.covers(execute), call.is_like(execute) || !is_second) {
            (true, true) => Fit::Serves,
            (false, true) if !call.is_like(execute) => Fit::Waits,
            _ => Fit::Useless,
        }
    }

    fn end_template(&mut self) -> io::Result<()> {
        if let Some((template, _)) = self.template.take()
            && template.end()?
        {
            self.stranger_looks = STRANGER_LOOKS_MAX;
        }
        Ok(())
    }

    /// Learns from a call what the next one may be.
    pub(crate) fn note(&mut self, execute: &Execute, artifact: OwnedFd) {
        self.likely = copy_for(execute);
        match &mut self.last {
            Some((last, kept)) if last.is_like(execute) => {
                last.load.limits = widest(&last.load.limits, &execute.limits);
                *kept = Some(artifact);
            }
            _ => self.last = Some((Call::of(execute), None)),
        }
    }

    /// Waits until the host's socket is readable, which is true, or a job that waited has died, which
    /// is reaped. `namespace_end` is an error, because nothing can be done after it.
    ///
    /// For a while it waits for the host alone: whoever has just got an answer asks again soon, and what becomes of the
    /// jobs is looked at with the next call anyway. Each look is a wake-up.
    pub(crate) fn wait_with(
        &mut self,
        host: BorrowedFd<'_>,
        namespace_end: Option<BorrowedFd<'_>>,
    ) -> io::Result<bool> {
        let mut source = [PollFd::from_borrowed_fd(host, PollFlags::IN)];
        if rustix::io::retry_on_intr(|| poll(&mut source, Some(&HOST_ALONE)))? > 0 {
            return Ok(true);
        }
        let template = self.template.iter().flat_map(|(template, _)| template.sources());
        let idle = self.idle.iter().map(|job| job.child.as_fd());
        let leaving = self.leaving.iter().map(AsFd::as_fd);
        let mut sources: Vec<_> = std::iter::once(host)
            .chain(namespace_end)
            .chain(idle)
            .chain(leaving)
            .chain(template)
            .map(|source| PollFd::from_borrowed_fd(source, PollFlags::IN))
            .collect();
        let limit = (self.stranger_looks > 0).then_some(&STRANGER_PAUSE);
        rustix::io::retry_on_intr(|| poll(&mut sources, limit))?;
        if !sources[0].revents().is_empty() {
            return Ok(true);
        }
        match namespace_end {
            Some(end) if watch::is_readable(end) => Err(io::ErrorKind::UnexpectedEof.into()),
            _ => self.reap_the_dead().map(|()| false),
        }
    }

    /// Reaps what died while it waited, and takes note of a copy that has come.
    fn reap_the_dead(&mut self) -> io::Result<()> {
        if let Some(job) = self.idle.take_if(|job| watch::has_ended(&job.child)) {
            watch::put_down(job)?;
        }
        self.reap_those_that_left()?;
        if let Some((template, _)) = &mut self.template {
            template.hear();
            template.reap_copies()?;
            if template.left_a_stranger() {
                self.stranger_looks = STRANGER_LOOKS_MAX;
            }
            if template.has_ended() {
                self.templates_lost += 1;
                self.end_template()?;
            }
        }
        self.reap_strangers()
    }

    /// Looks for a copy that died before it said who it is.
    fn reap_strangers(&mut self) -> io::Result<()> {
        if self.stranger_looks == 0 {
            return Ok(());
        }
        self.stranger_looks -= 1;
        let template = self.template.iter().flat_map(|(template, _)| template.children());
        let idle = self.idle.iter().map(|job| &job.child);
        reap_stranger(template.chain(idle).chain(&self.leaving)).map(drop)
    }

    /// Keeps a job that was let go until it can be reaped.
    pub(crate) fn keep_leaving(&mut self, job: Child) -> io::Result<()> {
        self.leaving.push(job);
        if self.leaving.len() > LEAVING_MAX {
            reap(self.leaving.remove(0))?;
        }
        Ok(())
    }

    /// Waits until all of that has ended.
    pub(crate) fn see_off(&mut self) -> io::Result<()> {
        self.leaving.drain(..).try_for_each(|job| reap(job).map(drop))
    }

    /// Reaps what has ended of that.
    pub(crate) fn reap_those_that_left(&mut self) -> io::Result<()> {
        self.leaving
            .extract_if(.., |job| watch::has_ended(job))
            .try_for_each(|job| reap(job).map(drop))
    }

    /// Whether the job for anything is missing.
    pub(crate) fn lacks_idle(&self) -> bool {
        self.idle.is_none()
    }

    pub(crate) fn keep_idle(&mut self, job: Job) {
        self.idle = Some(job);
    }

    /// Has the template make copies, if there is one that lacks some, and says whether it had.
    pub(crate) fn order_copies(&mut self) -> bool {
        self.template.as_mut().is_some_and(|(template, _)| template.order(&self.likely))
    }

    /// What a template should load now, and the artifact, if there should be one and is none.
    pub(crate) fn lacks_template(&self) -> Option<(Load, BorrowedFd<'_>)> {
        let (last, artifact) = self.last.as_ref().filter(|_| self.template.is_none())?;
        let artifact = artifact.as_ref().filter(|_| self.templates_lost < TEMPLATES_LOST_MAX)?;
        Some((last.load.clone(), artifact.as_fd()))
    }

    /// What a template is to load before it is handed this work, where every call goes to a copy.
    pub(crate) fn must_load(&self, work: &Work) -> Option<Load> {
        match work {
            Work::Execute(execute) if self.copies_always => Some(Call::of(execute).load),
            _ => None,
        }
    }

    /// A template that was told to load what [`lacks_template`](Self::lacks_template) gave.
    pub(crate) fn keep_template(&mut self, mut template: Template) {
        if let Some((call, _)) = &self.last {
            template.order(&self.likely);
            self.template = Some((template, call.clone()));
        }
    }

    /// A template for this work alone.
    pub(crate) fn keep_template_for(
        &mut self,
        execute: &Execute,
        mut template: Template,
    ) -> io::Result<()> {
        self.end_template()?;
        template.order(&copy_for(execute));
        self.template = Some((template, Call::of(execute)));
        Ok(())
    }
}

impl Call {
    fn of(execute: &Execute) -> Self {
        let (params, limits) = (execute.params.clone(), execute.limits.clone());
        let shut = is_all_in_order(execute);
        Self { artifact: execute.artifact, load: Load { params, limits, shut } }
    }

    /// Whether the same template is the best for both.
    fn is_like(&self, execute: &Execute) -> bool {
        self.is_of_same(execute) && self.load.shut == is_all_in_order(execute)
    }

    /// Whether both call the same artifact.
    fn is_of_same(&self, execute: &Execute) -> bool {
        self.artifact == execute.artifact && self.load.params == execute.params
    }

    /// Whether a template that loaded for this call can serve that one: limits of a process can only be
    /// lowered.
    fn covers(&self, execute: &Execute) -> bool {
        let (ours, theirs) = (&self.load.limits, &execute.limits);
        self.is_of_same(execute)
            && (is_all_in_order(execute) || !self.load.shut)
            && ours.cpu_micros >= theirs.cpu_micros
            && ours.memory_bytes >= theirs.memory_bytes
    }
}

fn widest(one: &Limits, other: &Limits) -> Limits {
    Limits {
        cpu_micros: one.cpu_micros.max(other.cpu_micros),
        memory_bytes: one.memory_bytes.max(other.memory_bytes),
        ..other.clone()
    }
}
