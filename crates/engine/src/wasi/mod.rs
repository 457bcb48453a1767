//! WASI preview 1 without an operating system: all that a program sees is in this process's memory.
//!
//! The caller builds a [`World`] and gives it to an [`Instance`](crate::program::Instance). Bytes of
//! standard streams, and real time and randomness where they are asked for, come and go through its
//! [`Outside`]; nothing else leaves. Both `wasi_snapshot_preview1` and the older `wasi_unstable` are
//! provided.

mod abi;
mod context;
mod descriptors;
mod fd;
mod guest;
mod link;
mod path;
mod paths;
mod process;
mod tree;
mod volume;
mod world;

pub(crate) use context::{Context, warm_up};
pub(crate) use link::{link, type_of};
pub use tree::{Tree, TreeError};
pub use world::{
    Clock, ClockId, Contents, Mount, Nowhere, Outside, Random, Stream, World, WriteError,
};
