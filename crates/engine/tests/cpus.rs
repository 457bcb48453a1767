//! What a guest can see does not depend on the CPU's instructions: engines made for different sets of
//! them, in this process, compared in output, ending, fuel and every byte of memory.
//!
//! Wasmtime 48 refuses no level that this machine has, not even SIMD for an x86-64 that ends with SSE2
//! (Winch, its other compiler, would ask for AVX): where an instruction lacks, Cranelift uses several
//! others or calls the runtime. A level that this machine lacks is left out, loudly.

mod shared;

use std::rc::Rc;

use lazaret_engine::program::{Call, Entry, Input, Instance, Output};
use lazaret_engine::wasi::{Contents, Mount, Tree, World};
use lazaret_engine::{Cpu, Engine, EngineError, ExecuteError, Params, Profile};
use shared::programs::{Loaded, Streams, load_by, text};
use shared::{operators, test_data};

const LEVELS: [Cpu; 4] = [Cpu::X86_64, Cpu::X86_64V2, Cpu::X86_64V3, Cpu::X86_64V4];

/// The host first, which the others are compared with.
const ALL: [Cpu; 5] = [Cpu::Host, LEVELS[0], LEVELS[1], LEVELS[2], LEVELS[3]];

/// For programs that take a while.
const THREE: [Cpu; 3] = [Cpu::Host, Cpu::X86_64V2, Cpu::X86_64];

/// For those that take ten seconds, to compile or to run.
const EXTREMES: [Cpu; 2] = [Cpu::Host, Cpu::X86_64];

fn engine(cpu: Cpu, params: &Params) -> Option<Engine> {
    match Engine::for_cpu(params, cpu) {
        Ok(engine) => Some(engine),
        Err(EngineError::Setup { text }) => {
            assert_ne!(cpu, Cpu::Host, "{text}");
            assert!(text.contains("not available on the host"), "{text}");
            eprintln!("SKIPPED: {cpu:?}: {text}");
            None
        }
    }
}

/// Does the same with an engine of each set, and says of the first one what all of them said.
fn agree<T: PartialEq>(cpus: &[Cpu], params: &Params, run: impl Fn(Engine) -> T) -> T {
    let mut first = None;
    for &cpu in cpus {
        let Some(engine) = engine(cpu, params) else { continue };
        let seen = run(engine);
        match &first {
            None => first = Some(seen),
            Some(first) => assert!(*first == seen, "{cpu:?} differs from the host"),
        }
    }
    first.expect("the host is among the engines")
}

/// What an instance shows at its end: the ending in all its words, fuel and pages, and its memory.
#[derive(Clone, Debug, PartialEq)]
struct Seen {
    ended: String,
    fuel: u64,
    memory: Vec<u8>,
}

fn call(instance: &mut Instance, call: &Call<'_>) -> (Result<Output, ExecuteError>, Seen) {
    let ended = instance.call(call);
    let usage = instance.usage();
    let memory = instance.bytes(&(0..usage.memory_pages as usize * 65_536)).to_vec();
    assert_eq!(memory.len(), usage.memory_pages as usize * 65_536);
    let fuel = usage.fuel.expect("the code is metered");
    let seen = Seen { ended: format!("{ended:?}"), fuel, memory };
    (ended, seen)
}

fn metered(params: Params) -> Params {
    Params { metering: true, ..params }
}

#[test]
fn the_fingerprint_tells_the_sets_apart() {
    let params = Params::default();
    let prints: Vec<_> = LEVELS
        .iter()
        .filter_map(|&cpu| engine(cpu, &params))
        .map(|engine| engine.fingerprint())
        .collect();
    for (number, print) in prints.iter().enumerate() {
        assert!(!prints[..number].contains(print), "{:?}", LEVELS[number]);
    }
    let host = Engine::for_cpu(&params, Cpu::Host).unwrap().fingerprint();
    assert_eq!(host, Engine::new(&params).unwrap().fingerprint());
    assert_ne!(host, prints[0], "no x86-64 of today has SSE2 and nothing else");
}

/// Machine code does differ, or the other tests here would show nothing.
#[test]
fn the_sets_make_different_machine_code() {
    let params = metered(text(Profile::Plain));
    let (guest, _) = operators::guest();
    let texts: Vec<Vec<u8>> = LEVELS
        .iter()
        .filter_map(|&cpu| engine(cpu, &params))
        .map(|engine| load_by(engine, guest.as_bytes(), &params).program.text().to_vec())
        .collect();
    for (number, text) in texts.iter().enumerate() {
        assert!(!texts[..number].contains(text), "{:?}", LEVELS[number]);
    }
}

/// Floats with every kind of NaN, integers, SIMD: all operators on all pairs of awkward operands.
#[test]
fn every_operator_gives_the_same_bits() {
    let params = metered(text(Profile::Plain));
    let (guest, names) = operators::guest();
    eprintln!("{} operators", names.len());
    let mut first: Option<(Vec<u8>, Seen)> = None;
    for cpu in ALL {
        let Some(engine) = engine(cpu, &params) else { continue };
        let mut instance = load_by(engine, guest.as_bytes(), &params).instance();
        let entry = Entry::Export { name: "all", input: Input::Bytes(b"") };
        let (ended, seen) = call(&mut instance, &Call { entry, fuel: None });
        let Ok(Output::Bytes(range)) = ended else { panic!("{cpu:?}: {ended:?}") };
        let bytes = instance.bytes(&range).to_vec();
        assert_eq!(bytes.len(), names.len() * operators::results_bytes());
        let (expected, host) = first.get_or_insert((bytes.clone(), seen.clone()));
        if let Some(at) = (0..bytes.len()).find(|&at| bytes[at] != expected[at]) {
            let name = &names[at / operators::results_bytes()];
            let (slot, byte) = (at / operators::SLOT_BYTES, at % operators::SLOT_BYTES);
            panic!("{cpu:?}: {name}, result {slot}, byte {byte}");
        }
        assert!(*host == seen, "{cpu:?}: fuel or memory");
    }
}

/// Moves memory about, grows it and adds up floats for as long as it is let, or goes down.
const ENDLESS: &str = r#"(module (memory (export "memory") 1 40) (data $words "lazaret")
    (func (export "work") (param i32) (local $sum f64) (local $at i32)
        (memory.init $words (i32.const 9) (i32.const 0) (i32.const 7))
        (loop $again
            (memory.copy (i32.add (local.get $at) (i32.const 12)) (local.get $at) (i32.const 100))
            (memory.fill (i32.add (local.get $at) (i32.const 50)) (local.get $at) (i32.const 9))
            (local.set $at (i32.add (local.get $at) (i32.const 24)))
            (local.set $sum (f64.sqrt (f64.add (local.get $sum)
                (f64.div (f64.load (local.get $at)) (f64.convert_i32_u (local.get $at))))))
            (f64.store (local.get $at) (local.get $sum))
            (if (i32.eqz (i32.and (local.get $at) (i32.const 0xfff)))
                (then (drop (memory.grow (i32.const 1)))))
            (br_if $again (local.get 0)))
        (drop (i32.div_u (i32.const 1) (local.get 0))))
    (func $deep (export "deep") (param i32) (local v128)
        (i32.store (i32.const 0) (local.get 0))
        (call $deep (i32.add (local.get 0) (i32.const 1)))
        (i32.store (i32.const 4) (local.get 0))))"#;

#[test]
fn fuel_and_stack_end_at_the_same_instruction_and_traps_are_the_same() {
    let params = metered(text(Profile::Plain));
    let cases = [
        ("work", "1", Some(1), "OutOfFuel"),
        ("work", "1", Some(997), "OutOfFuel"),
        ("work", "1", Some(100_003), "OutOfFuel"),
        ("work", "1", None, "OutOfBounds"),
        ("work", "0", None, "DivisionByZero"),
        ("deep", "0", Some(50_000), "OutOfFuel"),
        ("deep", "0", None, "Stack"),
    ];
    for (name, word, fuel, expected) in cases {
        let words = [word.to_owned()];
        let seen = agree(&ALL, &params, |engine| {
            let mut instance = load_by(engine, ENDLESS.as_bytes(), &params).instance();
            let entry = Entry::Export { name, input: Input::Words(&words) };
            call(&mut instance, &Call { entry, fuel }).1
        });
        assert!(seen.ended.contains(expected), "{name} {word} {fuel:?}: {}", seen.ended);
    }
}

/// What a command shows: how it ends, what it wrote, and what else an instance shows.
fn command(
    loaded: &Loaded,
    world: World,
    streams: &Streams,
    fuel: Option<u64>,
) -> (Seen, [String; 2]) {
    let mut instance = loaded.instance();
    instance.provide(world);
    let (_, seen) = call(&mut instance, &Call { entry: Entry::Command, fuel });
    (seen, [streams.out(), streams.err()])
}

/// Runs a program of the data with all of some sets; it sees one file, `/in/text`.
fn program(
    cpus: &[Cpu],
    name: &str,
    args: &[&str],
    input: &[u8],
    fuel: Option<u64>,
) -> Option<(Seen, [String; 2])> {
    let path = test_data("wasi")?.join(name);
    let Ok(code) = std::fs::read(&path) else {
        eprintln!("SKIPPED: no {}", path.display());
        return None;
    };
    let params = metered(Params::of(Profile::Wasi));
    let (seen, written) = agree(cpus, &params, |engine| {
        let streams = Streams::default();
        streams.input.borrow_mut().extend_from_slice(input);
        let mut world = streams.world();
        world.args = args.iter().map(|arg| arg.as_bytes().to_vec()).collect();
        let text: Vec<u8> = (0..20_000).flat_map(|n: u32| format!("{n}\n").into_bytes()).collect();
        let mut files = Tree::new(Rc::new(text.clone()));
        files.file(b"text", 0..text.len()).unwrap();
        world.mounts.push(Mount { path: b"/in".to_vec(), contents: Contents::Image(files) });
        let contents = Contents::Private { bytes_max: 1 << 20 };
        world.mounts.push(Mount { path: b"/tmp".to_vec(), contents });
        command(&load_by(engine, &code, &params), world, &streams, fuel)
    });
    let pages = seen.memory.len() / 65_536;
    eprintln!("{name}: {}, fuel {}, {pages} pages", seen.ended, seen.fuel);
    Some((seen, written))
}

#[test]
fn programs_of_many_makers_show_the_same() {
    let cases: [(&str, &[&str], &[u8], &str); 3] = [
        ("test_wasi_mal_mal.wasm", &["mal"], b"(+ 1 (* 2 3))\n", "user> 7\n"),
        ("test_wasi_raymarcher_raymarcher.wasm", &["r"], b"", "@@@@@@@@@@@@"),
        ("test_wasi_brotli_brotli.wasm", &["brotli", "-q", "5", "-c", "/in/text"], b"", ""),
    ];
    for (name, args, input, expected) in cases {
        let Some((seen, [out, err])) = program(&THREE, name, args, input, None) else { continue };
        assert_eq!(seen.ended, "Ok(Exit(0))", "{name}: {err}");
        assert!(!out.is_empty() && out.contains(expected), "{name}: {out}");
    }
}

/// Its clock is moved by fuel, so that even the time it reports is the same.
#[test]
fn coremark_reports_the_same() {
    let seen = program(&EXTREMES, "coremark.wasm", &["coremark"], b"", None);
    let Some((seen, [out, err])) = seen else { return };
    assert_eq!(seen.ended, "Ok(Exit(0))", "{err}");
    for expected in ["]crcfinal", "Correct operation validated.", "CoreMark 1.0 :"] {
        assert!(out.contains(expected), "{out}");
    }
}

#[test]
fn a_path_tracer_stops_at_the_same_ray() {
    let name = "test_wasi_smallpt_smallpt-ex.wasm";
    let Some((seen, _)) = program(&ALL, name, &["s"], b"", Some(500_000_000)) else { return };
    assert!(seen.ended.contains("OutOfFuel"), "{}", seen.ended);
}

#[test]
fn cpython_computes_the_same_floats() {
    let script = b"import math, random, json, hashlib, struct
random.seed(7)
xs = [random.gauss(0, 10.0 ** (n % 20 - 10)) for n in range(3000)]
ys = [f(x) for f in (math.sin, math.atan, math.tanh, math.erf, math.cbrt) for x in xs]
ys += [math.fsum(xs), sum(xs), math.hypot(*xs[:50]), math.lgamma(3.7), 1e308 * 10, 2 ** 0.5, -0.0]
ys += [x % 3.7 for x in xs] + [x ** 2 / 3 for x in xs] + [round(x, 2) for x in xs]
nan = struct.pack('<d', (math.inf - math.inf) * -1)
print(hashlib.sha256(struct.pack(f'<{len(ys)}d', *ys) + nan).hexdigest(), nan.hex())
print(json.dumps(ys[:5]), hash(2.5), hash(10 ** 40), len(open('/in/text').read()))
";
    let seen = program(&EXTREMES, "python-3.12.wasm", &["python", "-"], script, None);
    let Some((seen, [out, err])) = seen else { return };
    assert_eq!(seen.ended, "Ok(Exit(0))", "{err}");
    assert_eq!(out.lines().count(), 2, "{out}");
}

#[test]
fn a_block_validates_the_same() {
    let Some(folder) = test_data("pvf") else { return };
    let folder = folder.join("hydradx-140-6c5737");
    let files =
        ["code", "params.scale", "result.scale"].map(|name| std::fs::read(folder.join(name)));
    let [Ok(code), Ok(input), Ok(expected)] = files else {
        eprintln!("SKIPPED: no {}", folder.display());
        return;
    };
    let params = Params::default();
    let (output, pages) = agree(&THREE, &params, |engine| {
        let prepared = shared::prepare(&engine, &code, &params).expect("it prepares");
        let artifact = shared::load(&engine, &prepared.artifact);
        let reply = shared::execute(&engine, &artifact, &params, &input).expect("it validates");
        (reply.output().to_vec(), reply.memory_pages())
    });
    assert_eq!(output, expected);
    eprintln!("hydradx: {pages} pages");
}
