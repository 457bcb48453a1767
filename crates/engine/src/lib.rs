//! What Lazaret knows about WebAssembly: validate, instrument, compile, load, instantiate, call.
//!
//! The worker crate calls in here from inside a job: [`Engine::prepare`] turns code into an
//! artifact. Of a parachain validation function, [`Engine::load`] maps one and
//! [`pvf::validate_block`] makes one call; of other programs, [`Engine::load_program`] and
//! [`program::Instance`] do, with a [`wasi::World`] where the program expects one. [`inspect`] only
//! looks. Nothing in this crate opens a file, reads a clock, reads the environment, starts a thread
//! or writes a log of its own; what a guest logs goes to the sink the caller hands in, and what else
//! passes between a program and the world goes through its [`wasi::Outside`].
//!
//! Everything that can be made ready before a fork is made ready in [`Engine::new`], so that a job
//! behind its final system call filter needs memory calls only (trace `examples/trace.rs` to see them).

#![deny(unsafe_code)]

mod artifact;
mod bulk;
mod compressed;
mod cpu;
mod engine;
mod execute;
mod externs;
mod imports;
mod inspect;
mod instrument;
pub mod limits;
mod params;
mod prepare;
pub mod program;
pub mod pvf;
mod room;
mod runtime_version;
mod stack;
mod survey;
mod trap;
pub mod wasi;

pub use artifact::{Artifact, LoadError};
pub use compressed::{COMPRESSED_PREFIX, DecompressError};
pub use cpu::Cpu;
pub use engine::{Engine, EngineError};
pub use execute::{EXPORTS_LISTED_MAX, ExecuteError};
pub use externs::{ExternKind, ImportTreatment, InspectedExport, InspectedImport};
pub use imports::FindAhead;
pub use imports::log::{LogLevel, LogLine, LogMessage, LogSink};
pub use inspect::{Inspection, inspect};
pub use params::{CodeFormat, CodeLimits, Features, Params, Profile, UnknownImports};
pub use prepare::{PrepareError, Prepared};
pub use room::Room;
pub use runtime_version::RuntimeVersion;
pub use trap::TrapKind;
