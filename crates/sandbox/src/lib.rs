//! Linux confinement as a list of steps, one reason each.
//!
//! Called by the worker alone. This crate knows neither Wasm nor the wire protocol, opens no
//! path after the root is empty, starts no thread, and is the only one that makes raw system
//! calls. All of its `unsafe` is in `sys`.
//!
//! The way of a worker and its job, in order:
//!
//! 1. [`markers::install`], before Wasmtime installs its own signal actions.
//! 2. [`worker::confine`] closes everything, then [`worker::WorkerJail::enter_filter`].
//! 3. [`fork::fork_job`] makes a job: a copy of the worker, in the jobs' pid namespace.
//! 4. In the job, [`job::confine`], then take the work, then [`job::JobJail::seal`], then
//!    [`job::JobJail::enter_final_filter`], then the untrusted code, then [`job::end`].
//! 5. In the worker, [`watch`] measures the job, stops it at its limit and reaps it.
//!
//! ```no_run
//! use std::{os::unix::net::UnixStream, time::Duration};
//!
//! use lazaret_sandbox::fork::{Forked, fork_job};
//! use lazaret_sandbox::job::{self, Clocks, JobKind, JobLimits, Seal};
//! use lazaret_sandbox::level::Level;
//! use lazaret_sandbox::worker::{self, Policy};
//! use lazaret_sandbox::{markers, watch};
//!
//! markers::install()?;
//! let host = rustix::process::getppid().expect("exec'ed by the host");
//! let mut jail = worker::confine(&Policy::new(Level::Strict, host, 0))?;
//! let mut timer = watch::CpuTimer::new()?;
//! jail.enter_filter()?;
//!
//! let (ours, theirs) = UnixStream::pair()?;
//! match fork_job(&jail)? {
//!     Forked::Job(start) => {
//!         let limits = JobLimits {
//!             memory_bytes: 256 << 20,
//!             cpu: Duration::from_secs(2),
//!             stack_bytes: 8 << 20,
//!             file_bytes: 0,
//!             descriptors: 2,
//!             processes: 0,
//!         };
//!         let Ok(mut jail) = job::confine(start, JobKind::Execute, theirs.into()) else {
//!             job::end(markers::EXIT_NOT_CONFINED)
//!         };
//!         // Receive descriptors from jail.channel().
//!         if jail.limit(&limits).is_err() {
//!             job::end(markers::EXIT_NOT_CONFINED)
//!         }
//!         // Map and load what they hold.
//!         let text: &[u8] = &[];
//!         if jail.close_all_but_channel().is_err()
//!             || jail.seal(&Seal { text: &[text], clocks: Clocks::Removed }).is_err()
//!             || jail.enter_final_filter().is_err()
//!         {
//!             job::end(markers::EXIT_NOT_CONFINED)
//!         }
//!         // Call the guest, write the reply to jail.channel().
//!         job::end(0)
//!     }
//!     Forked::Worker(child) => {
//!         drop(theirs);
//!         timer.arm(&child, Duration::from_secs(2))?;
//!         // Send the work on `ours`; poll `ours`, `child` (its pidfd), `timer` and the host.
//!         watch::kill(&child)?;
//!         let ended = watch::reap(child)?;
//!         println!("{:?} after {:?}", ended.end, ended.user + ended.system);
//!     }
//! }
//! # drop(ours);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
#![deny(unsafe_code)]

#[cfg(not(all(target_os = "linux", target_arch = "x86_64")))]
compile_error!(
    "lazaret-sandbox confines with Linux namespaces and x86-64 seccomp filters; \
     no other platform has been built or tested"
);

#[allow(unsafe_code)]
mod allocator;
pub mod filter;
pub mod fork;
pub mod home;
pub mod job;
mod keeper;
pub mod layer;
pub mod level;
pub mod markers;
pub mod memfd;
pub mod probe;
mod steps;
#[allow(unsafe_code)]
mod sys;
pub mod watch;
pub mod worker;

/// The least of a large page of x86-64, in bytes.
const LARGE_PAGE_BYTES: usize = 2 * 1024 * 1024;

/// Asks for large pages (`madvise(2)`, `MADV_HUGEPAGE`) for memory that is about to be written, all of it: a
/// page fault for two megabytes and not for each four kilobytes. Where there are none nothing is changed,
/// nor for memory that is too small to hold one.
pub fn ask_for_large_pages(region: &mut [u8]) {
    if region.len() >= 2 * LARGE_PAGE_BYTES {
        // Whether or not the kernel follows it.
        let _ = sys::advise_large_pages(region);
    }
}

/// Lets go of the pages of the program's own text, which the kernel reads again from its cache of the file as
/// they are needed (`madvise(2)`, `MADV_DONTNEED`): what was needed once, to start, counts no longer as this
/// process's memory. Where that cannot be done nothing is changed.
pub fn let_go_of_text() {
    let _ = sys::let_go_of_text();
}

pub use allocator::{JobAllocator, heap_bytes_peak, limit_heap};
