//! Machine code as a guest: mapped and called. Runs in the workers of this program only, which hand
//! these functions to `lazaret_worker`; the one jump into a blob is here.

use std::{io, os::fd::BorrowedFd};

use lazaret_worker::Native;
use rustix::mm::{MapFlags, MprotectFlags, ProtFlags, mmap, mprotect};

/// Bytes of the memory that an attack is given.
const ARENA_BYTES: usize = 1 << 20;
/// What an attack finds in the register of its first argument: descriptor 0 is a job's channel.
const REPLY: i32 = 0;

/// How code begins that is for the engine: Wasm, compressed Wasm, an artifact of the engine.
const NOT_NATIVE: &[&[u8]] =
    &[b"\0asm", &[82, 188, 83, 118, 70, 219, 142, 5], &[0x7f, b'E', b'L', b'F']];

/// How code ends that is to be run in its prepare job. Before it stands the length of an arena (u32),
/// before that the arena, before that the code.
const IN_PREPARE: &[u8] = b"run me where code is prepared";

/// The functions for a worker.
pub(crate) const NATIVE: Native = Native { is_native, prepare_input, map, arena, run };

/// The blob as code that is run in its prepare job, with an arena that begins so.
pub(crate) fn for_prepare(blob: &[u8], arena: &[u8]) -> Vec<u8> {
    let length = (arena.len() as u32).to_le_bytes();
    [blob, arena, &length[..], IN_PREPARE].concat()
}

fn prepare_input(code: &[u8]) -> Option<&[u8]> {
    let (rest, length) = code.strip_suffix(IN_PREPARE)?.split_last_chunk()?;
    let begin = rest.len().checked_sub(u32::from_le_bytes(*length) as usize)?;
    Some(&rest[begin..])
}

fn is_native(bytes: &[u8]) -> bool {
    !NOT_NATIVE.iter().any(|beginning| bytes.starts_with(beginning))
}

fn map(file: BorrowedFd<'_>, bytes: usize) -> io::Result<&'static [u8]> {
    // SAFETY: a null hint makes mmap(2) choose unused addresses, so nothing is overwritten.
    let start =
        unsafe { mmap(std::ptr::null_mut(), bytes, ProtFlags::READ, MapFlags::PRIVATE, file, 0) }?;
    // In two steps, as an artifact of the engine is: a job that loads may not do it in one.
    // SAFETY: the mapping was made above and nobody else knows of it.
    unsafe { mprotect(start, bytes, MprotectFlags::READ | MprotectFlags::EXEC) }?;
    // SAFETY: `bytes` readable bytes that are never unmapped; the file is sealed, which the worker
    // checked, so they never change.
    Ok(unsafe { std::slice::from_raw_parts(start.cast(), bytes) })
}

/// Memory that begins with the input and goes on with zeros.
pub(crate) fn arena(input: &[u8]) -> &'static mut [u8] {
    let mut arena = vec![0; ARENA_BYTES.max(input.len() + ARENA_BYTES)];
    arena[..input.len()].copy_from_slice(input);
    arena.leak()
}

fn run(text: &'static [u8], arena: &'static mut [u8]) -> i32 {
    call(text, REPLY, arena)
}

/// Jumps to the first byte of `text`.
pub(crate) fn call(text: &'static [u8], reply: i32, arena: &'static mut [u8]) -> i32 {
    type Entry = extern "C" fn(i32, *mut u8, usize) -> i32;
    // SAFETY: none is claimed. The code may do whatever it likes to this process, which is a job
    // behind its last filter: that it cannot do more is what this program is for.
    let entry = unsafe { std::mem::transmute::<*const u8, Entry>(text.as_ptr()) };
    entry(reply, arena.as_mut_ptr(), arena.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn code_for_a_prepare_job_carries_its_arena() {
        assert_eq!(prepare_input(&for_prepare(b"code", b"arena")), Some(&b"arena"[..]));
        assert_eq!(prepare_input(b"code"), None);
        assert_eq!(prepare_input(&[&[0xff; 4], IN_PREPARE].concat()), None, "a lying length");
    }
}
