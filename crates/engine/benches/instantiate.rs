//! From an artifact to an answer in one process, without a jail: loading, making an instance, calling
//! it. What a call takes beyond this is the jail's and the host's.
//! `cargo bench -p lazaret-engine --bench instantiate`.

use std::{fmt::Write as _, fs::File, io::Write as _};

use divan::Bencher;
use lazaret_engine::{
    Artifact, Engine, Params,
    pvf::{Input, Instance},
};
use shared::{engine, prepare, text_params};

#[path = "../tests/shared/mod.rs"]
mod shared;

/// Functions of the guest, besides the one that is called.
const FUNCTIONS: [usize; 3] = [0, 100, 2_000];

fn main() {
    divan::main();
}

struct Loaded {
    engine: Engine,
    params: Params,
    file: File,
    artifact: Artifact,
}

fn loaded(functions: usize) -> Loaded {
    let (engine, params) = (engine(), text_params());
    let mut others = String::new();
    for number in 0..functions {
        let body = format!("(i32.mul (local.get 0) (i32.const {number}))");
        let _ = writeln!(others, "(func (param i32) (result i32) {body})");
    }
    // With data, so that there is a memory image to map.
    let text = format!(
        r#"(module
            (memory (export "memory") 2)
            (data (i32.const 1024) "some bytes")
            (global (export "__heap_base") i32 (i32.const 65536))
            (func (export "validate_block") (param i32 i32) (result i64) (i64.const 0))
            {others})"#
    );
    let prepared = prepare(&engine, text.as_bytes(), &params).expect("the guest prepares");
    let name = "artifact";
    let memfd = rustix::fs::memfd_create(name, rustix::fs::MemfdFlags::CLOEXEC).expect("a memfd");
    let mut file = File::from(memfd);
    file.write_all(&prepared.artifact).expect("a memfd takes bytes");
    let artifact = load(&engine, &file);
    Loaded { engine, params, file, artifact }
}

fn load(engine: &Engine, file: &File) -> Artifact {
    let file = file.try_clone().expect("a second handle");
    // SAFETY: the file's bytes come from `prepare` in this process; nobody else has the memfd.
    unsafe { engine.load(file) }.expect("a fresh artifact loads")
}

fn instance(loaded: &Loaded) -> Instance {
    let Loaded { engine, params, artifact, .. } = loaded;
    Instance::new(engine, artifact, params, Box::new(|_| ())).expect("an instance")
}

#[divan::bench(args = FUNCTIONS)]
fn load_an_artifact(bencher: Bencher<'_, '_>, functions: usize) {
    let loaded = loaded(functions);
    bencher.bench_local(|| load(&loaded.engine, &loaded.file));
}

#[divan::bench(args = FUNCTIONS)]
fn make_an_instance(bencher: Bencher<'_, '_>, functions: usize) {
    let loaded = loaded(functions);
    bencher.bench_local(|| instance(&loaded));
}

#[divan::bench(args = FUNCTIONS)]
fn make_an_instance_and_call_it(bencher: Bencher<'_, '_>, functions: usize) {
    let loaded = loaded(functions);
    bencher.bench_local(|| instance(&loaded).validate_block(Input::Encoded(&[])));
}

/// By bytes of input, which is copied once into the guest's memory.
#[divan::bench(args = [0, 1 << 20, 10 << 20])]
fn call_with_an_input(bencher: Bencher<'_, '_>, input_bytes: usize) {
    let (loaded, input) = (loaded(0), vec![7; input_bytes]);
    let instances = bencher.with_inputs(|| instance(&loaded));
    instances.bench_local_values(|instance| instance.validate_block(Input::Encoded(&input)));
}
