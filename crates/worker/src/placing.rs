//! Which of a worker's processes run on its processor, and which do not.
//!
//! As long as a call has two processors to itself, one is for those that take turns: the host, the worker, the job that is
//! called. The template, the copies that it makes and the jobs that end are kept off that one. The worker goes where its host calls from,
//! since to wake a process on another processor takes several times as long as on the same. Where more calls run than that,
//! the kernel places them all.

use lazaret_sandbox::{fork::Child, home::Home};
use lazaret_wire::frame::Wake;

use crate::watch::Job;

/// Calls in a row that come from the same other processor before the worker goes there, if the kernel has not brought them
/// together by then.
const CALLS_BEFORE_MOVE: u32 = 4;
/// Calls in a row from there before it tries that again: where the kernel always finds a better place for it, it is let.
const CALLS_BETWEEN_MOVES: u32 = 16;
/// Jobs that end elsewhere at a time. One more ends here: there is too much to do elsewhere.
const ENDING_ELSEWHERE_MAX: usize = 2;

pub(crate) struct Placing {
    home: Home,
    /// As the host said with the last call.
    wake: Wake,
    /// How many calls in a row came from that processor while the worker ran on another.
    from_elsewhere: u32,
    /// Where the copy began that is called now, if it was placed: the worker may be elsewhere by the time it asks.
    called_on: Option<usize>,
}

impl Placing {
    pub(crate) fn new(home: Home) -> Self {
        Self { home, wake: Wake::Anywhere, from_elsewhere: 0, called_on: None }
    }

    pub(crate) fn home(&self) -> &Home {
        &self.home
    }

    /// Takes note of where a call came from.
    pub(crate) fn note(&mut self, wake: Wake) {
        let is_elsewhere = match wake {
            Wake::BesideWorker { caller } => self.home.processor() != Some(caller.into()),
            Wake::Anywhere => false,
        };
        self.from_elsewhere = match is_elsewhere {
            true if wake == self.wake => (self.from_elsewhere + 1) % CALLS_BETWEEN_MOVES,
            true => 1,
            false => 0,
        };
        self.wake = wake;
        self.called_on = None;
    }

    /// Goes where the host calls from, if it is time to; for when nobody waits.
    pub(crate) fn follow_host(&self) {
        if let Wake::BesideWorker { caller } = self.wake
            && self.from_elsewhere == CALLS_BEFORE_MOVE
        {
            self.home.go_to(caller.into());
        }
    }

    fn has_two_processors(&self) -> bool {
        matches!(self.wake, Wake::BesideWorker { .. })
    }

    /// The processor for those that take turns, if one is for them.
    fn of_turns(&self) -> Option<usize> {
        self.called_on.or_else(|| self.home.processor()).filter(|_| self.has_two_processors())
    }

    /// The call is over.
    pub(crate) fn of_answered(&mut self) {
        self.called_on = None;
    }

    /// Before a copy is handed its work.
    pub(crate) fn of_called(&mut self, job: &Job) {
        self.called_on = self.of_turns();
        if self.called_on.is_some() {
            self.home.keep_here(&job.child);
        } else if job.is_away {
            self.home.let_roam(&job.child);
        }
    }

    /// When a copy that was called runs for long.
    pub(crate) fn of_long_running(&self, job: &Child) {
        if self.has_two_processors() {
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

    /// Before a template is told to make copies; off which processor it is kept already, if it is kept off one, is what the last
    /// time returned.
    pub(crate) fn of_template(&self, template: &Child, kept_off: Option<usize>) -> Option<usize> {
        let turns = self.of_turns();
        match (kept_off, turns) {
            (before, now) if before == now => {}
            (_, Some(turns)) => self.home.keep_off(template, turns),
            (_, None) => self.home.let_roam(template),
        }
        turns
    }
}

#[cfg(test)]
mod tests {
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
}
