//! The confined processes of a Lazaret host.
//!
//! A host starts its own program again, with [`WORKER_ARGUMENT`] as the only argument. Such a process
//! is a worker: trusted code in a jail, with one thread for life, that forks one job per piece of
//! work and reports what the kernel says of it. A job is jailed harder, touches the untrusted bytes,
//! says what came of it, and ends.
//!
//! ```text
//! start     a worker's first second: greeting, engine, jail, canary job
//! serve     its loop: a frame in, a job, a frame out
//! host_link its socket to the host
//! hand_over work and descriptors from worker to job
//! watch     a job seen from its worker: reply, limits, death, evidence
//! standby   jobs that wait: one for anything, one for what is likely
//! stock     how many copies are kept for the next burst
//! template  a job that has loaded an artifact and copies itself for each call
//! job       the way of a job, from fork to its last word
//! execute   the part of it that calls an artifact
//! program   the same for plain and WASI programs
//! world     what a WASI program is given
//! claims    what the engine found, as claims
//! layers    what the sandbox put on, as the greeting says it
//! native    machine code in the place of a guest, for attacks; absent from every other program
//! yardstick what a fork and an empty job cost on this machine
//! ```
//!
//! Nothing here opens a path, reads the environment or a clock of the day, or runs a second thread.
//!
//! # For programs that embed a host
//!
//! ```no_run
//! #[global_allocator]
//! static ALLOCATOR: lazaret_worker::JobAllocator = lazaret_worker::JobAllocator;
//!
//! fn main() {
//!     lazaret_worker::run_if_worker();
//!     // ... the program itself; threads may start from here on.
//! }
//! ```
//! The allocator is what makes a preparation that needs too much memory a refusal of the code and
//! not a death of unknown cause. Everything else works without it.
#![deny(unsafe_code)]

mod calls;
mod claims;
mod execute;
mod hand_over;
mod host_link;
mod input;
mod job;
mod layers;
mod native;
mod placing;
mod program;
mod serve;
mod standby;
mod start;
mod stock;
mod template;
mod watch;
mod world;
mod yardstick;

pub use lazaret_sandbox::JobAllocator;
use lazaret_sandbox::{layer::Layer, level::Level};
#[doc(hidden)]
pub use native::{Native, Trial};
pub use yardstick::{YARDSTICK_ARGUMENT, run_if_yardstick};

/// The argument that makes a program a worker.
pub const WORKER_ARGUMENT: &str = "--lazaret-worker";

/// The names of all layers of the jail, in the order in which they are put on.
pub fn layer_names() -> impl Iterator<Item = &'static str> {
    Layer::ALL.iter().map(|layer| layer.name())
}

/// Whether the strict jail requires the layer of this name although it failed with `errno`
/// (`errno(3)`). For programs that explain a jail; a worker decides for itself.
pub fn strict_requires(layer: &str, errno: i32) -> bool {
    let layer = Layer::ALL.iter().find(|known| known.name() == layer);
    layer.is_some_and(|layer| Level::Strict.requires(*layer, errno))
}

/// Identifies the engine that workers of this program have: what the host finds in their greeting.
/// `None` if no engine starts here. For programs that look at artifacts without a host.
pub fn engine_fingerprint() -> Option<[u8; 32]> {
    let engine = lazaret_engine::Engine::new(&lazaret_engine::Params::default()).ok()?;
    Some(engine.fingerprint())
}

/// Becomes a worker and never returns, if that is what this process was started for.
///
/// Call it first thing in `main`, before any thread starts: a worker must have one thread only.
pub fn run_if_worker() {
    if is_worker() {
        start::run(None)
    }
}

/// The same for a program that attacks the jail from inside: its workers run machine code that it
/// brings, and may lack layers. `trial` is asked only in a worker.
///
/// Function pointers and not a cargo feature, because features are united over a workspace: one that
/// a test crate asks for would be in the shipped program too. As it is, a program that does not say
/// this word has no code that jumps to a blob, and no way to leave a layer out.
#[doc(hidden)]
pub fn run_if_worker_on_trial(trial: fn() -> Trial) {
    if is_worker() {
        start::run(Some(trial()))
    }
}

fn is_worker() -> bool {
    std::env::args_os().nth(1).is_some_and(|argument| argument == WORKER_ARGUMENT)
}
