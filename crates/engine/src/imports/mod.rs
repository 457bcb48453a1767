//! The functions a guest may import, and what they may touch.
//!
//! [`link`] defines them once, in [`Engine::new`](crate::Engine::new); a call reaches them through
//! Wasmtime with the [`State`] of its store. Semantics, encodings and trap conditions are those of
//! Polkadot's PVF host (`sp-io`: misc, crypto, hashing, allocator, logging, trie). A host function
//! must not panic on anything a guest can say, and takes no memory on a guest's word alone.

mod ahead;
mod crypto;
mod guest;
mod hashing;
pub(crate) mod log;
mod memory_limit;
mod runtime;
mod signatures;
mod trie;

use wasmtime::{Linker, Memory};

pub use ahead::FindAhead;
pub(crate) use guest::{ALLOCATION_BYTES_MAX, Guest, Heap};
pub(crate) use memory_limit::MemoryLimit;
pub(crate) use signatures::{Provision, signature_of};

use log::LogSink;

/// The only module name a guest may import from.
pub(crate) const MODULE: &str = "env";

/// What a store carries for the host functions.
pub(crate) struct State {
    /// The guest's memory; absent while its `start` function runs.
    pub(crate) memory: Option<Memory>,
    pub(crate) heap: Option<Heap>,
    /// Where there is somebody to do it.
    pub(crate) find_ahead: Option<FindAhead>,
    pub(crate) limit: MemoryLimit,
    pub(crate) log: LogSink,
    /// Whether all signatures since `start_batch_verify` were good; absent outside a batch.
    pub(crate) batch: Option<bool>,
}

impl State {
    pub(crate) fn new(memory_pages_max: u32, log: LogSink) -> Self {
        let limit = MemoryLimit::new(memory_pages_max);
        Self { memory: None, heap: None, find_ahead: None, limit, log, batch: None }
    }
}

/// Why a host function ended the guest.
#[derive(Debug, thiserror::Error)]
pub(crate) enum HostCallError {
    #[error("call to a missing function {MODULE}:{name}")]
    Missing { name: String },
    #[error("call to the unknown import `{name}` of `{module}`")]
    Unknown { module: String, name: String },
    #[error("{function}: {reason}")]
    Refused { function: &'static str, reason: Refusal },
    #[error("{text}")]
    MachineMemory { text: String },
}

/// What a host function did not accept.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Refusal {
    #[error("{length} bytes at {pointer} are outside the memory")]
    OutOfBounds { pointer: u32, length: u32 },
    #[error("{0}")]
    Allocator(sc_allocator::Error),
    #[error("an argument does not decode: {0}")]
    Undecodable(#[from] parity_scale_codec::Error),
    #[error("an argument is not UTF-8")]
    NotUtf8,
    #[error("{value} is not a known {what}")]
    UnknownValue { what: &'static str, value: u8 },
    #[error("called before the instance was ready")]
    NotReady,
    #[error("a batch verification is already running")]
    BatchRunning,
    #[error("no batch verification is running")]
    NoBatch,
    #[error("call to a function this host has no keystore for")]
    NoKeystore,
    #[error("the machine refused memory: {0}")]
    MachineMemory(String),
}

impl Refusal {
    /// Names the function that refused, unless it was the machine.
    pub(crate) fn in_function(self, function: &'static str) -> HostCallError {
        match self {
            Self::MachineMemory(text) => HostCallError::MachineMemory { text },
            reason => HostCallError::Refused { function, reason },
        }
    }
}

/// Defines one host function per entry: Wasm types outside, a [`Guest`] and a [`Refusal`] inside.
macro_rules! host_functions {
    ($linker:expr; $($name:literal = |$guest:pat_param $(, $arg:ident: $ty:ty)*| -> $ret:ty $body:block)*) => {
        $(
            $linker.func_wrap(
                $crate::imports::MODULE,
                $name,
                |caller: wasmtime::Caller<'_, $crate::imports::State> $(, $arg: $ty)*|
                    -> wasmtime::Result<$ret> {
                    let call = || -> Result<$ret, $crate::imports::Refusal> {
                        #[allow(unused_mut)]
                        let mut entered = $crate::imports::Guest::enter(caller)?;
                        #[allow(unused_variables)]
                        let $guest = &mut entered;
                        $body
                    };
                    call().map_err(|refusal| wasmtime::Error::new(refusal.in_function($name)))
                },
            )?;
        )*
    };
}
pub(crate) use host_functions;

/// Defines every host function.
pub(crate) fn link(linker: &mut Linker<State>) -> wasmtime::Result<()> {
    guest::link(linker)?;
    hashing::link(linker)?;
    crypto::link(linker)?;
    trie::link(linker)?;
    runtime::link(linker)?;
    log::link(linker)
}

/// Whether a module imports a function that [`link`] does not provide.
pub(crate) fn lacks_one(module: &wasmtime::Module) -> bool {
    let is_there = |name: &str| signature_of(name).is_some();
    let mut imports = module.imports();
    imports.any(|import| import.ty().func().is_some() && !is_there(import.name()))
}

/// Defines, for one module, every function import that [`link`] does not provide: a stub that traps
/// when called and names itself. Runtimes import far more than validation ever calls.
pub(crate) fn link_missing(
    linker: &mut Linker<State>,
    module: &wasmtime::Module,
) -> wasmtime::Result<()> {
    // A linker refuses the same name twice, and a module may import the same function twice.
    linker.allow_shadowing(true);
    for import in module.imports() {
        let wasmtime::ExternType::Func(ty) = import.ty() else { continue };
        if signature_of(import.name()).is_some() {
            continue;
        }
        let name = import.name().to_owned();
        linker.func_new(import.module(), import.name(), ty, move |_, _, _| {
            Err(wasmtime::Error::new(HostCallError::Missing { name: name.clone() }))
        })?;
    }
    Ok(())
}

/// Runs each primitive once, so that what they set up lazily (CPU feature detection, tables) is in
/// place before a job is confined and its clock runs.
pub(crate) fn warm_up() {
    hashing::warm_up();
    crypto::warm_up();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_listed_function_is_linked_with_the_listed_type() {
        let engine = wasmtime::Engine::default();
        let mut linker = Linker::new(&engine);
        link(&mut linker).unwrap();
        let state = State::new(1, Box::new(|_| ()));
        let mut store = wasmtime::Store::new(&engine, state);
        let mut listed = 0;
        for signature in signatures::all() {
            let function = linker
                .get(&mut store, MODULE, signature.name)
                .unwrap_or_else(|_| panic!("{} is listed and not linked", signature.name));
            let ty = function.into_func().expect("a function").ty(&store);
            let params: Vec<_> = ty.params().map(|ty| ty.to_string()).collect();
            let results: Vec<_> = ty.results().map(|ty| ty.to_string()).collect();
            let names = |types: &[wasmparser::ValType]| -> Vec<String> {
                types.iter().map(|ty| ty.to_string()).collect()
            };
            assert_eq!(params, names(signature.params), "{}", signature.name);
            assert_eq!(results, names(signature.results), "{}", signature.name);
            listed += 1;
        }
        assert_eq!(linker.iter(&mut store).count(), listed, "linked and not listed");
    }
}
