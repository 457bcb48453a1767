//! What a validator does with an answer.

use crate::{Answer, Culprit, Doubt, Fault, Verdict, Vote, culprit};

/// What a validator does with the answer to a validation.
///
/// Against: the block is invalid, or two jobs ended in a way that cannot be explained. Abstain: this
/// machine failed, or the *code* could not be prepared, which says nothing about the block.
pub fn vote<T>(answer: &Result<Answer<T>, Fault>) -> Vote {
    match answer {
        Ok(answer) => match &answer.verdict {
            Verdict::Returned(_) => Vote::For,
            Verdict::Refused(refusal) if culprit(refusal) == Culprit::Code => Vote::Abstain,
            Verdict::Inconclusive(Doubt::Preparation(_)) => Vote::Abstain,
            Verdict::Refused(_) | Verdict::Inconclusive(_) => Vote::Against,
        },
        Err(_) => Vote::Abstain,
    }
}

/// What a validator does with the answer to a precheck: every refusal is against the code.
pub fn precheck_vote<T>(answer: &Result<Answer<T>, Fault>) -> Vote {
    match answer {
        Ok(Answer { verdict: Verdict::Returned(_), .. }) => Vote::For,
        Ok(_) => Vote::Against,
        Err(_) => Vote::Abstain,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Refusal;

    #[test]
    fn votes_follow_the_table() {
        let answer = |verdict: Verdict<()>| {
            Ok(Answer {
                verdict,
                usage: Default::default(),
                attempts: 1,
                artifact: None,
                log: Vec::new(),
                log_lines_dropped: 0,
                written: Default::default(),
                security: None,
            })
        };
        let code = || Refusal::PrepareMemory { limit_bytes: 1 };
        assert_eq!(vote(&answer(Verdict::Returned(()))), Vote::For);
        assert_eq!(
            vote(&answer(Verdict::Refused(Refusal::CpuLimit { limit_micros: 1 }))),
            Vote::Against
        );
        assert_eq!(vote(&answer(Verdict::Inconclusive(Doubt::NoReply))), Vote::Against);
        assert_eq!(vote(&answer(Verdict::Refused(code()))), Vote::Abstain);
        assert_eq!(vote::<()>(&Err(Fault::WorkerLost)), Vote::Abstain);
        assert_eq!(precheck_vote(&answer(Verdict::Refused(code()))), Vote::Against);
        assert_eq!(precheck_vote::<()>(&Err(Fault::WorkerLost)), Vote::Abstain);
    }
}
