//! Strangers' WASI programs, in this process: each runs, or is refused with a reason.

mod shared;

use std::rc::Rc;

use lazaret_engine::program::{Call, Entry, Instance, Output};
use lazaret_engine::wasi::{Contents, Mount, Tree};
use lazaret_engine::{ExecuteError, Params, PrepareError, Profile, UnknownImports};
use shared::programs::{Loaded, Streams, command, load, prepare};
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

/// Coremark repeats its work until a second has passed, so it needs a clock that work moves.
#[test]
fn coremark_prints_its_result() {
    let Some(coremark) = program("coremark.wasm", &wasi()) else { return };
    let output = run(&coremark, &["coremark"], b"");
    assert!(output.contains("Correct operation validated."), "{output}");
    assert!(output.contains("CoreMark 1.0 :"), "{output}");
}

#[test]
fn brotli_round_trips_through_an_image_and_room_for_files() {
    let Some(brotli) = program("test_wasi_brotli_brotli.wasm", &wasi()) else { return };
    let text: Vec<u8> = (0..20_000).flat_map(|n: u32| format!("{n}\n").into_bytes()).collect();
    let brotli_of = |name: &str, content: &[u8], args: &[&str]| {
        let streams = Streams::default();
        let mut world = streams.world();
        world.args = args.iter().map(|arg| arg.as_bytes().to_vec()).collect();
        let contents = Contents::Image(tree(name.as_bytes(), content));
        world.mounts.push(Mount { path: b"/in".to_vec(), contents });
        let contents = Contents::Private { bytes_max: 1 << 20 };
        world.mounts.push(Mount { path: b"/tmp".to_vec(), contents });
        let ended = command(&brotli, world);
        assert_eq!(ended.unwrap(), Output::Exit(0), "{}", streams.err());
        streams.out.take()
    };
    let packed = brotli_of("text", &text, &["brotli", "-q", "5", "-c", "/in/text"]);
    assert!(packed.len() < text.len() / 2);
    brotli_of("text", &text, &["brotli", "-q", "5", "-o", "/tmp/packed", "/in/text"]);
    let unpacked = brotli_of("text.br", &packed, &["brotli", "-d", "-c", "/in/text.br"]);
    assert!(unpacked == text);
}

#[test]
fn programs_of_many_makers_run() {
    let cases: [(&str, &[&str], &str, &str); 8] = [
        ("test_wasi_mal_mal.wasm", &["mal"], "(+ 1 (* 2 3))\n", "user> 7\n"),
        ("test_wasi_raymarcher_raymarcher.wasm", &["r"], "", "@@@@@@@@@@@@@@@@@@@"),
        ("test_wasi_simple_test.wasm", &["t", "a"], "", "fib(20) = 6765 ["),
        ("test_wasi_stream_stream.wasm", &["s"], "", "Solution Validates"),
        ("yowasp-icepll.wasm", &["icepll"], "", "F_PLLOUT:   60.000 MHz (achieved)"),
        ("cmd_wazero_testdata_wasi_arg.wasm", &["one", "two"], "", "one\0two\0"),
        ("cmd_wazero_testdata_wasi_env.wasm", &[], "", ""),
        ("cmd_wazero_testdata_wasi_random_get.wasm", &[], "", ""),
    ];
    for (name, args, input, expected) in cases {
        let Some(loaded) = program(name, &wasi()) else { continue };
        let output = run(&loaded, args, input.as_bytes());
        assert!(output.contains(expected), "{name}: {output}");
    }
}

#[test]
fn a_path_tracer_draws_the_same_picture_until_its_fuel_ends() {
    let params = Params { metering: true, ..wasi() };
    let Some(smallpt) = program("test_wasi_smallpt_smallpt-ex.wasm", &params) else { return };
    let ended = || {
        let streams = Streams::default();
        let mut instance = smallpt.instance();
        instance.provide(streams.world());
        let call = Call { entry: Entry::Command, fuel: Some(2_000_000_000) };
        let error = instance.call(&call).unwrap_err();
        assert!(matches!(error, ExecuteError::OutOfFuel { .. }), "{error}");
        (instance.usage(), streams.out(), streams.err())
    };
    assert_eq!(ended(), ended());
}

#[test]
fn tinygo_s_cat_shows_a_file() {
    let name = "cmd_wazero_testdata_cat_cat-tinygo.wasm";
    let Some(cat) = program(name, &wasi()) else { return };
    let streams = Streams::default();
    let mut world = streams.world();
    world.args = vec![b"cat".to_vec(), b"/test.txt".to_vec()];
    let contents = Contents::Image(tree(b"test.txt", b"greet filesystem\n"));
    world.mounts.push(Mount { path: b"/".to_vec(), contents });
    assert_eq!(command(&cat, world).unwrap(), Output::Exit(0), "{}", streams.err());
    assert_eq!(streams.out(), "greet filesystem\n");
}

#[test]
fn a_reactor_that_imports_more_than_wasi_runs_where_that_is_let_through() {
    let name = "quickjs-wasi-reactor.wasm";
    let params = Params { unknown_imports: UnknownImports::TrapWhenCalled, ..wasi() };
    let Some(quickjs) = program(name, &params) else { return };
    let mut instance = quickjs.instance();
    let call = |instance: &mut Instance, name: &str, given: &[i32]| {
        shared::programs::number(instance, name, given)
    };
    let version = call(&mut instance, "JS_GetVersion", &[]) as usize;
    let text = String::from_utf8_lossy(instance.bytes(&(version..version + 6))).into_owned();
    assert!(text.starts_with("0."), "{text:?}");
    let runtime = call(&mut instance, "JS_NewRuntime", &[]);
    assert_ne!(runtime, 0);
    assert_ne!(call(&mut instance, "JS_NewContext", &[runtime]), 0);
}

#[test]
fn programs_for_other_hosts_are_refused_by_what_they_ask_for() {
    let cases = [
        ("coremark-emcc.wasm", "the Function `a` of `a`"),
        ("coremark-minimal.wasm", "the Function `clock_ms` of `env`"),
        ("quickjs-wasi-reactor.wasm", "the Function `host_get_timezone_offset` of `env`"),
    ];
    let Some(folder) = test_data("wasi") else { return };
    for (name, expected) in cases {
        let Ok(code) = std::fs::read(folder.join(name)) else {
            eprintln!("SKIPPED: {name}");
            continue;
        };
        let error = prepare(&code, &wasi()).unwrap_err();
        assert!(matches!(error, PrepareError::UnknownImport { .. }), "{name}: {error}");
        assert!(error.to_string().contains(expected), "{name}: {error}");
        assert!(error.to_string().contains("unknown imports"), "{name}: {error}");
    }
}

/// It opens `bear.txt` without asking for any right, and reads it.
#[test]
fn a_program_that_asks_for_no_rights_reads_its_file() {
    let Some(loaded) = program("cmd_wazero_testdata_wasi_fd.wasm", &wasi()) else { return };
    let streams = Streams::default();
    let mut world = streams.world();
    let contents = Contents::Image(tree(b"bear.txt", b"animals"));
    world.mounts.push(Mount { path: b"/".to_vec(), contents });
    assert_eq!(command(&loaded, world).unwrap(), Output::Exit(0));
    assert_eq!(streams.out(), "animals");
}
