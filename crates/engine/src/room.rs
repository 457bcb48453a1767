//! A guest's stack that is made before its call, for whoever copies a process for each call.

/// Stack for what comes between [`Room::enter`] and the call: an order is received, an input mapped, a
/// filter installed.
const STACK_BYTES_BEFORE: usize = 1024 * 1024;

/// A stack on which a call needs none of its own.
#[derive(Clone, Copy, Debug)]
pub struct Room(usize);

impl Room {
    pub(crate) fn of(stack_bytes: usize) -> Self {
        Self(stack_bytes + STACK_BYTES_BEFORE)
    }

    /// Makes the stack and runs on it.
    pub fn enter<R>(self, run: impl FnOnce() -> R) -> R {
        stacker::grow(self.0, run)
    }
}
