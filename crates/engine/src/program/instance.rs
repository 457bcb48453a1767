//! An instance of a program, and calls of it.

use std::ops::Range;

use wasmtime::{Func, Store, Val};

use super::artifact::{Program, State};
use super::call::{Call, Entry, Output, Usage};
use super::limiter::Limiter;
use super::{ending, entry};
use crate::engine::Engine;
use crate::execute::ExecuteError;
use crate::instrument::START;
use crate::params::{Params, Profile};
use crate::prepare::STACK_BYTES_MARGIN;
use crate::room::Room;
use crate::stack::{MEMORY, STACK, TICKS};
use crate::wasi::{Context, World};

/// An instance, in which no guest code has run until it is called.
pub struct Instance {
    pub(super) store: Store<State>,
    pub(super) instance: wasmtime::Instance,
    profile: Profile,
    metering: bool,
    stack_values_max: u32,
    stack_bytes: usize,
    is_started: bool,
}

impl std::fmt::Debug for Instance {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Instance").finish_non_exhaustive()
    }
}

impl Instance {
    /// Makes an instance. Its memory is mapped out of the artifact's file, which is not needed
    /// afterwards.
    ///
    /// `params` must be those the code was prepared with; only limits that do not reach the artifact
    /// may differ.
    pub fn new(engine: &Engine, program: &Program, params: &Params) -> Result<Self, ExecuteError> {
        if !engine.suits(params) {
            return Err(ExecuteError::WrongEngine);
        }
        let state = State {
            limiter: Limiter::new(params),
            memory: None,
            ticks: None,
            wasi: Context::empty(),
            fuel: None,
        };
        let mut store = Store::new(&engine.open(params).wasmtime, state);
        store.limiter(|state| &mut state.limiter);
        let instance = program
            .linked()
            .instantiate(&mut store)
            .map_err(|error| ending::of_instantiation(&error, &store))?;
        store.data_mut().memory = instance.get_memory(&mut store, MEMORY);
        store.data_mut().ticks = instance.get_global(&mut store, TICKS);
        Ok(Self {
            store,
            instance,
            profile: params.profile,
            metering: params.metering,
            stack_values_max: params.stack_logical_max,
            stack_bytes: engine.stack_native_bytes_max() + STACK_BYTES_MARGIN,
            is_started: false,
        })
    }

    /// Gives a WASI program what it sees of the world, before its first call. Without, it has no
    /// arguments, an empty environment and standard input, no files, and what it writes is gone.
    pub fn provide(&mut self, world: World) {
        self.store.data_mut().wasi = Context::new(world);
    }

    /// Room on the stack for a call and for what leads to it.
    pub fn room(&self) -> Room {
        Room::of(self.stack_bytes)
    }

    /// Runs the `start` function if this is the first call, and what is asked for.
    ///
    /// An instance may be called again, which is for whoever wants its state; a call that trapped
    /// leaves it as it was at the trap.
    pub fn call(&mut self, call: &Call<'_>) -> Result<Output, ExecuteError> {
        self.fill_up(call.fuel)?;
        let limiter = &mut self.store.data_mut().limiter;
        (limiter.pages_refused, limiter.elements_refused) = (None, None);
        // A job's own stack may be small; see `pvf::Instance::new`.
        stacker::maybe_grow(self.stack_bytes, self.stack_bytes, || match call.entry {
            Entry::Command => self.command(),
            Entry::Export { name, input } => entry::export(self, name, input),
        })
    }

    fn command(&mut self) -> Result<Output, ExecuteError> {
        let start = self.function("_start")?;
        if let Some(ended) = self.start(false)? {
            return Ok(ended);
        }
        Ok(self.run(start, &[], &mut [])?.unwrap_or(Output::Exit(0)))
    }

    /// Runs the `start` function, and for an export of a WASI program `_initialize`, once. Returns
    /// something if the program ended there.
    pub(super) fn start(&mut self, is_reactor: bool) -> Result<Option<Output>, ExecuteError> {
        if std::mem::replace(&mut self.is_started, true) {
            return Ok(None);
        }
        let initialize = is_reactor && self.profile == Profile::Wasi;
        for name in [Some(START), initialize.then_some("_initialize")].into_iter().flatten() {
            let Some(function) = self.instance.get_func(&mut self.store, name) else { continue };
            let ty = function.ty(&self.store);
            if ty.params().len() + ty.results().len() > 0 {
                continue;
            }
            if let Some(ended) = self.run(function, &[], &mut [])? {
                return Ok(Some(ended));
            }
        }
        Ok(None)
    }

    /// Runs a function of the right type. Returns something if the program ended itself.
    pub(super) fn run(
        &mut self,
        function: Func,
        arguments: &[Val],
        results: &mut [Val],
    ) -> Result<Option<Output>, ExecuteError> {
        if let Some(counter) = self.instance.get_global(&mut self.store, STACK) {
            // It is a mutable i32; behind a trap of an earlier call it may not be zero.
            let _ = counter.set(&mut self.store, Val::I32(0));
        }
        match function.call(&mut self.store, arguments, results) {
            Ok(()) => Ok(None),
            Err(error) => {
                let values_max = self.stack_values_max;
                ending::of(&error, &mut self.store, &self.instance, values_max).map(Some)
            }
        }
    }

    fn fill_up(&mut self, fuel: Option<u64>) -> Result<(), ExecuteError> {
        if !self.metering {
            return if fuel.is_some() { Err(ExecuteError::NotMetered) } else { Ok(()) };
        }
        let fuel = fuel.unwrap_or(u64::MAX);
        self.store.data_mut().fuel = Some(fuel);
        self.store.set_fuel(fuel).map_err(|_| ExecuteError::NotMetered)
    }

    /// Bytes in the guest's memory, as [`Output::Bytes`] names them; empty if they are not there.
    pub fn bytes(&self, range: &Range<usize>) -> &[u8] {
        let memory = self.store.data().memory;
        memory.and_then(|memory| memory.data(&self.store).get(range.clone())).unwrap_or_default()
    }

    /// What the calls took.
    pub fn usage(&self) -> Usage {
        let state = self.store.data();
        let given = state.fuel.filter(|_| self.metering);
        let fuel =
            given.map(|given| given.saturating_sub(self.store.get_fuel().unwrap_or_default()));
        Usage {
            memory_pages: state.limiter.pages(),
            fuel,
            memory_pages_refused: state.limiter.pages_refused,
        }
    }
}
