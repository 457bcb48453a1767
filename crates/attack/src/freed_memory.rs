//! Makes the C library give freed memory back at once, in the host's process.
//!
//! It would keep up to some 32 MiB for the next large output (mallopt(3), the dynamic threshold), which
//! is no leak but looks like one. With this, whatever a host still holds after an attack is the host's
//! own doing.

/// Sets the threshold above which a block is a mapping of its own, and so stops it from growing; and
/// has one heap for all threads, where each that comes late would otherwise begin one.
pub(crate) fn give_back_at_once() {
    const BYTES: i32 = 128 * 1024;
    // SAFETY: mallopt(3) takes two numbers; the process has one thread still.
    unsafe {
        libc::mallopt(libc::M_MMAP_THRESHOLD, BYTES);
        libc::mallopt(libc::M_ARENA_MAX, 1);
    }
}

/// Gives back what is free and still held.
pub(crate) fn give_back_now() {
    // SAFETY: malloc_trim(3) takes a number and locks what it touches.
    unsafe { libc::malloc_trim(0) };
}
