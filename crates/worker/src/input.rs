//! The bytes of a call's input, wherever they came from.

use std::{ops::Deref, os::fd::OwnedFd};

use lazaret_sandbox::memfd::{Mapped, OpenError, Placed};
use lazaret_wire::work::Given;

/// There until the job ends.
pub(crate) enum InputBytes {
    /// They were attached.
    Mapped(Mapped),
    /// They were put in a file for this call.
    Placed(Placed),
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
        match given {
            Given::Inline(bytes) => Some(Ok(Self::Inline(bytes))),
            Given::Attached => {
                let attached = descriptors.next()?;
                let mapped = Mapped::open(&attached, u64::MAX).map(Self::Mapped);
                std::mem::forget(attached);
                Some(mapped)
            }
            Given::Placed(bytes) => {
                let attached = descriptors.next()?;
                let mapped = Placed::open(&attached, bytes).map(Self::Placed);
                std::mem::forget(attached);
                Some(mapped)
            }
        }
    }
}

impl Deref for InputBytes {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match self {
            Self::Mapped(mapped) => mapped,
            Self::Placed(placed) => placed,
            Self::Inline(bytes) => bytes,
        }
    }
}
