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
}

impl Placing {
    pub(crate) fn new(home: Home) -> Self {
        Self { home, wake: Wake::Anywhere, from_elsewhere: 0 }
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

    /// Before a copy is handed its work.
    pub(crate) fn of_called(&self, job: &Job) {
        if self.has_two_processors() {
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

    /// Before a job is let end, while so many others do. Where copies are short, those who make them have enough to do elsewhere.
    pub(crate) fn of_ending(
        &self,
        job: &Child,
        others: usize,
        copies_are_short: impl FnOnce() -> bool,
    ) {
        if self.has_two_processors() && others < ENDING_ELSEWHERE_MAX && !copies_are_short() {
            self.home.send_away(job);
        }
    }

    /// Before a template is told to make copies; off which processor it is kept already, if it is kept off one, is what the last
    /// time returned.
    pub(crate) fn of_template(&self, template: &Child, kept_off: Option<usize>) -> Option<usize> {
        let here = self.home.processor().filter(|_| self.has_two_processors());
        match (kept_off, here) {
            (before, now) if before == now => {}
            (_, Some(_)) => self.home.send_away(template),
            (_, None) => self.home.let_roam(template),
        }
        here
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
