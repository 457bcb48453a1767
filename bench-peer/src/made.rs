//! Guests that are made here: a trivial one, an endless one, and ones of any size.

use std::time::Duration;

use lazaret::pvf::ValidationParams;
use wasm_encoder::{
    CodeSection, ConstExpr, EntityType, ExportKind, ExportSection, Function, FunctionSection,
    GlobalSection, GlobalType, ImportSection, MemArg, MemArgTarget, MemoryType, Module,
    TypeSection, ValType,
};

use crate::work::{Ended, Guest, Work};

/// A result with an empty head and nothing else is all zeros: the lengths of a head and two lists, a
/// missing code, and two numbers of 4 bytes.
const EMPTY_RESULT_BYTES: usize = 12;
/// Where the heap of a made guest begins.
const HEAP_BASE: i32 = 1024;
/// How long the endless guest may run.
pub(crate) const ENDLESS_CPU_LIMIT: Duration = Duration::from_millis(100);
/// Steps of each unused function, and bytes that a step has, about, once it is compiled.
const STEPS_PER_FUNCTION: usize = 400;
const COMPILED_BYTES_PER_STEP: usize = 40;
/// A prime with well-mixed bits, as Knuth has it for multiplicative hashing of 64 bits.
const MIX: u64 = 0x9e37_79b9_7f4a_7c15;

/// A call of a guest that returns at once.
pub(crate) fn trivial() -> Result<Work, String> {
    trivial_with(0)
}

/// The same with so many bytes of block data, which the guest does not look at.
pub(crate) fn trivial_with(block_data_bytes: usize) -> Result<Work, String> {
    let body = format!("(i64.const {})", (EMPTY_RESULT_BYTES as u64) << 32);
    Ok(returning(Guest::new("trivial", written(&body)?)?, block_data_bytes))
}

/// A call of a guest that never returns.
pub(crate) fn endless() -> Result<Work, String> {
    let guest = Guest::new("endless", written("(loop (br 0)) (unreachable)")?)?;
    let mut work = Work::new(guest, params(0), Ended::CpuLimit);
    work.cpu_limit = ENDLESS_CPU_LIMIT;
    Ok(work)
}

/// A call of a guest that returns at once and whose artifact has about so many bytes, nearly all of
/// them functions that nobody calls. Another `seed` makes another guest.
pub(crate) fn sized(artifact_bytes: usize, seed: u64) -> Result<Work, String> {
    let functions = artifact_bytes / (STEPS_PER_FUNCTION * COMPILED_BYTES_PER_STEP);
    let name = format!("of {} kB, {seed}", artifact_bytes / 1000);
    Ok(returning(Guest::new(name, module(functions as u64, seed))?, 0))
}

fn returning(guest: Guest, block_data_bytes: usize) -> Work {
    let expected = Ended::Returned(vec![0; EMPTY_RESULT_BYTES]);
    Work::new(guest, params(block_data_bytes), expected)
}

/// Block data without the prefix of compressed data.
fn params(block_data_bytes: usize) -> ValidationParams {
    let pattern = |place: usize| (place as u64).wrapping_mul(MIX).to_be_bytes()[0];
    ValidationParams {
        parent_head: vec![1; 32],
        block_data: (0..block_data_bytes).map(pattern).collect(),
        relay_parent_number: 1,
        relay_parent_storage_root: [2; 32],
        extension: None,
    }
}

fn written(body: &str) -> Result<Vec<u8>, String> {
    let text = format!(
        r#"(module
            (import "env" "memory" (memory 1))
            (global (export "__heap_base") i32 (i32.const {HEAP_BASE}))
            (func (export "validate_block") (param i32 i32) (result i64) {body}))"#
    );
    wat::parse_str(text).map_err(|error| error.to_string())
}

fn module(functions: u64, seed: u64) -> Vec<u8> {
    let (mut types, mut imports, mut exports) =
        (TypeSection::new(), ImportSection::new(), ExportSection::new());
    types.ty().function([ValType::I32, ValType::I32], [ValType::I64]);
    types.ty().function([ValType::I64], [ValType::I64]);
    let memory = MemoryType {
        minimum: 1,
        maximum: None,
        memory64: false,
        shared: false,
        page_size_log2: None,
    };
    imports.import("env", "memory", EntityType::Memory(memory));
    let (mut indices, mut bodies) = (FunctionSection::new(), CodeSection::new());
    indices.function(0);
    let mut entry = Function::new([]);
    entry.instructions().i64_const((EMPTY_RESULT_BYTES as i64) << 32).end();
    bodies.function(&entry);
    for number in 0..functions {
        indices.function(1);
        bodies.function(&unused(seed.wrapping_mul(functions).wrapping_add(number)));
    }
    let mut globals = GlobalSection::new();
    let constant = GlobalType { val_type: ValType::I32, mutable: false, shared: false };
    globals.global(constant, &ConstExpr::i32_const(HEAP_BASE));
    exports.export("validate_block", ExportKind::Func, 0);
    exports.export("__heap_base", ExportKind::Global, 0);
    let mut module = Module::new();
    module.section(&types).section(&imports).section(&indices).section(&globals);
    module.section(&exports).section(&bodies);
    module.finish()
}

/// Arithmetic that no compiler makes shorter, with a store now and then as real code has it.
fn unused(seed: u64) -> Function {
    let mut function = Function::new([]);
    let mut number = seed.wrapping_mul(MIX) | 1;
    let mut code = function.instructions();
    for step in 0..STEPS_PER_FUNCTION {
        number = number.wrapping_mul(MIX).rotate_left(23) ^ seed;
        code.local_get(0).i64_const(number as i64 | 1).i64_mul();
        code.i64_const(number.rotate_left(17) as i64).i64_xor().local_set(0);
        if step % 4 == 0 {
            let target = MemArgTarget::Memory(0);
            let at = MemArg { offset: 8 * step as u64, align: 0, target, ordering: None };
            code.i32_const(HEAP_BASE).local_get(0).i64_store(at);
        }
    }
    code.local_get(0).end();
    function
}
