//! What a module of a script is, as far as it decides how it is tested.

use std::collections::BTreeMap;

use wasmparser::{ExternalKind, Parser, Payload, TypeRef, ValType, Validator, WasmFeatures};

/// Exports of a module, by name.
#[derive(Default)]
pub(crate) struct Exports {
    /// Index, parameters, results.
    pub(crate) functions: BTreeMap<String, (u32, Vec<ValType>, Vec<ValType>)>,
    /// Index, type.
    pub(crate) globals: BTreeMap<String, (u32, ValType)>,
    /// Functions in all, and types.
    pub(crate) functions_count: u32,
    pub(crate) types_count: u32,
}

/// Reads the exports of a valid module.
pub(crate) fn exports(code: &[u8]) -> Result<Exports, wasmparser::BinaryReaderError> {
    let types = Validator::new_with_features(WasmFeatures::all()).validate_all(code)?;
    let types = types.as_ref();
    let mut exports = Exports {
        functions_count: types.function_count(),
        types_count: types.core_type_count_in_module(),
        ..Exports::default()
    };
    for payload in Parser::new(0).parse_all(code) {
        let Payload::ExportSection(section) = payload? else { continue };
        for export in section {
            let export = export?;
            let name = export.name.to_owned();
            match export.kind {
                ExternalKind::Func => {
                    let function = types[types.core_function_at(export.index)].unwrap_func();
                    let ty = (function.params().to_vec(), function.results().to_vec());
                    exports.functions.insert(name, (export.index, ty.0, ty.1));
                }
                ExternalKind::Global => {
                    let ty = types.global_at(export.index).content_type;
                    exports.globals.insert(name, (export.index, ty));
                }
                _ => {}
            }
        }
    }
    Ok(exports)
}

/// Why a module cannot be tried, if it cannot.
pub(crate) fn obstacle(code: &[u8]) -> Option<&'static str> {
    let allowed = WasmFeatures::WASM2 | WasmFeatures::TAIL_CALL | WasmFeatures::EXTENDED_CONST;
    let is_valid = |features| Validator::new_with_features(features).validate_all(code).is_ok();
    if !is_valid(allowed) {
        return Some("is of a proposal that is not allowed");
    }
    if !is_valid(allowed.difference(WasmFeatures::GC_TYPES)) {
        return Some("uses references to things of the host");
    }
    for payload in Parser::new(0).parse_all(code) {
        let Ok(Payload::ImportSection(section)) = payload else { continue };
        for import in section.into_imports().flatten() {
            match import.ty {
                // Those print, which nobody asserts anything of; they trap when they are called.
                TypeRef::Func(_) if import.module == "spectest" => {}
                _ => return Some("imports from another module, or a memory, table or global"),
            }
        }
    }
    None
}

/// Whether a module imports functions, all of which only print.
pub(crate) fn prints(code: &[u8]) -> bool {
    let mut payloads = Parser::new(0).parse_all(code);
    payloads.any(|payload| matches!(payload, Ok(Payload::ImportSection(_))))
}

/// Whether calls of a module can change what later calls of it find.
pub fn keeps_state(code: &[u8]) -> bool {
    let words =
        ["Store", "Grow", "Fill", "Copy", "Init", "DataDrop", "ElemDrop", "GlobalSet", "TableSet"];
    let changes = |body: wasmparser::FunctionBody<'_>| {
        let Ok(operators) = body.get_operators_reader() else { return true };
        operators.into_iter().any(|operator| match operator {
            Ok(operator) => {
                let shown = format!("{operator:?}");
                words.iter().any(|word| shown.starts_with(word) || shown.contains(word))
            }
            Err(_) => true,
        })
    };
    Parser::new(0).parse_all(code).any(|payload| match payload {
        Ok(Payload::CodeSectionEntry(body)) => changes(body),
        Ok(_) => false,
        Err(_) => true,
    })
}
