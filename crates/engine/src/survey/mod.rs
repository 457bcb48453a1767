//! One pass over a module: is it valid, what does it ask for, and what speaks against it.
//!
//! [`prepare`](crate::Engine::prepare) stops at the first objection; [`inspect`](crate::inspect())
//! lists all of them. Nothing after this pass has to be afraid of the module's shape.

mod imports;

use wasmparser::{
    DataKind, ElementItems, ElementKind, FunctionBody, Operator, OperatorsReader, Parser, Payload,
    ValidPayload, Validator, WasmFeatures, types::Types,
};

use crate::externs::{ExternKind, ImportTreatment, InspectedExport, InspectedImport};
use crate::limits;
use crate::params::{Params, Profile};
use crate::prepare::PrepareError;
use crate::stack::Frame;

const PAGE_BYTES: u64 = 65_536;

/// What one pass over a module found.
#[derive(Default)]
pub(crate) struct Survey<'a> {
    pub(crate) imports: Vec<InspectedImport>,
    pub(crate) exports: Vec<InspectedExport>,
    /// Pages the memory starts with and may grow to by its own account.
    pub(crate) memory: Option<(u64, Option<u64>)>,
    pub(crate) has_start: bool,
    pub(crate) functions: u64,
    pub(crate) uses_bulk_memory: bool,
    pub(crate) version_section: Option<&'a [u8]>,
    pub(crate) apis_section: Option<&'a [u8]>,
    /// Why the module is refused, in the order found.
    pub(crate) objections: Vec<PrepareError>,
    /// Of each defined function, where this crate counts the stack itself.
    pub(crate) frames: Vec<Frame>,
    types: u64,
    instructions: u64,
    /// Start and length of each data segment.
    data: Vec<(u64, u64)>,
    table_elements: u64,
    element_ends: Vec<u64>,
}

/// Reads the whole module. An error means that it is not valid Wasm of the allowed kind.
pub(crate) fn survey<'a>(wasm: &'a [u8], params: &Params) -> Result<Survey<'a>, PrepareError> {
    let features = allowed_features(params);
    let mut survey = Survey::default();
    let mut validator = Validator::new_with_features(features);
    let mut parser = Parser::new(0);
    parser.set_features(features);
    let mut allocations = Default::default();
    let mut types = None;
    for payload in parser.parse_all(wasm) {
        let payload = payload?;
        match validator.payload(&payload)? {
            ValidPayload::Func(function, body) => {
                let mut checked = function.into_validator(allocations);
                survey.read_body(&body, &mut checked, params)?;
                allocations = checked.into_allocations();
            }
            ValidPayload::End(found) => types = Some(found),
            ValidPayload::Ok | ValidPayload::Parser(_) => {}
        }
        survey.read(payload)?;
    }
    if let Some(types) = types {
        survey.name_types(&types, wasm, params)?;
        survey.judge(&types, params);
    }
    Ok(survey)
}

/// MVP with floats, and what the params add.
fn allowed_features(params: &Params) -> WasmFeatures {
    let allowed = &params.features;
    let mut features = WasmFeatures::FLOATS;
    features.set(WasmFeatures::MUTABLE_GLOBAL, allowed.mutable_globals);
    features.set(WasmFeatures::SIGN_EXTENSION, allowed.sign_extension);
    features.set(WasmFeatures::BULK_MEMORY, allowed.bulk_memory);
    if params.profile != Profile::Pvf {
        features.set(WasmFeatures::SATURATING_FLOAT_TO_INT, allowed.saturating_float_to_int);
        features.set(WasmFeatures::MULTI_VALUE, allowed.multi_value);
        features.set(WasmFeatures::REFERENCE_TYPES, allowed.reference_types);
        features.set(WasmFeatures::CALL_INDIRECT_OVERLONG, allowed.reference_types);
        features.set(WasmFeatures::SIMD, allowed.simd);
        features.set(WasmFeatures::EXTENDED_CONST, allowed.extended_const);
        features.set(WasmFeatures::TAIL_CALL, allowed.tail_calls);
    }
    features
}

impl<'a> Survey<'a> {
    fn read(&mut self, payload: Payload<'a>) -> Result<(), PrepareError> {
        match payload {
            Payload::TypeSection(section) => self.types = section.count().into(),
            Payload::StartSection { .. } => self.has_start = true,
            Payload::MemorySection(section) => {
                for memory in section {
                    let memory = memory?;
                    self.memory = Some((memory.initial, memory.maximum));
                }
            }
            Payload::TableSection(section) => {
                for table in section {
                    self.table_elements = self.table_elements.saturating_add(table?.ty.initial);
                }
            }
            Payload::DataSection(section) => {
                for data in section {
                    let data = data?;
                    if let DataKind::Active { offset_expr, .. } = &data.kind {
                        self.data.push((constant(offset_expr)?, data.data.len() as u64));
                    }
                }
            }
            Payload::ElementSection(section) => {
                for element in section {
                    let element = element?;
                    let count = match &element.items {
                        ElementItems::Functions(items) => items.count(),
                        ElementItems::Expressions(_, items) => items.count(),
                    };
                    if let ElementKind::Active { offset_expr, .. } = &element.kind {
                        self.element_ends.push(constant(offset_expr)? + u64::from(count));
                    }
                }
            }
            Payload::CustomSection(section) => match section.name() {
                "runtime_version" => self.version_section = Some(section.data()),
                "runtime_apis" => self.apis_section = Some(section.data()),
                _ => {}
            },
            _ => {}
        }
        Ok(())
    }

    fn read_body(
        &mut self,
        body: &FunctionBody<'_>,
        checked: &mut wasmparser::FuncValidator<wasmparser::ValidatorResources>,
        params: &Params,
    ) -> Result<(), PrepareError> {
        let mut reader = body.get_binary_reader();
        checked.read_locals(&mut reader)?;
        let mut operators = OperatorsReader::new(reader);
        let (mut instructions, mut branches, mut nesting, mut targets) = (0, 0, 0, 0);
        let mut frame = Frame::of_locals(checked.len_locals());
        while !operators.eof() {
            let (operator, offset) = operators.read_with_offset()?;
            checked.op(offset, &operator)?;
            instructions += 1;
            branches += u64::from(is_branch(&operator));
            nesting = nesting.max(checked.control_stack_height());
            frame.count(&operator, checked.operand_stack_height());
            match &operator {
                Operator::Call { .. } => instructions += limits::INSTRUCTIONS_PER_CALL,
                Operator::BrTable { targets: table } => targets = targets.max(table.len()),
                Operator::MemoryCopy { .. } | Operator::MemoryFill { .. } => {
                    self.uses_bulk_memory = true;
                }
                other if params.profile == Profile::Pvf => self.object_to_bulk(other),
                _ => {}
            }
        }
        operators.finish()?;
        if params.profile != Profile::Pvf {
            self.frames.push(frame);
        }
        self.instructions += instructions;
        self.object_above("nested blocks", nesting.into(), limits::NESTING_MAX);
        self.object_above("branches of one function", branches, limits::BRANCHES_MAX);
        self.object_above("branch targets", targets.into(), limits::BRANCH_TARGETS_MAX);
        self.object_above(
            "instructions of one function",
            instructions,
            limits::FUNCTION_INSTRUCTIONS_MAX,
        );
        Ok(())
    }

    /// The rest of the bulk memory proposal works on passive segments and tables, which the stack
    /// limiter's parser cannot represent and the toolchains of runtimes do not emit.
    fn object_to_bulk(&mut self, operator: &Operator<'_>) {
        let instruction = match operator {
            Operator::MemoryInit { .. } => "memory.init",
            Operator::DataDrop { .. } => "data.drop",
            Operator::TableInit { .. } => "table.init",
            Operator::TableCopy { .. } => "table.copy",
            Operator::ElemDrop { .. } => "elem.drop",
            _ => return,
        };
        self.object_once(PrepareError::Unsupported { what: instruction });
    }

    fn judge(&mut self, types: &Types, params: &Params) {
        self.functions = types.as_ref().function_count().into();
        self.object_above("functions", self.functions, limits::FUNCTIONS_MAX);
        self.object_above("types", self.types, limits::TYPES_MAX);
        self.object_above("imports", self.imports.len() as u64, limits::IMPORTS_MAX);
        self.object_above("exports", self.exports.len() as u64, limits::EXPORTS_MAX);
        self.object_above("instructions", self.instructions, limits::INSTRUCTIONS_MAX);
        let elements_max = match params.profile {
            Profile::Pvf => limits::TABLE_ELEMENTS_MAX,
            Profile::Plain | Profile::Wasi => params.table_elements_max.into(),
        };
        self.object_above("table elements", self.table_elements, elements_max);
        if params.profile == Profile::Pvf {
            self.judge_segments();
            self.judge_exports();
        }
        if let Some((pages, _)) = self.memory
            && pages > u64::from(params.memory_pages_max)
        {
            let pages_max = params.memory_pages_max;
            self.objections.push(PrepareError::MemoryMinimum { pages, pages_max });
        }
    }

    /// Offsets are constants here (only an imported global could make them anything else, and those
    /// are refused), so whether segments fit is known before anything runs.
    fn judge_segments(&mut self) {
        let memory_bytes = self.memory.map_or(0, |(pages, _)| pages * PAGE_BYTES);
        let end = self.data.iter().map(|(start, length)| start + length).max().unwrap_or(0);
        let start = self.data.iter().map(|(start, _)| *start).min().unwrap_or(0);
        if end > memory_bytes {
            self.objections.push(PrepareError::SegmentOutOfBounds { end, size: memory_bytes });
        }
        self.object_above("bytes spanned by data", end - start, limits::DATA_SPAN_BYTES_MAX);
        let end = self.element_ends.iter().copied().max().unwrap_or(0);
        if end > self.table_elements {
            let size = self.table_elements;
            self.objections.push(PrepareError::SegmentOutOfBounds { end, size });
        }
    }

    fn judge_exports(&mut self) {
        // An imported memory is exported under the name it was imported by.
        let own_memory = self.imports.iter().any(|import| {
            import.treatment == ImportTreatment::OwnMemory && import.name == "memory"
        });
        for (name, kind, ty) in REQUIRED_EXPORTS {
            let export = self.exports.iter().find(|export| export.name == name);
            match export {
                None if name == "memory" && own_memory => {}
                None => self.objections.push(PrepareError::MissingExport { name }),
                Some(export) if export.kind == kind && (ty.is_empty() || export.ty == ty) => {}
                Some(export) => {
                    let found = format!("{:?} {}", export.kind, export.ty);
                    self.objections.push(PrepareError::ExportType { name, found });
                }
            }
        }
    }

    fn object_above(&mut self, what: &'static str, found: u64, max: u64) {
        if found > max {
            self.object_once(PrepareError::Limit { what, found, max });
        }
    }

    /// A module can give the same cause ten thousand times; a person needs a few.
    fn object_once(&mut self, objection: PrepareError) {
        const OBJECTIONS_MAX: usize = 64;
        if self.objections.len() < OBJECTIONS_MAX {
            self.objections.push(objection);
        }
    }
}

/// Whether an instruction starts or ends a basic block; a call does, through the stack limiter.
fn is_branch(operator: &Operator<'_>) -> bool {
    matches!(
        operator,
        Operator::Block { .. }
            | Operator::Loop { .. }
            | Operator::If { .. }
            | Operator::Else
            | Operator::Br { .. }
            | Operator::BrIf { .. }
            | Operator::BrTable { .. }
            | Operator::Call { .. }
    )
}

/// What every parachain runtime exports; an empty type is any type. `__heap_base` is not among them:
/// Polkadot accepts code without it and refuses every call.
const REQUIRED_EXPORTS: [(&str, ExternKind, &str); 2] = [
    ("memory", ExternKind::Memory, ""),
    ("validate_block", ExternKind::Function, "(i32, i32) -> (i64)"),
];

/// The value of an offset, which is unsigned however it was written.
fn constant(expression: &wasmparser::ConstExpr<'_>) -> Result<u64, PrepareError> {
    match expression.get_operators_reader().read()? {
        Operator::I32Const { value } => Ok(u64::from(value as u32)),
        // An imported global, which is refused by its own name.
        _ => Ok(0),
    }
}
