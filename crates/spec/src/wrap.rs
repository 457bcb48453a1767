//! Modules with further exports: calls with constants that are no numbers, results as numbers.
//!
//! Sections are copied as they are, with entries added behind those that are there, so nothing is
//! renumbered.

use wasmparser::{Parser, Payload, ValType};

use crate::module::Exports;

/// A function without parameters, to be added and exported.
pub(crate) struct Added {
    pub(crate) name: String,
    /// Types of its results, encoded.
    results: Vec<u8>,
    /// Locals and instructions.
    body: Vec<u8>,
}

/// Places of sections: what comes before what.
const ORDER: [u8; 13] = [1, 2, 3, 4, 5, 13, 6, 7, 8, 9, 12, 10, 11];

impl Added {
    /// Does nothing; calling it only runs what comes before a first call.
    pub(crate) fn nothing(name: &str) -> Self {
        Self { name: name.to_owned(), results: Vec::new(), body: vec![0, 0x0b] }
    }

    /// Calls a function with constants, encoded as instructions.
    pub(crate) fn call(name: String, index: u32, constants: &[u8], results: &[ValType]) -> Self {
        let mut instructions = constants.to_vec();
        instructions.push(0x10);
        leb(index.into(), &mut instructions);
        Self::of(name, instructions, results)
    }

    /// Gets a global.
    pub(crate) fn global(name: String, index: u32, ty: ValType) -> Self {
        let mut instructions = vec![0x23];
        leb(index.into(), &mut instructions);
        Self::of(name, instructions, &[ty])
    }

    /// Instructions that leave values of these types, which are turned into numbers.
    fn of(name: String, mut instructions: Vec<u8>, types: &[ValType]) -> Self {
        let mut body = Vec::new();
        leb(types.len() as u64, &mut body);
        for ty in types {
            body.extend([1, value_type(*ty)]);
        }
        body.append(&mut instructions);
        for index in (0..types.len()).rev() {
            local(0x21, index, &mut body);
        }
        let mut results = Vec::new();
        for (index, ty) in types.iter().enumerate() {
            local(0x20, index, &mut body);
            match ty {
                ValType::V128 => {
                    body.extend([0xfd, 0x1d, 0]); // i64x2.extract_lane 0
                    local(0x20, index, &mut body);
                    body.extend([0xfd, 0x1d, 1]);
                    results.extend([0x7e, 0x7e]);
                }
                ValType::Ref(_) => {
                    body.push(0xd1); // ref.is_null
                    results.push(0x7f);
                }
                number => results.push(value_type(*number)),
            }
        }
        body.push(0x0b);
        Self { name, results, body }
    }
}

/// Adds functions to a valid module.
pub(crate) fn wrap(code: &[u8], exports: &Exports, added: &[Added]) -> Vec<u8> {
    let mut sections: Vec<(u8, Vec<u8>)> = Vec::new();
    let mut bodies = Vec::new();
    for payload in Parser::new(0).parse_all(code).flatten() {
        if let Payload::CodeSectionStart { ref range, .. } = payload {
            bodies = code[range.clone()].to_vec();
        } else if let Some((id, range)) = payload.as_section()
            && id != 0
        {
            sections.push((id, code[range].to_vec()));
        }
    }
    let mut extended = [(1, Vec::new()), (3, Vec::new()), (7, Vec::new()), (10, Vec::new())];
    for (number, function) in added.iter().enumerate() {
        let [(_, types), (_, functions), (_, names), (_, code)] = &mut extended;
        types.extend([0x60, 0]);
        // Each result is one byte.
        leb(function.results.len() as u64, types);
        types.extend(&function.results);
        leb(u64::from(exports.types_count) + number as u64, functions);
        leb(function.name.len() as u64, names);
        names.extend(function.name.as_bytes());
        names.push(0);
        leb(u64::from(exports.functions_count) + number as u64, names);
        leb(function.body.len() as u64, code);
        code.extend(&function.body);
    }
    if !bodies.is_empty() {
        sections.push((10, bodies));
    }
    for (id, entries) in extended {
        let position = sections.iter().position(|(found, _)| *found == id);
        let original = position.map(|position| sections.remove(position).1).unwrap_or(vec![0]);
        let (count, count_bytes) = read_leb(&original);
        let mut section = Vec::new();
        leb(count + added.len() as u64, &mut section);
        section.extend(&original[count_bytes..]);
        section.extend(entries);
        sections.push((id, section));
    }
    sections.sort_by_key(|(id, _)| ORDER.iter().position(|known| known == id));
    let mut out = code[..8].to_vec();
    for (id, section) in sections {
        out.push(id);
        leb(section.len() as u64, &mut out);
        out.extend(section);
    }
    out
}

pub(crate) fn leb(mut value: u64, out: &mut Vec<u8>) {
    while value > 0x7f {
        out.push((value & 0x7f) as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// A number and the bytes it takes.
fn read_leb(bytes: &[u8]) -> (u64, usize) {
    let length =
        bytes.iter().position(|byte| byte & 0x80 == 0).map_or(bytes.len(), |last| last + 1);
    let number =
        bytes[..length].iter().rev().fold(0, |sum, byte| sum << 7 | u64::from(byte & 0x7f));
    (number, length)
}

fn local(operation: u8, index: usize, out: &mut Vec<u8>) {
    out.push(operation);
    leb(index as u64, out);
}

fn value_type(ty: ValType) -> u8 {
    match ty {
        ValType::I32 => 0x7f,
        ValType::I64 => 0x7e,
        ValType::F32 => 0x7d,
        ValType::F64 => 0x7c,
        ValType::V128 => 0x7b,
        ValType::Ref(_) => 0x70,
    }
}
