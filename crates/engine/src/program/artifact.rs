//! An artifact of a plain or WASI program: compiled, mapped, linked.

use wasmtime::{Config, ExternType, InstancePre, Linker, Module};

use super::limiter::Limiter;
use crate::engine::Engine;
use crate::imports::HostCallError;
use crate::params::Params;
use crate::prepare::PrepareError;
use crate::wasi;

/// Wasmtime under the settings for plain and WASI programs, and what those may import.
pub(crate) struct Open {
    pub(crate) wasmtime: wasmtime::Engine,
    linker: Linker<State>,
}

/// What a store carries for the limits and for WASI.
pub(crate) struct State {
    pub(crate) limiter: Limiter,
    pub(crate) memory: Option<wasmtime::Memory>,
    /// The counter of ticks, if the code has one.
    pub(crate) ticks: Option<wasmtime::Global>,
    pub(crate) wasi: wasi::Context,
    /// What the call was given; without fuel, none was counted.
    pub(crate) fuel: Option<u64>,
}

impl Open {
    pub(crate) fn new(config: &Config) -> wasmtime::Result<Self> {
        let wasmtime = wasmtime::Engine::new(config)?;
        let mut linker = Linker::new(&wasmtime);
        wasi::link(&mut linker)?;
        Ok(Self { wasmtime, linker })
    }

    /// Links a module. Imports that nothing provides are functions here, and trap: others were
    /// refused by `survey`.
    pub(crate) fn link(&self, module: Module) -> wasmtime::Result<Program> {
        let is_unknown = |import: &wasmtime::ImportType<'_>| {
            wasi::type_of(import.module(), import.name()).is_none()
        };
        let linked = if module.imports().any(|import| is_unknown(&import)) {
            let mut linker = self.linker.clone();
            // A linker refuses the same name twice, and a module may import a function twice.
            linker.allow_shadowing(true);
            for import in module.imports().filter(is_unknown) {
                let ExternType::Func(ty) = import.ty() else { continue };
                let (from, name) = (import.module().to_owned(), import.name().to_owned());
                linker.func_new(import.module(), import.name(), ty, move |_, _, _| {
                    let (module, name) = (from.clone(), name.clone());
                    Err(wasmtime::Error::new(HostCallError::Unknown { module, name }))
                })?;
            }
            linker.instantiate_pre(&module)?
        } else {
            self.linker.instantiate_pre(&module)?
        };
        Ok(Program { module, linked })
    }
}

impl Engine {
    pub(crate) fn compile_program(
        &self,
        wasm: &[u8],
        params: &Params,
    ) -> Result<Vec<u8>, PrepareError> {
        let compile = |error: wasmtime::Error| PrepareError::Compile { text: format!("{error:#}") };
        let open = self.open(params);
        let module = Module::from_binary(&open.wasmtime, wasm).map_err(compile)?;
        let artifact = module.serialize().map_err(compile)?;
        open.link(module)
            .map_err(|error| PrepareError::Instantiate { text: format!("{error:#}") })?;
        Ok(artifact)
    }
}

/// Compiled code, mapped and linked to what its profile provides.
pub struct Program {
    module: Module,
    linked: InstancePre<State>,
}

impl Program {
    /// The machine code, as [`Artifact::text`](crate::Artifact::text) gives it, on the same terms.
    pub fn text(&self) -> &[u8] {
        self.module.text()
    }

    pub(crate) fn linked(&self) -> &InstancePre<State> {
        &self.linked
    }
}
