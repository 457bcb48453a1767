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
//! use std::{os::unix::net::UnixStream, time::{Duration, Instant}};
//!
//! use lazaret_sandbox::fork::{Forked, fork_job};
//! use lazaret_sandbox::home::Home;
//! use lazaret_sandbox::job::{self, Clocks, JobKind, JobLimits, Seal};
//! use lazaret_sandbox::level::Level;
//! use lazaret_sandbox::worker::{self, Policy};
//! use lazaret_sandbox::{markers, watch};
//!
//! markers::install()?;
//! let home = Home::of_caller();
//! let host = rustix::process::getppid().expect("exec'ed by the host");
//! let mut jail = worker::confine(&Policy::new(Level::Strict, host, 0))?;
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
//!         let (now, used) = (Instant::now(), watch::cpu_time(&child)?);
//!         let mut limit = watch::CpuLimit::new(now, used, Duration::from_secs(2));
//!         // Send the work on `ours`; poll `ours`, `child` (its pidfd) and the host for `limit.patience()`.
//!         if limit.is_reached(&child, &home)? {
//!             watch::kill(&child)?;
//!         }
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

mod ahead;
#[allow(unsafe_code)]
mod allocator;
pub mod ends;
pub mod filter;
pub mod fork;
pub mod home;
pub mod job;
mod keeper;
pub mod layer;
pub mod level;
mod maps;
pub mod markers;
pub mod memfd;
pub mod probe;
mod steps;
#[allow(unsafe_code)]
mod sys;
pub mod text;
pub mod watch;
pub mod worker;
mod written;

/// Asks for large pages (`madvise(2)`, `MADV_HUGEPAGE`) for memory that is about to be written, all of it: a
/// page fault for two megabytes and not for each four kilobytes. Where there are none nothing is changed,
/// nor for memory that is too small to hold one.
pub fn ask_for_large_pages(region: &mut [u8]) {
    if region.len() >= 2 * sys::LARGE_PAGE_BYTES {
        // Whether or not the kernel follows it.
        let _ = sys::advise_large_pages(region);
    }
}

pub use allocator::scratch::set_apart as set_scratch_memory_apart;
pub use allocator::{JobAllocator, heap_bytes_peak, limit_heap};
