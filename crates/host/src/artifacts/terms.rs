//! What a preparation may take, and what its outcome under one set of limits says about another. Pure.
//!
//! Requests may bring limits of their own, so an artifact or a refusal may be at hand that came about
//! under other limits than those of the request that finds it. The answer must be the one that a
//! preparation under the request's own limits would give.

use lazaret_wire::text::Text;

use super::file::PrepareFacts;
use crate::{
    request::PrepareLimits,
    verdict::{CodeStep, Refusal},
};

/// What a preparation is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Purpose {
    Precheck,
    Execution,
}

/// Everything about a request for an artifact that its outcome depends on, beside the key. Only
/// requests of equal terms share a preparation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Terms {
    pub(crate) purpose: Purpose,
    cpu_micros: u64,
    heap_bytes: u64,
    code_bytes: u64,
    artifact_bytes: u64,
}

impl Terms {
    pub(crate) fn new(purpose: Purpose, limits: &PrepareLimits) -> Self {
        let work = limits.for_prepare(limits.cpu(purpose));
        Self {
            purpose,
            cpu_micros: work.cpu_micros,
            heap_bytes: work.heap_bytes,
            code_bytes: limits.code_bytes_max,
            artifact_bytes: limits.artifact_bytes_max,
        }
    }

    /// Why an artifact that is there would not be there under these terms. Time counts for prechecks
    /// alone: what was accepted and is prepared needs no more of it.
    pub(crate) fn refuse(&self, facts: &PrepareFacts) -> Option<Refusal> {
        if facts.code_bytes > self.code_bytes {
            let (bytes, limit) = (facts.code_bytes, self.code_bytes);
            let reason = Text::from(format!("it has {bytes} bytes, the limit is {limit}"));
            // As the job says it that meets this limit.
            return Some(Refusal::Code { step: CodeStep::Decode, reason });
        }
        if facts.heap_bytes_peak > self.heap_bytes {
            return Some(Refusal::PrepareMemory { limit_bytes: self.heap_bytes });
        }
        let is_slow = self.purpose == Purpose::Precheck && facts.cpu_micros > self.cpu_micros;
        is_slow.then_some(Refusal::PrepareCpu { limit_micros: self.cpu_micros })
    }

    /// What a refusal under `earlier` terms is under these: the same, if it did not depend on a limit,
    /// or if these are no wider in the one that it met. `None` if only a try can say.
    pub(crate) fn inherit(&self, earlier: &Self, refusal: &Refusal) -> Option<Refusal> {
        match refusal {
            Refusal::PrepareMemory { .. } => (self.heap_bytes <= earlier.heap_bytes)
                .then_some(Refusal::PrepareMemory { limit_bytes: self.heap_bytes }),
            // Code that is too large, or none: the job's words are not matched on.
            Refusal::Code { step: CodeStep::Decode, .. } => {
                (self.code_bytes <= earlier.code_bytes).then(|| refusal.clone())
            }
            Refusal::Code { .. } => Some(refusal.clone()),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn limits(cpu_seconds: u64, heap_bytes_max: u64, code_bytes_max: u64) -> PrepareLimits {
        let (precheck_cpu, execution_cpu) =
            (Duration::from_secs(cpu_seconds), Duration::from_secs(6 * cpu_seconds));
        let default = PrepareLimits::default();
        PrepareLimits { precheck_cpu, execution_cpu, heap_bytes_max, code_bytes_max, ..default }
    }

    fn precheck(cpu_seconds: u64, heap_bytes_max: u64, code_bytes_max: u64) -> Terms {
        Terms::new(Purpose::Precheck, &limits(cpu_seconds, heap_bytes_max, code_bytes_max))
    }

    const FACTS: PrepareFacts = PrepareFacts {
        cpu_micros: 2_000_000,
        wall_micros: 90_000_000,
        heap_bytes_peak: 100,
        code_bytes: 10,
    };

    #[test]
    fn an_artifact_passes_if_it_met_no_limit_of_the_request() {
        assert_eq!(precheck(2, 100, 10).refuse(&FACTS), None);
        let slow = Refusal::PrepareCpu { limit_micros: 1_000_000 };
        assert_eq!(precheck(1, 100, 10).refuse(&FACTS), Some(slow));
        let large = Refusal::PrepareMemory { limit_bytes: 99 };
        assert_eq!(precheck(2, 99, 10).refuse(&FACTS), Some(large));
        let step = CodeStep::Decode;
        assert!(
            matches!(precheck(2, 100, 9).refuse(&FACTS), Some(Refusal::Code { step: s, .. }) if s == step)
        );
    }

    #[test]
    fn time_counts_for_prechecks_alone() {
        let slow = limits(0, 100, 10);
        assert!(Terms::new(Purpose::Precheck, &slow).refuse(&FACTS).is_some());
        assert_eq!(Terms::new(Purpose::Execution, &slow).refuse(&FACTS), None);
        let small = Terms::new(Purpose::Execution, &limits(9, 99, 10));
        assert!(small.refuse(&FACTS).is_some(), "its size is the same on every machine");
    }

    #[test]
    fn a_refusal_stands_where_the_limit_that_it_met_is_no_wider() {
        let memory = Refusal::PrepareMemory { limit_bytes: 100 };
        let earlier = precheck(1, 100, 10);
        assert_eq!(precheck(9, 100, 99).inherit(&earlier, &memory), Some(memory.clone()));
        let narrower = Refusal::PrepareMemory { limit_bytes: 99 };
        assert_eq!(precheck(1, 99, 10).inherit(&earlier, &memory), Some(narrower));
        assert_eq!(precheck(1, 101, 10).inherit(&earlier, &memory), None);
        let code = |step| Refusal::Code { step, reason: "x".into() };
        let decode = code(CodeStep::Decode);
        assert_eq!(precheck(9, 999, 10).inherit(&earlier, &decode), Some(decode.clone()));
        assert_eq!(precheck(1, 100, 11).inherit(&earlier, &decode), None);
        let compile = code(CodeStep::Compile);
        assert_eq!(precheck(9, 999, 99).inherit(&earlier, &compile), Some(compile.clone()));
        let cpu = Refusal::PrepareCpu { limit_micros: 1 };
        assert_eq!(earlier.inherit(&earlier, &cpu), None);
    }
}
