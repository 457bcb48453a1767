//! Imports and exports in words.
//!
//! `survey` describes what a module asks for and offers in these terms, `inspect` hands them out.
//! Names are the module's own: of any length and content.

use wasmparser::{ExternalKind, TypeRef, types::Types};

/// What kind of thing is imported or exported.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum ExternKind {
    Function,
    Table,
    Memory,
    Global,
    Tag,
}

/// What happens to an import.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ImportTreatment {
    /// The host provides it.
    Provided,
    /// It links, and calling it traps.
    TrapsWhenCalled,
    /// The memory import becomes a memory of the module's own.
    OwnMemory,
    /// Code that asks for it is refused.
    Refused,
}

/// One import. Names are of the module's choosing and may be long.
#[derive(Clone, Debug)]
pub struct InspectedImport {
    /// The module it asks.
    pub module: String,
    /// The name it asks for.
    pub name: String,
    /// What it asks for.
    pub kind: ExternKind,
    /// Its type, for people.
    pub ty: String,
    /// What happens to it.
    pub treatment: ImportTreatment,
}

/// One export.
#[derive(Clone, Debug)]
pub struct InspectedExport {
    /// Its name.
    pub name: String,
    /// What it is.
    pub kind: ExternKind,
    /// Its type, for people.
    pub ty: String,
}

pub(crate) fn describe_import(types: &Types, import: &TypeRef) -> (ExternKind, String) {
    match import {
        TypeRef::Func(index) | TypeRef::FuncExact(index) => {
            let function = types[types.as_ref().core_type_at_in_module(*index)].unwrap_func();
            (ExternKind::Function, function_type(function.params(), function.results()))
        }
        TypeRef::Table(_) => (ExternKind::Table, String::new()),
        TypeRef::Memory(memory) => (ExternKind::Memory, pages(memory)),
        TypeRef::Global(global) => (ExternKind::Global, global_type(global)),
        TypeRef::Tag(_) => (ExternKind::Tag, String::new()),
    }
}

pub(crate) fn describe_export(
    types: &Types,
    kind: ExternalKind,
    index: u32,
) -> (ExternKind, String) {
    let types = types.as_ref();
    match kind {
        ExternalKind::Func | ExternalKind::FuncExact => {
            let function = types[types.core_function_at(index)].unwrap_func();
            (ExternKind::Function, function_type(function.params(), function.results()))
        }
        ExternalKind::Table => (ExternKind::Table, String::new()),
        ExternalKind::Memory => (ExternKind::Memory, pages(&types.memory_at(index))),
        ExternalKind::Global => (ExternKind::Global, global_type(&types.global_at(index))),
        ExternalKind::Tag => (ExternKind::Tag, String::new()),
    }
}

pub(crate) fn function_type(
    params: &[wasmparser::ValType],
    results: &[wasmparser::ValType],
) -> String {
    let list = |types: &[wasmparser::ValType]| {
        types.iter().map(|ty| ty.to_string()).collect::<Vec<_>>().join(", ")
    };
    format!("({}) -> ({})", list(params), list(results))
}

fn global_type(global: &wasmparser::GlobalType) -> String {
    global.content_type.to_string()
}

fn pages(memory: &wasmparser::MemoryType) -> String {
    match memory.maximum {
        Some(maximum) => format!("{} to {maximum} pages", memory.initial),
        None => format!("{} pages", memory.initial),
    }
}
