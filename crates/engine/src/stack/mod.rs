//! The stack limit of plain and WASI programs: counted in the module itself, so that a deep recursion
//! ends in the same frame on every machine.
//!
//! `wasm-instrument`, which the network agrees on for parachain validation functions, reads Wasm's
//! first version only. Here every function that calls another counts itself: it adds what its frame
//! is worth to a global of this pass, traps if that is above the limit, and takes it off again where
//! it ends. So direct and indirect calls, tail calls and calls from outside are counted alike, and
//! nothing is renumbered: instructions are copied byte for byte, but for `return`, which becomes a
//! branch to the end of a block around the whole body, and tail calls, before which the frame is taken
//! off. Whatever instructions Wasm gains later need no line here unless they leave a function.
//!
//! Where a program can read a clock and fuel is not counted, the same functions also count time by the
//! instructions in their text when they are entered: time goes on while a program works, the same on
//! every machine, at the price of an addition.
//!
//! A frame is worth more than its locals and operands: an optimising compiler may keep many values
//! alive that are neither (by hoisting them out of a loop), so instructions count for something too.
//! With the default limits a value has 128 bytes of native stack.

mod encoding;
mod frame;

use std::collections::BTreeMap;

use wasmparser::{ExternalKind, FunctionBody, Operator, Parser, Payload, TypeRef};

use encoding::{behind_count, constant, global, push_export, signed, value_type};
pub(crate) use frame::Frame;

use crate::bulk::{leb128, section};
use crate::instrument::START;
use crate::params::{Params, Profile};
use crate::prepare::PrepareError;
use crate::survey::Survey;

/// Names of the exports that are the host's. Those of the guest's that have one go.
pub(crate) const STACK: &str = "lazaret stack";
pub(crate) const MEMORY: &str = "lazaret memory";
pub(crate) const TICKS: &str = "lazaret ticks";
pub(crate) const RESERVED: [&str; 4] = [START, STACK, MEMORY, TICKS];

const SECTION_TYPE: u8 = 1;
const SECTION_GLOBAL: u8 = 6;
const SECTION_EXPORT: u8 = 7;
const SECTION_CODE: u8 = 10;

/// Returns the module as it is to be compiled: its stack counted, its `start` function exported and
/// not run by itself, its memory and the counter exported for the host, without custom sections.
pub(crate) fn instrument(
    wasm: &[u8],
    survey: &Survey<'_>,
    params: &Params,
) -> Result<Vec<u8>, PrepareError> {
    let mut pass = Pass::read(wasm, survey, params)?;
    let mut bodies = Vec::new();
    let mut code = Vec::new();
    for payload in Parser::new(0).parse_all(wasm) {
        match payload? {
            Payload::CodeSectionStart { count, .. } => leb128(count as usize, &mut code),
            Payload::CodeSectionEntry(body) => {
                bodies.clear();
                pass.body(&body, &mut bodies)?;
                leb128(bodies.len(), &mut code);
                code.extend_from_slice(&bodies);
            }
            _ => {}
        }
    }
    pass.module(wasm, &code)
}

/// What the pass knows of the module.
struct Pass<'a> {
    frames: &'a [Frame],
    limit: u32,
    /// Index of the counter, behind all globals of the module's own.
    counter: u32,
    globals_defined: u32,
    /// Whether there is a second counter behind the first, of ticks.
    has_ticks: bool,
    has_memory: bool,
    start: Option<u32>,
    types: Vec<wasmparser::FuncType>,
    /// The type of each defined function.
    functions: Vec<u32>,
    /// Types of blocks that the pass adds, behind all types of the module's own.
    block_types: BTreeMap<Vec<u8>, u32>,
    next_body: usize,
}

impl<'a> Pass<'a> {
    fn read(wasm: &[u8], survey: &'a Survey<'_>, params: &Params) -> Result<Self, PrepareError> {
        let mut pass = Self {
            frames: &survey.frames,
            limit: params.stack_logical_max.min(1 << 30),
            counter: 0,
            globals_defined: 0,
            has_ticks: params.profile == Profile::Wasi && !params.metering,
            has_memory: false,
            start: None,
            types: Vec::new(),
            functions: Vec::new(),
            block_types: BTreeMap::new(),
            next_body: 0,
        };
        for payload in Parser::new(0).parse_all(wasm) {
            match payload? {
                Payload::TypeSection(section) => {
                    for ty in section.into_iter_err_on_gc_types() {
                        pass.types.push(ty?);
                    }
                }
                Payload::ImportSection(section) => {
                    for import in section.into_imports() {
                        match import?.ty {
                            TypeRef::Global(_) => pass.counter += 1,
                            TypeRef::Memory(_) => pass.has_memory = true,
                            _ => {}
                        }
                    }
                }
                Payload::FunctionSection(section) => {
                    for ty in section {
                        pass.functions.push(ty?);
                    }
                }
                Payload::MemorySection(section) => pass.has_memory |= section.count() > 0,
                Payload::GlobalSection(section) => {
                    pass.globals_defined = section.count();
                    pass.counter += section.count();
                }
                Payload::StartSection { func, .. } => pass.start = Some(func),
                _ => {}
            }
        }
        Ok(pass)
    }

    fn body(&mut self, body: &FunctionBody<'_>, out: &mut Vec<u8>) -> Result<(), PrepareError> {
        let index = self.next_body;
        self.next_body += 1;
        // Of each body there is a frame and a type, or the module would not be valid.
        let (frame, ty) = (self.frames[index], self.functions[index] as usize);
        let bytes = body.as_bytes();
        if !frame.is_counted() {
            out.extend_from_slice(bytes);
            return Ok(());
        }
        let block_type = self.block_type(ty)?;
        let mut operators = body.get_operators_reader()?;
        let base = body.range().start;
        let locals_end = operators.original_position() - base;
        out.extend_from_slice(&bytes[..locals_end]);
        self.enter(frame.values(), out);
        if self.has_ticks {
            self.tick(frame.ticks(), out);
        }
        out.push(0x02);
        out.extend_from_slice(&block_type);
        let mut copied = locals_end;
        let mut depth = 0_usize;
        while !operators.eof() {
            let (operator, offset) = operators.read_with_offset()?;
            match operator {
                Operator::Block { .. } | Operator::Loop { .. } | Operator::If { .. } => depth += 1,
                // The last one ends the body, and now the block around it.
                Operator::End => depth = depth.saturating_sub(1),
                Operator::Return => {
                    out.extend_from_slice(&bytes[copied..offset - base]);
                    out.push(0x0c);
                    leb128(depth, out);
                    copied = operators.original_position() - base;
                }
                Operator::ReturnCall { .. }
                | Operator::ReturnCallIndirect { .. }
                | Operator::ReturnCallRef { .. } => {
                    out.extend_from_slice(&bytes[copied..offset - base]);
                    self.leave(frame.values(), out);
                    copied = offset - base;
                }
                _ => {}
            }
        }
        out.extend_from_slice(&bytes[copied..]);
        self.leave(frame.values(), out);
        out.push(0x0b);
        Ok(())
    }

    /// `counter += values; if counter > limit { unreachable }`. After a trap the counter tells this
    /// one from an `unreachable` of the guest's.
    fn enter(&self, values: u32, out: &mut Vec<u8>) {
        self.add(0x6a, values, out);
        global(0x23, self.counter, out);
        constant(self.limit, out);
        out.extend_from_slice(&[0x4b, 0x04, 0x40, 0x00, 0x0b]); // i32.gt_u, if, unreachable, end
    }

    fn tick(&self, ticks: u32, out: &mut Vec<u8>) {
        global(0x23, self.counter + 1, out);
        out.push(0x42); // i64.const
        signed(ticks.into(), out);
        out.push(0x7c);
        global(0x24, self.counter + 1, out);
    }

    fn leave(&self, values: u32, out: &mut Vec<u8>) {
        self.add(0x6b, values, out);
    }

    /// Adds to the counter, or subtracts from it.
    fn add(&self, operation: u8, values: u32, out: &mut Vec<u8>) {
        global(0x23, self.counter, out);
        constant(values, out);
        out.push(operation);
        global(0x24, self.counter, out);
    }

    /// The type of a block that takes nothing and gives what the function returns.
    fn block_type(&mut self, ty: usize) -> Result<Vec<u8>, PrepareError> {
        let results = self.types[ty].results();
        let mut bytes = Vec::new();
        for result in results {
            bytes.push(value_type(*result)?);
        }
        match bytes.len() {
            0 => Ok(vec![0x40]),
            1 => Ok(bytes),
            _ => {
                let next = (self.types.len() + self.block_types.len()) as u32;
                let index = *self.block_types.entry(bytes).or_insert(next);
                let mut encoded = Vec::new();
                signed(index.into(), &mut encoded);
                Ok(encoded)
            }
        }
    }

    /// Copies the module with new code, and what the pass adds to types, globals and exports.
    fn module(&self, wasm: &[u8], code: &[u8]) -> Result<Vec<u8>, PrepareError> {
        let mut out = wasm[..8].to_vec();
        out.reserve(code.len() + wasm.len() / 4);
        let mut globals_written = false;
        let mut exports_written = false;
        for payload in Parser::new(0).parse_all(wasm) {
            let payload = payload?;
            if let Payload::CodeSectionStart { .. } = payload {
                self.write_missing(&mut globals_written, &mut exports_written, &mut out)?;
                section(SECTION_CODE, code, &mut out);
                continue;
            }
            let Some((id, range)) = payload.as_section() else { continue };
            // Places of the two in the order of sections; element, data count and data come behind.
            if matches!(id, 7 | 8 | 9 | 11 | 12) && !globals_written {
                section(SECTION_GLOBAL, &self.globals(&[]), &mut out);
                globals_written = true;
            }
            if matches!(id, 8 | 9 | 11 | 12) && !exports_written {
                section(SECTION_EXPORT, &self.exports(None)?, &mut out);
                exports_written = true;
            }
            match payload {
                Payload::CustomSection(_) | Payload::StartSection { .. } => {}
                Payload::TypeSection(_) => {
                    section(SECTION_TYPE, &self.all_types(&wasm[range]), &mut out);
                }
                Payload::GlobalSection(_) => {
                    section(SECTION_GLOBAL, &self.globals(&wasm[range]), &mut out);
                    globals_written = true;
                }
                Payload::ExportSection(exports) => {
                    section(SECTION_EXPORT, &self.exports(Some(exports))?, &mut out);
                    exports_written = true;
                }
                _ => section(id, &wasm[range], &mut out),
            }
        }
        self.write_missing(&mut globals_written, &mut exports_written, &mut out)?;
        Ok(out)
    }

    fn write_missing(
        &self,
        globals: &mut bool,
        exports: &mut bool,
        out: &mut Vec<u8>,
    ) -> Result<(), PrepareError> {
        if !std::mem::replace(globals, true) {
            section(SECTION_GLOBAL, &self.globals(&[]), out);
        }
        if !std::mem::replace(exports, true) {
            section(SECTION_EXPORT, &self.exports(None)?, out);
        }
        Ok(())
    }

    fn all_types(&self, original: &[u8]) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(original.len());
        leb128(self.types.len() + self.block_types.len(), &mut bytes);
        bytes.extend_from_slice(behind_count(original));
        let mut added: Vec<_> = self.block_types.iter().collect();
        added.sort_by_key(|(_, index)| **index);
        for (results, _) in added {
            bytes.extend_from_slice(&[0x60, 0x00]);
            leb128(results.len(), &mut bytes);
            bytes.extend_from_slice(results);
        }
        bytes
    }

    fn globals(&self, original: &[u8]) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(original.len() + 16);
        leb128(self.globals_defined as usize + 1 + usize::from(self.has_ticks), &mut bytes);
        bytes.extend_from_slice(behind_count(original));
        bytes.extend_from_slice(&[0x7f, 0x01, 0x41, 0x00, 0x0b]); // mut i32, i32.const 0
        if self.has_ticks {
            bytes.extend_from_slice(&[0x7e, 0x01, 0x42, 0x00, 0x0b]); // mut i64, i64.const 0
        }
        bytes
    }

    fn exports(
        &self,
        original: Option<wasmparser::ExportSectionReader<'_>>,
    ) -> Result<Vec<u8>, PrepareError> {
        let mut entries = Vec::new();
        let mut count = self.own_exports(&mut entries);
        for export in original.into_iter().flatten() {
            let export = export?;
            let kind = match export.kind {
                ExternalKind::Func | ExternalKind::FuncExact => 0,
                ExternalKind::Table => 1,
                ExternalKind::Memory => 2,
                ExternalKind::Global => 3,
                ExternalKind::Tag => 4,
            };
            if !RESERVED.contains(&export.name) {
                push_export(export.name, kind, export.index, &mut entries);
                count += 1;
            }
        }
        let mut bytes = Vec::new();
        leb128(count, &mut bytes);
        bytes.extend(entries);
        Ok(bytes)
    }

    fn own_exports(&self, entries: &mut Vec<u8>) -> usize {
        push_export(STACK, 3, self.counter, entries);
        if self.has_ticks {
            push_export(TICKS, 3, self.counter + 1, entries);
        }
        if self.has_memory {
            push_export(MEMORY, 2, 0, entries);
        }
        if let Some(start) = self.start {
            push_export(START, 0, start, entries);
        }
        1 + usize::from(self.has_ticks)
            + usize::from(self.has_memory)
            + usize::from(self.start.is_some())
    }
}
