//! Artifacts: named by what they were made of, made once, kept on disk, lent as sealed memfds.
//!
//! ```text
//! key     the digest of everything that an artifact depends on
//! file    the file format: a header that describes and proves the rest
//! terms   what a preparation may take, and what one outcome says about other limits
//! proof   whether a file is what its name says
//! store   the cache directory: verified reads, crash-safe writes
//! prune   what is removed from it, by age and size
//! upkeep  when that is done
//! cache   the directory as a program sees it that lists, verifies or prunes it
//! shelf   hot artifacts as sealed memfds, and preparations under way, shared by who needs them
//! ```

mod cache;
mod failures;
mod file;
mod key;
mod proof;
mod prune;
mod shelf;
mod store;
mod terms;
mod upkeep;

pub use cache::{Cache, CacheFile, CacheHeader};
pub use failures::PrepareRetry;
pub use file::PrepareFacts;
pub(crate) use file::Source;
pub(crate) use key::Key;
pub use proof::Damage;
pub use prune::{CacheLimits, PruneReason, Pruned, PrunedFile};
pub(crate) use shelf::{Artifact, Found, Preparation, Promise, Shelf, Waiter};
pub use shelf::{Origin, PreparationState};
pub(crate) use terms::{Purpose, Terms};
pub(crate) use upkeep::{Kept, look_after};
