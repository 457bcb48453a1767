//! The bytes of a call's input, wherever they came from.

use std::{ops::Deref, os::fd::OwnedFd};

use lazaret_sandbox::memfd::{Mapped, OpenError};
use lazaret_wire::work::Given;

/// There until the job ends.
pub(crate) enum InputBytes {
    /// They were in a file.
    Mapped(Mapped),
    /// They stood in the order.
    Inline(Vec<u8>),
}

impl InputBytes {
    /// Takes those that stand in the order, or maps their file: the next of the descriptors, which is
    /// not closed here, because the job closes all of them at once. `None` if there is none.
    pub(crate) fn take(
        given: Given,
        descriptors: &mut impl Iterator<Item = OwnedFd>,
    ) -> Option<Result<Self, OpenError>> {
        let file_bytes = match given {
            Given::Inline(bytes) => return Some(Ok(Self::Inline(bytes))),
            Given::Attached => None,
            Given::Placed(bytes) => Some(bytes),
        };
        let file = descriptors.next()?;
        let mapped = match file_bytes {
            Some(bytes) => Mapped::open_first(&file, bytes),
            None => Mapped::open(&file, u64::MAX),
        };
        std::mem::forget(file);
        Some(mapped.map(Self::Mapped))
    }
}

impl Deref for InputBytes {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match self {
            Self::Mapped(mapped) => mapped,
            Self::Inline(bytes) => bytes,
        }
    }
}
