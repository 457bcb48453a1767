//! The few things of the binary format that the pass writes itself.

use wasmparser::{RefType, ValType};

use crate::bulk::leb128;
use crate::prepare::PrepareError;

pub(super) fn push_export(name: &str, kind: u8, index: u32, out: &mut Vec<u8>) {
    leb128(name.len(), out);
    out.extend_from_slice(name.as_bytes());
    out.push(kind);
    leb128(index as usize, out);
}

pub(super) fn global(operation: u8, index: u32, out: &mut Vec<u8>) {
    out.push(operation);
    leb128(index as usize, out);
}

/// `i32.const`.
pub(super) fn constant(value: u32, out: &mut Vec<u8>) {
    out.push(0x41);
    signed(value.into(), out);
}

/// A number that is not negative, as signed LEB128.
pub(super) fn signed(mut value: u64, out: &mut Vec<u8>) {
    while value > 0x3f {
        out.push((value & 0x7f) as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

pub(super) fn value_type(ty: ValType) -> Result<u8, PrepareError> {
    Ok(match ty {
        ValType::I32 => 0x7f,
        ValType::I64 => 0x7e,
        ValType::F32 => 0x7d,
        ValType::F64 => 0x7c,
        ValType::V128 => 0x7b,
        ValType::Ref(RefType::FUNCREF) => 0x70,
        ValType::Ref(RefType::EXTERNREF) => 0x6f,
        ValType::Ref(_) => return Err(PrepareError::Unsupported { what: "a typed reference" }),
    })
}

/// A section without the number of entries that it begins with.
pub(super) fn behind_count(section: &[u8]) -> &[u8] {
    let count_bytes = section.iter().position(|byte| byte & 0x80 == 0).map_or(0, |last| last + 1);
    &section[count_bytes..]
}
