//! No clocks: a guest that cannot tell the time cannot measure what it shares a machine with.
//!
//! After this, a clock read through the C library faults; nothing of a job reads one.

use std::ops::Range;

use rustix::process::{
    TimeStampCounterReadability, set_time_stamp_counter_readability, time_stamp_counter_readability,
};

use crate::layer::{During, Refusal, Step, check};
use crate::{maps, sys};

/// Where the kernel mapped the clock's code and data. The same in the worker and all its jobs.
#[derive(Clone, Debug)]
pub(crate) struct ClockPages(Vec<Range<usize>>);

impl ClockPages {
    /// Finds `[vdso]`, `[vvar]` and `[vvar_vclock]` in `/proc/self/maps`, while that is there.
    pub(crate) fn find() -> Result<Self, Refusal> {
        let is_of_the_clock = |name: &str| matches!(name, "[vdso]" | "[vvar]" | "[vvar_vclock]");
        Ok(ClockPages(maps::named(is_of_the_clock).during("read /proc/self/maps")?))
    }

    /// Takes them away.
    pub(crate) fn cover(&self) -> Step {
        check(!self.0.is_empty(), "vdso in /proc/self/maps")?;
        self.0.iter().try_for_each(|pages| sys::cover_pages(pages).during("mmap over the vdso"))
    }
}

/// `rdtsc` and `rdtscp` raise SIGSEGV.
pub(crate) fn make_tsc_fault() -> Step {
    let fault = TimeStampCounterReadability::RaiseSIGSEGV;
    set_time_stamp_counter_readability(fault).during("prctl PR_SET_TSC")?;
    let readable = time_stamp_counter_readability().during("prctl PR_GET_TSC")?;
    check(readable == fault, "rdtsc faults")
}
