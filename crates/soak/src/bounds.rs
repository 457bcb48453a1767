//! Every bound and every rate of a run, by name.

use std::time::Duration;

/// The longest run: a week.
const TIME_MAX: Duration = Duration::from_secs(7 * 24 * 60 * 60);
const TIME_MIN: Duration = Duration::from_secs(2);
/// A round of load; a line is printed after each.
const ROUND_MAX: Duration = Duration::from_secs(60);
/// So many rounds at least: what is held after the first is what the others are compared with.
const ROUNDS_MIN: u32 = 4;

/// Requests in flight.
pub(crate) const CLIENTS: u64 = 24;
/// Requests of one round, however fast the machine is.
pub(crate) const REQUESTS_PER_ROUND_MAX: u64 = 200_000;
pub(crate) const EXECUTE_WORKERS: usize = 3;
pub(crate) const PREPARE_WORKERS: usize = 1;
/// So few that most requests read their artifact from disk, where it may be damaged.
pub(crate) const HOT_BYTES_MAX: u64 = 96 * 1024;

/// Any one answer.
pub(crate) const ANSWER_MAX: Duration = Duration::from_secs(90);
/// From the last harm until every kind of request has its exact answer: what failed is believed to
/// fail for this long (the canary 10 s, workers that do not start up to 30 s).
pub(crate) const RECOVERY_MAX: Duration = Duration::from_secs(60);
/// From the last answer until nothing is held that a warm host does not hold.
pub(crate) const SETTLED_MAX: Duration = Duration::from_secs(20);
/// From the last answer of the first round until what is held counts as what a warm host holds: dead
/// workers leave pipes and handles that are closed a moment later.
pub(crate) const WARM_AFTER: Duration = Duration::from_secs(2);
/// From the host's end until no process of it is left.
pub(crate) const GONE_MAX: Duration = Duration::from_secs(5);
/// Between two looks at something that is waited for.
pub(crate) const LOOK_EVERY: Duration = Duration::from_millis(50);

/// What the host's private resident memory may grow by after the first round. Threads of the runtime
/// keep pages by turns; a leak of 100 bytes for each request is more than this in a few minutes.
pub(crate) const HOST_GROWTH_BYTES_MAX: u64 = 24 << 20;
/// The same of its largest worker, which makes nothing but jobs.
pub(crate) const WORKER_GROWTH_BYTES_MAX: u64 = 2 << 20;

/// Pauses between two kills or stops: up to this, and half of it on average.
pub(crate) const KILL_PAUSE_MS_MAX: u64 = 240;
/// One in so many of them is a job that is stopped instead.
pub(crate) const STOPS_ONE_IN: u64 = 24;
pub(crate) const DAMAGE_PAUSE_MS_MAX: u64 = 100;
pub(crate) const WITHDRAW_PAUSE_MS_MAX: u64 = 400;
/// Groups that requests belong to.
pub(crate) const GROUPS: u64 = 8;
/// One in so many requests is dropped, has a deadline, belongs to a group.
pub(crate) const DROPPED_ONE_IN: u64 = 12;
pub(crate) const DEADLINE_ONE_IN: u64 = 12;
pub(crate) const GROUPED_ONE_IN: u64 = 3;
/// When it is dropped or its deadline is: up to this from its start.
pub(crate) const SHORT_MS_MAX: u64 = 60;

/// CPU limit of an honest call, which needs a few milliseconds.
pub(crate) const HONEST_CPU: Duration = Duration::from_secs(1);
/// Of a call that never ends.
pub(crate) const ENDLESS_CPU: Duration = Duration::from_millis(30);
/// Of a preparation for a call, and of a precheck.
pub(crate) const PREPARE_CPU: Duration = Duration::from_millis(500);
pub(crate) const PRECHECK_CPU: Duration = Duration::from_millis(400);
/// A preparation that failed is tried again after this.
pub(crate) const COOL_DOWN: Duration = Duration::from_secs(2);
/// A job that died is tried again after this, where it is.
pub(crate) const RETRY_PAUSE: Duration = Duration::from_millis(50);

/// Codes that are called again and again.
pub(crate) const HONEST_CODES: u64 = 8;
/// Codes beyond those.
pub(crate) const NEW_CODES: u64 = 400;
pub(crate) const LARGE_INPUT_BYTES: usize = 1 << 20;
/// Complaints that are printed; all are counted.
pub(crate) const COMPLAINTS_SHOWN: usize = 20;

/// The time of a run, from what was asked.
pub(crate) fn time_of(minutes: f64) -> Duration {
    // What is no number of seconds counts as too many.
    Duration::try_from_secs_f64(minutes * 60.0).unwrap_or(TIME_MAX).clamp(TIME_MIN, TIME_MAX)
}

/// How many rounds make up a run, and how long each is.
pub(crate) fn rounds(time: Duration) -> (u32, Duration) {
    let count = time.as_secs().div_ceil(ROUND_MAX.as_secs()) as u32;
    let count = count.max(ROUNDS_MIN);
    (count, time / count)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_has_rounds_of_a_minute_at_most_and_four_at_least() {
        assert_eq!(rounds(time_of(30.0)), (30, ROUND_MAX));
        assert_eq!(rounds(time_of(1.0)), (4, Duration::from_secs(15)));
        assert_eq!(time_of(f64::NAN), TIME_MAX);
        assert_eq!(time_of(-1.0), TIME_MAX);
        assert_eq!(time_of(0.0), TIME_MIN);
    }
}
