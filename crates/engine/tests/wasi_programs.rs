//! Strangers' WASI programs, in this process: each runs, or is refused with a reason.

mod shared;

use std::rc::Rc;

use lazaret_engine::program::{Call, Entry, Input, Output, Value};
use lazaret_engine::wasi::{Contents, Mount, Tree};
use lazaret_engine::{ExecuteError, Params, PrepareError, Profile, TrapKind, UnknownImports};
use shared::programs::{Loaded, Streams, command, load};
use shared::test_data;

/// Loads a program of the data, or says loudly that it is not there.
fn program(name: &str, params: &Params) -> Option<Loaded> {
    let path = test_data("wasi")?.join(name);
    match std::fs::read(&path) {
        Ok(code) => Some(load(&code, params)),
        Err(error) => {
            eprintln!("SKIPPED: {}: {error}", path.display());
            None
        }
    }
}

fn wasi() -> Params {
    Params::of(Profile::Wasi)
}

/// Runs a command and returns what it wrote to standard output.
fn run(loaded: &Loaded, args: &[&str], input: &[u8]) -> String {
    let streams = Streams::default();
    streams.input.borrow_mut().extend_from_slice(input);
    let mut world = streams.world();
    world.args = args.iter().map(|arg| arg.as_bytes().to_vec()).collect();
    let ended = command(loaded, world);
    assert_eq!(ended.expect("it ends"), Output::Exit(0), "{}{}", streams.out(), streams.err());
    streams.out()
}

/// A tree of one file.
fn tree(path: &[u8], content: &[u8]) -> Tree {
    let mut tree = Tree::new(Rc::new(content.to_vec()));
    tree.file(path, 0..content.len()).unwrap();
    tree
}

#[test]
fn cpython_adds_up() {
    let Some(python) = program("python-3.12.wasm", &wasi()) else { return };
    let output = run(&python, &["python", "-"], b"print(sum(range(10**6)))\n");
    assert_eq!(output, "499999500000\n");
    let script = b"import json, zlib, hashlib, random, time, os
os.mkdir('/tmp/a'); open('/tmp/a/b', 'w').write('text'); os.rename('/tmp/a/b', '/tmp/c')
print(open('/tmp/c').read(), sorted(os.listdir('/tmp')), open('/in/file').read())
print(json.dumps({'a': [1, 2.5]}), hashlib.sha256(b'x').hexdigest()[:8])
def deep(n): return 0 if n == 0 else 1 + deep(n - 1)
print(deep(900))
";
    let outputs: Vec<_> = (0..2)
        .map(|_| {
            let streams = Streams::default();
            let mut world = streams.world();
            world.args = vec![b"python".to_vec(), b"/in/script.py".to_vec()];
            let mut files = tree(b"script.py", script);
            files.file(b"file", 7..11).unwrap();
            let contents = Contents::Image(files);
            world.mounts.push(Mount { path: b"/in".to_vec(), contents });
            let contents = Contents::Private { bytes_max: 1 << 20 };
            world.mounts.push(Mount { path: b"/tmp".to_vec(), contents });
            let ended = command(&python, world);
            assert_eq!(ended.unwrap(), Output::Exit(0), "{}{}", streams.out(), streams.err());
            streams.out()
        })
        .collect();
    assert!(outputs[0].starts_with("text ['a', 'c'] json\n"), "{}", outputs[0]);
    assert!(outputs[0].ends_with("\n900\n"), "{}", outputs[0]);
    assert_eq!(outputs[0], outputs[1]);
}

#[test]
fn coremark_prints_its_result() {
    let params = Params { metering: true, ..wasi() };
    let Some(coremark) = program("coremark.wasm", &params) else { return };
    let output = run(&coremark, &["coremark"], b"");
    eprintln!("{output}");
    assert!(output.contains("CoreMark 1.0 :"), "{output}");
}
