//! When to try again to start a worker, after it failed: a machine that cannot start one now is asked
//! less and less often, and requests meanwhile are told what failed and do not wait.

use std::time::{Duration, Instant};

use crate::verdict::Fault;

/// The pause after the second failure in a row; after the first there is none, because what failed
/// may have passed.
const PAUSE_MIN: Duration = Duration::from_millis(100);
/// The longest pause; each is twice as long as the one before.
const PAUSE_MAX: Duration = Duration::from_secs(30);

#[derive(Debug, Default)]
pub(crate) struct Backoff {
    failures: u32,
    last: Option<(Fault, Instant)>,
}

impl Backoff {
    /// The fault of the last try, if it is too early for another.
    pub(crate) fn refuses(&self, now: Instant) -> Option<Fault> {
        let (fault, when) = self.last.as_ref()?;
        (now < *when + pause(self.failures)).then(|| fault.clone())
    }

    /// Takes note of how a try ended.
    pub(crate) fn note(&mut self, failed: Option<&Fault>, now: Instant) {
        match failed {
            None => *self = Self::default(),
            Some(fault) => {
                self.failures = self.failures.saturating_add(1);
                self.last = Some((fault.clone(), now));
            }
        }
    }
}

fn pause(failures: u32) -> Duration {
    match failures {
        0 | 1 => Duration::ZERO,
        more => PAUSE_MIN.saturating_mul(1 << (more - 2).min(16)).min(PAUSE_MAX),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_to_a_limit_and_end_with_a_success() {
        let (mut backoff, now) = (Backoff::default(), Instant::now());
        assert!(backoff.refuses(now).is_none());
        backoff.note(Some(&Fault::WorkerLost), now);
        assert!(backoff.refuses(now).is_none(), "one more try at once");
        backoff.note(Some(&Fault::WorkerLost), now);
        assert!(matches!(backoff.refuses(now), Some(Fault::WorkerLost)));
        assert!(backoff.refuses(now + PAUSE_MIN).is_none());
        for _ in 0..100 {
            backoff.note(Some(&Fault::WorkerLost), now);
        }
        assert!(backoff.refuses(now + PAUSE_MAX - Duration::from_millis(1)).is_some());
        assert!(backoff.refuses(now + PAUSE_MAX).is_none());
        backoff.note(None, now);
        assert!(backoff.refuses(now).is_none());
    }
}
