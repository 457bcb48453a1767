//! Machine code in the place of a guest: how an attack gets into a real job behind the real jail.
//!
//! The seam of the `attack` package and of nobody else. Everything dangerous comes through it as
//! function pointers of that program: nothing here maps memory executable or jumps into it. A job of
//! this kind takes the same steps as any other, in the same order, and ends with the status that the
//! code returns.

use std::{
    io,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
};

use lazaret_sandbox::{
    job::{self, JobJail},
    layer::Layer,
    memfd::{self, Mapped},
};
use lazaret_wire::{
    claim::{Claim, Prepared},
    greeting::Role,
};

use crate::job::{close_the_last_doors, end, or_unable, write_all};

/// What a program that attacks the jail makes of its workers.
#[derive(Clone, Debug)]
pub struct Trial {
    /// Layers that are not put on, to see that the next one holds.
    pub left_out: Vec<Layer>,
    /// How machine code is run.
    pub native: Native,
    /// Whether every job that calls is the copy of a template.
    pub copies_always: bool,
}

/// How machine code is run in a job.
#[derive(Clone, Copy, Debug)]
pub struct Native {
    /// Whether these bytes are machine code, as code and as artifact. What is not goes to the engine.
    pub is_native: fn(&[u8]) -> bool,
    /// The input with which code is to be run in its prepare job; none of code that is to become its
    /// own artifact.
    pub prepare_input: for<'a> fn(&'a [u8]) -> Option<&'a [u8]>,
    /// Maps a sealed file of so many bytes readable and executable, for good.
    pub map: fn(BorrowedFd<'_>, usize) -> io::Result<&'static [u8]>,
    /// Makes the memory that the code is given, from the input.
    pub arena: fn(&[u8]) -> &'static mut [u8],
    /// Runs it. What it returns is the status that the job ends with.
    pub run: fn(&'static [u8], &'static mut [u8]) -> i32,
}

impl Native {
    /// Whether the sealed file holds machine code.
    pub(crate) fn takes(&self, file: &OwnedFd) -> bool {
        Mapped::open(file, u64::MAX).is_ok_and(|bytes| (self.is_native)(&bytes))
    }
}

/// Maps an artifact that is machine code. The descriptor is left to whoever closes all.
pub(crate) fn map(jail: &JobJail, native: Native, artifact: OwnedFd) -> &'static [u8] {
    let text = or_unable(jail, memfd::check_sealed(artifact.as_fd(), u64::MAX));
    let text = or_unable(jail, (native.map)(artifact.as_fd(), text as usize));
    std::mem::forget(artifact);
    text
}

/// Runs it, behind the last doors.
pub(crate) fn execute(native: Native, text: &'static [u8], input: &[u8]) -> ! {
    let arena = (native.arena)(input);
    job::end((native.run)(text, arena))
}

/// Runs machine code in the place of the compiler, or makes it its own artifact. Either way with the
/// descriptors open that a compiler has: the code's and the artifact's.
pub(crate) fn prepare(mut jail: JobJail, native: Native, code: OwnedFd, artifact: OwnedFd) -> ! {
    let bytes = or_unable(&jail, Mapped::open(&code, u64::MAX));
    let Some(input) = (native.prepare_input)(&bytes) else {
        let closed = close_the_last_doors(&mut jail, Role::Prepare, &[]);
        or_unable(&jail, closed);
        write_all(artifact.as_fd(), &bytes);
        let length = bytes.len() as u64;
        let prepared = Prepared { artifact_bytes: length, code_bytes: length, heap_bytes_peak: 0 };
        end(&jail, &[], Claim::Prepared(prepared))
    };
    let arena = (native.arena)(input);
    let text = or_unable(&jail, (native.map)(code.as_fd(), bytes.len()));
    let closed = close_the_last_doors(&mut jail, Role::Prepare, &[]);
    or_unable(&jail, closed);
    job::end((native.run)(text, arena))
}
