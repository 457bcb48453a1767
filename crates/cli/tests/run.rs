//! `lazaret run`: programs as if they were run, their limits, and what is said when they meet one.

mod support;

use std::{
    io::{Read, Write},
    process::Stdio,
    time::Duration,
};

use support::{
    descendants, held,
    programs::{self, ADD, Folder, REVERSE, fed, object, text},
};

const REFUSED: Option<i32> = Some(124);
const USAGE: Option<i32> = Some(125);
const INCONCLUSIVE: Option<i32> = Some(126);

fn program(folder: &Folder, wat: &str) -> String {
    folder.put("program.wat", wat).display().to_string()
}

#[test]
fn numbers_go_into_an_export_and_come_out() {
    let folder = Folder::new();
    let add = program(&folder, ADD);
    for (arguments, printed) in [
        (&["--invoke", "add", "2", "40"][..], "42\n"),
        (&["--invoke", "add", "--", "-2", "0xffffffff"], "-3\n"),
        (&["--invoke", "half", "-3"], "-1.5\n"),
        (&["--invoke", "both", "7"], "7\n-1\n"),
    ] {
        let output = folder.run(&[&[add.as_str()], arguments].concat());
        assert_eq!(text(&output.stdout), printed, "{arguments:?} {}", text(&output.stderr));
        assert_eq!(output.status.code(), Some(0));
    }
}

#[test]
fn a_call_that_cannot_be_says_what_can() {
    let folder = Folder::new();
    let add = program(&folder, ADD);
    for (arguments, says) in [
        (&["--invoke", "sub", "1"][..], "it exports add, both, div, half"),
        (&["--invoke", "add", "1"], "add takes 2 values"),
        (&["--invoke", "add", "1", "x"], "x"),
        (&["--invoke", "div", "1", "0"], "the guest trapped"),
        (&[], "_start"),
    ] {
        let output = folder.run(&[&[add.as_str()], arguments].concat());
        let told = text(&output.stderr);
        assert!(told.contains("refused") && told.contains(says), "{arguments:?}: {told}");
        assert_eq!((output.status.code(), output.stdout.len()), (REFUSED, 0));
    }
}

#[test]
fn bytes_go_into_an_export_and_come_out() {
    let folder = Folder::new();
    let reverse = program(&folder, REVERSE);
    let output = folder.run_with(b"lazaret\xff", &[&reverse, "--invoke", "reverse", "--bytes"]);
    assert_eq!(output.stdout, b"\xffterazal", "{}", text(&output.stderr));
    let example = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
    let example = example.join("../../examples/guests/reverse.wat").display().to_string();
    let output = folder.run_with(b"lazaret", &[&example, "--invoke", "reverse", "--bytes"]);
    assert_eq!(output.stdout, b"terazal", "{}", text(&output.stderr));
    let output = folder.run_with(b"\xff", &["--json", &reverse, "--invoke", "reverse", "--bytes"]);
    assert_eq!(object(&output)["bytes_hex"], "ff");
}

#[test]
fn a_command_has_its_streams_arguments_and_environment_and_nothing_of_ours() {
    let folder = Folder::new();
    let hello = program(&folder, &programs::hello());
    assert_eq!(text(&folder.run(&[&hello]).stdout), "hello\n");

    let echo = folder.put("echo.wat", programs::echo()).display().to_string();
    let much: Vec<u8> = (0..1_000_000_u32).map(|number| number as u8).collect();
    assert!(folder.run_with(&much, &[&echo]).stdout == much);

    let given = folder.put("given.wat", programs::tells_what_it_is_given()).display().to_string();
    let arguments = ["--env", "A=b=c", &given, "--env", "D=", "x", "--", "-y", "--json"];
    let output = folder.run(&arguments);
    assert_eq!(text(&output.stdout), "given.wat\0x\0-y\0--json\0A=b=c\0D=\0");
}

#[test]
fn the_exit_code_is_the_programs_and_never_success_by_being_cut_off() {
    let folder = Folder::new();
    for (code, seen) in [(0, 0), (7, 7), (125, 125), (255, 255), (256, 255), (-1, 255)] {
        let exits =
            program(&folder, &programs::command(&format!("(call $exit (i32.const {code}))")));
        let output = folder.run(&[&exits]);
        assert_eq!(output.status.code(), Some(seen), "{code}: {}", text(&output.stderr));
        let object = object(&folder.run(&["--json", &exits]));
        assert_eq!((&object["verdict"], &object["exit_code"]), (&"returned".into(), &code.into()));
    }
}

#[test]
fn json_has_verdict_usage_streams_and_what_was_real() {
    let folder = Folder::new();
    let hello = program(&folder, &programs::hello());
    let object = object(&folder.run(&["--json", "--fuel", "10000", &hello]));
    assert_eq!(object["stdout"], "hello\n");
    assert_eq!(object["stderr"], "");
    assert!(object["fuel"].as_u64().is_some_and(|fuel| (1..10_000).contains(&fuel)), "{object}");
    assert!(object["cpu_micros"].as_u64().is_some_and(|cpu| cpu > 0));
    assert_eq!(object["real"], serde_json::json!([]));

    let draws = folder.put("draws.wat", programs::draws()).display().to_string();
    let real =
        self::object(&folder.run(&["--json", "--clock", "real", "--random", "real", &draws]));
    assert_eq!(real["real"], serde_json::json!(["clock", "random"]));
}

#[test]
fn randomness_and_time_are_the_same_at_every_run_unless_real_ones_are_asked_for() {
    let folder = Folder::new();
    let draws = program(&folder, &programs::draws());
    let drawn = |arguments: &[&str]| {
        let output = folder.run(&[arguments, &[draws.as_str()]].concat());
        assert_eq!(output.stdout.len(), 24, "{}", text(&output.stderr));
        output.stdout
    };
    assert_eq!(drawn(&[]), drawn(&[]));
    assert_eq!(drawn(&["--seed", "7"]), drawn(&["--seed", "7"]));
    assert_ne!(drawn(&[])[..16], drawn(&["--seed", "7"])[..16]);
    assert_ne!(drawn(&["--random", "real"])[..16], drawn(&["--random", "real"])[..16]);
    let time = |drawn: &[u8]| u64::from_le_bytes(drawn[16..].try_into().expect("eight bytes"));
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("a date");
    let real = Duration::from_nanos(time(&drawn(&["--clock", "real"])));
    assert!(real >= now && real < now + support::STUCK_AFTER, "{real:?} is not about {now:?}");
}

/// Each says which limit, how much was used, and how to raise it.
#[test]
fn every_limit_has_a_refusal_of_its_own() {
    let folder = Folder::new();
    let put = |name: &str, wat: &str| folder.put(name, wat).display().to_string();
    let endless = put("endless.wat", &programs::endless());
    let flood = put("flood.wat", &programs::flood());
    let deep = put(
        "deep.wat",
        &programs::command("(call $_start)")
            .replace(r#"(func (export "_start")"#, r#"(func $_start (export "_start")"#),
    );
    let grows = put(
        "grows.wat",
        &programs::command(
            "(if (i32.eq (memory.grow (i32.const 100)) (i32.const -1)) (then unreachable))",
        ),
    );
    let tables = put(
        "tables.wat",
        r#"(module (table 1000 funcref) (memory (export "memory") 1)
        (func (export "_start")))"#,
    );
    for (arguments, kind, says) in [
        (vec!["--cpu-limit", "100ms", &endless], "cpu-limit", "--cpu-limit raises it"),
        (vec!["--fuel", "1000", &endless], "out-of-fuel", "1000 units of fuel"),
        (vec!["--output-max", "1500", &flood], "output-too-large", "1500 bytes (--output-max"),
        (vec!["--stack-values", "1000", &deep], "stack-limit", "--stack-values raises it"),
        (vec!["--memory", "1M", &grows], "memory-exhausted", "the limit is 16 (a page"),
        (vec!["--memory", "128K", &grows], "memory-limit", "--memory raises it"),
        (vec!["--table-elements", "10", &tables], "table-limit", "--table-elements raises it"),
    ] {
        let output = folder.run(&arguments);
        let told = text(&output.stderr);
        assert!(told.contains(says), "{arguments:?}: {told}");
        assert_eq!(output.status.code(), REFUSED);
        let object = object(&folder.run(&[&["--json"], &arguments[..]].concat()));
        assert_eq!((&object["verdict"], &object["kind"]), (&"refused".into(), &kind.into()));
    }
    // What nobody could have is refused for the limit and not for want of memory on this machine.
    let huge = [
        ("huge-memory.wat", "(memory 65536)", "memory-limit"),
        ("huge-table.wat", "(table 4294967295 funcref)", "table-limit"),
    ];
    for (name, part, kind) in huge {
        let wat = format!(r#"(module {part} (func (export "f")))"#);
        let object = object(&folder.run(&["--json", &put(name, &wat), "--invoke", "f"]));
        assert_eq!((&object["verdict"], &object["kind"]), (&"refused".into(), &kind.into()));
    }
    let passed = folder.run(&["--output-max", "1500", &flood]);
    assert_eq!(passed.stdout.len(), 1500, "what there is room for is written");
}

/// It waits for input that does not come: nobody's fault, and never this machine's.
#[test]
fn a_program_that_waits_past_its_wall_limit_is_inconclusive() {
    let folder = Folder::new();
    let echo = program(&folder, &programs::echo());
    let mut command = folder.command("run");
    command.args(["--wall-limit", "200ms", &echo]);
    let mut child =
        command.stdin(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("a program");
    let unfed = child.stdin.take();
    let output = child.wait_with_output().expect("it ends");
    drop(unfed);
    assert_eq!(output.status.code(), INCONCLUSIVE);
    let told = text(&output.stderr);
    assert!(told.contains("wall-clock limit of 200ms") && told.contains("--wall-limit"), "{told}");
}

#[test]
fn a_program_is_told_that_its_reader_is_gone_and_ends_as_by_a_broken_pipe() {
    let folder = Folder::new();
    let flood = program(&folder, &programs::flood());
    let mut command = folder.command("run");
    let command = command.arg(&flood).stdin(Stdio::null()).stdout(Stdio::piped());
    let mut child = command.stderr(Stdio::piped()).spawn().expect("a program");
    let mut stdout = child.stdout.take().expect("a pipe");
    stdout.read_exact(&mut [0; 5000]).expect("it writes");
    drop(stdout);
    let output = child.wait_with_output().expect("it ends");
    assert_eq!((output.status.code(), text(&output.stderr).as_str()), (Some(141), ""));
}

/// As Ctrl-C does: the terminal sends SIGINT.
#[test]
fn an_interrupted_run_leaves_no_process() {
    if interrupts_are_ignored() {
        support::skipped(1, "an interrupted run: this process was started with SIGINT ignored");
        return;
    }
    let folder = Folder::new();
    let flood = program(&folder, &programs::flood());
    let mut command = folder.command("run");
    let command = command.args([&flood, "--output-max", "1T"]).stdin(Stdio::null());
    let mut child = command.stdout(Stdio::piped()).spawn().expect("a program");
    let mut stdout = child.stdout.take().expect("a pipe");
    // It runs, and what it writes is read by nobody from now on.
    stdout.read_exact(&mut [0; 100_000]).expect("it writes");
    let pid = child.id() as i32;
    let processes = held(pid);
    assert!(processes.len() >= 2, "a worker and its job: {processes:?}");
    let interrupted = rustix::process::Pid::from_raw(pid).expect("a process id");
    rustix::process::kill_process(interrupted, rustix::process::Signal::INT).expect("it is there");
    child.wait().expect("it ends");
    for (process, handle) in processes {
        let ended = support::process_ends_within(&process, &handle, support::STUCK_AFTER);
        assert!(ended, "{process:?} is left");
    }
    assert!(descendants(pid).is_empty());
}

/// What a shell without job control does to whatever it starts in the background, and what that hands on.
fn interrupts_are_ignored() -> bool {
    let status = std::fs::read_to_string("/proc/self/status").expect("procfs");
    let ignored = status.lines().find_map(|line| line.strip_prefix("SigIgn:\t"));
    let ignored = ignored.and_then(|mask| u64::from_str_radix(mask, 16).ok()).expect("a mask");
    ignored & (1 << (rustix::process::Signal::INT.as_raw() - 1)) != 0
}

/// Standard input is a terminal, or a pipe that stays open: the program ends all the same.
#[test]
fn a_program_that_does_not_read_its_input_does_not_wait_for_it() {
    let folder = Folder::new();
    let hello = program(&folder, &programs::hello());
    let mut command = folder.command("run");
    let command = command.arg(&hello).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = command.spawn().expect("a program");
    let mut open = child.stdin.take().expect("a pipe");
    let _ = open.write_all(b"unread");
    let output = child.wait_with_output().expect("it ends");
    drop(open);
    assert_eq!(text(&output.stdout), "hello\n");
}

#[test]
fn a_script_with_an_interpreter_line_is_a_program() {
    let folder = Folder::new();
    let wasm = wat::parse_str(programs::tells_what_it_is_given()).expect("a program");
    let script = [b"#!/usr/bin/env -S lazaret run --\n".to_vec(), wasm].concat();
    let script = folder.put("script", script).display().to_string();
    let output = folder.run(&["--", &script, "-a", "--"]);
    assert_eq!(text(&output.stdout), "script\0-a\0--\0");
}

#[test]
fn what_a_program_may_not_be_made_of_is_said() {
    let folder = Folder::new();
    let extends = program(
        &folder,
        r#"(module (func (export "f") (param i32) (result i32) (i32.extend8_s (local.get 0))))"#,
    );
    let call = ["--invoke", "f", "255"];
    assert_eq!(text(&folder.run(&[&[extends.as_str()], &call[..]].concat()).stdout), "-1\n");
    let without = [&["--without", "sign-extension", &extends], &call[..]].concat();
    let output = folder.run(&without);
    assert_eq!(output.status.code(), REFUSED, "{}", text(&output.stderr));
    assert!(text(&output.stderr).contains("sign extension"), "{}", text(&output.stderr));
}

#[test]
fn what_cannot_be_asked_is_usage_and_runs_nothing() {
    let folder = Folder::new();
    let hello = program(&folder, &programs::hello());
    for (arguments, says) in [
        (vec!["/there/is/no/such/file"], "/there/is/no/such/file"),
        (vec![hello.as_str(), "--env", "A"], "NAME=VALUE"),
        (vec![&hello, "--dir", "::/x"], "HOST::GUEST"),
        (vec![&hello, "--dir", "/no/such::/x"], "/no/such"),
        (vec![&hello, "--without", "threads"], "--without"),
        (vec![&hello, "--memory", "5G"], "64K to 4G"),
        (vec![&hello, "--frob"], "--frob"),
        (vec![&hello, "--profile", "plain"], "--invoke"),
    ] {
        let output = folder.run(&arguments);
        let told = text(&output.stderr);
        assert!(told.contains(says), "{arguments:?}: {told}");
        assert_eq!((output.status.code(), output.stdout.len()), (USAGE, 0), "{arguments:?}");
    }
}

#[test]
fn every_input_of_a_batch_has_its_line_in_order() {
    let folder = Folder::new();
    let echo = program(&folder, &programs::echo());
    let files: Vec<_> = (0..20)
        .map(|n| folder.put(&format!("in{n}"), n.to_string()).display().to_string())
        .collect();
    let mut arguments = vec![echo.as_str(), "--workers", "2", "--each"];
    arguments.extend(files.iter().map(String::as_str));
    arguments.push("/no/such");
    let output = folder.run(&arguments);
    assert_eq!(output.status.code(), USAGE, "{}", text(&output.stderr));
    let told = text(&output.stdout);
    let lines: Vec<serde_json::Value> =
        told.lines().map(|line| serde_json::from_str(line).expect("an object")).collect();
    assert_eq!(lines.len(), 21);
    for (number, line) in lines[..20].iter().enumerate() {
        assert_eq!(
            (&line["input"], &line["stdout"]),
            (&files[number].clone().into(), &number.to_string().into())
        );
    }
    assert_eq!(lines[20]["verdict"], "usage");
}

#[test]
fn lines_of_standard_input_are_a_batch() {
    let folder = Folder::new();
    let reverse = program(&folder, REVERSE);
    let arguments = [reverse.as_str(), "--invoke", "reverse", "--bytes", "--each"];
    let output = folder.run_with(b"abc\n\nlast", &arguments);
    let told = text(&output.stdout);
    let lines: Vec<serde_json::Value> =
        told.lines().map(|line| serde_json::from_str(line).expect("an object")).collect();
    let bytes: Vec<_> = lines.iter().map(|line| line["bytes"].clone()).collect();
    assert_eq!(bytes, ["cba", "", "tsal"], "{told}");
    assert_eq!(output.status.code(), Some(0));

    let exits = folder.put("exits.wat", programs::command("(call $exit (i32.const 3))"));
    let output = folder.run_with(b"x\n", &[&exits.display().to_string(), "--each"]);
    assert_eq!(output.status.code(), Some(123), "as xargs says it");
}

#[test]
fn repeated_runs_are_compared() {
    let folder = Folder::new();
    let draws = program(&folder, &programs::draws());
    let output = folder.run(&["--json", "--repeat", "4", "--meter", "--workers", "2", &draws]);
    let object = object(&output);
    assert_eq!((&object["repeat"]["runs"], &object["repeat"]["agree"]), (&4.into(), &true.into()));
    assert!(object["repeat"]["cpu_micros"]["median"].as_u64().is_some_and(|cpu| cpu > 0));

    let output = folder.run(&["--repeat", "3", "--clock", "real", &draws]);
    assert_eq!(output.status.code(), INCONCLUSIVE);
    assert!(text(&output.stderr).contains("differs from the first in stdout"));
}

#[test]
fn a_packed_directory_is_read_and_a_private_one_is_written_and_gone() {
    let folder = Folder::new();
    let Some(data) = support::data("wasi") else {
        return support::skipped(1, "files of a program: ../shared/data/wasi is not there");
    };
    let python = data.join("python-3.12.wasm").display().to_string();
    std::fs::create_dir_all(folder.path().join("tree/inside")).expect("a folder");
    folder.put("tree/inside/file", "packed");
    let dir = format!("{}::/data", folder.path().join("tree").display());
    let says = "print(open('/data/inside/file').read()); open('/tmp/x', 'w').write('y'); \
                import os; print(os.listdir('/tmp'))";
    let arguments = [&python, "--dir", &dir, "--tmp", "1M", "--", "-c", says];
    for _ in 0..2 {
        let output = fed(folder.command("run").args(arguments), b"");
        assert_eq!(text(&output.stdout).lines().next(), Some("packed"), "{}", text(&output.stderr));
        assert!(text(&output.stdout).contains("['x']"), "{}", text(&output.stdout));
    }
    let writes = "open('/data/inside/file', 'w')";
    let output = folder.run(&[&python, "--dir", &dir, "--", "-c", writes]);
    assert_eq!(output.status.code(), Some(1), "the image is read-only");
    assert_eq!(std::fs::read(folder.path().join("tree/inside/file")).expect("a file"), b"packed");
}
