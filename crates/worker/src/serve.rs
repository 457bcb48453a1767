//! A worker's loop: a frame in, a job, a frame out. Jobs wait ready before they are asked for.

use std::{
    io,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    time::Duration,
};

use lazaret_engine::Engine;
use lazaret_sandbox::{
    fork::{Child, Forked, fork_job},
    job::JobKind,
    memfd,
    text::{self, LargeText},
    worker::WorkerJail,
};
use lazaret_wire::{
    claim::Claim,
    evidence::{Output, Reply},
    frame::{
        Ending, FromWorker, NotStarted, OUTPUT_INLINE_BYTES_MAX, Readiness, StartStep, ToWorker,
        decode, encode,
    },
    greeting::Role,
    work::{Execute, Given, Load, Order, Work},
};
use rustix::event::Timespec;

use crate::{
    hand_over,
    host_link::HostLink,
    job,
    native::Native,
    placing::Placing,
    standby::Standby,
    template::Template,
    watch::{self, Begin, HostSays, Job, Leaving, Seen},
};

/// Standby jobs that may be found dead before one piece of work is given up.
const HAND_OVERS_MAX: u32 = 3;

/// How long nobody has asked for anything when a worker sees to its program's text, which takes some tens of milliseconds.
const UNASKED: Timespec = Timespec { tv_sec: 0, tv_nsec: 250_000_000 };

/// A worker that is confined and has greeted.
pub(crate) struct Worker {
    pub(crate) host: HostLink,
    pub(crate) role: Role,
    pub(crate) engine: Engine,
    /// Only an attack has one.
    pub(crate) native: Option<Native>,
    pub(crate) jail: WorkerJail,
    pub(crate) placing: Placing,
    /// What its jobs run from, if it is there.
    pub(crate) text: Option<LargeText>,
    /// Jobs that are forked, confined, and wait for their work.
    pub(crate) standby: Standby,
    /// The job of which the host is told now.
    pub(crate) leaving: Option<Leaving>,
    /// Whether the host has had an answer of it.
    pub(crate) has_answered: bool,
}

/// Work that a job holds.
struct HandedOver {
    job: Job,
    begin: Begin,
    readiness: Readiness,
    /// Where the job writes one.
    artifact: Option<OwnedFd>,
}

/// Why a step before the hand-over failed.
struct Failed(StartStep, io::Error);

impl Worker {
    /// Serves until the host is gone; the error is one of the host's socket.
    pub(crate) fn serve(&mut self) -> io::Result<()> {
        loop {
            self.refill();
            self.idle()?;
            let Some(received) = self.host.receive()? else { return Ok(()) };
            match decode(&received.frame).map_err(io::Error::other)? {
                ToWorker::Run { number, work, wake } => {
                    self.placing.note(wake);
                    let (answer, memfd) = self.run(number, work, received.descriptors)?;
                    self.send(&answer, memfd.as_ref())?;
                    self.let_go()?;
                    self.placing.follow_host();
                    self.settle(memfd);
                }
                // It crossed the answer on its way.
                ToWorker::Withdraw => {}
            }
        }
    }

    /// Waits until the host has something to say. A job that dies while it waits is reaped at once, and
    /// replaced once: one that dies each time must not keep the worker busy. Where nobody asks for a while, the text is
    /// seen to, for which a call would have to wait otherwise.
    fn idle(&mut self) -> io::Result<()> {
        let lacks_text = self.text.as_ref().is_some_and(|text| !text.is_ready());
        if lacks_text && !watch::is_readable_within(self.host.as_fd(), &UNASKED) {
            self.make_text_ready();
        }
        if Standby::is_asked_soon(self.host.as_fd()) {
            return Ok(());
        }
        self.standby.end_burst()?;
        let mut may_refill = true;
        loop {
            self.standby.let_some_go(&self.placing, self.jail.ends())?;
            self.standby.fill_stock(&self.placing);
            if self.standby.wait_with(self.host.as_fd(), self.jail.namespace_end())? {
                return Ok(());
            }
            // What came may be a copy that is there now, for which nothing is to be made.
            may_refill = may_refill && !self.refill();
        }
    }

    /// One piece of work from hand-over to evidence, and the memfd that goes with it.
    fn run(
        &mut self,
        number: u64,
        work: Work,
        descriptors: Vec<OwnedFd>,
    ) -> io::Result<(FromWorker, Option<OwnedFd>)> {
        let handed_over = match self.hand_over(&work, descriptors) {
            Ok(handed_over) => handed_over,
            Err(Failed(step, error)) => {
                let errno = error.raw_os_error().unwrap_or(0);
                let ending = Ending::NotStarted(NotStarted { step, errno });
                return Ok((FromWorker { number, readiness: Readiness::Absent, ending }, None));
            }
        };
        let HandedOver { job, begin, readiness, artifact } = handed_over;
        // While the job runs, on another core if there is one.
        self.refill();
        let host = &self.host;
        let mut ask_host = || asked_to_withdraw(host);
        let host = (host.as_fd(), &mut ask_host as _);
        let ends = self.jail.ends();
        let (placing, standby) = (&self.placing, &mut self.standby);
        let watching = (ends, placing.home());
        let mut runs_long = |job: &Child| {
            placing.of_long_running(job);
            standby.hear();
            standby.let_some_go(placing, ends)
        };
        let (seen, leaving) =
            watch::until_ended(job, work.limits(), begin, host, watching, &mut runs_long)?;
        self.leaving = leaving;
        if readiness == Readiness::Loaded {
            self.standby.note_time(Duration::from_micros(seen.evidence.usage.cpu_micros));
        }
        self.placing.of_answered();
        let (ending, memfd) = packed(seen, artifact)?;
        Ok((FromWorker { number, readiness, ending }, memfd))
    }

    /// Sees to a new artifact and the program's text, now that the host has its answer and no job is there yet that many copies
    /// will be made of.
    fn settle(&mut self, given: Option<OwnedFd>) {
        if let (Role::Prepare, Some(artifact)) = (self.role, given) {
            // Some ten milliseconds, and not many jobs run from it yet. Where that cannot be, its pages are as small as they are.
            let _ = memfd::gather(artifact.as_fd());
        }
        if self.role == Role::Prepare || self.standby.expects_copies() {
            self.make_text_ready();
        } else if !std::mem::replace(&mut self.has_answered, true) {
            // The way of a first call is a wide one, and another may not come for long.
            text::let_go();
        }
    }

    /// One that cannot be had is not tried again.
    fn make_text_ready(&mut self) {
        self.text.take_if(|text| text.make_ready().is_err());
    }

    /// Lets a job end that has asked, now that its answer is given; where that can wait, when a call runs for long or nobody asks
    /// any more.
    fn let_go(&mut self) -> io::Result<()> {
        let Some(leaving) = self.leaving.take() else { return Ok(()) };
        let may_stay = self.standby.may_keep(&leaving);
        self.standby.keep_asking(leaving);
        if may_stay {
            return Ok(());
        }
        // Tried again when one of them is readable.
        let _ = self.standby.reap_those_that_left();
        let ends = self.jail.ends();
        self.standby.let_one_go(&self.placing, ends)?;
        // One more that stayed, if there is time.
        if self.standby.keeps_asking() && !self.standby.is_short_of_copies() {
            self.standby.let_one_go(&self.placing, ends)?;
        }
        self.standby.trim_unfit()
    }

    /// Gives the work to a job. From here on the job holds it.
    fn hand_over(&mut self, work: &Work, descriptors: Vec<OwnedFd>) -> Result<HandedOver, Failed> {
        if descriptors.len() != work.descriptors_from_host() {
            return Err(Failed(StartStep::Descriptors, io::ErrorKind::InvalidInput.into()));
        }
        // What it still holds counts for the next job too, which must not be what the kernel kills for it.
        if self.jail.jobs_share_a_limit() {
            self.standby.see_off().map_err(watching)?;
        }
        if let Work::Execute(Execute { given: Given::Placed { .. }, .. }) = work {
            memfd::check_read_only(descriptors[1].as_fd())
                .map_err(|error| Failed(StartStep::Descriptors, error))?;
        }
        let artifact = match work {
            Work::Prepare(_) => {
                let created = memfd::create("artifact");
                Some(created.map_err(|error| Failed(StartStep::Memfd, error))?)
            }
            Work::Execute(_) | Work::Inspect(_) => None,
        };
        if let (Work::Execute(execute), Some(load)) = (work, self.standby.must_load(work)) {
            let template = self.fork_template(load, descriptors[0].as_fd())?;
            self.standby.keep_template_for(execute, template, &self.placing).map_err(watching)?;
        }
        let attached: Vec<_> = descriptors.iter().chain(&artifact).map(AsFd::as_fd).collect();
        let order = Order::Work(work.clone());
        let mut tries = 1;
        let (job, begin, readiness) = loop {
            let (job, readiness) = match self.standby.take(work).map_err(watching)? {
                Some(waiting) => waiting,
                None => (self.fork_for_call()?, Readiness::Absent),
            };
            // The artifact comes first, and a job that has loaded has it.
            let attached = &attached[usize::from(readiness == Readiness::Loaded)..];
            // All clocks are read before the job wakes, because it may run before we do again. What it
            // has used for its own jail is not the guest's.
            let begin = Begin::now(&job);
            match readiness {
                Readiness::Loaded => self.placing.of_called(&job),
                // Behind the hand-over comes a fork, beside which the job had better run elsewhere.
                Readiness::Standby | Readiness::Absent => self.placing.of_loading(&job),
            }
            match hand_over::give(job.channel.as_fd(), &order, attached) {
                Ok(()) => break (job, begin, readiness),
                // A job that died while it held nothing harms nobody; the next one is fresh.
                Err(error) if is_gone(&error) && tries < HAND_OVERS_MAX => {
                    tries += 1;
                    let _ = watch::put_down(job);
                }
                Err(error) => {
                    let _ = watch::put_down(job);
                    return Err(Failed(StartStep::HandOver, error));
                }
            }
        };
        if let (Work::Execute(execute), Some(called)) = (work, descriptors.into_iter().next()) {
            self.standby.note(execute, called);
        }
        Ok(HandedOver { job, begin, readiness, artifact })
    }

    /// Sees to it that jobs wait, and says whether it made any. What fails here is tried again, and reported,
    /// when work is there.
    fn refill(&mut self) -> bool {
        let lacks_idle = self.standby.lacks_idle();
        if lacks_idle && let Ok(job) = self.fork(self.kind()) {
            self.standby.keep_idle(job);
        }
        let ordered = self.standby.order_copies(&self.placing);
        let may_load = self.text.as_ref().is_none_or(LargeText::is_ready);
        let Some((load, artifact)) = self.standby.lacks_template().filter(|_| may_load) else {
            return lacks_idle || ordered;
        };
        if let Ok(artifact) = artifact.try_clone_to_owned()
            && let Ok(template) = self.fork_template(load, artifact.as_fd())
        {
            let _ = self.standby.keep_template(template, &self.placing);
        }
        true
    }

    fn kind(&self) -> JobKind {
        job::kind(self.role)
    }

    /// A job for work that is there. What waits until it may end does not stand in its way.
    fn fork_for_call(&mut self) -> Result<Job, Failed> {
        match self.fork(self.kind()) {
            Err(_) if self.standby.keeps_asking() => {
                let ends = self.jail.ends();
                self.standby.let_all_go(&self.placing, ends).map_err(watching)?;
                self.fork(self.kind())
            }
            forked => forked,
        }
    }

    fn fork_template(&self, load: Load, artifact: BorrowedFd<'_>) -> Result<Template, Failed> {
        let job = self.fork(JobKind::Template)?;
        Template::new(job, load, artifact).map_err(|job| {
            let _ = watch::put_down(job);
            Failed(StartStep::HandOver, io::ErrorKind::BrokenPipe.into())
        })
    }

    /// Forks a job that confines itself and waits for work.
    fn fork(&self, kind: JobKind) -> Result<Job, Failed> {
        let channel = match kind {
            JobKind::Template => hand_over::channel_of_a_template(),
            JobKind::Execute | JobKind::Prepare => hand_over::channel(),
        };
        let (ours, theirs) = channel.map_err(|error| Failed(StartStep::SocketPair, error))?;
        match fork_job(&self.jail).map_err(|error| Failed(StartStep::Fork, error))? {
            Forked::Worker(child) => {
                let spot = self.placing.of_forked();
                Ok(Job { child, channel: ours, announced: 0, spot })
            }
            Forked::Job(mut start) => {
                // One that cannot runs from where it is.
                let _ = self.text.as_ref().map(|text| text.map(&mut start));
                job::run(start, theirs, kind, (&self.engine, self.native))
            }
        }
    }

    fn send(&self, answer: &FromWorker, memfd: Option<&OwnedFd>) -> io::Result<()> {
        let frame = encode(answer).map_err(io::Error::other)?;
        let attached: Vec<_> = memfd.into_iter().map(AsFd::as_fd).collect();
        self.host.send(&frame, &attached)
    }
}

/// A child could not be watched or reaped.
fn watching(error: io::Error) -> Failed {
    Failed(StartStep::Fork, error)
}

fn is_gone(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset)
}

fn asked_to_withdraw(host: &HostLink) -> io::Result<HostSays> {
    match host.receive()? {
        None => Err(io::ErrorKind::ConnectionReset.into()),
        Some(received) => match decode(&received.frame).map_err(io::Error::other)? {
            ToWorker::Withdraw => Ok(HostSays::Withdraw),
            ToWorker::Run { .. } => Ok(HostSays::Nothing),
        },
    }
}

/// The answer's frame and the memfd that goes with it: a large output, or the artifact.
fn packed(seen: Seen, artifact: Option<OwnedFd>) -> io::Result<(Ending, Option<OwnedFd>)> {
    let Seen { mut evidence, output } = seen;
    let mut attached = None;
    if let Reply::Whole { claim, output: place } = &mut evidence.reply {
        if let (Claim::Prepared(_), Some(artifact)) = (&*claim, artifact) {
            // The job is reaped, so nobody maps it writable.
            memfd::seal(artifact.as_fd())?;
            attached = Some(artifact);
        } else if output.len() > OUTPUT_INLINE_BYTES_MAX {
            *place = Output::Attached(output.len() as u32);
            attached = Some(sealed_output(&output)?);
        } else {
            *place = Output::Inline(output);
        }
    }
    Ok((Ending::Ended(evidence), attached))
}

fn sealed_output(output: &[u8]) -> io::Result<OwnedFd> {
    let memfd = memfd::create("output")?;
    let mut rest = output;
    while !rest.is_empty() {
        let written = rustix::io::write(&memfd, rest)?;
        rest = &rest[written..];
    }
    memfd::seal(memfd.as_fd())?;
    Ok(memfd)
}
