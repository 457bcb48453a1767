//! The allocator of a program that is also a worker: the system's, except inside a job.
//!
//! Rust's way with a failed allocation is to print a line and abort, and the final filter kills a
//! job for either: a memory verdict would read as an attack. In a job a failed allocation ends the
//! process with [`markers::EXIT_OUT_OF_MEMORY`] instead; that goes for `try_reserve` too. And a
//! preparation has a limit on the heap bytes it holds that is counted here, by what was asked for
//! and not by what the machine gave, so that the same code passes or fails on every machine.
//!
//! Where the system's is too slow a job has another: a copy [`scratch`] memory, a preparation [`pools`].

use std::alloc::{GlobalAlloc, Layout, System};
use std::ptr;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering::Relaxed};

use crate::{job, markers};

mod pools;
pub(crate) mod scratch;

use scratch::Scratch;

/// Held by each test of memory that there is once in a process.
#[cfg(test)]
static ALONE: std::sync::Mutex<()> = std::sync::Mutex::new(());

/// The system's allocator, with what a job needs of it. A program that is also a worker makes this
/// its `#[global_allocator]`.
#[derive(Clone, Copy, Debug, Default)]
pub struct JobAllocator;

static IN_A_JOB: AtomicBool = AtomicBool::new(false);

// A job has one thread, so plain loads and stores suffice; atomics because a static must be one.
static COUNTING: AtomicBool = AtomicBool::new(false);
static HELD: AtomicI64 = AtomicI64::new(0);
static PEAK: AtomicI64 = AtomicI64::new(0);
static LIMIT: AtomicI64 = AtomicI64::new(i64::MAX);
/// What a job writes to its channel when it reaches the limit: made beforehand, because nothing can
/// be allocated then.
static LAST_WORD: OnceLock<Vec<u8>> = OnceLock::new();

/// From now on a failed allocation ends the process.
pub(crate) fn end_when_out_of_memory() {
    IN_A_JOB.store(true, Relaxed);
}

/// From now on counts the heap bytes of this job; at more than `bytes` the job writes `last_word` to
/// its channel and ends with status 0.
///
/// Does nothing in a program whose allocator is another.
pub fn limit_heap(bytes: u64, last_word: Vec<u8>) {
    if LAST_WORD.set(last_word).is_ok() {
        pools::open();
        LIMIT.store(i64::try_from(bytes).unwrap_or(i64::MAX), Relaxed);
        COUNTING.store(true, Relaxed);
    }
}

/// The most heap bytes held at once since [`limit_heap`]; 0 if nothing was counted.
pub fn heap_bytes_peak() -> u64 {
    PEAK.load(Relaxed).unsigned_abs()
}

/// Counts a change of what is held. Memory from before the limit may be freed after it, so the count
/// can fall below zero.
#[inline]
fn count(change: i64) {
    if !COUNTING.load(Relaxed) {
        return;
    }
    let held = HELD.load(Relaxed).saturating_add(change);
    HELD.store(held, Relaxed);
    if held > PEAK.load(Relaxed) {
        PEAK.store(held, Relaxed);
        if held > LIMIT.load(Relaxed) {
            end_at_the_limit();
        }
    }
}

#[cold]
fn end_at_the_limit() -> ! {
    let last_word = LAST_WORD.get().map_or(&[][..], Vec::as_slice);
    // Descriptor 0 is the channel.
    match rustix::io::write(rustix::stdio::stdin(), last_word) {
        Ok(written) if written == last_word.len() => job::end(0),
        _ => job::end(markers::EXIT_OUT_OF_MEMORY),
    }
}

#[inline]
fn or_end(memory: *mut u8) -> *mut u8 {
    if memory.is_null() && IN_A_JOB.load(Relaxed) {
        job::end(markers::EXIT_OUT_OF_MEMORY);
    }
    memory
}

#[inline]
fn signed(bytes: usize) -> i64 {
    i64::try_from(bytes).unwrap_or(i64::MAX)
}

// Inlined where the program's allocator is made of it: a preparation spends 1.5 % of its time in these.
// SAFETY: GlobalAlloc asks for memory that fits the layout or null, and no unwinding. Every method hands its
// arguments, under the caller's same promises, to `System`, which keeps to it, or gives a piece of scratch
// memory or of the pools that nobody else has.
unsafe impl GlobalAlloc for JobAllocator {
    #[inline]
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        if let Some((memory, _)) = Scratch::get_open().and_then(|scratch| scratch.take(layout)) {
            return memory;
        }
        count(signed(layout.size()));
        // SAFETY: the caller's promise about `layout`.
        or_end(unsafe { take(layout) })
    }

    #[inline]
    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        if let Some((memory, used)) = Scratch::get_open().and_then(|scratch| scratch.take(layout)) {
            // SAFETY: these are the first bytes of the piece that was just taken.
            unsafe { memory.write_bytes(0, used) };
            return memory;
        }
        count(signed(layout.size()));
        if !pools::have(layout) {
            // SAFETY: the caller's promise about `layout` is the one `System` asks for.
            return or_end(unsafe { System.alloc_zeroed(layout) });
        }
        // SAFETY: a piece that was just taken, if there is one.
        unsafe {
            let memory = or_end(pools::take(layout));
            if !memory.is_null() {
                memory.write_bytes(0, layout.size());
            }
            memory
        }
    }

    #[inline]
    unsafe fn realloc(&self, memory: *mut u8, layout: Layout, bytes: usize) -> *mut u8 {
        // SAFETY: the caller's promise about `bytes`.
        let wider = unsafe { Layout::from_size_align_unchecked(bytes, layout.align()) };
        if let Some(scratch) = Scratch::get().filter(|scratch| scratch.keeps(memory, layout)) {
            if let Some(start) = scratch.start_of(memory) {
                scratch.give_back(start, layout.size());
            }
            // SAFETY: what is given back is where it was until something else is written there, and the copy may begin
            // where it began.
            return unsafe { moved(self.alloc(wider), memory, layout.size().min(bytes)) };
        }
        count(signed(bytes) - signed(layout.size()));
        if !pools::hold(memory) {
            // SAFETY: the caller's promises; `memory` came from `System` through us.
            return or_end(unsafe { System.realloc(memory, layout, bytes) });
        }
        if pools::are_of_one_size(layout, wider) {
            return memory;
        }
        // SAFETY: the caller's promises; `memory` came from the pools.
        unsafe {
            let to = moved(or_end(take(wider)), memory, layout.size().min(bytes));
            if !to.is_null() {
                pools::give_back(memory, layout);
            }
            to
        }
    }

    #[inline]
    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        if let Some(scratch) = Scratch::get().filter(|scratch| scratch.keeps(memory, layout)) {
            if let Some(start) = scratch.start_of(memory) {
                scratch.give_back(start, layout.size());
            }
            return;
        }
        count(-signed(layout.size()));
        // SAFETY: as above; `memory` came from where it goes.
        unsafe {
            match pools::hold(memory) {
                true => pools::give_back(memory, layout),
                false => System.dealloc(memory, layout),
            }
        }
    }
}

/// # Safety
/// That of [`GlobalAlloc::alloc`].
#[inline]
unsafe fn take(layout: Layout) -> *mut u8 {
    // SAFETY: the caller's promise.
    unsafe { if pools::have(layout) { pools::take(layout) } else { System.alloc(layout) } }
}

/// Copies what was `from` to where it is from now on, if there is such a place.
///
/// # Safety
/// So many bytes can be read there and written here.
#[inline]
unsafe fn moved(to: *mut u8, from: *const u8, bytes: usize) -> *mut u8 {
    if !to.is_null() && to.cast_const() != from {
        // SAFETY: the caller's promise.
        unsafe { ptr::copy(from, to, bytes) };
    }
    to
}
