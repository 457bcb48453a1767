//! Which endings a request may have. Pure.

use lazaret::{Doubt, Fault, NoGreeting, Verdict};

use crate::guests::Expected;

/// What came of a request; the head, if it returned one.
pub(crate) type Ended = Result<Verdict<Option<Vec<u8>>>, Fault>;

/// What may have happened to a request apart from what its guest did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Circumstances {
    /// Workers and jobs are being killed and stopped.
    pub(crate) harm: bool,
    /// It has a deadline.
    pub(crate) deadline: bool,
    /// It belongs to a group.
    pub(crate) grouped: bool,
}

/// Whether a request may end so.
pub(crate) fn is_allowed(expected: Expected, around: Circumstances, ended: &Ended) -> bool {
    match ended {
        Ok(Verdict::Returned(head)) => match expected {
            Expected::Head(right) => head.as_deref() == Some(&right.to_le_bytes()),
            Expected::Passes => true,
            Expected::RefusedFor(_) | Expected::GivenUp(_) => false,
        },
        // Never of an honest guest, whatever is killed.
        Ok(verdict @ Verdict::Refused(_)) => {
            matches!(expected, Expected::RefusedFor(word) if verdict.reason_word() == Some(word))
        }
        Ok(verdict @ Verdict::Inconclusive(doubt)) => {
            let given_up = verdict.reason_word();
            matches!(expected, Expected::GivenUp(word) if given_up == Some(word))
                || (around.harm && comes_of_a_kill(doubt))
        }
        Err(Fault::Deadline) => around.deadline,
        Err(Fault::Withdrawn) => around.grouped,
        Err(fault) => around.harm && is_of_a_lost_process(fault),
    }
}

fn comes_of_a_kill(doubt: &Doubt) -> bool {
    match doubt {
        Doubt::Signaled { signal: 9 } | Doubt::WorkerLost => true,
        Doubt::Preparation(doubt) => comes_of_a_kill(doubt),
        _ => false,
    }
}

fn is_of_a_lost_process(fault: &Fault) -> bool {
    match fault {
        Fault::WorkerLost | Fault::NotStarted { .. } => true,
        // A job that was stopped and got no turn.
        Fault::Stalled { .. } => true,
        // A worker, or the first job of one, which is there to see that its layers hold.
        Fault::NoGreeting(ended) => {
            matches!(
                ended,
                NoGreeting::Ended(_) | NoGreeting::ProbeKilled { .. } | NoGreeting::Silent(_)
            )
        }
        // Both tries of the canary were killed.
        Fault::Canary(_) => true,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HARM: Circumstances = Circumstances { harm: true, deadline: false, grouped: false };

    #[test]
    fn an_honest_guest_returns_the_right_head_or_was_harmed_and_is_never_refused() {
        let honest = Expected::Head(7);
        let head = |number: u64| Ok(Verdict::Returned(Some(number.to_le_bytes().to_vec())));
        let lost = || Ok(Verdict::Inconclusive(Doubt::WorkerLost));
        let refused = || Ok(Verdict::Refused(lazaret::Refusal::CpuLimit { limit_micros: 1 }));
        let calm = Circumstances::default();
        assert!(is_allowed(honest, calm, &head(7)));
        assert!(!is_allowed(honest, HARM, &head(8)));
        assert!(is_allowed(honest, HARM, &lost()) && !is_allowed(honest, calm, &lost()));
        assert!(!is_allowed(honest, HARM, &refused()));
        assert!(is_allowed(Expected::RefusedFor("cpu-limit"), calm, &refused()));
        assert!(!is_allowed(Expected::RefusedFor("trap"), HARM, &refused()));
        assert!(!is_allowed(Expected::RefusedFor("trap"), HARM, &head(7)));
    }

    #[test]
    fn a_deadline_and_a_withdrawal_need_a_cause() {
        let asked = Circumstances { harm: false, deadline: true, grouped: true };
        for fault in [Fault::Deadline, Fault::Withdrawn] {
            assert!(is_allowed(Expected::Passes, asked, &Err(fault.clone())));
            assert!(!is_allowed(Expected::Passes, HARM, &Err(fault)));
        }
        assert!(!is_allowed(Expected::Passes, HARM, &Err(Fault::ShuttingDown)));
    }
}
