//! The bytes of a call's input, wherever they came from, and how they get into the guest's memory.

use std::{
    mem::ManuallyDrop,
    ops::Deref,
    os::fd::{AsFd, OwnedFd},
};

use lazaret_sandbox::{
    ask_for_large_pages,
    memfd::{Mapped, OpenError},
};
use lazaret_wire::work::Given;

/// Pieces that have fewer bytes are copied.
const MAPPED_BYTES_MIN: usize = 32 * 1024;

/// There until the job ends.
pub(crate) enum InputBytes {
    /// They were in a file.
    InFile(InFile),
    /// They stood in the order.
    Inline(Vec<u8>),
}

/// Bytes in a file that is mapped.
pub(crate) struct InFile {
    mapped: Mapped,
    /// Where they begin, if that may be somewhere else the next time.
    at: Option<u16>,
    /// Not closed here, because the job closes all descriptors at once.
    file: ManuallyDrop<OwnedFd>,
}

impl InputBytes {
    /// Takes those that stand in the order, or maps their file: the next of the descriptors. `None` if there is
    /// none.
    pub(crate) fn take(
        given: Given,
        descriptors: &mut impl Iterator<Item = OwnedFd>,
    ) -> Option<Result<Self, OpenError>> {
        let placed = match given {
            Given::Inline(bytes) => return Some(Ok(Self::Inline(bytes))),
            Given::Attached => None,
            Given::Placed { at, bytes } => Some((at, bytes)),
        };
        let file = ManuallyDrop::new(descriptors.next()?);
        let mapped = match placed {
            Some((at, bytes)) => Mapped::open_first(&*file, bytes.saturating_add(at.into())),
            None => Mapped::open(&*file, u64::MAX),
        };
        let at = placed.map(|(at, _)| at);
        Some(mapped.map(|mapped| Self::InFile(InFile { mapped, at, file })))
    }
}

impl InFile {
    /// Puts a piece of them in the guest's memory before the last doors, and says by how many bytes later they should
    /// begin in their file for nothing of it to be copied.
    pub(crate) fn put(&self, to: &mut [u8], piece: &[u8]) -> std::io::Result<u16> {
        if piece.len() < MAPPED_BYTES_MIN || !self.contains(piece) {
            to.copy_from_slice(piece);
            return Ok(0);
        }
        let shift = self.mapped.shift(piece, to);
        if shift != 0 {
            copy(to, piece);
        } else {
            self.mapped.put(self.file.as_fd(), piece, to)?;
        }
        Ok(self.at.map_or(0, |_| shift))
    }

    fn contains(&self, piece: &[u8]) -> bool {
        self.mapped.as_ptr_range().contains(&piece.as_ptr())
    }
}

/// Puts a piece of an input in the guest's memory.
pub(crate) fn copy(to: &mut [u8], piece: &[u8]) {
    ask_for_large_pages(to);
    to.copy_from_slice(piece);
}

impl Deref for InputBytes {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match self {
            Self::InFile(InFile { mapped, at, .. }) => &mapped[at.unwrap_or(0).into()..],
            Self::Inline(bytes) => bytes,
        }
    }
}
