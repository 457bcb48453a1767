//! Artifacts: named by what they were made of, made once, kept on disk, lent as sealed memfds.
//!
//! ```text
//! key     the digest of everything that an artifact depends on
//! file    the file format: a header that describes and proves the rest
//! store   the cache directory: verified reads, crash-safe writes, pruning
//! shelf   hot artifacts as sealed memfds, and preparations under way, shared by who needs them
//! ```

mod failures;
mod file;
mod key;
mod shelf;
mod store;

pub use failures::PrepareRetry;
pub use file::PrepareFacts;
pub(crate) use key::Key;
pub use shelf::Origin;
pub(crate) use shelf::{Artifact, Found, Preparation, Promise, Purpose, Shelf, Waiter};
pub(crate) use store::{STORE_BYTES_MAX, Store, UNUSED_MAX};
