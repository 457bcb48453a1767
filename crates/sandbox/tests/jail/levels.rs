//! What each level makes of a machine that refuses a layer, and says so by name.
//!
//! Called by `play` and, as a worker, by `roles`. The machine's refusals are made by an outer
//! seccomp filter that answers with an error number, as container runtimes do.

use std::collections::BTreeMap;

use lazaret_sandbox::level::Level;
use libc as c;
use seccompiler::{
    SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter, SeccompRule,
    TargetArch, apply_filter,
};

/// A machine, a level, and what the log has to say.
pub(crate) struct Case {
    pub(crate) name: &'static str,
    pub(crate) level: Level,
    refuses: &'static [Refuses],
    /// The log's first line; nothing stands for a job that ends well.
    pub(crate) refusal: Option<&'static str>,
}

#[derive(Clone, Copy, PartialEq)]
enum Refuses {
    /// As Docker's default profile does.
    Namespaces,
    /// As a kernel without it does.
    Landlock,
    /// As some container profiles do.
    Seccomp,
}

use Refuses::{Landlock, Namespaces, Seccomp};

pub(crate) const CASES: &[Case] = &[
    case(
        "strict_refuses_a_machine_without_namespaces",
        Level::Strict,
        &[Namespaces],
        Some(
            "layer user-namespace cannot be put on: unshare CLONE_NEWUSER: Operation not permitted",
        ),
    ),
    case(
        "strict_refuses_a_machine_without_landlock",
        Level::Strict,
        &[Landlock],
        Some("layer landlock cannot be put on: landlock_create_ruleset: Function not implemented"),
    ),
    case("standard_does_with_landlock_alone", Level::Standard, &[Namespaces], None),
    case("standard_does_with_an_empty_root_alone", Level::Standard, &[Landlock], None),
    case(
        "standard_refuses_a_machine_without_both",
        Level::Standard,
        &[Namespaces, Landlock],
        Some("layer empty-root cannot be put on: an empty root or Landlock does not hold"),
    ),
    case(
        "standard_refuses_a_machine_without_seccomp",
        Level::Standard,
        &[Seccomp],
        Some(
            "layer worker-filter cannot be put on: seccomp SECCOMP_SET_MODE_FILTER: Invalid argument",
        ),
    ),
    case("weak_takes_what_there_is", Level::Weak, &[Namespaces, Landlock, Seccomp], None),
];

const fn case(
    name: &'static str,
    level: Level,
    refuses: &'static [Refuses],
    refusal: Option<&'static str>,
) -> Case {
    Case { name, level, refuses, refusal }
}

/// Makes this process's machine refuse what the case says.
pub(crate) fn refuse(case: &Case) {
    let is = |argument, value| {
        let equal =
            SeccompCondition::new(argument, SeccompCmpArgLen::Qword, SeccompCmpOp::Eq, value);
        SeccompRule::new(vec![equal.expect("a condition")]).expect("a rule")
    };
    // The last to be installed decides nothing about the others: each is a filter of its own,
    // and the one that refuses seccomp must come after them.
    for (refusal, errno, rules) in [
        (Namespaces, c::EPERM, BTreeMap::from([(c::SYS_unshare, vec![])])),
        (Landlock, c::ENOSYS, BTreeMap::from([(c::SYS_landlock_create_ruleset, vec![])])),
        (Seccomp, c::EINVAL, BTreeMap::from([(c::SYS_seccomp, vec![is(0, 1)])])),
    ] {
        if case.refuses.contains(&refusal) {
            let denied = SeccompAction::Errno(errno as u32);
            let filter =
                SeccompFilter::new(rules, SeccompAction::Allow, denied, TargetArch::x86_64);
            let program = filter.and_then(seccompiler::BpfProgram::try_from).expect("a filter");
            apply_filter(&program).expect("seccomp");
        }
    }
}
