//! What happens at one step of a request, at every step. A host stands still there: it runs from one
//! system call to the next (`traced`), and a step is a call that it has just made. Nothing of this is
//! in the host, and nothing waits for a time.
//!
//! ```text
//! killed   the host, a worker or a job is killed at the step
//! swapped  the artifact's file is replaced or overwritten at the step
//! probes   jobs by which a starting worker tries its jail are killed as they are born
//! staged   a request, and a host that stands still
//! traced   a program from one system call to the next
//! ```

mod killed;
mod probes;
mod staged;
#[path = "../support/mod.rs"]
mod support;
mod swapped;
#[path = "../support/traced.rs"]
mod traced;
