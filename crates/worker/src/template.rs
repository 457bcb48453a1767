//! A job that has loaded an artifact and copies itself for each call of it, seen from its worker.
//!
//! It runs no guest and holds no work, so that it dies harms nobody. A copy is made as soon as one is taken, while
//! another waits. It says a byte on its channel, and the kernel tells who said it: the template has no
//! word in that.

use std::{
    collections::VecDeque,
    io,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    time::{Duration, Instant},
};

use lazaret_sandbox::fork::Child;
use lazaret_wire::work::{Copy, Execute, Load, Order};
use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    fs::fstat,
};

use crate::{
    hand_over::{self, CHANNELS_AT_A_TIME},
    placing::{Placing, Spot},
    stock::{STOCK_MAX, Stock},
    watch::{self, Job},
};

/// Copies that wait for a call, or are made, while calls come. With one, the next call has to wait until it is made; with two it
/// is made while there is still one; with four the first calls after a pause need none that is made by a template that has slept,
/// which takes several times as long, nor does one call have to wait because the kernel had to do something else meanwhile.
pub(crate) const COPIES_MAX: usize = 4;

/// CPU time of a short call. What one needs that takes more is worth some of a copy's time before it comes; a job that took no
/// more may stay until nobody asks, with all of its memory: in so little a guest touches a megabyte or two.
pub(crate) const SHORT_CPU_MAX: Duration = Duration::from_micros(300);

/// With fewer that wait, what makes them has too much else to do.
const READY_MIN: usize = 2;

/// Copies that are made for the stock at a time: so much does a call find to be done that comes meanwhile.
const STOCKED_AT_A_TIME: usize = 4;

/// A template and the copies that wait for the next calls.
pub(crate) struct Template {
    job: Job,
    /// Those of copies that were not ordered yet. It has their other ends.
    channels: VecDeque<OwnedFd>,
    /// The one that was ordered first is the first.
    copies: VecDeque<Next>,
    /// Those that wait for another kind of call than has come, until they are put down.
    unfit: Vec<Next>,
    stock: Stock,
    /// How large what it has loaded is, which is in memory as long as it is.
    artifact_bytes: u64,
    /// Whether its copies wait behind their last doors.
    is_shut: bool,
    /// Whether the last call of it ran for long.
    runs_long: bool,
    /// Whether it is to have large pages when nobody asks.
    is_to_gather: bool,
    /// Whether a copy has come of it: so far it may be loading.
    has_loaded: bool,
    /// Whether a copy may have died before it said who it is.
    unheard: bool,
}

/// How far a copy is, and how it waits.
enum Next {
    /// It was asked for, and will be at the other end of this channel.
    Ordered(Copy, OwnedFd, Spot),
    /// It waits for its call.
    Ready(Copy, Job),
}

impl Template {
    /// Makes one of a job that waits for its first order.
    pub(crate) fn new(job: Job, load: Load, artifact: BorrowedFd<'_>) -> Result<Self, Job> {
        let (is_shut, is_to_gather) = (load.shut, load.often);
        let copies = VecDeque::with_capacity(COPIES_MAX);
        let channels = VecDeque::with_capacity(CHANNELS_AT_A_TIME);
        let artifact_bytes = fstat(artifact).map_or(0, |artifact| artifact.st_size.unsigned_abs());
        match hand_over::give(job.channel.as_fd(), &Order::Load(load), &[artifact]) {
            Ok(()) => Ok(Self {
                job,
                channels,
                copies,
                unfit: Vec::new(),
                stock: Stock::new(Instant::now()),
                artifact_bytes,
                is_shut,
                runs_long: false,
                is_to_gather,
                has_loaded: false,
                unheard: false,
            }),
            Err(_) => Err(job),
        }
    }

    /// Sees to it that so many copies wait or are made, and says whether that took an order. Those that cannot be ordered
    /// now are ordered the next time.
    pub(crate) fn order(&mut self, likely: &Copy, count: usize, placing: &Placing) -> bool {
        let how = match (self.is_shut, likely) {
            (false, _) => &Copy::Open,
            (true, Copy::Shut(_)) => likely,
            // The last call was an exception, and there are copies for those that are not.
            (true, Copy::Open) => return false,
        };
        let lacking = count.saturating_sub(self.copies.len());
        if lacking > 0 {
            // One that loads makes nobody's copies yet.
            let is_short = count >= READY_MIN && self.has_loaded() && self.is_short();
            self.place(placing, is_short);
        }
        (0..lacking).for_each(|_| self.order_one(how));
        lacking > 0
    }

    /// Has it run, and its copies be made, where they should be now.
    fn place(&mut self, placing: &Placing, is_short: bool) {
        let before = self.job.spot;
        self.job.spot = placing.of_template(&self.job.child, before, is_short);
        if self.job.spot != before {
            let ordered = self.copies.iter_mut().filter_map(|next| match next {
                Next::Ordered(_, _, spot) => Some(spot),
                Next::Ready(..) => None,
            });
            ordered.for_each(|spot| *spot = Spot::Unsure);
        }
    }

    fn order_one(&mut self, how: &Copy) {
        let order = Order::Copy { how: how.clone(), long: self.runs_long };
        let Ok(more) = self.more_channels() else { return };
        let (ours, theirs): (Vec<_>, Vec<_>) = more.into_iter().unzip();
        let attached: Vec<_> = theirs.iter().map(AsFd::as_fd).collect();
        if hand_over::give(self.job.channel.as_fd(), &order, &attached).is_ok() {
            self.channels.extend(ours);
            let spot = self.job.spot;
            let next = self.channels.pop_front().map(|ours| Next::Ordered(how.clone(), ours, spot));
            self.copies.extend(next);
        }
    }

    /// Those that go along with the next order, as they do when it has none left. Copies that wait behind their last doors have
    /// closed all but their own; others, to which things are handed, would keep those of the next ones open.
    fn more_channels(&self) -> io::Result<Vec<(OwnedFd, OwnedFd)>> {
        let count = match (self.channels.is_empty(), self.is_shut) {
            (false, _) => 0,
            (true, true) => CHANNELS_AT_A_TIME,
            (true, false) => 1,
        };
        (0..count).map(|_| hand_over::channel_of_a_copy()).collect()
    }

    /// A copy, if there is one now or after this time. Those that wait for another kind of call make room for one that
    /// can serve this.
    pub(crate) fn take(&mut self, execute: &Execute, patience: Duration) -> Option<Job> {
        if self.copies.front().is_some_and(|next| !can_serve(next.how(), execute)) {
            let copies = std::mem::take(&mut self.copies).into_iter();
            let (fit, unfit): (Vec<_>, Vec<_>) =
                copies.partition(|next| can_serve(next.how(), execute));
            self.copies = fit.into();
            self.unfit.extend(unfit);
        }
        if self.copies.is_empty() {
            self.order_one(&if self.is_shut { copy_for(execute) } else { Copy::Open });
        }
        self.wait(patience);
        match self.copies.pop_front()? {
            Next::Ready(_, job) => {
                self.stock.note_call();
                Some(job)
            }
            ordered => {
                self.copies.push_front(ordered);
                None
            }
        }
    }

    /// The last call of it used so much CPU time.
    pub(crate) fn note_time(&mut self, cpu: Duration) {
        self.runs_long = cpu > SHORT_CPU_MAX;
    }

    /// Nobody asks at the moment: what came until now was one burst.
    pub(crate) fn end_burst(&mut self, now: Instant) {
        self.stock.end_burst(COPIES_MAX, now);
        // That takes some milliseconds: as long as to load a small artifact a few times.
        if self.is_to_gather && self.has_loaded {
            self.is_to_gather = false;
            let _ = hand_over::give(self.job.channel.as_fd(), &Order::Gather, &[]);
        }
    }

    /// Has some of the copies made that are kept for the next burst, of which there may be so many, if nothing else is being made.
    pub(crate) fn fill_stock(&mut self, likely: &Copy, most: usize, placing: &Placing) {
        let wanted = COPIES_MAX + self.stock.wanted(most);
        let is_making = self.copies.iter().any(|next| matches!(next, Next::Ordered(..)));
        if wanted > self.copies.len() && !is_making {
            let some = self.copies.len() + STOCKED_AT_A_TIME;
            self.order(likely, wanted.min(some), placing);
        }
    }

    /// Whether there are more copies for calls like the last than are there without a burst.
    pub(crate) fn has_stock(&self) -> bool {
        self.copies.len() > COPIES_MAX
    }

    /// Whether the burst has not had more calls yet than could find a copy in stock.
    pub(crate) fn burst_is_short(&self) -> bool {
        self.stock.calls() <= STOCK_MAX
    }

    /// How many copies there are beyond those that are there without a burst.
    pub(crate) fn stocked(&self) -> usize {
        (self.copies.len() + self.unfit.len()).saturating_sub(COPIES_MAX)
    }

    /// How many more are wanted beyond those that are there without a burst, if there may be so many.
    pub(crate) fn lacks(&self, most: usize) -> usize {
        self.stock.wanted(most).saturating_sub(self.stocked())
    }

    /// Whether some of what it has in stock goes where another template wants the room.
    pub(crate) fn makes_room(&self, now: Instant) -> bool {
        self.stock.makes_room(now)
    }

    /// Ends those that nobody will call, and those in stock that are not wanted or beyond so many.
    pub(crate) fn trim(&mut self, most: usize) -> io::Result<()> {
        let kept = COPIES_MAX + self.stock.wanted(most);
        let surplus = self.copies.split_off(kept.min(self.copies.len()));
        let ended: Vec<_> = self.unfit.drain(..).chain(surplus).collect();
        self.discard(ended)
    }

    /// Ends some of those that nobody will call: so many that there are never more than come with a call.
    pub(crate) fn trim_unfit(&mut self) -> io::Result<()> {
        let some = self.unfit.len().min(COPIES_MAX);
        let ended: Vec<_> = self.unfit.drain(..some).collect();
        self.discard(ended)
    }

    /// Ends copies that are there or to come.
    fn discard(&mut self, copies: Vec<Next>) -> io::Result<()> {
        let ready = copies.into_iter().filter_map(|next| match next {
            Next::Ready(_, job) => Some(job),
            // If it is there it finds its channel closed and ends, and has to be reaped.
            Next::Ordered(..) => {
                self.unheard = true;
                None
            }
        });
        watch::put_down_all(ready.collect())
    }

    /// Waits so long for the first copy, if it was ordered and is not there.
    fn wait(&mut self, patience: Duration) {
        if matches!(self.copies.front(), Some(Next::Ordered(..))) {
            self.hear();
        }
        if let Some(Next::Ordered(_, channel, _)) = self.copies.front() {
            let mut source = [PollFd::new(channel, PollFlags::IN)];
            let limit = Timespec {
                tv_sec: patience.as_secs() as i64,
                tv_nsec: patience.subsec_nanos().into(),
            };
            let _ = rustix::io::retry_on_intr(|| poll(&mut source, Some(&limit)));
            self.hear();
        }
    }

    pub(crate) fn artifact_bytes(&self) -> u64 {
        self.artifact_bytes
    }

    /// Whether a copy has come of it, which means that the next ones will soon.
    pub(crate) fn has_loaded(&mut self) -> bool {
        if !self.has_loaded {
            self.hear();
        }
        self.has_loaded
    }

    /// Whether fewer copies than [`READY_MIN`] wait.
    pub(crate) fn is_short(&mut self) -> bool {
        let ready = |copies: &VecDeque<Next>| {
            copies.iter().filter(|next| matches!(next, Next::Ready(..))).take(READY_MIN).count()
        };
        if ready(&self.copies) < READY_MIN {
            self.hear();
        }
        ready(&self.copies) < READY_MIN
    }

    /// Takes note of copies that have said their byte, or that will not.
    pub(crate) fn hear(&mut self) {
        for next in std::mem::take(&mut self.copies) {
            match next.heard() {
                Some(next) => {
                    self.has_loaded |= matches!(next, Next::Ready(..));
                    self.copies.push_back(next);
                }
                // Whoever was there ends when the channel does.
                None => self.unheard = true,
            }
        }
    }

    /// What becomes readable when the template or a copy ends, or when the copy is there that was ordered last.
    pub(crate) fn sources(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        let ready = self.copies.iter().filter_map(Next::job).map(|job| job.child.as_fd());
        let ordered = self.copies.back().and_then(|next| match next {
            Next::Ordered(_, channel, _) => Some(channel.as_fd()),
            Next::Ready(..) => None,
        });
        std::iter::once(self.job.child.as_fd()).chain(ready).chain(ordered)
    }

    /// Whether it is there only to be reaped.
    pub(crate) fn has_ended(&self) -> bool {
        watch::has_ended(&self.job.child)
    }

    /// Reaps copies that died while they waited.
    pub(crate) fn reap_copies(&mut self) -> io::Result<()> {
        // One look at all of them, of whom there may be more than a hundred.
        let waiting = self.copies.iter().filter_map(Next::job);
        if !watch::is_any_readable(waiting.map(|job| job.child.as_fd())) {
            return Ok(());
        }
        for next in std::mem::take(&mut self.copies) {
            match next {
                Next::Ready(_, job) if watch::has_ended(&job.child) => watch::put_down(job)?,
                other => self.copies.push_back(other),
            }
        }
        Ok(())
    }

    /// The children that this is.
    pub(crate) fn children(&self) -> impl Iterator<Item = &Child> {
        let copies = self.copies.iter().chain(&self.unfit).filter_map(Next::job);
        std::iter::once(&self.job.child).chain(copies.map(|job| &job.child))
    }

    /// Whether it may have left a child that nobody knows, since this was asked last.
    pub(crate) fn left_a_stranger(&mut self) -> bool {
        std::mem::take(&mut self.unheard)
    }

    /// Ends it and its copies, and says whether it may have left a child that nobody knows.
    pub(crate) fn end(mut self) -> io::Result<bool> {
        self.hear();
        let copies = self.copies.drain(..).chain(self.unfit.drain(..)).collect();
        self.discard(copies)?;
        watch::put_down(self.job)?;
        Ok(self.unheard)
    }
}

impl Next {
    fn job(&self) -> Option<&Job> {
        match self {
            Next::Ready(_, job) => Some(job),
            Next::Ordered(..) => None,
        }
    }

    fn how(&self) -> &Copy {
        match self {
            Next::Ordered(how, ..) | Next::Ready(how, _) => how,
        }
    }

    /// What it is now; nothing if it came to nothing.
    fn heard(self) -> Option<Self> {
        let Next::Ordered(how, channel, spot) = self else { return Some(self) };
        let announced = match hand_over::announced(channel.as_fd()) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                return Some(Next::Ordered(how, channel, spot));
            }
            announced => announced.ok().flatten(),
        };
        let child = Child::open(announced?).ok()?;
        let announced = hand_over::ANNOUNCEMENT_BYTES;
        let job = Job { child, channel, announced, spot };
        Some(Next::Ready(how, job))
    }
}

/// Whether a copy that waits so can serve this call.
fn can_serve(how: &Copy, execute: &Execute) -> bool {
    match how {
        Copy::Open => true,
        Copy::Shut(limits) => {
            is_all_in_order(execute) && limits.are_alike_for_a_process(&execute.limits)
        }
    }
}

/// How the copy for a call like this one is to wait.
pub(crate) fn copy_for(execute: &Execute) -> Copy {
    match is_all_in_order(execute) {
        true => Copy::Shut(execute.limits.clone()),
        false => Copy::Open,
    }
}

/// Whether the call brings no descriptor but the artifact's, which a copy does not need.
pub(crate) fn is_all_in_order(execute: &Execute) -> bool {
    !execute.given.is_in_a_file() && execute.input.descriptors() == 0
}
