//! The engine: Wasmtime with every setting that matters said out loud, and the host functions.
//!
//! A worker builds one before it forks; jobs inherit it. It installs Wasmtime's signal handlers and
//! makes ready whatever would otherwise be made ready inside a confined job.

use std::collections::HashMap;
use std::fs::File;
use std::hash::{Hash, Hasher};

use wasmtime::{Config, Linker, Module, OptLevel, WasmFeatures};

use crate::artifact::{Artifact, LoadError};
use crate::compressed;
use crate::cpu::Cpu;
use crate::imports::{self, State};
use crate::params::Params;
use crate::program::{Open, Program};
use crate::wasi;

/// Raised whenever this crate changes what it does to code before Wasmtime sees it.
const FORMAT_VERSION: u32 = 4;

/// Wasmtime takes artifacts of any patch release of its own major version; a patch may well mend a
/// miscompilation, so here they are told apart. A test keeps this equal to what is built in.
const WASMTIME_VERSION: &str = "48.0.8";

/// Linear memory is reserved whole, so that compiled code needs no bounds checks.
const MEMORY_RESERVATION_BYTES: u64 = 1 << 32;

/// Initial memory up to this size is kept as one image, to be mapped copy-on-write. Beyond it,
/// Wasmtime does so only if the image is not mostly holes: a module may put one byte at each end of
/// 4 GiB, and would otherwise make an artifact of 4 GiB.
const DENSE_IMAGE_BYTES: u64 = 256 << 20;

/// Naming a target, even the host's own, keeps Wasmtime from using whatever the host has.
const X86_64: &str = "x86_64-unknown-linux-gnu";

/// Magic number and version, and no section.
const EMPTY_MODULE: &[u8] = b"\0asm\x01\0\0\0";

/// Compiles, loads and runs code under one set of settings.
pub struct Engine {
    wasmtime: wasmtime::Engine,
    linker: Linker<State>,
    /// For plain and WASI programs, without and with metering: two further settings of Wasmtime, so
    /// that those of parachain validation functions stay what they are.
    open: Open,
    metered: Open,
    stack_native_bytes_max: u32,
}

/// Why there is no engine. Says something about the machine or the params, never about code.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// Wasmtime refused the settings or the machine.
    #[error("cannot set up Wasmtime: {text}")]
    Setup {
        /// Wasmtime's words.
        text: String,
    },
}

impl Engine {
    /// Builds an engine and warms up everything a job must not do for the first time.
    ///
    /// Only `stack_native_bytes_max` of the params is taken; see [`suits`](Self::suits).
    pub fn new(params: &Params) -> Result<Self, EngineError> {
        Self::for_cpu(params, Cpu::Host)
    }

    /// The same, for code that keeps to the instructions of a CPU. Fails if this machine lacks one of
    /// them: no code would run here.
    ///
    /// What a guest can see does not depend on it, which tests show with several engines in one
    /// process; its speed does, and so does the [`fingerprint`](Self::fingerprint).
    pub fn for_cpu(params: &Params, cpu: Cpu) -> Result<Self, EngineError> {
        let setup = |error: wasmtime::Error| EngineError::Setup { text: format!("{error:#}") };
        let basic = basic_settings(params, cpu).map_err(setup)?;
        let wasmtime = wasmtime::Engine::new(&settings(&basic)).map_err(setup)?;
        if cpu != Cpu::Host {
            // Wasmtime compares the CPU with its settings when there is a module, and would blame that.
            Module::from_binary(&wasmtime, EMPTY_MODULE).map_err(setup)?;
        }
        let mut linker = Linker::new(&wasmtime);
        imports::link(&mut linker).map_err(setup)?;
        let stack_native_bytes_max = params.stack_native_bytes_max;
        let open = Open::new(&open_settings(&basic)).map_err(setup)?;
        let metered = Open::new(open_settings(&basic).consume_fuel(true)).map_err(setup)?;
        warm_up();
        Ok(Self { wasmtime, linker, open, metered, stack_native_bytes_max })
    }

    /// Whether code under these params can be prepared and run by this engine. The native stack
    /// limit is the one setting Wasmtime fixes per engine; all others vary freely.
    pub fn suits(&self, params: &Params) -> bool {
        self.stack_native_bytes_max == params.stack_native_bytes_max
    }

    /// Identifies everything but code and params that an artifact depends on: the Wasmtime version
    /// and its settings, the target, the CPU's features, and this crate's own changes to code.
    /// Artifacts of equal fingerprints are interchangeable.
    pub fn fingerprint(&self) -> [u8; 32] {
        let mut bytes = Bytes(Vec::new());
        FORMAT_VERSION.hash(&mut bytes);
        WASMTIME_VERSION.hash(&mut bytes);
        for wasmtime in [&self.wasmtime, &self.open.wasmtime, &self.metered.wasmtime] {
            wasmtime.precompile_compatibility_hash().hash(&mut bytes);
        }
        sp_crypto_hashing::blake2_256(&bytes.0)
    }

    /// Maps an artifact and links it.
    ///
    /// The file should be a sealed memfd; it is mapped copy-on-write, and its descriptor is kept
    /// open until the last instance is made, for its initial memory. Must be called before the last system call filter,
    /// because machine code is mapped executable here.
    ///
    /// # Safety
    ///
    /// The file holds what [`prepare`](Self::prepare) returned and nobody changes it while the
    /// artifact lives. Wasmtime checks its header, not its machine code: an artifact made by
    /// someone else can do anything this process can do, so where its maker is not trusted, the
    /// process must be one that is allowed nothing.
    #[allow(unsafe_code)]
    pub unsafe fn load(&self, artifact: File) -> Result<Artifact, LoadError> {
        // SAFETY: `deserialize_open_file` asks for an unchanged module compiled by Wasmtime; this
        // function's own contract asks the same of the caller.
        let module = unsafe { Module::deserialize_open_file(&self.wasmtime, artifact) }
            .map_err(|error| LoadError::Deserialize { text: format!("{error:#}") })?;
        let link = |error: wasmtime::Error| LoadError::Link { text: format!("{error:#}") };
        // The image of the initial memory is found now and not in the first call.
        module.initialize_copy_on_write_image().map_err(link)?;
        self.link(module).map_err(link)
    }

    /// Maps an artifact of [`Profile::Plain`](crate::Profile) or [`Profile::Wasi`](crate::Profile)
    /// and links it. All that [`load`](Self::load) says is true here.
    ///
    /// # Safety
    ///
    /// As for [`load`](Self::load).
    #[allow(unsafe_code)]
    pub unsafe fn load_program(
        &self,
        artifact: File,
        params: &Params,
    ) -> Result<Program, LoadError> {
        let open = self.open(params);
        // SAFETY: as in `load`, this function's own contract asks the same of the caller.
        let module = unsafe { Module::deserialize_open_file(&open.wasmtime, artifact) }
            .map_err(|error| LoadError::Deserialize { text: format!("{error:#}") })?;
        let link = |error: wasmtime::Error| LoadError::Link { text: format!("{error:#}") };
        module.initialize_copy_on_write_image().map_err(link)?;
        open.link(module).map_err(link)
    }

    /// Links a module to the host functions, with stubs for what they lack.
    pub(crate) fn link(&self, module: Module) -> wasmtime::Result<Artifact> {
        let linked = match imports::lacks_one(&module) {
            // Copying the linker costs more than loading a small artifact.
            false => self.linker.instantiate_pre(&module)?,
            true => {
                let mut linker = self.linker.clone();
                imports::link_missing(&mut linker, &module)?;
                linker.instantiate_pre(&module)?
            }
        };
        Ok(Artifact::new(module, linked))
    }

    /// What plain and WASI programs under these params are compiled and run by.
    pub(crate) fn open(&self, params: &Params) -> &Open {
        if params.metering { &self.metered } else { &self.open }
    }

    pub(crate) fn wasmtime(&self) -> &wasmtime::Engine {
        &self.wasmtime
    }

    pub(crate) fn stack_native_bytes_max(&self) -> usize {
        self.stack_native_bytes_max as usize
    }
}

/// What is the same for all profiles. Every proposal is off.
fn basic_settings(params: &Params, cpu: Cpu) -> wasmtime::Result<Config> {
    let mut config = Config::new();
    choose(cpu, &mut config)?;
    config.wasm_features(WasmFeatures::all(), false);
    config.cranelift_nan_canonicalization(true);
    config.max_wasm_stack(params.stack_native_bytes_max as usize);
    config.concurrency_support(false);
    // There are no asynchronous calls; Wasmtime only insists that their stack would be larger.
    config.async_stack_size(params.stack_native_bytes_max as usize);
    config.memory_reservation(MEMORY_RESERVATION_BYTES);
    config.memory_may_move(false);
    config.memory_init_cow(true);
    config.memory_guaranteed_dense_image_size(DENSE_IMAGE_BYTES);
    // Nobody unwinds through a guest or maps its machine code back to Wasm: a trap's kind comes
    // from a table of its own.
    config.wasm_backtrace_max_frames(None);
    config.native_unwind_info(false);
    config.generate_address_map(false);
    Ok(config)
}

/// Leaves Wasmtime to find the host's instructions, or names those it may use.
#[allow(unsafe_code)]
fn choose(cpu: Cpu, config: &mut Config) -> wasmtime::Result<()> {
    let Some(flags) = cpu.flags() else { return Ok(()) };
    config.target(X86_64)?;
    for flag in flags {
        // SAFETY: `cranelift_flag_enable` asks that the flag breaks none of Wasmtime's assumptions.
        // These let instructions be used, and Wasmtime runs no code for those that the host lacks.
        unsafe { config.cranelift_flag_enable(flag) };
    }
    Ok(())
}

/// For parachain validation functions. Validation proper is done before, with exactly the features
/// of the params. Wasmtime is told the most that can be allowed, so that one engine serves all params.
fn settings(basic: &Config) -> Config {
    let mut config = basic.clone();
    config.wasm_features(
        WasmFeatures::MUTABLE_GLOBAL
            | WasmFeatures::FLOATS
            | WasmFeatures::SIGN_EXTENSION
            | WasmFeatures::BULK_MEMORY,
        true,
    );
    config.cranelift_opt_level(OptLevel::SpeedAndSize);
    config
}

/// For plain and WASI programs, again with the most that can be allowed.
fn open_settings(basic: &Config) -> Config {
    let mut config = basic.clone();
    config.wasm_features(
        WasmFeatures::MUTABLE_GLOBAL
            | WasmFeatures::FLOATS
            | WasmFeatures::SIGN_EXTENSION
            | WasmFeatures::SATURATING_FLOAT_TO_INT
            | WasmFeatures::MULTI_VALUE
            | WasmFeatures::BULK_MEMORY
            | WasmFeatures::REFERENCE_TYPES
            | WasmFeatures::CALL_INDIRECT_OVERLONG
            | WasmFeatures::SIMD
            | WasmFeatures::EXTENDED_CONST
            | WasmFeatures::TAIL_CALL,
        true,
    );
    config.cranelift_opt_level(OptLevel::Speed);
    config
}

/// What a process does once: signal stack, random keys of hash maps, bounds of the main stack, CPU
/// feature detection. After a fork all of it is there.
fn warm_up() {
    wasmtime::Engine::tls_eager_initialize();
    std::hint::black_box(HashMap::<u8, u8>::new());
    std::hint::black_box(stacker::remaining_stack());
    imports::warm_up();
    wasi::warm_up();
    compressed::warm_up();
}

/// Collects what a `Hash` implementation writes, to be digested by something collision-resistant.
struct Bytes(Vec<u8>);

impl Hasher for Bytes {
    fn finish(&self) -> u64 {
        unreachable!("only the written bytes are used")
    }

    fn write(&mut self, bytes: &[u8]) {
        self.0.extend_from_slice(bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_wasmtime_version_in_the_fingerprint_is_the_one_that_is_built_in() {
        let lock = include_str!("../../../Cargo.lock");
        let entry = format!("name = \"wasmtime\"\nversion = \"{WASMTIME_VERSION}\"");
        assert!(lock.contains(&entry), "update WASMTIME_VERSION");
    }

    #[test]
    fn the_fingerprint_is_stable_and_does_not_depend_on_the_stack_size() {
        let engine = Engine::new(&Params::default()).unwrap();
        assert_eq!(engine.fingerprint(), engine.fingerprint());
        let params = Params { stack_native_bytes_max: 1 << 20, ..Params::default() };
        let other = Engine::new(&params).unwrap();
        assert_eq!(engine.fingerprint(), other.fingerprint());
        assert!(engine.suits(&Params::default()) && !engine.suits(&params));
    }
}
