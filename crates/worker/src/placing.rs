//! Which of a worker's processes run on its processor, and which do not.
//!
//! As long as a call has two processors to itself, one is for those that take turns: the host, the worker, the job that is
//! called. The template, the copies that it makes and the jobs that end are kept off that one. The worker goes where its host calls from,
//! since to wake a process on another processor takes several times as long as on the same.
//!
//! Where there is a call for each processor, each worker has one for itself and all that it forks: its jobs are
//! copied, woken and put away where it is. A job that runs for long may run anywhere, so that no processor is idle for it.
//!
//! Where calls are fewer than processors and more than half as many, the kernel places them all.

use lazaret_sandbox::{fork::Child, home::Home};
use lazaret_wire::frame::Wake;

use crate::watch::Job;

/// Calls in a row that come from the same other processor before the worker goes there, if the kernel has not brought them
/// together by then; and that come while there are processors to spare before one that keeps to one leaves it.
const CALLS_BEFORE_MOVE: u32 = 4;
/// Calls in a row from there before it tries that again: where the kernel always finds a better place for it, it is let.
const CALLS_BETWEEN_MOVES: u32 = 16;
/// Jobs that end elsewhere at a time. One more ends here: there is too much to do elsewhere.
const ENDING_ELSEWHERE_MAX: usize = 2;

/// Where a process may run, as far as its worker has seen to that.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Spot {
    /// On any of the worker's processors.
    Anywhere,
    /// On this one.
    Only(usize),
    /// On all but this one.
    AllBut(usize),
    /// Here or there: it may have been made before its template was placed, or after.
    Unsure,
}

pub(crate) struct Placing {
    home: Home,
    /// As the host said with the last call.
    wake: Wake,
    /// The processor to which the worker keeps.
    kept_to: Option<usize>,
    /// How many calls in a row came while there were processors to spare.
    to_spare: u32,
    /// How many calls in a row came from that processor while the worker ran on another.
    from_elsewhere: u32,
    /// Where the copy began that is called now, if it was placed: the worker may be elsewhere by the time it asks.
    called_on: Option<usize>,
}

impl Placing {
    pub(crate) fn new(home: Home) -> Self {
        let (kept_to, called_on) = (None, None);
        Self { home, wake: Wake::Anywhere, kept_to, to_spare: 0, from_elsewhere: 0, called_on }
    }

    pub(crate) fn home(&self) -> &Home {
        &self.home
    }

    /// Takes note of where a call came from, and keeps to one processor or leaves it.
    pub(crate) fn note(&mut self, wake: Wake) {
        let is_elsewhere = match wake {
            Wake::BesideWorker { caller } => self.home.processor() != Some(caller.into()),
            Wake::Anywhere | Wake::Apart { .. } => false,
        };
        self.from_elsewhere = match is_elsewhere {
            true if wake == self.wake => (self.from_elsewhere + 1) % CALLS_BETWEEN_MOVES,
            true => 1,
            false => 0,
        };
        self.wake = wake;
        self.called_on = None;
        match wake {
            Wake::Apart { place } => self.keep_to(self.home.nth(place.into())),
            Wake::BesideWorker { .. } | Wake::Anywhere if self.to_spare < CALLS_BEFORE_MOVE => {
                self.to_spare += 1;
            }
            Wake::BesideWorker { .. } | Wake::Anywhere => self.leave(),
        }
    }

    fn keep_to(&mut self, processor: Option<usize>) {
        self.to_spare = 0;
        if processor != self.kept_to {
            self.leave();
            self.kept_to = processor.filter(|processor| self.home.keep_to(*processor));
        }
    }

    /// Keeps to no processor any more.
    fn leave(&mut self) {
        if self.kept_to.take().is_some() {
            self.home.roam();
        }
    }

    /// Goes where the host calls from, if it is time to; for when nobody waits.
    pub(crate) fn follow_host(&self) {
        if let Wake::BesideWorker { caller } = self.wake
            && self.kept_to.is_none()
            && self.from_elsewhere == CALLS_BEFORE_MOVE
        {
            self.home.go_to(caller.into());
        }
    }

    fn has_two_processors(&self) -> bool {
        matches!(self.wake, Wake::BesideWorker { .. }) && self.kept_to.is_none()
    }

    /// The processor for those that take turns, if one is for them.
    fn of_turns(&self) -> Option<usize> {
        self.called_on.or_else(|| self.home.processor()).filter(|_| self.has_two_processors())
    }

    /// The call is over.
    pub(crate) fn of_answered(&mut self) {
        self.called_on = None;
    }

    /// Of what the worker forks, which is where the worker is.
    pub(crate) fn of_forked(&self) -> Spot {
        self.kept_to.map_or(Spot::Anywhere, Spot::Only)
    }

    /// Before a copy is handed its work.
    pub(crate) fn of_called(&mut self, job: &Job) {
        self.called_on = self.of_turns();
        if self.called_on.is_some() {
            self.home.keep_here(&job.child);
        } else {
            self.of_loading(job);
        }
    }

    /// Before another job is handed its work.
    pub(crate) fn of_loading(&self, job: &Job) {
        self.put(&job.child, job.spot, self.of_forked());
    }

    /// When a job runs for long.
    pub(crate) fn of_long_running(&self, job: &Child) {
        if self.has_two_processors() || self.kept_to.is_some() {
            self.home.let_roam(job);
        }
    }

    /// Before a job is let end, while so many others do, off the processor of those that take turns. Where copies are short,
    /// those who make them have enough to do elsewhere.
    pub(crate) fn of_ending(
        &self,
        job: &Child,
        others: usize,
        copies_are_short: impl FnOnce() -> bool,
    ) {
        if let Some(turns) = self.of_turns()
            && others < ENDING_ELSEWHERE_MAX
            && !copies_are_short()
        {
            self.home.keep_off(job, turns);
        }
    }

    /// Before a template is told to make copies: where it is from then on, and they. Where copies are short, calls wait for
    /// them, and nobody else needs the processor of those that take turns.
    pub(crate) fn of_template(&self, template: &Child, spot: Spot, copies_are_short: bool) -> Spot {
        let turns = self.of_turns().filter(|_| !copies_are_short);
        let wanted = turns.map_or(self.of_forked(), Spot::AllBut);
        self.put(template, spot, wanted);
        wanted
    }

    fn put(&self, process: &Child, spot: Spot, wanted: Spot) {
        match wanted {
            _ if spot == wanted => {}
            Spot::Only(processor) => self.home.keep_on(process, processor),
            Spot::AllBut(processor) => self.home.keep_off(process, processor),
            Spot::Anywhere | Spot::Unsure => self.home.let_roam(process),
        }
    }
}

#[cfg(test)]
mod tests {
    use rustix::thread::sched_getaffinity;

    use super::*;

    #[test]
    fn a_worker_follows_its_host_once_in_so_many_calls_from_the_same_place() {
        let mut placing = Placing::new(Home::of_caller());
        // No machine has that one, so it is always another.
        let (there, elsewhere) = (u16::MAX, u16::MAX - 1);
        let mut moves_after = |calls: u32, caller| {
            (0..calls).for_each(|_| placing.note(Wake::BesideWorker { caller }));
            placing.from_elsewhere == CALLS_BEFORE_MOVE
        };
        assert!(!moves_after(CALLS_BEFORE_MOVE - 1, there));
        assert!(!moves_after(1, elsewhere));
        assert!(moves_after(CALLS_BEFORE_MOVE, there));
        assert!(!moves_after(CALLS_BETWEEN_MOVES - 1, there));
        assert!(moves_after(1, there));
        placing.note(Wake::Anywhere);
        assert_eq!(placing.from_elsewhere, 0);
    }

    #[test]
    fn a_worker_keeps_to_one_processor_until_there_have_been_some_to_spare_for_a_few_calls() {
        let home = Home::of_caller();
        let own = || sched_getaffinity(None).unwrap();
        let all = own();
        let mut placing = Placing::new(home);
        placing.note(Wake::Apart { place: 1 });
        let kept_to = placing.of_forked();
        assert_eq!(kept_to, Spot::Only(home.nth(1).unwrap()));
        assert_eq!(own().count(), 1);
        (0..CALLS_BEFORE_MOVE).for_each(|_| placing.note(Wake::Anywhere));
        assert_eq!(placing.of_forked(), kept_to);
        placing.note(Wake::Anywhere);
        assert_eq!((placing.of_forked(), own()), (Spot::Anywhere, all));

        let count = all.count() as u16;
        placing.note(Wake::Apart { place: count });
        assert_eq!(placing.of_forked(), Spot::Only(home.nth(0).unwrap()));
        placing.leave();
        assert_eq!(own(), all);
    }
}
