//! System call filters as plain tables: a call, the conditions on its arguments, the reason.
//!
//! Compiled once in the worker and installed by worker and job. What no row allows kills the
//! process, and so do another architecture (`int 0x80`) and x32 numbers: the first is compared
//! before anything else, the second have a bit set that no row's number has.

pub mod execute;
mod keeper;
pub mod loading;
pub mod prepare;
pub mod template;
pub mod waiting;
pub mod wasi;
pub mod worker;

use std::collections::BTreeMap;

use seccompiler::{
    BackendError, BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition,
    SeccompFilter, SeccompRule, TargetArch, apply_filter,
};

use crate::fork::ForkWay;
use crate::job::{Final, JobKind};
use crate::layer::{During, Refusal, Step};
use crate::sys;

/// One allowed call. Rows of the same call are alternatives.
#[derive(Clone, Copy, Debug)]
pub struct Row {
    /// The number, as libc's `SYS_...`.
    pub call: i64,
    /// All of these must hold; none means any arguments.
    pub when: &'static [When],
    /// Who needs it.
    pub why: &'static str,
}

/// A condition on one argument, counted from 0. All 64 bits are compared.
#[derive(Clone, Copy, Debug)]
pub enum When {
    /// It is exactly this.
    Is(u8, u64),
    /// It has no bit beyond these.
    Within(u8, u64),
    /// It has all of the first bits, and none beyond the first and the second.
    With(u8, u64, u64),
}

pub(crate) const fn row(call: i64, when: &'static [When], why: &'static str) -> Row {
    Row { call, when, why }
}

/// A compiled filter.
pub(crate) type Program = BpfProgram;

/// The filters of jobs, compiled before the first fork.
#[derive(Debug)]
pub(crate) struct Filters {
    loading: Program,
    template: Program,
    with_pass: Program,
    execute: Program,
    waiting: Program,
    streams: Program,
    clocks: Program,
    prepare: Program,
}

impl Filters {
    pub(crate) fn compile() -> Result<Self, Refusal> {
        Ok(Filters {
            loading: compile(loading::rows())?,
            template: compile(template::rows())?,
            with_pass: compile(template::rows_with_pass())?,
            execute: compile(execute::ROWS.iter().copied())?,
            waiting: compile(waiting::rows())?,
            streams: compile(wasi::rows())?,
            clocks: compile(wasi::rows_with_clocks())?,
            prepare: compile(prepare::rows())?,
        })
    }

    /// The first one of a job that loads an artifact.
    pub(crate) fn loading(&self, kind: JobKind) -> Option<&Program> {
        match kind {
            JobKind::Execute => Some(&self.loading),
            JobKind::Template => Some(&self.template),
            JobKind::Prepare => None,
        }
    }

    /// The final one.
    pub(crate) fn of(&self, list: Final) -> &Program {
        match list {
            Final::Execute => &self.execute,
            Final::Waiting => &self.waiting,
            Final::Streams => &self.streams,
            Final::StreamsAndClocks => &self.clocks,
            Final::Prepare => &self.prepare,
        }
    }
}

/// The worker's filter, which lets it fork in this one way only.
pub(crate) fn compile_worker(way: &ForkWay) -> Result<Program, Refusal> {
    let fork = match way {
        ForkWay::Plain => worker::FORK,
        ForkWay::IntoCgroup { args, .. } => worker::fork_into_cgroup(args),
    };
    compile(worker::rows().chain([fork]))
}

/// The one list of the keeper.
pub(crate) fn compile_keeper() -> Result<Program, Refusal> {
    compile(keeper::ROWS.iter().copied())
}

/// Installs the filter of a template that has loaded and of its copies: what takes a pass, and the final list of copies
/// that wait.
pub(crate) fn install_for_pass(filters: &Filters, pass: sys::Pass) -> Step {
    let steps = |program: &Program| -> Vec<libc::sock_filter> {
        let step = |step: &seccompiler::sock_filter| {
            let seccompiler::sock_filter { code, jt, jf, k } = *step;
            libc::sock_filter { code, jt, jf, k }
        };
        program.iter().map(step).collect()
    };
    sys::filter::install_for_pass(pass, &steps(&filters.with_pass), &steps(&filters.waiting))
        .during("seccomp SECCOMP_SET_MODE_FILTER")
}

/// Installs a filter for this process, for good (`seccomp(2)`).
pub(crate) fn install(program: &Program) -> Step {
    apply_filter(program).map_err(|error| {
        let (call, source) = match error {
            seccompiler::Error::Prctl(source) => ("prctl PR_SET_NO_NEW_PRIVS", source),
            seccompiler::Error::Seccomp(source) => ("seccomp SECCOMP_SET_MODE_FILTER", source),
            _ => return Refusal { call: "seccomp", errno: 0 },
        };
        Refusal { call, errno: source.raw_os_error().unwrap_or(0) }
    })
}

fn compile(rows: impl Iterator<Item = Row>) -> Result<Program, Refusal> {
    let invalid = |_: BackendError| Refusal { call: "compiling a filter table", errno: 0 };
    let mut rules = BTreeMap::<i64, Vec<SeccompRule>>::new();
    for row in rows {
        let alternatives = rules.entry(row.call).or_default();
        // No alternatives at all is how seccompiler says "any arguments".
        if !row.when.is_empty() {
            alternatives.push(rule(row.when).map_err(invalid)?);
        }
    }
    SeccompFilter::new(rules, SeccompAction::KillProcess, SeccompAction::Allow, TargetArch::x86_64)
        .and_then(Program::try_from)
        .map_err(invalid)
}

fn rule(when: &[When]) -> Result<SeccompRule, BackendError> {
    let conditions = when.iter().map(|&condition| {
        let (argument, operator, value) = match condition {
            When::Is(argument, value) => (argument, SeccompCmpOp::Eq, value),
            When::Within(argument, bits) => (argument, SeccompCmpOp::MaskedEq(!bits), 0),
            When::With(argument, bits, more) => (argument, SeccompCmpOp::MaskedEq(!more), bits),
        };
        SeccompCondition::new(argument, SeccompCmpArgLen::Qword, operator, value)
    });
    SeccompRule::new(conditions.collect::<Result<_, _>>()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn assert_unambiguous(rows: impl Iterator<Item = Row>) {
        let mut seen = BTreeMap::<i64, bool>::new();
        for row in rows {
            assert!(!row.why.is_empty(), "call {} has no reason", row.call);
            let unconditional = row.when.is_empty();
            let before = seen.insert(row.call, unconditional);
            let mixed = before.is_some_and(|before| before || unconditional);
            assert!(!mixed, "call {} is allowed both with and without conditions", row.call);
        }
    }

    #[test]
    fn no_call_is_allowed_both_with_and_without_conditions() {
        assert_unambiguous(execute::ROWS.iter().copied());
        assert_unambiguous(waiting::rows());
        assert_unambiguous(wasi::rows_with_clocks());
        assert_unambiguous(loading::rows());
        assert_unambiguous(template::rows());
        assert_unambiguous(template::rows_with_pass());
        assert_unambiguous(keeper::ROWS.iter().copied());
        assert_unambiguous(prepare::rows());
        assert_unambiguous(worker::rows());
    }

    #[test]
    fn an_execute_job_has_ten_calls() {
        let mut calls: Vec<_> = execute::ROWS.iter().map(|row| row.call).collect();
        calls.dedup();
        assert_eq!(calls.len(), 10);
    }

    #[test]
    fn streams_add_one_call_and_a_clock_another() {
        let calls = |rows: &[Row]| rows.iter().map(|row| row.call).collect::<Vec<_>>();
        let execute = calls(execute::ROWS);
        let mut streams = calls(wasi::STREAMS);
        streams.retain(|call| !execute.contains(call));
        assert_eq!(streams, [libc::SYS_read]);
        assert!(calls(wasi::CLOCKS).iter().all(|call| *call == libc::SYS_clock_gettime));
    }

    #[test]
    fn no_call_of_a_final_list_dies_by_the_list_before_it() {
        let loading: Vec<_> = loading::rows().map(|row| row.call).collect();
        for row in wasi::rows_with_clocks() {
            assert!(loading.contains(&row.call), "call {}", row.call);
        }
        let template: Vec<_> = template::rows().map(|row| (row.call, row.why)).collect();
        for row in waiting::rows().chain(template::rows_with_pass()) {
            assert!(template.contains(&(row.call, row.why)), "call {}", row.call);
        }
    }

    #[test]
    fn every_call_of_a_job_is_also_one_of_its_worker() {
        let worker: Vec<_> = worker::rows().map(|row| row.call).collect();
        for row in template::rows().chain(prepare::rows()) {
            assert!(worker.contains(&row.call), "call {} dies by the worker's filter", row.call);
        }
    }
}
