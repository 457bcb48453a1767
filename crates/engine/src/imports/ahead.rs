//! Pages of a guest's heap that the kernel finds before the guest touches them.
//!
//! Found one by one, each costs the guest an interruption; a piece at a time they cost half of that. A heap that grows is about
//! to be written to, so what is found is what was just allocated and a share of the heap beyond, which is the most that can be
//! found for nothing.

use std::ops::Range;

/// Has the kernel find these pages as if each had been written to. Their bytes stay as they are.
pub type FindAhead = fn(&mut [u8]);

/// So much of a heap is found page by page: a short call needs no more.
const HEAP_BYTES_MIN: u64 = 32 * 1024;
/// Beyond what was allocated, at the least.
const BEYOND_BYTES_MIN: u64 = 64 * 1024;
/// The same, as a share of the heap.
const BEYOND_SHARE: u64 = 4;
/// In one piece, at the most: who allocates more may not mean to use it soon.
const PIECE_BYTES_MAX: u64 = 1024 * 1024;

/// How far a heap has been found.
pub(crate) struct Ahead {
    heap_base: u64,
    end: u64,
}

impl Ahead {
    pub(crate) fn new(heap_base: u32) -> Self {
        let heap_base = heap_base.into();
        Self { heap_base, end: heap_base + HEAP_BYTES_MIN }
    }

    pub(crate) fn heap_base(&self) -> usize {
        self.heap_base as usize
    }

    /// What is before this address is seen to in another way.
    pub(crate) fn skip(&mut self, heap_end: u64) {
        self.end = self.end.max(heap_end);
    }

    /// The bytes of memory to be found now that the heap reaches this address.
    pub(crate) fn next(&mut self, heap_end: u64, memory_bytes: usize) -> Option<Range<usize>> {
        let start = self.end;
        if heap_end <= start {
            return None;
        }
        let share = (heap_end - self.heap_base) / BEYOND_SHARE;
        let end = (heap_end + share.max(BEYOND_BYTES_MIN))
            .min(memory_bytes as u64)
            .min(start + PIECE_BYTES_MAX);
        self.end = end.max(heap_end);
        (start < end).then_some(start as usize..end as usize)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BASE: u64 = 100_000;
    const MEMORY: usize = 64 << 20;

    fn ahead() -> Ahead {
        Ahead::new(BASE as u32)
    }

    #[test]
    fn a_short_call_finds_nothing_ahead() {
        let mut ahead = ahead();
        assert_eq!(ahead.next(BASE + 8, MEMORY), None);
        assert_eq!(ahead.next(BASE + HEAP_BYTES_MIN, MEMORY), None);
        assert!(ahead.next(BASE + HEAP_BYTES_MIN + 1, MEMORY).is_some());
    }

    #[test]
    fn pieces_follow_each_other_and_are_never_more_than_a_share_of_the_heap() {
        let (mut ahead, mut found, mut pieces) = (ahead(), (BASE + HEAP_BYTES_MIN) as usize, 0);
        for end in (BASE..BASE + (32 << 20)).step_by(1000) {
            if let Some(piece) = ahead.next(end, MEMORY) {
                assert_eq!(piece.start, found);
                found = piece.end;
                pieces += 1;
            }
            let beyond = (found as u64).saturating_sub(end);
            assert!(beyond <= BEYOND_BYTES_MIN.max((end - BASE) / BEYOND_SHARE));
        }
        assert!((40..60).contains(&pieces), "{pieces}");
    }

    #[test]
    fn nothing_is_found_beyond_the_memory_nor_twice_nor_where_it_was_skipped() {
        let mut ahead = ahead();
        let memory = BASE as usize + 50_000;
        ahead.skip(BASE + 40_000);
        assert_eq!(ahead.next(BASE + 40_000, memory), None);
        assert_eq!(ahead.next(BASE + 41_000, memory), Some(BASE as usize + 40_000..memory));
        assert_eq!(ahead.next(BASE + 45_000, memory), None);
        // One that says it is beyond its memory is refused elsewhere.
        assert_eq!(ahead.next(u64::from(u32::MAX), memory), None);
    }

    #[test]
    fn of_a_large_allocation_the_beginning_is_found() {
        let mut ahead = ahead();
        let start = (BASE + HEAP_BYTES_MIN) as usize;
        let piece = ahead.next(BASE + (20 << 20), MEMORY);
        assert_eq!(piece, Some(start..start + PIECE_BYTES_MAX as usize));
        assert_eq!(ahead.next(BASE + (20 << 20), MEMORY), None);
        assert!(ahead.next(BASE + (20 << 20) + 1, MEMORY).is_some());
    }
}
