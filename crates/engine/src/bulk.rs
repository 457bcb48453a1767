//! `memory.copy` and `memory.fill` through a stack limiter that does not know them.
//!
//! `wasm-instrument` 0.4 and its parser know MVP instructions only, so on Polkadot code that really
//! uses the bulk instructions is refused even where the executor parameter allows them. Here they
//! are lowered to MVP instructions with the same effect on the operand stack (`select`, `drop`:
//! three values gone, none pushed), the limiter runs, and they are put back. The limiter therefore
//! charges what it would have to charge if it knew them: it looks at operand heights and calls
//! only, keeps the order of instructions, adds no `select` of its own, and appends its functions
//! behind all others. Called by `instrument` when the params ask for bulk memory.

use wasmparser::{FunctionBody, Operator, Parser, Payload};

use crate::prepare::PrepareError;

/// `select`, `drop`.
const STAND_IN: [u8; 2] = [0x1b, 0x1a];

const SECTION_CODE: u8 = 10;

/// The original bytes of the instructions lowered in one function, each with the number of
/// `select`s, real or standing in, before it.
type Lowered = Vec<(usize, Vec<u8>)>;

/// Runs `instrument` on the module without its bulk instructions, and puts them back.
pub(crate) fn instrument_around(
    wasm: &[u8],
    instrument: impl FnOnce(&[u8]) -> Result<Vec<u8>, PrepareError>,
) -> Result<Vec<u8>, PrepareError> {
    let mut lowered = Vec::new();
    let plain = rewrite_bodies(wasm, |_, body| {
        let (bytes, found) = lower(body)?;
        lowered.push(found);
        Ok(bytes)
    })?;
    let instrumented = instrument(&plain)?;
    rewrite_bodies(&instrumented, |index, body| match lowered.get(index) {
        Some(found) => restore(body, found),
        None => Ok(body.as_bytes().to_vec()),
    })
}

/// Copies a module, replacing each function body. The section that announces the number of data
/// segments is left out: it exists for instructions that are not supported.
fn rewrite_bodies<'a>(
    wasm: &'a [u8],
    mut rewrite: impl FnMut(usize, &FunctionBody<'a>) -> Result<Vec<u8>, PrepareError>,
) -> Result<Vec<u8>, PrepareError> {
    let mut out = wasm[..8].to_vec();
    let mut code = Vec::new();
    let mut bodies_left = 0;
    let mut index = 0;
    for payload in Parser::new(0).parse_all(wasm) {
        match payload? {
            Payload::CodeSectionStart { count, .. } => {
                bodies_left = count;
                leb128(count as usize, &mut code);
                if count == 0 {
                    section(SECTION_CODE, &code, &mut out);
                }
            }
            Payload::CodeSectionEntry(body) => {
                let bytes = rewrite(index, &body)?;
                leb128(bytes.len(), &mut code);
                code.extend(bytes);
                index += 1;
                bodies_left -= 1;
                if bodies_left == 0 {
                    section(SECTION_CODE, &code, &mut out);
                    code = Vec::new();
                }
            }
            Payload::DataCountSection { .. } => {}
            other => {
                if let Some((id, range)) = other.as_section() {
                    section(id, &wasm[range], &mut out);
                }
            }
        }
    }
    Ok(out)
}

fn lower(body: &FunctionBody<'_>) -> Result<(Vec<u8>, Lowered), PrepareError> {
    let mut edit = Edit::new(body);
    let mut found = Vec::new();
    let mut selects = 0;
    let mut operators = body.get_operators_reader()?;
    while !operators.eof() {
        let (operator, offset) = operators.read_with_offset()?;
        match operator {
            Operator::Select => selects += 1,
            Operator::MemoryCopy { .. } | Operator::MemoryFill { .. } => {
                let end = operators.original_position();
                found.push((selects, edit.replace(offset, end, &STAND_IN).to_vec()));
                selects += 1;
            }
            _ => {}
        }
    }
    Ok((edit.finish(), found))
}

fn restore(body: &FunctionBody<'_>, lowered: &Lowered) -> Result<Vec<u8>, PrepareError> {
    let mut edit = Edit::new(body);
    let mut waiting = lowered.iter();
    let mut next = waiting.next();
    let mut selects = 0;
    let mut operators = body.get_operators_reader()?;
    while let Some((position, original)) = next
        && !operators.eof()
    {
        let (operator, offset) = operators.read_with_offset()?;
        if !matches!(operator, Operator::Select) {
            continue;
        }
        if selects == *position {
            edit.replace(offset, offset + STAND_IN.len(), original);
            next = waiting.next();
        }
        selects += 1;
    }
    Ok(edit.finish())
}

/// A function body being copied with some ranges replaced.
struct Edit<'a> {
    original: &'a [u8],
    /// Where the body starts in the module, which offsets count from.
    base: usize,
    copied: usize,
    out: Vec<u8>,
}

impl<'a> Edit<'a> {
    fn new(body: &FunctionBody<'a>) -> Self {
        let original = body.as_bytes();
        let out = Vec::with_capacity(original.len());
        Self { original, base: body.range().start, copied: 0, out }
    }

    /// Replaces a range, which must lie behind all earlier ones, and returns what was there.
    fn replace(&mut self, start: usize, end: usize, replacement: &[u8]) -> &'a [u8] {
        let (start, end) = (start - self.base, end - self.base);
        self.out.extend_from_slice(&self.original[self.copied..start]);
        self.out.extend_from_slice(replacement);
        self.copied = end;
        &self.original[start..end]
    }

    fn finish(mut self) -> Vec<u8> {
        self.out.extend_from_slice(&self.original[self.copied..]);
        self.out
    }
}

pub(crate) fn section(id: u8, content: &[u8], out: &mut Vec<u8>) {
    out.push(id);
    leb128(content.len(), out);
    out.extend_from_slice(content);
}

pub(crate) fn leb128(mut value: usize, out: &mut Vec<u8>) {
    loop {
        let low = (value & 0x7f) as u8;
        value >>= 7;
        if value == 0 {
            return out.push(low);
        }
        out.push(low | 0x80);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIXED: &str = r#"(module (memory 1) (data "x" ) (func) (func (param i32) (result i32)
        (memory.fill (i32.const 0) (i32.const 1) (i32.const 2))
        (drop (select (i32.const 1) (i32.const 2) (i32.const 3)))
        (memory.copy (i32.const 0) (i32.const 1) (i32.const 2))
        (memory.copy (i32.const 3) (i32.const 4) (i32.const 5))
        (select (local.get 0) (i32.const 2) (i32.const 3))))"#;

    #[test]
    fn lowered_instructions_come_back_where_they_were() {
        let wasm = wat::parse_str(MIXED.replace(r#"(data "x" )"#, "")).unwrap();
        let unchanged = instrument_around(&wasm, |lowered| {
            let mvp = wasmparser::WasmFeatures::MVP;
            wasmparser::Validator::new_with_features(mvp).validate_all(lowered).unwrap();
            Ok(lowered.to_vec())
        });
        assert_eq!(unchanged.unwrap(), wasm);
    }

    #[test]
    fn a_module_without_bulk_instructions_passes_through_unchanged() {
        let wasm = wat::parse_str("(module (func (export \"f\") (param i32)))").unwrap();
        assert_eq!(instrument_around(&wasm, |lowered| Ok(lowered.to_vec())).unwrap(), wasm);
    }
}
