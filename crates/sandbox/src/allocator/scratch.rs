//! Scratch memory: where a template's copy allocates.
//!
//! What is allocated lies side by side, and nothing of what the template allocated is freed. The C library would go through
//! lists all over the heap for it, and each page that a copy writes to, and each that holds another function, is a
//! page fault on the way of a call.

use std::alloc::Layout;
use std::ptr;
use std::sync::atomic::{AtomicPtr, AtomicU64, AtomicUsize, Ordering::Relaxed};

use crate::sys;

/// Bytes of scratch memory: for a call whose input is in its order.
const SCRATCH_BYTES: usize = 96 * 1024;
/// From how many bytes on an allocation is the system's in any case.
const PIECE_BYTES_MAX: usize = 48 * 1024;

/// Null in all but templates and their copies. Written by the template, as each page that a copy writes to costs.
static SCRATCH: AtomicPtr<Scratch> = AtomicPtr::new(ptr::null_mut());

/// What is in front of scratch memory. A template writes the pass and nothing else, so the rest is zero until a copy
/// begins.
#[repr(C, align(16))]
pub(super) struct Scratch {
    /// Where the next allocation begins, counted from here. Zero before the copy has opened it; the end of all once
    /// something did not fit, from where on everything is the system's again.
    next: AtomicUsize,
    /// From where on nobody has written.
    fresh: AtomicUsize,
    /// What the calls of a copy carry until it is ready: here, since a copy writes to this page anyway when it
    /// begins.
    pass: AtomicU64,
}

/// Sets memory apart for the copies of the template that calls it, if the machine has it.
pub fn set_apart() {
    SCRATCH.store(sys::map_fresh(SCRATCH_BYTES).cast(), Relaxed);
}

/// A place for the pass of copies, if there is scratch memory.
pub(crate) fn place_of_pass() -> Option<&'static AtomicU64> {
    Scratch::get().map(|scratch| &scratch.pass)
}

/// From now on the copy that calls it allocates there.
pub(crate) fn open() {
    if let Some(scratch) = Scratch::get() {
        scratch.next.store(size_of::<Scratch>(), Relaxed);
        scratch.fresh.store(size_of::<Scratch>(), Relaxed);
    }
}

impl Scratch {
    #[inline]
    pub(super) fn get() -> Option<&'static Self> {
        // SAFETY: null, or what `set_scratch_memory_apart` made, which is zero, aligned and never freed. Its
        // fields are atomic, so all may share it.
        unsafe { SCRATCH.load(Relaxed).as_ref() }
    }

    /// The same while something may fit.
    #[inline]
    pub(super) fn get_open() -> Option<&'static Self> {
        Self::get().filter(|scratch| (1..SCRATCH_BYTES).contains(&scratch.next.load(Relaxed)))
    }

    /// Takes a piece, which begins with as many bytes that may be other than zero as it says.
    pub(super) fn take(&self, layout: Layout) -> Option<(*mut u8, usize)> {
        if layout.size() > PIECE_BYTES_MAX {
            return None;
        }
        let at = self.address() + self.next.load(Relaxed);
        let start = at.next_multiple_of(layout.align()) - self.address();
        let end = start + layout.size();
        if end > SCRATCH_BYTES {
            self.next.store(SCRATCH_BYTES, Relaxed);
            return None;
        }
        self.next.store(end, Relaxed);
        let fresh = self.fresh.load(Relaxed);
        self.fresh.store(fresh.max(end), Relaxed);
        let memory = SCRATCH.load(Relaxed).cast::<u8>().wrapping_add(start);
        Some((memory, fresh.saturating_sub(start).min(layout.size())))
    }

    /// Where a piece begins, if it is one.
    pub(super) fn start_of(&self, memory: *mut u8) -> Option<usize> {
        let start = memory.addr().wrapping_sub(self.address());
        (start < SCRATCH_BYTES).then_some(start)
    }

    /// Takes back what was given last; the rest stays.
    pub(super) fn give_back(&self, start: usize, bytes: usize) {
        if start + bytes == self.next.load(Relaxed) {
            self.next.store(start, Relaxed);
        }
    }

    /// Whether this is a piece, or something of the template's that is left where it is.
    #[inline]
    pub(super) fn keeps(&self, memory: *mut u8, layout: Layout) -> bool {
        self.start_of(memory).is_some()
            || (layout.size() <= PIECE_BYTES_MAX && Self::get_open().is_some())
    }

    fn address(&self) -> usize {
        ptr::from_ref(self).addr()
    }
}

#[cfg(test)]
mod tests {
    use std::alloc::GlobalAlloc;

    use super::*;
    use crate::JobAllocator;
    use crate::allocator::ALONE;

    const WHOLE: Layout = Layout::new::<[u8; 64]>();

    fn start_of(memory: *mut u8) -> Option<usize> {
        Scratch::get().unwrap().start_of(memory)
    }

    /// One after another, because there is one scratch memory.
    #[test]
    fn scratch_memory_gives_pieces_side_by_side_until_one_does_not_fit() {
        let _alone = ALONE.lock().unwrap();
        let allocator = JobAllocator;
        // SAFETY: layouts have sizes, and what is given back was given by this allocator for that layout.
        unsafe {
            let before = allocator.alloc(WHOLE);
            set_apart();
            let outside = allocator.alloc(WHOLE);
            assert_eq!((start_of(before), start_of(outside)), (None, None), "a template");

            open();
            let [first, second] = [allocator.alloc(WHOLE), allocator.alloc(WHOLE)];
            assert_eq!(start_of(second), start_of(first).map(|start| start + WHOLE.size()));
            first.write_bytes(1, WHOLE.size());
            second.write_bytes(2, WHOLE.size());

            // The last one is given back, and what it held is not seen again.
            allocator.dealloc(second, WHOLE);
            let zeroed = allocator.alloc_zeroed(Layout::new::<[u8; 128]>());
            assert_eq!(zeroed, second);
            assert_eq!(std::slice::from_raw_parts(zeroed, 128), [0; 128]);
            zeroed.write_bytes(3, 128);
            let grown = allocator.realloc(zeroed, Layout::new::<[u8; 128]>(), 256);
            assert_eq!((grown, *grown.add(127)), (zeroed, 3));
            // Another moves when it grows.
            let moved = allocator.realloc(first, WHOLE, 2 * WHOLE.size());
            assert!(moved != first && start_of(moved).is_some());
            assert_eq!(*moved.add(WHOLE.size() - 1), 1);
            let aligned = allocator.alloc(Layout::from_size_align(8, 4096).unwrap());
            assert_eq!(aligned.addr() % 4096, 0);

            // What the template had is left, or copied when it grows.
            allocator.dealloc(before, WHOLE);
            outside.write_bytes(4, WHOLE.size());
            let inside = allocator.realloc(outside, WHOLE, 2 * WHOLE.size());
            assert!(start_of(inside).is_some() && *inside.add(WHOLE.size() - 1) == 4);

            // A large piece is the system's, and so is everything once something did not fit.
            let large = Layout::from_size_align(PIECE_BYTES_MAX + 1, 16).unwrap();
            let memory = allocator.alloc(large);
            assert_eq!(start_of(memory), None);
            allocator.dealloc(memory, large);
            let most = Layout::from_size_align(PIECE_BYTES_MAX, 16).unwrap();
            let last = std::iter::repeat_with(|| allocator.alloc(most));
            let last = last.take(SCRATCH_BYTES / most.size() + 1).last().unwrap();
            assert_eq!(start_of(last), None);
            let after = allocator.alloc(WHOLE);
            assert_eq!(start_of(after), None);
            allocator.dealloc(after, WHOLE);
            allocator.dealloc(moved, Layout::new::<[u8; 128]>());
        }
    }
}
