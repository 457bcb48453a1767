//! When to try again to start a worker, after it failed: a machine that cannot start one now is asked
//! less and less often. A request waits out a short pause, and is told what failed in a long one.

use std::time::{Duration, Instant};

use crate::verdict::Fault;

/// The pause after the second failure in a row; after the first there is none, because what failed
/// may have passed.
const PAUSE_MIN: Duration = Duration::from_millis(100);
/// The longest pause; each is twice as long as the one before.
const PAUSE_MAX: Duration = Duration::from_secs(30);
/// The longest that a request waits for the end of a pause.
const WAIT_MAX: Duration = Duration::from_millis(500);

#[derive(Debug, Default)]
pub(crate) struct Backoff {
    failures: u32,
    last: Option<(Fault, Instant)>,
}

impl Backoff {
    /// How long to wait before the next try, or the fault of the last one if that would be long.
    pub(crate) fn wait(&self, now: Instant) -> Result<Duration, Fault> {
        let Some((fault, when)) = &self.last else { return Ok(Duration::ZERO) };
        match (*when + pause(self.failures)).saturating_duration_since(now) {
            wait if wait <= WAIT_MAX => Ok(wait),
            _ => Err(fault.clone()),
        }
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
        let mut fail = |times: u32| {
            (0..times).for_each(|_| backoff.note(Some(&Fault::WorkerLost), now));
            (backoff.wait(now).ok(), backoff.wait(now + PAUSE_MAX).ok())
        };
        let soon = Some(Duration::ZERO);
        assert_eq!(fail(0), (soon, soon));
        assert_eq!(fail(1), (soon, soon), "one more try at once");
        assert_eq!(fail(1), (Some(PAUSE_MIN), soon));
        assert_eq!(fail(2), (Some(4 * PAUSE_MIN), soon));
        assert_eq!(fail(1), (None, soon), "too long to wait for");
        assert_eq!(fail(100), (None, soon));
        assert!(matches!(backoff.wait(now), Err(Fault::WorkerLost)));
        backoff.note(None, now);
        assert_eq!(backoff.wait(now).ok(), soon);
    }
}
