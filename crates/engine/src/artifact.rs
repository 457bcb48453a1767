//! An artifact that was mapped and linked, ready to be called.
//!
//! Made by [`Engine::load`](crate::Engine::load) before the last system call filter; guest code runs
//! only behind it.

use wasmtime::{Instance, InstancePre, Module, ModuleExport, Store, TypedFunc};

use crate::imports::State;
use crate::instrument::START;

/// Compiled code, mapped and linked to the host functions.
pub struct Artifact {
    module: Module,
    linked: InstancePre<State>,
    /// Pages the memory starts with.
    memory_pages_min: u64,
}

/// Why an artifact cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// It is damaged, or made by another engine, or for another CPU.
    #[error("not an artifact of this engine: {text}")]
    Deserialize {
        /// Wasmtime's words.
        text: String,
    },
    /// Its imports do not fit the host functions, although preparation found that they do.
    #[error("cannot be linked: {text}")]
    Link {
        /// Wasmtime's words.
        text: String,
    },
}

impl Artifact {
    pub(crate) fn new(module: Module, linked: InstancePre<State>) -> Self {
        let memory_pages_min = module
            .exports()
            .find_map(|export| export.ty().memory().map(|memory| memory.minimum()))
            .unwrap_or(0);
        Self { module, linked, memory_pages_min }
    }

    /// The machine code. Whoever seals it (`mseal`) must leave with `exit_group` and never drop the
    /// artifact: a sealed mapping cannot be unmapped.
    pub fn text(&self) -> &[u8] {
        self.module.text()
    }

    /// Makes an instance. Runs no guest code: preparation took the `start` function out.
    pub(crate) fn instantiate(&self, store: &mut Store<State>) -> wasmtime::Result<Instance> {
        self.linked.instantiate(store)
    }

    /// Where an export is found without looking for its name.
    pub(crate) fn export(&self, name: &str) -> Option<ModuleExport> {
        self.module.get_export_index(name)
    }

    pub(crate) fn memory_pages_min(&self) -> u64 {
        self.memory_pages_min
    }
}

/// The `start` function, if the code has one.
pub(crate) fn start(
    store: &mut Store<State>,
    instance: &Instance,
) -> wasmtime::Result<Option<TypedFunc<(), ()>>> {
    instance.get_func(&mut *store, START).map(|start| start.typed(&*store)).transpose()
}
