//! Jobs that wait for work, forked and confined: one for anything, and templates of the artifacts that were called
//! more than once, with copies of them, because the next call is likely to be of one of those.

use std::{
    collections::VecDeque,
    io,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    time::{Duration, Instant},
};

use lazaret_sandbox::{
    ends::Ends,
    fork::Child,
    watch::{Unless, reap, reap_stranger, reap_unless_it_runs},
};
use lazaret_wire::{
    frame::Readiness,
    work::{ARTIFACT_BYTES_MAX, Copy, Execute, Load, TEMPLATES_MAX, Work},
};
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use crate::{
    calls::{Call, Calls},
    placing::Placing,
    stock::{Room, STOCK_MAX},
    template::{COPIES_MAX, SHORT_CPU_MAX, Template, copy_for},
    watch::{self, Job, Leaving, QUIET},
};

/// How long a call waits for a copy that was ordered of a template that has loaded. Making one takes a tenth of a
/// millisecond.
const COPY_PATIENCE: Duration = Duration::from_millis(20);
/// The same where there is to be nothing but copies.
const COPY_PATIENCE_IN_ATTACKS: Duration = Duration::from_secs(10);
/// Templates that may be lost in a row before this worker makes no more: a machine may refuse them what
/// they need.
const TEMPLATES_LOST_MAX: u32 = 8;
/// How long a worker that is asked for nothing keeps more templates than one, and a stock of copies.
const TEMPLATES_IDLE_MAX: Timespec = Timespec { tv_sec: 60, tv_nsec: 0 };
/// How often a worker that waits looks for a child that nobody knows, and how long it waits in between.
const STRANGER_LOOKS_MAX: u32 = 20;
/// See [`STRANGER_LOOKS_MAX`].
const STRANGER_PAUSE: Timespec = Timespec { tv_sec: 0, tv_nsec: 50_000_000 };
/// How long a worker that has answered waits for its host alone.
const HOST_ALONE: Timespec = Timespec { tv_sec: 0, tv_nsec: 2_000_000 };
/// Jobs that are ending while another runs: they hold their memory until they are gone. With one more the worker waits for
/// the first.
pub(crate) const LEAVING_MAX: usize = 3;

/// What waits in a worker.
pub(crate) struct Standby {
    idle: Option<Job>,
    /// With what each loaded for. The one that was used last is the first.
    templates: Vec<(Template, Call)>,
    /// Jobs whose answer has been given, and that have not been let end yet. The first asked first.
    asking: VecDeque<Leaving>,
    /// Jobs that have been, until the kernel is done with them. The first left first.
    leaving: Vec<Child>,
    calls: Calls,
    /// How a copy for a call like the last one waits.
    likely: Copy,
    templates_lost: u32,
    /// Copies that may be kept for bursts: fewer where a template was lost over it.
    stock_max: usize,
    stranger_looks: u32,
    terms: Terms,
}

/// What a worker may keep.
#[derive(Clone, Copy)]
pub(crate) struct Terms {
    pub(crate) copies: Copies,
    /// The memory of all jobs is counted together, so that none may be there beside a call but those that are for it.
    pub(crate) one_artifact: bool,
}

/// Which calls go to copies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Copies {
    /// Those that were to be expected.
    Likely,
    /// All, each to that of a template of its own: of an attack.
    Always,
    /// None: of an attack.
    Never,
}

/// What a template of its artifact is to a call.
enum Fit {
    /// It has copies for it.
    Serves,
    /// It has none, and may have some for the next.
    Waits,
    /// It only takes room.
    Useless,
}

impl Standby {
    pub(crate) fn new(terms: Terms) -> Self {
        Self {
            idle: None,
            templates: Vec::with_capacity(TEMPLATES_MAX + 1),
            asking: VecDeque::with_capacity(STOCK_MAX),
            leaving: Vec::with_capacity(LEAVING_MAX + 1),
            calls: Calls::new(),
            likely: Copy::Open,
            templates_lost: 0,
            stock_max: STOCK_MAX,
            stranger_looks: 0,
            terms,
        }
    }

    /// The job that is nearest to this work.
    pub(crate) fn take(&mut self, work: &Work) -> io::Result<Option<(Job, Readiness)>> {
        if let Work::Execute(execute) = work
            && let Some(job) = self.take_copy(execute)?
        {
            return Ok(Some((job, Readiness::Loaded)));
        }
        Ok(self.idle.take().map(|job| (job, Readiness::Standby)))
    }

    fn take_copy(&mut self, execute: &Execute) -> io::Result<Option<Job>> {
        if self.terms.one_artifact {
            self.end_templates(|call| !call.is_of_same(execute))?;
        }
        let of_same = |(_, call): &(_, Call)| call.is_of_same(execute);
        let Some(place) = self.templates.iter().position(of_same) else { return Ok(None) };
        self.templates[..=place].rotate_right(1);
        match self.fit(&self.templates[0].1, execute) {
            Fit::Waits => return Ok(None),
            Fit::Useless => {}
            Fit::Serves => {
                let (template, _) = &mut self.templates[0];
                let patience = match (self.terms.copies, template.has_loaded()) {
                    (Copies::Always, _) => COPY_PATIENCE_IN_ATTACKS,
                    (_, true) => COPY_PATIENCE,
                    // A job that loads by itself is there sooner.
                    (_, false) => Duration::ZERO,
                };
                if let Some(job) = template.take(execute, patience) {
                    self.templates_lost = 0;
                    return Ok(Some(job));
                }
                if !template.has_ended() {
                    return Ok(None);
                }
            }
        }
        let (template, _) = self.templates.remove(0);
        self.end(template)?;
        Ok(None)
    }

    /// What a template of this call's artifact is to it. One for calls of another form is kept until the second of that
    /// form in a row.
    fn fit(&self, call: &Call, execute: &Execute) -> Fit {
        let is_second = self.calls.had_one_like(execute);
        match (call.covers(execute), call.is_like(execute) || !is_second) {
            (true, true) => Fit::Serves,
            (false, true) if !call.is_like(execute) => Fit::Waits,
            _ => Fit::Useless,
        }
    }

    fn end_templates(&mut self, which: impl Fn(&Call) -> bool) -> io::Result<()> {
        let ended: Vec<_> = self.templates.extract_if(.., |(_, call)| which(call)).collect();
        ended.into_iter().try_for_each(|(template, _)| self.end(template))
    }

    fn end(&mut self, template: Template) -> io::Result<()> {
        if template.end()? {
            self.stranger_looks = STRANGER_LOOKS_MAX;
        }
        Ok(())
    }

    /// Learns from a call what the next one may be.
    pub(crate) fn note(&mut self, execute: &Execute, artifact: OwnedFd) {
        self.likely = copy_for(execute);
        self.calls.note(execute, artifact);
    }

    /// Whether the host asks again soon. Whoever has just got an answer often does, and what becomes of the jobs is looked at
    /// with the next call anyway. Each look is a wake-up.
    pub(crate) fn is_asked_soon(host: BorrowedFd<'_>) -> bool {
        watch::is_readable_within(host, &HOST_ALONE)
    }

    /// A call of the template that was used last used so much CPU time.
    pub(crate) fn note_time(&mut self, cpu: Duration) {
        if let Some((template, _)) = self.templates.first_mut() {
            template.note_time(cpu);
        }
    }

    /// Nobody asks at the moment. What was kept for calls that did not come goes, and so does what another template has not used for a
    /// while if the one that was used last lacks room.
    pub(crate) fn end_burst(&mut self) -> io::Result<()> {
        let now = Instant::now();
        let mut room = Room::new(self.stock_max);
        for (template, _) in &mut self.templates {
            template.end_burst(now);
            template.trim(room.of_next(template.makes_room(now)))?;
            room.take(template.stocked(), template.lacks(self.stock_max));
        }
        Ok(())
    }

    /// Has copies made for a burst of calls like the last one, a few at a time.
    pub(crate) fn fill_stock(&mut self, placing: &Placing) {
        let may_have_one = !self.terms.one_artifact && self.terms.copies == Copies::Likely;
        if !may_have_one || self.keeps_asking() {
            return;
        }
        let Some(((last, _), others)) = self.templates.split_first_mut() else { return };
        let stocked: usize = others.iter().map(|(template, _)| template.stocked()).sum();
        last.fill_stock(&self.likely, self.stock_max.saturating_sub(stocked), placing);
    }

    /// Ends some of the copies that waited for other calls than came.
    pub(crate) fn trim_unfit(&mut self) -> io::Result<()> {
        self.templates.first_mut().map_or(Ok(()), |(template, _)| template.trim_unfit())
    }

    /// Waits until the host's socket is readable, which is true, or a job that waited has died, which
    /// is reaped, or copies are there that were ordered. `namespace_end` is an error, because nothing can be done after it.
    pub(crate) fn wait_with(
        &mut self,
        host: BorrowedFd<'_>,
        namespace_end: Option<BorrowedFd<'_>>,
    ) -> io::Result<bool> {
        let templates = self.templates.iter().flat_map(|(template, _)| template.sources());
        let idle = self.idle.iter().map(|job| job.child.as_fd());
        let leaving = self.leaving.iter().map(AsFd::as_fd);
        let mut sources: Vec<_> = std::iter::once(host)
            .chain(namespace_end)
            .chain(idle)
            .chain(leaving)
            .chain(templates)
            .map(|source| PollFd::from_borrowed_fd(source, PollFlags::IN))
            .collect();
        let has_stock = self.templates.iter().any(|(template, _)| template.stocked() > 0);
        let limit = match (self.stranger_looks, has_stock || self.templates.len() > 1) {
            (1.., _) => Some(&STRANGER_PAUSE),
            (0, true) => Some(&TEMPLATES_IDLE_MAX),
            (0, false) => None,
        };
        let ready = rustix::io::retry_on_intr(|| poll(&mut sources, limit))?;
        if !sources[0].revents().is_empty() {
            return Ok(true);
        }
        if namespace_end.is_some_and(watch::is_readable) {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        if ready == 0 && self.stranger_looks == 0 {
            self.keep_templates(1)?;
            self.end_burst()?;
        }
        self.reap_the_dead().map(|()| false)
    }

    /// Ends those that were not used for longest, until so many are left, and no more artifacts than may be.
    fn keep_templates(&mut self, count: usize) -> io::Result<()> {
        while self.templates.len() > count || self.templates.len() > 1 && self.has_too_much() {
            let Some((template, _)) = self.templates.pop() else { break };
            self.end(template)?;
        }
        Ok(())
    }

    fn has_too_much(&self) -> bool {
        let bytes = self.templates.iter().map(|(template, _)| template.artifact_bytes());
        bytes.sum::<u64>() > ARTIFACT_BYTES_MAX
    }

    /// Reaps what died while it waited, and takes note of copies that have come.
    fn reap_the_dead(&mut self) -> io::Result<()> {
        if let Some(job) = self.idle.take_if(|job| watch::has_ended(&job.child)) {
            watch::put_down(job)?;
        }
        self.reap_those_that_left()?;
        for (template, _) in &mut self.templates {
            template.hear();
            template.reap_copies()?;
            if template.left_a_stranger() {
                self.stranger_looks = STRANGER_LOOKS_MAX;
            }
        }
        let has_ended = |(template, _): &mut (Template, Call)| template.has_ended();
        let kept = self.kept();
        let lost: Vec<_> = self.templates.extract_if(.., has_ended).collect();
        for (template, _) in lost {
            self.templates_lost += 1;
            self.keep_fewer(kept);
            self.end(template)?;
        }
        self.reap_strangers()
    }

    /// Looks for a copy that died before it said who it is.
    fn reap_strangers(&mut self) -> io::Result<()> {
        if self.stranger_looks == 0 {
            return Ok(());
        }
        self.stranger_looks -= 1;
        let templates = self.templates.iter().flat_map(|(template, _)| template.children());
        let idle = self.idle.iter().map(|job| &job.child);
        let asking = self.asking.iter().map(|asking| &asking.child);
        let known = templates.chain(idle).chain(asking).chain(&self.leaving);
        reap_stranger(known).map(drop)
    }

    /// Whether a job that asks to end can wait.
    ///
    /// One that ran long waits until the next one has run for a while, or nobody asks: to put away what it has is much, and
    /// the next call finds a worker that has nothing to do. There is one of these at a time.
    ///
    /// Short ones wait while there is a copy in stock for the next call, and as long as a burst of one artifact has not had more
    /// calls than could be in stock: what is done for them then is not done for the next copies. In one that goes on and on they
    /// end at once, while what they have touched is near. Of both, copies in stock and jobs that wait, there are no more than may be
    /// in stock.
    pub(crate) fn may_keep(&self, job: &Leaving) -> bool {
        if self.terms.one_artifact {
            return false;
        }
        if job.cpu >= QUIET {
            return self.asking.is_empty();
        }
        let Some((template, _)) = self.templates.first() else { return false };
        let may_stay = template.has_stock() || self.is_in_a_row() && template.burst_is_short();
        job.cpu <= SHORT_CPU_MAX && may_stay && self.kept() < self.stock_max
    }

    /// Whether the last two calls were of the same artifact.
    fn is_in_a_row(&self) -> bool {
        self.calls.last().is_some_and(|(_, is_again)| is_again)
    }

    /// Copies in stock, and jobs that wait until they may end.
    fn kept(&self) -> usize {
        let stocked = self.templates.iter().map(|(template, _)| template.stocked());
        stocked.sum::<usize>() + self.asking.len()
    }

    /// Whether some of these wait.
    pub(crate) fn keeps_asking(&self) -> bool {
        !self.asking.is_empty()
    }

    /// Keeps a job that asks to end until it is let.
    pub(crate) fn keep_asking(&mut self, job: Leaving) {
        self.asking.push_back(job);
    }

    /// Lets the one end that asked first; says whether there was one.
    pub(crate) fn let_one_go(
        &mut self,
        placing: &Placing,
        ends: Option<&Ends>,
    ) -> io::Result<bool> {
        let Some(Leaving { child, asking, _channel, .. }) = self.asking.pop_front() else {
            return Ok(false);
        };
        placing.of_ending(&child, self.leaving.len(), || self.is_short_of_copies());
        if let Some(ends) = ends {
            ends.let_go(asking);
        }
        self.leaving.push(child);
        if self.leaving.len() > LEAVING_MAX {
            reap(self.leaving.remove(0))?;
        }
        Ok(true)
    }

    /// Lets as many end at a time as may end beside a call.
    pub(crate) fn let_some_go(&mut self, placing: &Placing, ends: Option<&Ends>) -> io::Result<()> {
        // Tried again when one of them is readable.
        let _ = self.reap_those_that_left();
        while self.leaving.len() < LEAVING_MAX && self.let_one_go(placing, ends)? {}
        Ok(())
    }

    /// Waits until all of that has ended.
    pub(crate) fn see_off(&mut self) -> io::Result<()> {
        self.leaving.drain(..).try_for_each(|job| reap(job).map(drop))
    }

    /// Lets all end and waits for that, where the machine has no process for a call.
    pub(crate) fn let_all_go(&mut self, placing: &Placing, ends: Option<&Ends>) -> io::Result<()> {
        self.keep_fewer(self.kept());
        while self.let_one_go(placing, ends)? {}
        self.see_off()
    }

    /// With so many kept something was lost, perhaps for want of one process more, as a container may allow few.
    fn keep_fewer(&mut self, kept: usize) {
        if kept > 0 {
            self.stock_max = self.stock_max.min(kept / 2);
        }
    }

    /// Reaps what has ended of that.
    pub(crate) fn reap_those_that_left(&mut self) -> io::Result<()> {
        let mut place = 0;
        while place < self.leaving.len() {
            if let Unless::Runs(job) = reap_unless_it_runs(self.leaving.remove(place))? {
                self.leaving.insert(place, job);
                place += 1;
            }
        }
        Ok(())
    }

    /// Whether calls of one artifact come one after another, and faster than copies for them are made.
    pub(crate) fn is_short_of_copies(&mut self) -> bool {
        self.is_in_a_row()
            && self.templates.first_mut().is_some_and(|(template, _)| template.is_short())
    }

    /// Whether the job for anything is missing.
    pub(crate) fn lacks_idle(&self) -> bool {
        self.idle.is_none()
    }

    pub(crate) fn keep_idle(&mut self, job: Job) {
        self.idle = Some(job);
    }

    /// Takes note of copies that are there, before they are asked for.
    pub(crate) fn hear(&mut self) {
        if let Some((template, _)) = self.templates.first_mut() {
            template.hear();
        }
    }

    /// Has the template of the last call make copies, if there is one that lacks some, and says whether it had.
    pub(crate) fn order_copies(&mut self, placing: &Placing) -> bool {
        let Some((last, is_again)) = self.calls.last() else { return false };
        let count = if is_again { COPIES_MAX } else { 1 };
        let first = self.templates.first_mut().filter(|(_, call)| call.is_of_same_as(last));
        first.is_some_and(|(template, _)| template.order(&self.likely, count, placing))
    }

    /// Whether a template is to be expected, if there is none yet.
    pub(crate) fn expects_copies(&self) -> bool {
        self.terms.copies != Copies::Likely || self.calls.likely().is_some()
    }

    /// What a template should load now, and the artifact, if there should be one and is none.
    pub(crate) fn lacks_template(&self) -> Option<(Load, BorrowedFd<'_>)> {
        let (likely, artifact) =
            self.calls.likely().filter(|_| self.terms.copies == Copies::Likely)?;
        let has_one = self.templates.iter().any(|(_, call)| call.is_of_same_as(likely));
        let may = !has_one && self.templates_lost < TEMPLATES_LOST_MAX;
        let often = self.is_in_a_row();
        may.then(|| (Load { often, ..likely.load.clone() }, artifact.as_fd()))
    }

    /// What a template is to load before it is handed this work, where every call goes to a copy.
    pub(crate) fn must_load(&self, work: &Work) -> Option<Load> {
        match work {
            Work::Execute(execute) if self.terms.copies == Copies::Always => {
                Some(Load { often: true, ..Call::of(execute).load })
            }
            _ => None,
        }
    }

    /// A template that was told to load what [`lacks_template`](Self::lacks_template) gave.
    pub(crate) fn keep_template(
        &mut self,
        template: Template,
        placing: &Placing,
    ) -> io::Result<()> {
        if let Some((call, _)) = self.calls.last() {
            self.templates.insert(0, (template, call.clone()));
            self.order_copies(placing);
        }
        self.keep_templates(TEMPLATES_MAX)
    }

    /// A template for this work alone.
    pub(crate) fn keep_template_for(
        &mut self,
        execute: &Execute,
        mut template: Template,
        placing: &Placing,
    ) -> io::Result<()> {
        self.keep_templates(0)?;
        template.order(&copy_for(execute), 1, placing);
        self.templates.push((template, Call::of(execute)));
        Ok(())
    }
}
