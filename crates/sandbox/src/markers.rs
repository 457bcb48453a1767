//! Exit statuses that say why a job ended when it could not say so itself.
//!
//! Wasmtime, on a fault that is not Wasm's, restores the previous action by `rt_sigaction`, which the
//! final filter kills. So the worker calls [`install`] once at its start, *before* it makes a Wasmtime engine: Wasmtime
//! then finds our actions as the previous ones, which it calls directly.
//!
//! A marker is a claim of the job like any other status: a guest that has taken the job over
//! can end with any of them. None of them may lead to a Fault.

use std::io;

use crate::sys;

/// A fault outside Wasm code: SIGSEGV, SIGBUS, SIGILL, SIGFPE or SIGTRAP.
pub const EXIT_FAULTED: i32 = 110;
/// `abort(3)` before a job's first filter; under it, abort is a kill by SIGSYS.
pub const EXIT_ABORTED: i32 = 111;
/// A panic.
pub const EXIT_PANICKED: i32 = 112;
/// A fault just below the stack pointer, which is how a native stack overflow looks.
pub const EXIT_STACK_OVERFLOW: i32 = 113;
/// An allocation failed; told only in programs that use [`crate::JobAllocator`].
pub const EXIT_OUT_OF_MEMORY: i32 = 114;
/// The job could not confine itself and ran nothing.
pub const EXIT_NOT_CONFINED: i32 = 115;
/// The worker was gone before the job could be tied to it.
pub const EXIT_ORPHANED: i32 = 116;

/// How far from the stack pointer a fault still counts as an overflow: the gap that the kernel
/// keeps below a stack.
const STACK_GAP_BYTES: usize = 1 << 20;

/// Ends this process and every job forked from it with a marker at a fault or an abort. Panics
/// get theirs in [`crate::job::confine`]; those of the worker are the worker's own affair.
///
/// # Errors
/// As `sigaction(2)` and `sigaltstack(2)`.
pub fn install() -> io::Result<()> {
    sys::install_markers(&[
        libc::SIGSEGV,
        libc::SIGBUS,
        libc::SIGILL,
        libc::SIGFPE,
        libc::SIGTRAP,
        libc::SIGABRT,
    ])
}

/// Makes a panic end the process with [`EXIT_PANICKED`], silently and at once: one that prints a
/// backtrace makes some 200 system calls.
pub(crate) fn end_on_panic() {
    std::panic::set_hook(Box::new(|_| sys::exit_group(EXIT_PANICKED)));
}

/// The status for a signal whose fault address and stack pointer are these.
pub(crate) fn exit_status(signal: i32, address: usize, stack_pointer: usize) -> i32 {
    match signal {
        libc::SIGABRT => EXIT_ABORTED,
        libc::SIGSEGV if address.abs_diff(stack_pointer) < STACK_GAP_BYTES => EXIT_STACK_OVERFLOW,
        _ => EXIT_FAULTED,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fault_near_the_stack_pointer_is_an_overflow() {
        assert_eq!(exit_status(libc::SIGSEGV, 0x7fff_0000, 0x7fff_0008), EXIT_STACK_OVERFLOW);
        assert_eq!(exit_status(libc::SIGSEGV, 0, 0x7fff_0008), EXIT_FAULTED);
        assert_eq!(exit_status(libc::SIGBUS, 0x7fff_0000, 0x7fff_0008), EXIT_FAULTED);
    }
}
