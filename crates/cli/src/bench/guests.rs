//! Guests made of a few bytes each, so that a measurement needs no file (WebAssembly Core
//! Specification, chapter 5).

use lazaret::{Code, CodeError};

/// Targets of a jump table of 40 KB, which is the quickest way to a large artifact.
const JUMP_TARGETS: usize = 10_000;
const JUMP_TABLE_BYTES: usize = 4 * JUMP_TARGETS;
/// Where a guest finds twelve zeros: the smallest `ValidationResult`.
const RESULT_AT: i64 = 512;
const RESULT_BYTES: i64 = 12;

const MAGIC: &[u8] = b"\0asm\x01\0\0\0";
const I32: u8 = 0x7f;
const I64: u8 = 0x7e;
const END: u8 = 0x0b;

/// Answers at once. `salt` makes it another code.
pub(super) fn trivial(salt: u32) -> Result<Code, CodeError> {
    module(&answer(salt), &[])
}

/// Never answers.
pub(super) fn endless() -> Result<Code, CodeError> {
    // (loop (br 0)) (unreachable)
    module(&[0x03, 0x40, 0x0c, 0, END, 0x00], &[])
}

/// Answers at once, and has an artifact of some more than so many bytes.
pub(super) fn with_artifact_of(bytes: usize) -> Result<Code, CodeError> {
    let tables = bytes / JUMP_TABLE_BYTES;
    module(&answer(bytes as u32), &vec![jump_table(); tables])
}

/// Answers at once, and takes a compiler some work: so many functions of a few hundred instructions.
pub(super) fn to_compile(functions: u32, salt: u32) -> Result<Code, CodeError> {
    let functions: Vec<_> = (0..functions).map(|number| arithmetic(number ^ salt << 16)).collect();
    module(&answer(salt), &functions)
}

/// A module without imports, whose export `answer` is 42.
pub(super) fn plain() -> Result<Code, CodeError> {
    let mut bytes = MAGIC.to_vec();
    push_section(&mut bytes, 1, &[1, 0x60, 0, 1, I32]);
    push_section(&mut bytes, 3, &[1, 0]);
    push_section(&mut bytes, 7, &[&[1, 6][..], b"answer", &[0, 0]].concat());
    push_section(&mut bytes, 10, &[1, 4, 0, 0x41, 42, END]);
    Code::new(&bytes)
}

/// What [`hello`] writes.
pub(super) const HELLO: &[u8] = b"hello\n";

/// A WASI command that writes a word to its standard output.
pub(super) fn hello() -> Result<Code, CodeError> {
    let mut bytes = MAGIC.to_vec();
    // What `fd_write` is like, and a command.
    push_section(&mut bytes, 1, &[2, 0x60, 4, I32, I32, I32, I32, 1, I32, 0x60, 0, 0]);
    let (module, name) = (b"wasi_snapshot_preview1", b"fd_write");
    let import = [&[1, module.len() as u8], &module[..], &[name.len() as u8], name, &[0, 0]];
    push_section(&mut bytes, 2, &import.concat());
    push_section(&mut bytes, 3, &[1, 1]);
    push_section(&mut bytes, 5, &[1, 0, 1]);
    let exports = [&[2, 6][..], b"memory", &[2, 0], &[6], b"_start", &[0, 1]];
    push_section(&mut bytes, 7, &exports.concat());
    // (drop (call $fd_write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 8)))
    let body = [0, 0x41, 1, 0x41, 0, 0x41, 1, 0x41, 8, 0x10, 0, 0x1a, END];
    push_section(&mut bytes, 10, &[&[1, body.len() as u8], &body[..]].concat());
    // One vector at 0: where the word is, how long it is; the word at 16.
    let vector = [16, 0, 0, 0, HELLO.len() as u8, 0, 0, 0];
    let at = |place: u8, what: &[u8]| [&[0, 0x41, place, END, what.len() as u8], what].concat();
    push_section(&mut bytes, 11, &[vec![2], at(0, &vector), at(16, HELLO)].concat());
    Code::new(&bytes)
}

fn answer(salt: u32) -> Vec<u8> {
    let mut body = Vec::new();
    push_const(&mut body, salt);
    // drop, i64.const
    body.extend([0x1a, 0x42]);
    push_signed(&mut body, RESULT_BYTES << 32 | RESULT_AT);
    body
}

/// (block (block (br_table 0 1 0 1 ... (local.get 0)))) (local.get 0)
fn jump_table() -> Vec<u8> {
    let mut body = vec![0x02, 0x40, 0x02, 0x40, 0x20, 0, 0x0e];
    push_unsigned(&mut body, JUMP_TARGETS as u64);
    body.extend((0..=JUMP_TARGETS).map(|target| (target % 2) as u8));
    body.extend([END, END, 0x20, 0]);
    body
}

/// x = (x + constant) * x, a hundred times.
fn arithmetic(salt: u32) -> Vec<u8> {
    let mut body = Vec::new();
    for turn in 0..100 {
        body.extend([0x20, 0]);
        push_const(&mut body, salt.wrapping_add(turn * 7919));
        body.extend([0x6a, 0x20, 0, 0x6c, 0x21, 0]);
    }
    body.extend([0x20, 0]);
    body
}

/// A module whose first function is `validate_block`; the others take and give an i32.
fn module(validate_block: &[u8], others: &[Vec<u8>]) -> Result<Code, CodeError> {
    let mut bytes = MAGIC.to_vec();
    push_section(&mut bytes, 1, &[2, 0x60, 2, I32, I32, 1, I64, 0x60, 1, I32, 1, I32]);
    let mut functions = Vec::new();
    push_unsigned(&mut functions, 1 + others.len() as u64);
    functions.push(0);
    functions.extend(others.iter().map(|_| 1));
    push_section(&mut bytes, 3, &functions);
    // One page of memory; the global __heap_base is 1024.
    push_section(&mut bytes, 5, &[1, 0, 1]);
    push_section(&mut bytes, 6, &[1, I32, 0, 0x41, 0x80, 0x08, END]);
    let mut exports = vec![3];
    for (name, kind) in [("memory", 2), ("__heap_base", 3), ("validate_block", 0)] {
        push_unsigned(&mut exports, name.len() as u64);
        exports.extend(name.bytes());
        exports.extend([kind, 0]);
    }
    push_section(&mut bytes, 7, &exports);
    let mut bodies = Vec::new();
    push_unsigned(&mut bodies, 1 + others.len() as u64);
    for body in std::iter::once(validate_block).chain(others.iter().map(Vec::as_slice)) {
        // No locals before it, an end behind it.
        push_unsigned(&mut bodies, body.len() as u64 + 2);
        bodies.push(0);
        bodies.extend(body);
        bodies.push(END);
    }
    push_section(&mut bytes, 10, &bodies);
    Code::new(&bytes)
}

fn push_section(bytes: &mut Vec<u8>, number: u8, content: &[u8]) {
    bytes.push(number);
    push_unsigned(bytes, content.len() as u64);
    bytes.extend(content);
}

fn push_const(bytes: &mut Vec<u8>, value: u32) {
    bytes.push(0x41);
    push_signed(bytes, i64::from(value as i32));
}

/// LEB128.
fn push_unsigned(bytes: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        bytes.push(value as u8 | 0x80);
        value >>= 7;
    }
    bytes.push(value as u8);
}

fn push_signed(bytes: &mut Vec<u8>, mut value: i64) {
    while !(-64..64).contains(&value) {
        bytes.push(value as u8 | 0x80);
        value >>= 7;
    }
    bytes.push(value as u8 & 0x7f);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_encoded_as_the_specification_has_it() {
        let signed = |value| {
            let mut bytes = Vec::new();
            push_signed(&mut bytes, value);
            bytes
        };
        assert_eq!(signed(-123_456), [0xc0, 0xbb, 0x78]);
        assert_eq!(signed(63), [0x3f]);
        assert_eq!(signed(64), [0xc0, 0]);
        let mut unsigned = Vec::new();
        push_unsigned(&mut unsigned, 624_485);
        assert_eq!(unsigned, [0xe5, 0x8e, 0x26]);
    }
}
