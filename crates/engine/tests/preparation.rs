//! What code is refused for, one test per reason, and what is done to code that is accepted.

mod shared;

use lazaret_engine::{
    COMPRESSED_PREFIX, CodeFormat, CodeLimits, DecompressError, Engine, ExternKind, Features,
    ImportTreatment, Params, PrepareError, Profile, TrapKind, inspect,
};

/// The smallest acceptable module, with room for more at its end.
fn module(more: &str) -> String {
    format!(
        r#"(module
            (import "env" "memory" (memory 1))
            (global (export "__heap_base") i32 (i32.const 1024))
            (func (export "validate_block") (param i32 i32) (result i64) (i64.const 0))
            {more})"#
    )
}

fn refusal(text: &str) -> PrepareError {
    refusal_under(text, &shared::text_params())
}

fn refusal_under(text: &str, params: &Params) -> PrepareError {
    let error = shared::prepare(&shared::engine(), text.as_bytes(), params).unwrap_err();
    assert!(error.is_deterministic());
    error
}

#[test]
fn the_smallest_module_is_accepted_plain_and_compressed_with_the_same_artifact() {
    let engine = shared::engine();
    let wasm = wat::parse_str(module("")).unwrap();
    let mut blob = COMPRESSED_PREFIX.to_vec();
    blob.extend(zstd::stream::encode_all(&wasm[..], 3).unwrap());
    let plain = shared::prepare(&engine, &wasm, &Params::default()).unwrap();
    let compressed = shared::prepare(&engine, &blob, &Params::default()).unwrap();
    let text = shared::prepare(&engine, module("").as_bytes(), &shared::text_params()).unwrap();
    assert_eq!(plain.artifact, compressed.artifact);
    assert_eq!(plain.artifact, text.artifact);
    assert_eq!(compressed.code_bytes, wasm.len() as u64);
}

/// A template makes the page before the text executable together with it.
#[test]
fn nothing_of_a_guest_stands_before_the_text_of_an_artifact() {
    const ELF_HEADER_BYTES: usize = 64;
    const PAGE_BYTES: usize = 4096;
    let more = r#"(func (export "a") (result i32) (i32.const 7)) (table 9 funcref) (data (i32.const 0) "words")"#;
    // What a command has.
    const WASI_PARTS: &str = r#"(memory (export "memory") 1) (func (export "_start"))"#;
    let own_memory = |more: &str| format!("(module (memory 1) {more})");
    let texts = |module: &dyn Fn(&str) -> String| ["", more].map(module);
    let of_programs = texts(&own_memory);
    for (params, texts) in [
        (shared::text_params(), texts(&module)),
        (shared::programs::text(Profile::Plain), of_programs.clone()),
        (
            shared::programs::text(Profile::Wasi),
            of_programs.map(|text| text.replace("(memory 1)", WASI_PARTS)),
        ),
    ] {
        let engine = Engine::new(&params).unwrap();
        let [small, other] =
            texts.map(|text| shared::prepare(&engine, text.as_bytes(), &params).unwrap().artifact);
        assert_ne!(small, other);
        assert_eq!(small[ELF_HEADER_BYTES..PAGE_BYTES], other[ELF_HEADER_BYTES..PAGE_BYTES]);
    }
}

#[test]
fn code_above_a_size_limit_is_refused() {
    let (engine, params) = (shared::engine(), Params::default());
    let mut blob = COMPRESSED_PREFIX.to_vec();
    blob.extend(zstd::stream::encode_all(&[0; 5000][..], 3).unwrap());
    let limits = CodeLimits { code_bytes_max: 1000, code_decompressed_bytes_max: 4999 };
    let error = engine.prepare(&blob, &params, &limits).unwrap_err();
    assert!(matches!(error, PrepareError::Decompress(DecompressError::TooLarge { .. })));
    let error = engine.prepare(&[0; 1001], &params, &limits).unwrap_err();
    assert!(matches!(error, PrepareError::CodeTooLarge { bytes: 1001, bytes_max: 1000 }));
    let error = engine.prepare(&blob[..20], &params, &limits).unwrap_err();
    assert!(matches!(error, PrepareError::Decompress(DecompressError::Invalid(_))));
}

#[test]
fn text_is_taken_only_when_asked_for() {
    let binary = Params::default();
    assert!(matches!(refusal_under("(module)", &binary), PrepareError::Invalid { .. }));
    assert!(matches!(refusal("(module"), PrepareError::Text { .. }));
}

#[test]
fn proposals_beyond_the_params_are_not_valid() {
    let bodies = [
        "(drop (i32.trunc_sat_f32_s (f32.const 0)))",
        "(drop (i8x16.splat (i32.const 0)))",
        "(memory.copy (i32.const 0) (i32.const 0) (i32.const 0))",
        "(drop (ref.null func))",
        "(return_call 0)",
        "(drop (block (result i32 i32) (i32.const 0) (i32.const 0))) drop",
    ];
    for body in bodies {
        let error = refusal(&module(&format!("(func {body})")));
        assert!(matches!(error, PrepareError::Invalid { .. }), "{body}: {error}");
    }
    let sign_extension = module("(func (drop (i32.extend8_s (i32.const 0))))");
    let params = Params {
        features: Features { sign_extension: false, ..Features::PVF },
        ..shared::text_params()
    };
    assert!(matches!(refusal_under(&sign_extension, &params), PrepareError::Invalid { .. }));
    shared::prepare(&shared::engine(), sign_extension.as_bytes(), &shared::text_params()).unwrap();
}

#[test]
fn imports_the_host_does_not_have_are_refused_by_kind() {
    let with = |import: &str| module("").replace("(import", &format!("{import} (import"));
    let error = refusal(&with(r#"(import "wasi" "f" (func))"#));
    assert!(
        matches!(error, PrepareError::ImportModule { module, name } if module == "wasi" && name == "f")
    );
    let error = refusal(&with(r#"(import "env" "g" (global i32))"#));
    assert!(matches!(error, PrepareError::ImportKind { kind: ExternKind::Global, .. }));
    let error = refusal(&with(r#"(import "env" "ext_allocator_malloc_version_1" (func))"#));
    assert!(matches!(error, PrepareError::ImportType { found, .. } if found == "() -> ()"));
}

#[test]
fn missing_exports_and_exports_of_another_type_are_refused() {
    for name in ["memory", "validate_block"] {
        let error = refusal(&module("").replace(&format!("\"{name}\""), "\"other\""));
        assert!(
            matches!(error, PrepareError::MissingExport { name: missing } if missing == name),
            "{error}"
        );
    }
    let error = refusal(&module("").replace("(result i64) (i64.const 0)", ""));
    assert!(matches!(error, PrepareError::ExportType { name: "validate_block", .. }));
}

#[test]
fn a_memory_that_starts_above_the_limit_is_refused() {
    let error = refusal(&module("").replace("(memory 1)", "(memory 2081)"));
    assert!(matches!(error, PrepareError::MemoryMinimum { pages: 2081, pages_max: 2080 }));
}

#[test]
fn segments_outside_their_memory_or_table_are_refused() {
    let error = refusal(&module(r#"(data (i32.const 65535) "ab")"#));
    assert!(matches!(error, PrepareError::SegmentOutOfBounds { end: 65537, size: 65536 }));
    let error = refusal(&module("(table 1 funcref) (elem (i32.const 1) 0)"));
    assert!(matches!(error, PrepareError::SegmentOutOfBounds { end: 2, size: 1 }));
}

#[test]
fn a_start_function_that_traps_is_refused_and_one_that_does_not_is_run() {
    let start = |body: &str| module(&format!("(func $start {body}) (start $start)"));
    let error = shared::checked(&start("unreachable")).unwrap_err();
    assert!(matches!(error, PrepareError::StartTrapped { kind: TrapKind::Unreachable, .. }));
    let error = shared::checked(&start("(call $start)")).unwrap_err();
    assert!(matches!(error, PrepareError::StartTrapped { kind: TrapKind::Unreachable, .. }));
    let good = start("(drop (memory.grow (i32.const 1)))");
    shared::checked(&good).unwrap();
}

#[test]
fn modules_of_unbearable_shape_are_refused_by_name() {
    let nested = module(&format!("(func {}{})", "(block ".repeat(10_001), ")".repeat(10_001)));
    assert!(matches!(refusal(&nested), PrepareError::Limit { what: "nested blocks", .. }));
    let branching = module(&format!("(func {})", "(block)".repeat(100_001)));
    let error = refusal(&branching);
    assert!(matches!(error, PrepareError::Limit { what: "branches of one function", .. }));
    let imports = r#"(import "env" "f" (func)) "#.repeat(2_001);
    let error = refusal(&module("").replace("(import", &format!("{imports} (import")));
    assert!(matches!(error, PrepareError::Limit { what: "imports", found: 2_002, max: 2_000 }));
    let error = refusal(&module("(table 1000001 funcref)"));
    assert!(matches!(error, PrepareError::Limit { what: "table elements", .. }));
}

#[test]
fn bulk_memory_beyond_copy_and_fill_is_refused_by_name() {
    let params = Params { features: shared::BULK, ..shared::text_params() };
    let code = module(r#"(data $d "x") (func (data.drop $d))"#);
    assert!(matches!(
        refusal_under(&code, &params),
        PrepareError::Unsupported { what: "data.drop" }
    ));
}

#[test]
fn an_engine_for_another_stack_size_refuses_to_prepare() {
    let engine = Engine::new(&Params { stack_native_bytes_max: 1 << 20, ..Params::default() });
    let error = shared::prepare(&engine.unwrap(), b"", &Params::default()).unwrap_err();
    assert!(matches!(error, PrepareError::WrongEngine) && !error.is_deterministic());
}

#[test]
fn a_damaged_artifact_does_not_load() {
    use std::io::Write as _;
    let engine = shared::engine();
    let prepared = shared::prepare(&engine, module("").as_bytes(), &shared::text_params()).unwrap();
    for damaged in [&b""[..], b"\x7fELF", &prepared.artifact[..prepared.artifact.len() / 2]] {
        let fd = rustix::fs::memfd_create("a", rustix::fs::MemfdFlags::CLOEXEC).unwrap();
        let mut file = std::fs::File::from(fd);
        file.write_all(damaged).unwrap();
        // SAFETY: what is left of a real artifact, refused before any of its code could run.
        assert!(unsafe { engine.load(file) }.is_err());
    }
}

#[test]
fn inspection_lists_imports_with_their_treatment_and_every_refusal() {
    let params = Params { code_format: CodeFormat::Text, ..Params::default() };
    let text = r#"(module
        (import "env" "memory" (memory 3 5))
        (import "env" "ext_hashing_twox_64_version_1" (func (param i64) (result i32)))
        (import "env" "ext_storage_get_version_1" (func (param i64) (result i64)))
        (import "other" "f" (func)))"#;
    let found = inspect(text.as_bytes(), &params, &CodeLimits::default()).unwrap();
    let treatments: Vec<_> = found.imports.iter().map(|import| import.treatment).collect();
    use ImportTreatment::{OwnMemory, Provided, Refused, TrapsWhenCalled};
    assert_eq!(treatments, [OwnMemory, Provided, TrapsWhenCalled, Refused]);
    assert_eq!(found.memory_pages, Some((3, Some(5))));
    assert_eq!(found.refusals.len(), 2, "{:?}", found.refusals);
    assert!(found.version.is_none());
}
