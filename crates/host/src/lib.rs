//! Run WebAssembly nobody trusts in one-off jailed processes and get a verdict others can act on.
//!
//! A [`Host`] starts worker processes; a worker forks one job per piece of work; a job is jailed,
//! runs one guest once, and ends. What comes back is `Result<Answer<T>, Fault>`: a [`Verdict`] about
//! the guest, or a [`Fault`] of this machine, never one taken for the other.
//!
//! # A block of a parachain
//!
//! ```no_run
//! use lazaret::{Code, Host, pvf};
//!
//! fn main() -> Result<(), Box<dyn std::error::Error>> {
//!     // The host starts this same program again as its workers; this line takes over then. It comes
//!     // before anything that starts a thread.
//!     lazaret_worker::run_if_worker();
//!
//!     let runtime = tokio::runtime::Runtime::new()?;
//!     runtime.block_on(async {
//!         let host = Host::builder().cache_dir("/var/cache/lazaret").start().await?;
//!         let code = Code::new(&std::fs::read("runtime.wasm")?)?;
//!         let block = pvf::Block::encoded(std::fs::read("params.scale")?);
//!         let answer = host.validate(&code, block, &pvf::Settings::default()).await;
//!         println!("vote {}", pvf::vote(&answer));
//!         Ok(())
//!     })
//! }
//! ```
//! `examples/validate.rs` is the whole of such a program. Programs that are not async use [`blocking`].
//!
//! # What this crate never does
//!
//! It never forks, never opens guest bytes (it hashes them; the one exception is the SCALE-encoded
//! result of [`pvf`], read by a bounded decoder), never waits without a bound, and contains no
//! unsafe code.
#![forbid(unsafe_code)]

#[macro_use]
mod bug;
mod artifacts;
mod blob;
pub mod blocking;
mod breaker;
mod builder;
mod canary;
mod cgroup;
mod code;
mod cpus;
mod gate;
mod host;
mod judge;
mod lanes;
mod machine;
mod metrics;
#[cfg(feature = "metrics-http")]
mod metrics_http;
mod one_job;
mod pipeline;
pub mod program;
pub mod pvf;
mod queue;
mod request;
mod retry;
mod to_its_end;
mod verdict;
mod words;
mod worker;

pub use artifacts::{
    Cache, CacheFile, CacheHeader, CacheLimits, Damage, Origin, PreparationState, PrepareFacts,
    PrepareRetry, PruneReason, Pruned, PrunedFile,
};
pub use builder::{Builder, Patience};
pub use code::{CODE_BYTES_MAX, Code, CodeError};
pub use cpus::{Cpus, CpusError};
pub use gate::Group;
pub use host::{Host, Security};
pub use lanes::{Lane, Lanes};
pub use lazaret_wire::{
    greeting::{JailLevel, Layer, LayerState},
    params::{
        CodeFormat, Features, HEAP_PAGES_ESTIMATE, MAX_MEMORY_PAGES_DEFAULT, Metering, Params,
        Profile, UnknownImports,
    },
};
pub use machine::MachineLoad;
pub use request::{Answer, ArtifactUse, Limits, PrepareLimits, Retry, Usage, Written};
pub use verdict::{
    CodeStep, Culprit, Doubt, Fault, Import, ImportTreatment, Inspection, LogLevel, LogLine,
    Malformation, NoGreeting, Refusal, StartStep, Text, TrapKind, Verdict, Vote, culprit, describe,
};
pub use worker::{JobTurn, QueueState};
