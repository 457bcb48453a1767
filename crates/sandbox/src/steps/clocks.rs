//! No clocks: a guest that cannot tell the time cannot measure what it shares a machine with.
//!
//! After this, a clock read through the C library faults; nothing of a job reads one.

use std::fs;
use std::ops::Range;

use rustix::process::{
    TimeStampCounterReadability, set_time_stamp_counter_readability, time_stamp_counter_readability,
};

use crate::layer::{During, Refusal, Step, check};
use crate::sys;

/// Where the kernel mapped the clock's code and data. The same in the worker and all its jobs.
#[derive(Clone, Debug)]
pub(crate) struct ClockPages(Vec<Range<usize>>);

impl ClockPages {
    /// Finds `[vdso]`, `[vvar]` and `[vvar_vclock]` in `/proc/self/maps`, while that is there.
    pub(crate) fn find() -> Result<Self, Refusal> {
        let maps = fs::read_to_string("/proc/self/maps").during("read /proc/self/maps")?;
        Ok(ClockPages(maps.lines().filter_map(clock_range).collect()))
    }

    /// Takes them away.
    pub(crate) fn cover(&self) -> Step {
        check(!self.0.is_empty(), "vdso in /proc/self/maps")?;
        self.0.iter().try_for_each(|pages| sys::cover_pages(pages).during("mmap over the vdso"))
    }
}

/// The range of one line of `proc_pid_maps(5)` if it is one of the kernel's clock mappings.
fn clock_range(line: &str) -> Option<Range<usize>> {
    let name = line.split_whitespace().last()?;
    if !matches!(name, "[vdso]" | "[vvar]" | "[vvar_vclock]") {
        return None;
    }
    let (start, end) = line.split_once(' ')?.0.split_once('-')?;
    let address = |hex| usize::from_str_radix(hex, 16).ok();
    Some(address(start)?..address(end)?)
}

/// `rdtsc` and `rdtscp` raise SIGSEGV.
pub(crate) fn make_tsc_fault() -> Step {
    let fault = TimeStampCounterReadability::RaiseSIGSEGV;
    set_time_stamp_counter_readability(fault).during("prctl PR_SET_TSC")?;
    let readable = time_stamp_counter_readability().during("prctl PR_GET_TSC")?;
    check(readable == fault, "rdtsc faults")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_kernels_clock_pages_are_found() {
        let vvar = "7ffff7fc1000-7ffff7fc5000 r--p 00000000 00:00 0    [vvar]";
        assert_eq!(clock_range(vvar), Some(0x7fff_f7fc_1000..0x7fff_f7fc_5000));
        let heap = "555555559000-55555557a000 rw-p 00000000 00:00 0    [heap]";
        assert_eq!(clock_range(heap), None);
    }
}
