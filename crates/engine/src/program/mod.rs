//! The profiles `plain` and `wasi`: a program is loaded, an instance of it is made, and called.
//!
//! Loading and making the instance run nothing of the guest's (preparation took the `start` function
//! out), so both may happen before a job's final system call filter and before there is a call at
//! all. [`Instance::call`] runs the `start` function and what was asked for; behind it a job needs
//! memory calls and those of the [`Outside`](crate::wasi::Outside) it hands in.

mod artifact;
mod call;
mod ending;
mod entry;
mod instance;
mod limiter;
mod words;

pub use artifact::Program;
pub(crate) use artifact::{Open, State};
pub use call::{Call, Entry, Input, Output, Usage, Value};
pub(crate) use ending::Stop;
pub use instance::Instance;
