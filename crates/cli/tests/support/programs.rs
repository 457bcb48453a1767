//! WASI programs of tests, in WAT, and the command line that runs them.

use std::{
    io::Write,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
};

/// A folder with a cache of its own and what a test puts into it.
pub struct Folder(tempfile::TempDir);

impl Folder {
    pub fn new() -> Self {
        Self(tempfile::tempdir().expect("a folder"))
    }

    pub fn path(&self) -> &Path {
        self.0.path()
    }

    pub fn put(&self, name: &str, bytes: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path().join(name);
        std::fs::write(&path, bytes).expect("a file of a test");
        path
    }

    /// The program with a cache here and whatever jail this machine gives: where it gives the strict one,
    /// as the default does.
    pub fn command(&self, verb: &str) -> Command {
        let mut command = Command::new(super::PROGRAM);
        command.arg("--cache").arg(self.path().join("cache"));
        if !super::has_strict_jail() {
            command.arg("--accept-weaker-jail");
        }
        command.arg(verb);
        command
    }

    pub fn run(&self, arguments: &[&str]) -> Output {
        self.run_with(b"", arguments)
    }

    /// Runs with this standard input.
    pub fn run_with(&self, stdin: &[u8], arguments: &[&str]) -> Output {
        fed(self.command("run").args(arguments), stdin)
    }

    pub fn replay(&self, arguments: &[&str]) -> Output {
        fed(self.command("replay").args(arguments), b"")
    }
}

/// Runs a command with this standard input.
pub fn fed(command: &mut Command, stdin: &[u8]) -> Output {
    let piped = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = piped.spawn().expect("the program starts");
    let mut pipe = child.stdin.take().expect("a pipe");
    let stdin = stdin.to_vec();
    // Beside reading what it writes. What it does not read is not missed.
    let feeds = std::thread::spawn(move || pipe.write_all(&stdin));
    let output = child.wait_with_output().expect("the program ends");
    let _ = feeds.join();
    output
}

pub fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// The whole output as one JSON object.
pub fn object(output: &Output) -> serde_json::Value {
    serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|_| panic!("no object: {} {}", text(&output.stdout), text(&output.stderr)))
}

/// A command whose `_start` has this body. `$write` and `$read` take a descriptor, a pointer and a length and
/// give a number of bytes; from 4096 on memory is free.
pub fn command(body: &str) -> String {
    format!(
        r#"(module
            (import "wasi_snapshot_preview1" "fd_write"
                (func $fd_write (param i32 i32 i32 i32) (result i32)))
            (import "wasi_snapshot_preview1" "fd_read"
                (func $fd_read (param i32 i32 i32 i32) (result i32)))
            (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))
            (import "wasi_snapshot_preview1" "args_get" (func $args (param i32 i32) (result i32)))
            (import "wasi_snapshot_preview1" "args_sizes_get"
                (func $args_sizes (param i32 i32) (result i32)))
            (import "wasi_snapshot_preview1" "environ_get" (func $environ (param i32 i32) (result i32)))
            (import "wasi_snapshot_preview1" "environ_sizes_get"
                (func $environ_sizes (param i32 i32) (result i32)))
            (import "wasi_snapshot_preview1" "random_get" (func $random (param i32 i32) (result i32)))
            (import "wasi_snapshot_preview1" "clock_time_get"
                (func $time (param i32 i64 i32) (result i32)))
            (memory (export "memory") 4)
            (data (i32.const 1024) "hello\n")
            (func $write (param $fd i32) (param $from i32) (param $bytes i32) (result i32)
                (i32.store (i32.const 0) (local.get $from))
                (i32.store (i32.const 4) (local.get $bytes))
                (drop (call $fd_write (local.get $fd) (i32.const 0) (i32.const 1) (i32.const 8)))
                (i32.load (i32.const 8)))
            (func $read (param $fd i32) (param $to i32) (param $bytes i32) (result i32)
                (i32.store (i32.const 0) (local.get $to))
                (i32.store (i32.const 4) (local.get $bytes))
                (drop (call $fd_read (local.get $fd) (i32.const 0) (i32.const 1) (i32.const 8)))
                (i32.load (i32.const 8)))
            (func (export "_start") (local $n i32) {body}))"#
    )
}

pub fn hello() -> String {
    command("(drop (call $write (i32.const 1) (i32.const 1024) (i32.const 6)))")
}

/// Writes what it reads until there is no more.
pub fn echo() -> String {
    command(
        "(block $end (loop $again
            (local.set $n (call $read (i32.const 0) (i32.const 4096) (i32.const 65536)))
            (br_if $end (i32.eqz (local.get $n)))
            (drop (call $write (i32.const 1) (i32.const 4096) (local.get $n)))
            (br $again)))",
    )
}

/// Writes its arguments and its environment, each ended by a zero byte.
pub fn tells_what_it_is_given() -> String {
    command(
        "(drop (call $args_sizes (i32.const 16) (i32.const 20)))
         (drop (call $args (i32.const 2048) (i32.const 4096)))
         (drop (call $write (i32.const 1) (i32.const 4096) (i32.load (i32.const 20))))
         (drop (call $environ_sizes (i32.const 16) (i32.const 20)))
         (drop (call $environ (i32.const 2048) (i32.const 4096)))
         (drop (call $write (i32.const 1) (i32.const 4096) (i32.load (i32.const 20))))",
    )
}

/// Never ends, and writes nothing.
pub fn endless() -> String {
    command("(loop $again (br $again))")
}

/// Writes for ever.
pub fn flood() -> String {
    command(
        "(loop $again
            (br_if $again (i32.ne (call $write (i32.const 1) (i32.const 4096) (i32.const 1000)) (i32.const 0))))",
    )
}

/// Sixteen random bytes and the time.
pub fn draws() -> String {
    command(
        "(drop (call $random (i32.const 4096) (i32.const 16)))
         (drop (call $time (i32.const 0) (i64.const 1) (i32.const 4112)))
         (drop (call $write (i32.const 1) (i32.const 4096) (i32.const 24)))",
    )
}

pub const ADD: &str = r#"(module
    (func (export "add") (param i32 i32) (result i32) (i32.add (local.get 0) (local.get 1)))
    (func (export "div") (param i64 i64) (result i64) (i64.div_s (local.get 0) (local.get 1)))
    (func (export "half") (param f64) (result f64) (f64.mul (local.get 0) (f64.const 0.5)))
    (func (export "both") (param i32) (result i32 i64) (local.get 0) (i64.const -1)))"#;

/// Gives bytes back in the other order.
pub const REVERSE: &str = r#"(module
    (memory (export "memory") 4)
    (func (export "alloc") (param i32) (result i32) (i32.const 1024))
    (func (export "reverse") (param $at i32) (param $bytes i32) (result i64)
        (local $i i32) (local $out i32)
        (local.set $out (i32.const 131072))
        (block $end (loop $again
            (br_if $end (i32.ge_u (local.get $i) (local.get $bytes)))
            (i32.store8
                (i32.add (local.get $out) (local.get $i))
                (i32.load8_u (i32.sub
                    (i32.add (local.get $at) (local.get $bytes))
                    (i32.add (local.get $i) (i32.const 1)))))
            (local.set $i (i32.add (local.get $i) (i32.const 1)))
            (br $again)))
        (i64.or
            (i64.shl (i64.extend_i32_u (local.get $out)) (i64.const 32))
            (i64.extend_i32_u (local.get $bytes)))))"#;
