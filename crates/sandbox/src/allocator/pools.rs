//! Memory of a preparation in pieces of a few sizes.
//!
//! A compiler asks for millions of small pieces and gives them back in any order. Here a piece that is given
//! back is the next of its size that is taken; nothing is looked up or merged, and nothing is returned to
//! the kernel, since the job ends soon.

use std::alloc::Layout;
use std::ptr;
use std::sync::atomic::{AtomicPtr, AtomicUsize, Ordering::Relaxed};

use crate::sys;

/// The largest piece; beyond it the system allocates.
const PIECE_BYTES_MAX: usize = 1024;
/// How far apart the sizes are, and how every piece is aligned.
const STEP: usize = 16;
/// Addresses for all pieces. They are not memory yet.
const ADDRESSES: usize = 1 << 36;
/// How much of it is made memory at once.
const GROWTH_BYTES: usize = 1 << 20;

/// Where they begin; zero in all but preparations.
static START: AtomicUsize = AtomicUsize::new(0);
/// Where the next piece is cut, and up to where there is memory.
static NEXT: AtomicUsize = AtomicUsize::new(0);
static READY: AtomicUsize = AtomicUsize::new(0);
/// Of each size the piece that was given back last, which begins with the address of the one before.
static GIVEN_BACK: [AtomicPtr<u8>; PIECE_BYTES_MAX / STEP] =
    [const { AtomicPtr::new(ptr::null_mut()) }; PIECE_BYTES_MAX / STEP];

/// From now on small pieces come from here, if the machine has addresses for them.
pub(super) fn open() {
    let start = sys::reserve(ADDRESSES).expose_provenance();
    NEXT.store(start, Relaxed);
    READY.store(start, Relaxed);
    START.store(start, Relaxed);
}

/// Whether a piece of this kind comes from here.
#[inline]
pub(super) fn have(layout: Layout) -> bool {
    START.load(Relaxed) != 0
        && layout.size().wrapping_sub(1) < PIECE_BYTES_MAX
        && layout.align() <= STEP
}

/// Whether this is such a piece.
#[inline]
pub(super) fn hold(memory: *mut u8) -> bool {
    memory.addr().wrapping_sub(START.load(Relaxed)) < ADDRESSES && START.load(Relaxed) != 0
}

/// Takes a piece; null if there is no memory.
///
/// # Safety
/// [`have`] said so.
#[inline]
pub(super) unsafe fn take(layout: Layout) -> *mut u8 {
    let place = &GIVEN_BACK[size_class(layout)];
    let piece = place.load(Relaxed);
    if piece.is_null() {
        return cut((size_class(layout) + 1) * STEP);
    }
    // SAFETY: a piece that was given back is aligned, at least as long as a pointer, and nobody's.
    place.store(unsafe { piece.cast::<*mut u8>().read() }, Relaxed);
    piece
}

/// Takes one back.
///
/// # Safety
/// It was taken here with this layout, and nobody uses it any more.
#[inline]
pub(super) unsafe fn give_back(memory: *mut u8, layout: Layout) {
    let place = &GIVEN_BACK[size_class(layout)];
    // SAFETY: it is aligned, at least as long as a pointer, and nobody's.
    unsafe { memory.cast::<*mut u8>().write(place.load(Relaxed)) };
    place.store(memory, Relaxed);
}

/// Whether the pieces for both are equally long.
#[inline]
pub(super) fn are_of_one_size(one: Layout, other: Layout) -> bool {
    have(other) && size_class(one) == size_class(other)
}

#[inline]
fn size_class(layout: Layout) -> usize {
    (layout.size() - 1) / STEP
}

#[cold]
fn cut(bytes: usize) -> *mut u8 {
    let piece = NEXT.load(Relaxed);
    let end = piece + bytes;
    if end > READY.load(Relaxed) {
        let ready = READY.load(Relaxed);
        let in_bounds = ready + GROWTH_BYTES <= START.load(Relaxed) + ADDRESSES;
        if !in_bounds || !sys::make_writable(ready, GROWTH_BYTES) {
            return ptr::null_mut();
        }
        READY.store(ready + GROWTH_BYTES, Relaxed);
    }
    NEXT.store(end, Relaxed);
    ptr::with_exposed_provenance_mut(piece)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::allocator::ALONE;

    /// One after another, because the pools are a process's.
    #[test]
    fn a_piece_that_is_given_back_is_the_next_of_its_size() {
        let _alone = ALONE.lock().unwrap();
        let layout = |bytes| Layout::from_size_align(bytes, 8).unwrap();
        assert!(!have(layout(8)), "before they are opened");
        open();
        assert!(have(layout(1)) && have(layout(PIECE_BYTES_MAX)));
        assert!(!have(layout(0)) && !have(layout(PIECE_BYTES_MAX + 1)));
        assert!(!have(Layout::from_size_align(32, 2 * STEP).unwrap()));
        assert!(
            are_of_one_size(layout(17), layout(32)) && !are_of_one_size(layout(16), layout(17))
        );
        let outside = Box::into_raw(Box::new(0_u8));
        assert!(!hold(outside));
        // SAFETY: every layout is one that they have, and what is given back is not used again.
        unsafe {
            drop(Box::from_raw(outside));
            let [one, other, third] = [take(layout(20)), take(layout(32)), take(layout(64))];
            assert!(
                [one, other, third].iter().all(|piece| hold(*piece) && piece.addr() % STEP == 0)
            );
            assert_eq!(other.addr() - one.addr(), 32);
            give_back(one, layout(20));
            give_back(other, layout(32));
            assert_eq!([take(layout(30)), take(layout(25))], [other, one]);
            // More than is made memory at once.
            let pieces: Vec<_> = (0..2 * GROWTH_BYTES / PIECE_BYTES_MAX)
                .map(|_| take(layout(PIECE_BYTES_MAX)))
                .collect();
            assert!(pieces.iter().all(|piece| hold(*piece)));
            pieces.iter().for_each(|piece| piece.write_bytes(1, PIECE_BYTES_MAX));
            assert!(pieces.is_sorted() && *third == 0);
        }
    }
}
