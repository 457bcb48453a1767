//! Real programs of the shared data, each behind the default jail and each twice: verdict, output and fuel
//! are compared bit for bit, in different processes and beside each other.

mod support;

use std::{
    path::{Path, PathBuf},
    thread,
};

use serde_json::Value;
use support::programs::{Folder, fed, object, text};

/// A program, what it is given, and what of its output is known.
struct Case {
    file: &'static str,
    arguments: Vec<String>,
    stdin: &'static str,
    says: &'static str,
}

fn case(file: &'static str, arguments: &[&str], stdin: &'static str, says: &'static str) -> Case {
    let arguments = arguments.iter().map(|argument| (*argument).to_owned()).collect();
    Case { file, arguments, stdin, says }
}

const WORK: &str = "
import hashlib, json, random, re, sys, time, zlib
random.seed(7)
data = bytes(random.randrange(256) for _ in range(20000))
packed = zlib.compress(data * 3)
words = re.findall(r'[a-z]+', ' '.join(sys.modules))
table = {word: hashlib.sha256(word.encode()).hexdigest() for word in sorted(words)}
print(len(packed), hashlib.sha256(json.dumps(table).encode()).hexdigest(), time.time() > 9e8)
print(sum(1 / (1 + n) ** 0.5 for n in range(50000)), random.SystemRandom().random())
";

fn cases() -> Vec<Case> {
    vec![
        case("coremark.wasm", &[], "", "Correct operation validated"),
        case("python-3.12.wasm", &["--", "-"], "print(sum(range(10**6)))\n", "499999500000\n"),
        case("python-3.12.wasm", &["--", "-"], WORK, "True"),
        case("test_wasi_mal_mal.wasm", &[], "(+ 1 (* 2 3))\n", "7"),
        case("test_wasi_raymarcher_raymarcher.wasm", &[], "", "@@@"),
        case("test_wasi_simple_test.wasm", &["a", "b"], "", "fib(20) = 6765"),
        case("test_wasi_stream_stream.wasm", &[], "", "Solution Validates"),
        case("yowasp-icepll.wasm", &["--", "-i", "12", "-o", "60"], "", "F_PLLOUT:   60.000 MHz"),
        case("cmd_wazero_testdata_cat_cat-tinygo.wasm", &[], "", ""),
        // Ends in the midst of its work, at the same instruction.
        case("test_wasi_smallpt_smallpt-ex.wasm", &["--fuel", "3000000000"], "", ""),
        case("python-3.12.wasm", &["--fuel", "200000000", "--", "-"], WORK, ""),
        case("python-3.12.wasm", &["--output-max", "999", "--", "-c", "print('x' * 2000)"], "", ""),
    ]
}

fn run(folder: &Folder, data: &Path, case: &Case) -> Value {
    let program = data.join(case.file);
    let mut command = folder.command("run");
    let is_limited = case.arguments.iter().any(|argument| argument == "--fuel");
    command.args(["--json", "--cpu-limit", "120s"]).args((!is_limited).then_some("--meter"));
    command.arg(&program).args(&case.arguments);
    let output = fed(&mut command, case.stdin.as_bytes());
    let mut object = object(&output);
    let kept =
        ["verdict", "kind", "exit_code", "stdout", "stdout_hex", "stderr", "fuel", "memory_pages"];
    let map = object.as_object_mut().expect("an object");
    map.retain(|key, _| kept.contains(&key.as_str()));
    map.insert("code".into(), output.status.code().into());
    object
}

#[test]
fn every_program_works_and_ends_the_same_in_two_processes_under_load() {
    let Some(data) = support::data("wasi") else {
        return support::skipped(12, "real programs: ../shared/data/wasi is not there");
    };
    let folder = Folder::new();
    let cases = cases();
    let all =
        |cases: &[Case]| cases.iter().map(|case| run(&folder, &data, case)).collect::<Vec<_>>();
    // The second time all at once, so that they take the processors from each other.
    let first = all(&cases);
    let second: Vec<_> = thread::scope(|scope| {
        let running: Vec<_> =
            cases.iter().map(|case| scope.spawn(|| run(&folder, &data, case))).collect();
        running.into_iter().map(|running| running.join().expect("no panic")).collect()
    });
    for ((case, one), other) in cases.iter().zip(&first).zip(&second) {
        assert_eq!(one, other, "{} {:?}", case.file, case.arguments);
        let said = one["stdout"].as_str().unwrap_or_default();
        assert!(said.contains(case.says), "{} {:?}: {one}", case.file, case.arguments);
        assert!(one["fuel"].as_u64().is_some_and(|fuel| fuel > 0), "{}: {one}", case.file);
        if !case.arguments.iter().any(|argument| argument == "--fuel" || argument == "--output-max")
        {
            assert_eq!((&one["verdict"], &one["code"]), (&"returned".into(), &0.into()), "{one}");
        }
    }
    let kinds: Vec<_> = first[9..].iter().map(|ended| ended["kind"].clone()).collect();
    assert_eq!(kinds, ["out-of-fuel", "out-of-fuel", "output-too-large"]);
}

#[test]
fn brotli_brings_a_file_there_and_back() {
    let Some(data) = support::data("wasi") else {
        return support::skipped(1, "brotli: ../shared/data/wasi is not there");
    };
    let folder = Folder::new();
    let brotli = data.join("test_wasi_brotli_brotli.wasm").display().to_string();
    std::fs::create_dir(folder.path().join("tree")).expect("a folder");
    let original = std::fs::read(data.join("test_wasi_simple_test.wasm")).expect("a file");
    folder.put("tree/file", &original);
    let dir = format!("{}::/in", folder.path().join("tree").display());
    // By way of a file of its own: what it writes at /tmp it reads from there.
    let packed = folder.run(&[&brotli, "--dir", &dir, "--tmp", "10M", "--", "-c", "/in/file"]);
    assert!(packed.status.success(), "{}", text(&packed.stderr));
    assert!(packed.stdout.len() < original.len());
    folder.put("tree/file.br", &packed.stdout);
    let unpacked =
        folder.run(&[&brotli, "--dir", &dir, "--tmp", "10M", "--", "-d", "-c", "/in/file.br"]);
    assert!(unpacked.stdout == original, "{}", text(&unpacked.stderr));
    let to_tmp =
        folder.run(&[&brotli, "--dir", &dir, "--tmp", "10M", "--", "/in/file", "-o", "/tmp/f.br"]);
    assert!(to_tmp.status.success(), "{}", text(&to_tmp.stderr));
}

/// The same of blocks, with one cache: the first run prepares, the second finds what it made.
#[test]
fn every_block_ends_the_same_in_two_processes_beside_each_other() {
    let Some(data) = support::data("pvf") else {
        return support::skipped(25, "real blocks: ../shared/data/pvf is not there");
    };
    let folder = Folder::new();
    let has_block = |chain: &PathBuf| chain.join("params.scale").is_file();
    // Every one is validated elsewhere; here some are enough.
    let chains: Vec<_> = support::entries(&data).into_iter().filter(has_block).step_by(4).collect();
    assert!(chains.len() >= 5, "{}", chains.len());
    let validate = |chain: &Path| {
        let mut command = folder.command("pvf");
        command.args(["validate", "--json", "--cpu-limit", "120s", "--code"]);
        command.arg(chain.join("code")).arg("--params").arg(chain.join("params.scale"));
        let output = fed(&mut command, b"");
        let mut object = object(&output);
        let map = object.as_object_mut().expect("an object");
        map.retain(|key, _| {
            ["verdict", "vote", "kind", "reason", "result"].contains(&key.as_str())
        });
        object
    };
    for pair in chains.chunks(2) {
        let once: Vec<_> = pair.iter().map(|chain| validate(chain)).collect();
        let again: Vec<_> = thread::scope(|scope| {
            let running: Vec<_> =
                pair.iter().map(|chain| scope.spawn(|| validate(chain))).collect();
            running.into_iter().map(|running| running.join().expect("no panic")).collect()
        });
        assert_eq!(once, again, "{pair:?}");
        assert!(once.iter().all(|ended| ended["vote"] == "for"), "{once:?}");
    }
}

/// Its clock goes by what it does, so it comes to an end without fuel being counted.
#[test]
fn coremark_prints_its_result_as_it_is() {
    let Some(data) = support::data("wasi") else {
        return support::skipped(1, "coremark: ../shared/data/wasi is not there");
    };
    let folder = Folder::new();
    let output = folder.run(&[&data.join("coremark.wasm").display().to_string()]);
    let told = text(&output.stdout);
    assert!(
        output.status.success() && told.contains("CoreMark 1.0 :"),
        "{told} {}",
        text(&output.stderr)
    );
}

/// What cannot run here says what a person can do about it.
#[test]
fn a_program_with_imports_that_nobody_provides_is_refused_by_their_names() {
    let Some(data) = support::data("wasi") else {
        return support::skipped(3, "real programs: ../shared/data/wasi is not there");
    };
    let folder = Folder::new();
    for (file, import) in [
        ("coremark-minimal.wasm", "clock_ms"),
        ("coremark-emcc.wasm", "`a`"),
        ("quickjs-wasi-reactor.wasm", "host_"),
    ] {
        let output = folder.run(&[&data.join(file).display().to_string()]);
        let told = text(&output.stderr);
        assert!(output.status.code() == Some(124) && told.contains(import), "{file}: {told}");
    }
}
