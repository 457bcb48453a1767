//! What is changed in a module before it is compiled: exactly what Polkadot changes.
//!
//! The stack limiter decides where a deep recursion ends, so every validator must inject the same
//! one, in the same order relative to the other changes. Called by `prepare` on a module that
//! `survey` found valid and of bearable shape.

use wasm_instrument::parity_wasm::elements::{
    Error, ExportEntry, External, ImportEntry, Internal, MemorySection, MemoryType, Module,
    Section, deserialize_buffer,
};

use crate::bulk;
use crate::params::Params;
use crate::prepare::PrepareError;

/// Returns the module as it is to be compiled.
pub(crate) fn instrument(wasm: &[u8], params: &Params) -> Result<Vec<u8>, PrepareError> {
    if params.features.bulk_memory {
        return bulk::instrument_around(wasm, |lowered| instrument_mvp(lowered, params));
    }
    instrument_mvp(wasm, params)
}

fn instrument_mvp(wasm: &[u8], params: &Params) -> Result<Vec<u8>, PrepareError> {
    let module = deserialize_buffer::<Module>(wasm).map_err(unreadable)?;
    let mut module = wasm_instrument::inject_stack_limiter(module, params.stack_logical_max)
        .map_err(|reason| PrepareError::StackLimiter { reason })?;
    own_imported_memory(&mut module)?;
    clear_memory_maximum(&mut module);
    export_start(&mut module)?;
    // Names and version sections mean nothing to the machine code and would be carried along.
    module.sections_mut().retain(|section| {
        !matches!(section, Section::Custom(_) | Section::Name(_) | Section::Reloc(_))
    });
    module.into_bytes().map_err(unreadable)
}

fn unreadable(error: Error) -> PrepareError {
    PrepareError::Deserialize { text: error.to_string() }
}

/// The name under which the `start` function is exported: instantiating then runs no guest code, and
/// a job closes its last doors between the two. An export that has the name already goes, since
/// nobody but the host could ask for it.
pub(crate) const START: &str = "lazaret start";

fn export_start(module: &mut Module) -> Result<(), PrepareError> {
    if let Some(exports) = module.export_section_mut() {
        exports.entries_mut().retain(|export| export.field() != START);
    }
    let Some(start) = module.start_section() else { return Ok(()) };
    module.clear_start_section();
    push_export(module, ExportEntry::new(START.to_owned(), Internal::Function(start)))
}

fn push_export(module: &mut Module, export: ExportEntry) -> Result<(), PrepareError> {
    if module.export_section().is_none() {
        module.insert_section(Section::Export(Default::default())).map_err(unreadable)?;
    }
    if let Some(exports) = module.export_section_mut() {
        exports.entries_mut().push(export);
    }
    Ok(())
}

/// A memory import becomes a memory of the module's own, exported under the name it was imported
/// by: the guest cannot tell, and the memory can then be made from the artifact's image.
fn own_imported_memory(module: &mut Module) -> Result<(), PrepareError> {
    let Some((name, memory)) = take_memory_import(module) else { return Ok(()) };
    module
        .insert_section(Section::Memory(MemorySection::with_entries(vec![memory])))
        .map_err(unreadable)?;
    push_export(module, ExportEntry::new(name, Internal::Memory(0)))
}

fn take_memory_import(module: &mut Module) -> Option<(String, MemoryType)> {
    let imports = module.import_section_mut()?.entries_mut();
    let is_memory = |import: &ImportEntry| matches!(import.external(), External::Memory(_));
    let import = imports.remove(imports.iter().position(is_memory)?);
    match import.external() {
        External::Memory(memory) => Some((import.field().to_owned(), *memory)),
        _ => None,
    }
}

/// The limit on memory is a setting of each call, not of the module.
fn clear_memory_maximum(module: &mut Module) {
    if let Some(memories) = module.memory_section_mut() {
        for memory in memories.entries_mut() {
            *memory = MemoryType::new(memory.limits().initial(), None);
        }
    }
}
