//! An instance of a program, and calls of it.

use std::ops::Range;

use super::{Call, Output, Program, Usage};
use crate::engine::Engine;
use crate::execute::ExecuteError;
use crate::params::Params;
use crate::wasi::World;

/// An instance, in which no guest code has run until it is called.
pub struct Instance {}

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
    pub fn new(
        _engine: &Engine,
        _program: &Program,
        _params: &Params,
    ) -> Result<Self, ExecuteError> {
        todo!()
    }

    /// Gives a WASI program what it sees of the world, before its first call. Without, it has no
    /// arguments, an empty environment and standard input, no files, and what it writes is gone.
    pub fn provide(&mut self, _world: World) {
        todo!()
    }

    /// Runs the `start` function if this is the first call, and what is asked for.
    ///
    /// An instance may be called again, which is for whoever wants its state; a call that trapped
    /// leaves it as it was at the trap.
    pub fn call(&mut self, _call: &Call<'_>) -> Result<Output, ExecuteError> {
        todo!()
    }

    /// Bytes in the guest's memory, as [`Output::Bytes`] names them; empty if they are not there.
    pub fn bytes(&self, _range: &Range<usize>) -> &[u8] {
        todo!()
    }

    /// What the calls took.
    pub fn usage(&self) -> Usage {
        todo!()
    }
}
