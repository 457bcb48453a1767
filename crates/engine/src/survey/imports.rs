//! What a module imports and exports, and what becomes of each import under its profile.

use wasmparser::{Parser, Payload, TypeRef, types::Types};

use super::Survey;
use crate::externs::{
    ExternKind, ImportTreatment, InspectedExport, InspectedImport, describe_export,
    describe_import, function_type,
};
use crate::imports::{MODULE, Provision, signature_of};
use crate::params::{Params, Profile, UnknownImports};
use crate::prepare::PrepareError;
use crate::wasi;

impl Survey<'_> {
    /// Imports and exports in words; they need the types of the whole module.
    pub(super) fn name_types(
        &mut self,
        types: &Types,
        wasm: &[u8],
        params: &Params,
    ) -> Result<(), PrepareError> {
        for payload in Parser::new(0).parse_all(wasm) {
            match payload? {
                Payload::ImportSection(section) => {
                    for import in section.into_imports() {
                        self.read_import(import?, types, params);
                    }
                }
                Payload::ExportSection(section) => {
                    for export in section {
                        let export = export?;
                        let (kind, ty) = describe_export(types, export.kind, export.index);
                        let name = export.name.to_owned();
                        self.exports.push(InspectedExport { name, kind, ty });
                    }
                    // Imports and exports precede the code, which need not be walked again.
                    return Ok(());
                }
                Payload::CodeSectionStart { .. } => return Ok(()),
                _ => {}
            }
        }
        Ok(())
    }

    fn read_import(&mut self, import: wasmparser::Import<'_>, types: &Types, params: &Params) {
        let (kind, ty) = describe_import(types, &import.ty);
        if let TypeRef::Memory(memory) = import.ty {
            self.memory = Some((memory.initial, memory.maximum));
        }
        let (module, name) = (import.module.to_owned(), import.name.to_owned());
        let treatment = if params.profile != Profile::Pvf {
            self.treat_open(&module, &name, (kind, &ty), params)
        } else if module != MODULE {
            self.object_once(PrepareError::ImportModule {
                module: module.clone(),
                name: name.clone(),
            });
            ImportTreatment::Refused
        } else {
            match kind {
                ExternKind::Memory => ImportTreatment::OwnMemory,
                ExternKind::Function => self.treat_function(&name, &ty),
                _ => {
                    self.object_once(PrepareError::ImportKind { name: name.clone(), kind });
                    ImportTreatment::Refused
                }
            }
        };
        self.imports.push(InspectedImport { module, name, kind, ty, treatment });
    }

    /// An import of a plain or WASI program.
    fn treat_open(
        &mut self,
        module: &str,
        name: &str,
        (kind, ty): (ExternKind, &str),
        params: &Params,
    ) -> ImportTreatment {
        let is_wasi = params.profile == Profile::Wasi && kind == ExternKind::Function;
        if let Some(expected) = is_wasi.then(|| wasi::type_of(module, name)).flatten() {
            if ty == expected {
                return ImportTreatment::Provided;
            }
            let (name, found) = (name.to_owned(), ty.to_owned());
            self.object_once(PrepareError::ImportType { name, expected, found });
            return ImportTreatment::Refused;
        }
        if params.unknown_imports == UnknownImports::TrapWhenCalled && kind == ExternKind::Function
        {
            return ImportTreatment::TrapsWhenCalled;
        }
        let (module, name) = (module.to_owned(), name.to_owned());
        self.object_once(PrepareError::UnknownImport { module, name, kind });
        ImportTreatment::Refused
    }

    fn treat_function(&mut self, name: &str, ty: &str) -> ImportTreatment {
        let Some(signature) = signature_of(name) else { return ImportTreatment::TrapsWhenCalled };
        let expected = function_type(signature.params, signature.results);
        if ty != expected {
            let (name, found) = (name.to_owned(), ty.to_owned());
            self.object_once(PrepareError::ImportType { name, expected, found });
            return ImportTreatment::Refused;
        }
        match signature.provision {
            Provision::Works => ImportTreatment::Provided,
            Provision::Traps => ImportTreatment::TrapsWhenCalled,
        }
    }
}
