//! Whether to try again, decided apart from whose fault it was.

use std::time::Duration;

use crate::{
    judge::Judged,
    request::Retry,
    verdict::{Doubt, Fault},
};

/// Jobs that are run for one request at the most.
pub(crate) const ATTEMPTS_MAX: u32 = 2;
/// The pause before a second try when it could not be said whose fault it was, unless the policy names
/// one: what disturbed the first job may pass.
const PAUSE_AFTER_DOUBT: Duration = Duration::from_secs(1);

/// The pause before the next try, or `None` if this conclusion stands.
pub(crate) fn pause_before_retry(
    policy: Retry,
    attempt: u32,
    concluded: &Result<Judged, Fault>,
) -> Option<Duration> {
    let after_doubt = match policy {
        Retry::Never => return None,
        Retry::Once => PAUSE_AFTER_DOUBT,
        Retry::OnceAfter(pause) => pause,
    };
    if attempt >= ATTEMPTS_MAX {
        return None;
    }
    match concluded {
        // Time was up once; it would be up again, later.
        Ok(Judged::Inconclusive(Doubt::PreparationCpu { .. })) => None,
        Ok(Judged::Inconclusive(_)) => Some(after_doubt),
        Ok(_) => None,
        Err(Fault::WorkerLost | Fault::NotStarted { .. } | Fault::Stalled { .. }) => {
            Some(Duration::ZERO)
        }
        Err(Fault::NoGreeting(_) | Fault::Spawn(_)) => Some(Duration::ZERO),
        Err(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::verdict::Refusal;

    #[test]
    fn doubts_and_passing_faults_are_tried_once_more_and_nothing_else_is() {
        let doubt = || Ok(Judged::Inconclusive(Doubt::WorkerLost));
        assert_eq!(pause_before_retry(Retry::Once, 1, &doubt()), Some(PAUSE_AFTER_DOUBT));
        assert_eq!(pause_before_retry(Retry::Once, 2, &doubt()), None);
        assert_eq!(pause_before_retry(Retry::Never, 1, &doubt()), None);
        let fault = Err(Fault::WorkerLost);
        assert_eq!(pause_before_retry(Retry::Once, 1, &fault), Some(Duration::ZERO));
        assert_eq!(pause_before_retry(Retry::Once, 1, &Err(Fault::Deadline)), None);
        let refused = Ok(Judged::Refused(Refusal::CpuLimit { limit_micros: 1 }));
        assert_eq!(pause_before_retry(Retry::Once, 1, &refused), None);
    }

    #[test]
    fn a_named_pause_is_kept_after_a_doubt_and_not_after_a_fault() {
        let policy = Retry::OnceAfter(Duration::from_secs(3));
        let doubt = || Ok(Judged::Inconclusive(Doubt::NoReply));
        assert_eq!(pause_before_retry(policy, 1, &doubt()), Some(Duration::from_secs(3)));
        assert_eq!(pause_before_retry(policy, 2, &doubt()), None);
        let fault = Err(Fault::WorkerLost);
        assert_eq!(pause_before_retry(policy, 1, &fault), Some(Duration::ZERO));
    }
}
