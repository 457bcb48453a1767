//! What an instance is asked, and what it answers.

use std::ops::Range;

/// One call.
#[derive(Clone, Copy, Debug)]
pub struct Call<'a> {
    /// What is called.
    pub entry: Entry<'a>,
    /// Instructions it may take, about; for code that was prepared with
    /// [`metering`](crate::Params::metering) only. None is no limit.
    pub fuel: Option<u64>,
}

/// What is called.
#[derive(Clone, Copy, Debug)]
pub enum Entry<'a> {
    /// A WASI command: its export `_start`.
    Command,
    /// An export, after the module's `start` function and, in [`Profile::Wasi`](crate::Profile), its
    /// export `_initialize` if there is one.
    Export {
        /// The function's name.
        name: &'a str,
        /// What it is given.
        input: Input<'a>,
    },
}

/// What an exported function is given. Decides what is expected of it in return.
#[derive(Clone, Copy, Debug)]
pub enum Input<'a> {
    /// Numbers; it returns numbers.
    Values(&'a [Value]),
    /// Numbers as a person writes them, to be read by the types of the function's parameters:
    /// decimal or `0x` for integers, signed or unsigned; decimal, `inf`, `nan` for floats.
    Words(&'a [String]),
    /// Bytes; it returns bytes. The module exports its `memory`, a function
    /// `alloc: (length: i32) -> (pointer: i32)` whose result has room for that many bytes (0 says
    /// that there is none), and the function that is called: `(pointer: i32, length: i32) -> (i64)`,
    /// whose result has the pointer to its output in the upper half and the output's length in the
    /// lower one. A module with a fixed buffer returns its address from `alloc`. Nobody frees
    /// anything: an instance serves one such call.
    Bytes(&'a [u8]),
}

/// A number of a type that can be handed over. Floats are told by their bits, as a NaN has many.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Value {
    I32(i32),
    I64(i64),
    F32(u32),
    F64(u64),
}

/// How a call ended well.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Output {
    /// Of [`Input::Values`] and [`Input::Words`].
    Values(Vec<Value>),
    /// Of [`Input::Bytes`]: where they lie; see [`Instance::bytes`](super::Instance::bytes).
    Bytes(Range<usize>),
    /// The program ended itself (`proc_exit`), or a command returned, which is 0.
    Exit(i32),
}

/// What calls of one instance took, known after a call that failed too.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Pages of linear memory, which never shrinks.
    pub memory_pages: u32,
    /// Fuel the last call used, if its code was prepared with metering.
    pub fuel: Option<u64>,
    /// Pages the guest asked for in all when it was last refused more memory.
    pub memory_pages_refused: Option<u64>,
}
