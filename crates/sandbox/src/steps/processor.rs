//! What the processor shares between jobs, where the machine lets it be separated.
//!
//! All of this is reported, none of it required.

use rustix::process::{
    SpeculationFeature, SpeculationFeatureControl, control_speculative_feature, getpid,
};
use rustix::thread::{CoreSchedulingScope, create_core_scheduling_cookie};

use crate::layer::{During, Step};
use crate::sys;

/// The processor's model and features are not told.
pub(crate) fn make_cpuid_fault() -> Step {
    sys::make_cpuid_fault().during("arch_prctl ARCH_SET_CPUID")
}

/// Indirect branches of the job are not predicted from others' history, nor theirs from its.
///
/// Speculative store bypass is left alone: it leaks within one address space, and in a job's
/// there is nothing but what the guest was given; turning it off costs every guest speed. L1D
/// flushing is left alone because the kernel answers it with SIGBUS on a shared core.
pub(crate) fn separate_branch_prediction() -> Step {
    control_speculative_feature(
        SpeculationFeature::IndirectBranchSpeculation,
        SpeculationFeatureControl::FORCE_DISABLE,
    )
    .during("prctl PR_SET_SPECULATION_CTRL")
}

/// Nobody else runs on the sibling hardware thread while the job runs.
pub(crate) fn claim_core() -> Step {
    create_core_scheduling_cookie(getpid(), CoreSchedulingScope::ThreadGroup)
        .during("prctl PR_SCHED_CORE")
}
