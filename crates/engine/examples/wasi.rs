//! Runs a WASI command in this process, with its streams on ours: `wasi FILE ARGS...`. Trace it to see
//! what a job needs behind its final filter: `getppid` marks the moment where that filter would come.
//! `METERED=1` counts instructions, `UNKNOWN=1` lets unknown imports through, `DIR=PATH` mounts the
//! files of one directory at `/in`; `/tmp` is 64 MiB.

use std::io::{Read as _, Write as _};
use std::rc::Rc;

use lazaret_engine::program::{Call, Entry, Instance};
use lazaret_engine::wasi::{Contents, Mount, Outside, Stream, Tree, World, WriteError};
use lazaret_engine::{CodeLimits, Engine, Params, Profile, UnknownImports};

struct Ours;

impl Outside for Ours {
    fn read(&mut self, buffer: &mut [u8]) -> usize {
        std::io::stdin().read(buffer).unwrap_or(0)
    }

    fn write(&mut self, stream: Stream, bytes: &[u8]) -> Result<(), WriteError> {
        let written = match stream {
            Stream::Out => rustix::io::write(rustix::stdio::stdout(), bytes),
            Stream::Err => std::io::stderr().write(bytes).map_err(|_| rustix::io::Errno::IO),
        };
        written.map(|_| ()).map_err(|_| WriteError::Closed)
    }
}

fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let is_set = |name: &str| std::env::var_os(name).is_some();
    let mut params = Params { metering: is_set("METERED"), ..Params::of(Profile::Wasi) };
    if is_set("UNKNOWN") {
        params.unknown_imports = UnknownImports::TrapWhenCalled;
    }
    let code = std::fs::read(&args[0]).expect("the first argument is a file");
    let engine = Engine::new(&params).expect("the engine starts");
    let prepared = match engine.prepare(&code, &params, &CodeLimits::default()) {
        Ok(prepared) => prepared,
        Err(error) => {
            eprintln!("refused: {error}");
            std::process::exit(1)
        }
    };
    let memfd = rustix::fs::memfd_create("artifact", rustix::fs::MemfdFlags::CLOEXEC);
    let mut file = std::fs::File::from(memfd.expect("a memfd"));
    file.write_all(&prepared.artifact).expect("it takes bytes");
    let started = std::time::Instant::now();
    // SAFETY: the artifact comes from `prepare` above, and nobody else has the memfd.
    let program = unsafe { engine.load_program(file, &params) }.expect("it loads");
    let mut instance = Instance::new(&engine, &program, &params).expect("there is an instance");
    let loaded = started.elapsed();
    let mut world = World::new(Box::new(Ours));
    world.args = args.into_iter().map(String::into_bytes).collect();
    if let Some(folder) = std::env::var_os("DIR") {
        world
            .mounts
            .push(Mount { path: b"/in".to_vec(), contents: Contents::Image(files(folder)) });
    }
    let contents = Contents::Private { bytes_max: 64 << 20 };
    world.mounts.push(Mount { path: b"/tmp".to_vec(), contents });
    let _ = rustix::process::getppid();
    let started = std::time::Instant::now();
    instance.provide(world);
    let ended = instance.call(&Call { entry: Entry::Command, fuel: None });
    let called = started.elapsed();
    let _ = rustix::process::getppid();
    eprintln!("{ended:?}, {:?}, loaded in {loaded:?}, called in {called:?}", instance.usage());
}

fn files(folder: std::ffi::OsString) -> Tree {
    let mut all = Vec::new();
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).expect("a directory").flatten() {
        if let Ok(content) = std::fs::read(entry.path()) {
            let start = all.len();
            all.extend(content);
            let name = entry.file_name().into_encoded_bytes();
            found.push((name, start..all.len()));
        }
    }
    let mut tree = Tree::new(Rc::new(all));
    for (name, range) in found {
        tree.file(&name, range).expect("names of a directory differ");
    }
    tree
}
