//! What WASI programs see beside files: arguments, environment, streams, clocks, randomness, their end.

mod shared;

use lazaret_engine::program::{Input, Output, Value};
use lazaret_engine::wasi::{Clock, ClockId, Outside, Random, Stream, World, WriteError};
use lazaret_engine::{ExecuteError, Params, Profile};
use shared::caller::*;
use shared::programs::{Streams, call, command, load, text};

fn run(code: &str, world: World) -> Result<Output, ExecuteError> {
    command(&load(code.as_bytes(), &text(Profile::Wasi)), world)
}

#[test]
fn arguments_and_environment_are_what_was_given() {
    let mut world = Streams::default().world();
    world.args = vec![b"program".to_vec(), b"".to_vec(), b"\xff".to_vec()];
    world.env = vec![(b"A".to_vec(), b"b=c".to_vec())];
    let mut caller = Caller::new(world);
    assert_eq!(wasi!(caller, "args_sizes_get", RESULT, RESULT + 4), 0);
    assert_eq!((caller.u32(RESULT), caller.u32(RESULT + 4)), (3, 11));
    assert_eq!(wasi!(caller, "args_get", RESULT, BUFFER), 0);
    assert_eq!(caller.bytes(BUFFER, 11), b"program\0\0\xff\0");
    assert_eq!(caller.u32(RESULT + 8), BUFFER as u32 + 9);
    assert_eq!(wasi!(caller, "environ_sizes_get", RESULT, RESULT + 4), 0);
    assert_eq!((caller.u32(RESULT), caller.u32(RESULT + 4)), (1, 6));
    assert_eq!(wasi!(caller, "environ_get", RESULT, BUFFER), 0);
    assert_eq!(caller.bytes(BUFFER, 6), b"A=b=c\0");
}

#[test]
fn streams_pass_bytes_and_are_no_files() {
    let (streams, world) = world(0);
    streams.input.borrow_mut().extend_from_slice(b"input");
    let mut caller = Caller::new(world);
    assert_eq!(caller.read(0, 3).unwrap(), b"inp");
    assert_eq!(caller.read(0, 9).unwrap(), b"ut");
    assert_eq!(caller.read(0, 9).unwrap(), b"");
    assert_eq!(caller.write(1, b"out"), Ok(3));
    assert_eq!(caller.write(2, b"err"), Ok(3));
    assert_eq!((streams.out(), streams.err()), ("out".to_owned(), "err".to_owned()));
    assert_eq!(caller.write(0, b"x"), Err(NOTCAPABLE));
    assert_eq!(caller.read(1, 1), Err(NOTCAPABLE));
    assert_eq!(wasi!(caller, "fd_seek", 1, 0_i64, 1, RESULT), SPIPE);
    assert_eq!(caller.try_open(0, "x", 0), Err(NOTDIR));
    assert_eq!(wasi!(caller, "fd_fdstat_get", 1, RESULT), 0);
    assert_eq!(caller.bytes(RESULT, 1), [0], "neither a terminal nor a file");
    assert_eq!(wasi!(caller, "sock_shutdown", 0, 0), NOTSOCK);
    assert_eq!(wasi!(caller, "sock_shutdown", 99, 0), BADF);
}

#[test]
fn the_counted_clock_moves_with_each_reading_and_jumps_over_sleeps() {
    let mut world = Streams::default().world();
    world.clock = Clock::Counted { start_ns: 1000, step_ns: 10 };
    let mut caller = Caller::new(world);
    let mut read = |id: i32| {
        assert_eq!(wasi!(caller, "clock_time_get", id, 0_i64, RESULT), 0);
        caller.u64(RESULT)
    };
    assert_eq!((read(0), read(1), read(2), read(0)), (1010, 20, 30, 1040));
    assert_eq!(wasi!(caller, "clock_time_get", 4, 0_i64, RESULT), INVAL);
    assert_eq!(wasi!(caller, "clock_res_get", 0, RESULT), 0);
    assert_eq!(caller.u64(RESULT), 10);
    // Two sleeps: 500 from now, and until 600 on the monotonic clock, whose reading takes 10.
    subscribe(&mut caller, 0, (7, 0, 500, 0));
    subscribe(&mut caller, 1, (8, 1, 600, 1));
    assert_eq!(wasi!(caller, "poll_oneoff", BUFFER, BUFFER + 1000, 2, RESULT), 0);
    assert_eq!((caller.u32(RESULT), caller.u64(BUFFER + 1000)), (1, 7));
    assert_eq!(wasi!(caller, "clock_time_get", 1, 0_i64, RESULT), 0);
    assert_eq!(caller.u64(RESULT), 40 + 10 + 500 + 10);
    // A stream is always ready, so nothing sleeps.
    subscribe(&mut caller, 0, (7, 0, 500, 0));
    caller.put(BUFFER + 48, &9_u64.to_le_bytes());
    caller.put(BUFFER + 56, &[1]);
    caller.put(BUFFER + 64, &0_u32.to_le_bytes());
    assert_eq!(wasi!(caller, "poll_oneoff", BUFFER, BUFFER + 1000, 2, RESULT), 0);
    assert_eq!((caller.u32(RESULT), caller.u64(BUFFER + 1000)), (1, 9));
    for count in [0, 4097, -1] {
        assert_eq!(wasi!(caller, "poll_oneoff", BUFFER, BUFFER, count, RESULT), INVAL);
    }
}

/// Writes down a wait for a clock: what it is known by, the clock, how long or until when.
fn subscribe(caller: &mut Caller, index: i32, (known_by, id, ns, moment): (u64, u32, u64, u16)) {
    let at = BUFFER + 48 * index;
    caller.put(at, &known_by.to_le_bytes());
    caller.put(at + 8, &[0]);
    caller.put(at + 16, &id.to_le_bytes());
    caller.put(at + 24, &ns.to_le_bytes());
    caller.put(at + 40, &moment.to_le_bytes());
}

#[test]
fn randomness_follows_the_seed() {
    let bytes = |seed| {
        let mut world = Streams::default().world();
        world.random = Random::Seeded(seed);
        let mut caller = Caller::new(world);
        assert_eq!(wasi!(caller, "random_get", BUFFER, 8), 0);
        assert_eq!(wasi!(caller, "random_get", BUFFER + 8, 8), 0);
        caller.bytes(BUFFER, 16)
    };
    assert_eq!(bytes(0), bytes(0));
    assert_ne!(bytes(0), bytes(1));
    // A recorded case is run again by later versions: these bytes stay what they are.
    assert_eq!(hex::encode(bytes(42)), RANDOM_OF_42);
}

const RANDOM_OF_42: &str = "a22427226377cc867d51ad3f130af08a";

struct Real;

impl Outside for Real {
    fn read(&mut self, _: &mut [u8]) -> usize {
        usize::MAX
    }

    fn write(&mut self, stream: Stream, _: &[u8]) -> Result<(), WriteError> {
        match stream {
            Stream::Out => Err(WriteError::Closed),
            Stream::Err => Err(WriteError::Limit { bytes_max: 3 }),
        }
    }

    fn now(&mut self, clock: ClockId) -> u64 {
        if clock == ClockId::RealTime { 77 } else { 7 }
    }

    fn random(&mut self, buffer: &mut [u8]) {
        buffer.fill(9);
    }
}

#[test]
fn what_comes_from_outside_is_asked_of_the_caller() {
    let mut world = World::new(Box::new(Real));
    (world.clock, world.random) = (Clock::Outside, Random::Outside);
    let mut caller = Caller::new(world);
    assert_eq!(wasi!(caller, "clock_time_get", 0, 0_i64, RESULT), 0);
    assert_eq!(caller.u64(RESULT), 77);
    assert_eq!(wasi!(caller, "clock_time_get", 1, 0_i64, RESULT), 0);
    assert_eq!(caller.u64(RESULT), 7);
    assert_eq!(wasi!(caller, "random_get", BUFFER, 2), 0);
    assert_eq!(caller.bytes(BUFFER, 3), [9, 9, 0]);
    assert_eq!(caller.read(0, 3).unwrap().len(), 3, "no more than there was room for");
    assert_eq!(caller.write(1, b"x"), Err(64), "nobody reads it");
    let io = caller.ranges(&[(BUFFER, 4)]);
    let args = [Arg::I(2), Arg::I(io), Arg::I(1), Arg::I(RESULT)];
    let error = caller.try_call("fd_write", &args).unwrap_err();
    assert!(matches!(error, ExecuteError::OutputLimit { stream: Stream::Err, bytes_max: 3 }));
}

#[test]
fn a_command_ends_by_returning_or_exiting_or_raising() {
    let world = || Streams::default().world();
    let returns = r#"(module (func (export "_start")))"#;
    assert_eq!(run(returns, world()).unwrap(), Output::Exit(0));
    let exits = |code: i32| {
        format!(
            r#"(module (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))
                (func (export "_start") (call $exit (i32.const {code})) unreachable))"#
        )
    };
    for code in [0, 1, 255, -1] {
        assert_eq!(run(&exits(code), world()).unwrap(), Output::Exit(code));
    }
    let raises = r#"(module
        (import "wasi_snapshot_preview1" "proc_raise" (func $raise (param i32) (result i32)))
        (func (export "_start") (drop (call $raise (i32.const 6)))))"#;
    let error = run(raises, world()).unwrap_err();
    assert!(matches!(error, ExecuteError::Raised { signal: 6 }));
    let error = run(r#"(module (func (export "f")))"#, world()).unwrap_err();
    assert!(matches!(error, ExecuteError::NoSuchFunction { .. }), "{error}");
}

#[test]
fn a_reactor_is_initialized_once_before_its_first_call() {
    let code = r#"(module (global $n (mut i32) (i32.const 0))
        (func (export "_initialize") (global.set $n (i32.add (global.get $n) (i32.const 1))))
        (func (export "f") (result i32) (global.get $n)))"#;
    let loaded = load(code.as_bytes(), &text(Profile::Wasi));
    let mut instance = loaded.instance();
    assert_eq!(shared::programs::number(&mut instance, "f", &[]), 1);
    assert_eq!(shared::programs::number(&mut instance, "f", &[]), 1);
}

#[test]
fn the_older_generation_differs_where_it_did() {
    let (_, world) = world(1 << 20);
    let mut caller = Caller::of("wasi_unstable", world, &text(Profile::Wasi));
    let file = caller.open(4, "a", 1);
    assert_eq!(caller.write(file, b"hello"), Ok(5));
    assert_eq!(wasi!(caller, "fd_seek", file, -1_i64, 1, RESULT), 0, "1 is the end");
    assert_eq!(caller.u64(RESULT), 4);
    assert_eq!(wasi!(caller, "fd_filestat_get", file, RESULT), 0);
    assert_eq!((caller.u32(RESULT + 20), caller.u64(RESULT + 24)), (1, 5));
}

#[test]
fn work_takes_time_where_fuel_is_not_counted() {
    let code = r#"(module
        (import "wasi_snapshot_preview1" "clock_time_get"
            (func $now (param i32 i64 i32) (result i32)))
        (memory (export "memory") 1)
        (func $fib (param i32) (result i32)
            (if (result i32) (i32.lt_u (local.get 0) (i32.const 2)) (then (local.get 0))
                (else (i32.add (call $fib (i32.sub (local.get 0) (i32.const 1)))
                    (call $fib (i32.sub (local.get 0) (i32.const 2)))))))
        (func (export "work") (param i32) (result i64)
            (drop (call $fib (local.get 0)))
            (drop (call $now (i32.const 1) (i64.const 0) (i32.const 0)))
            (i64.load (i32.const 0))))"#;
    let loaded = load(code.as_bytes(), &text(Profile::Wasi));
    let elapsed = |n: i32| {
        let given = [Value::I32(n)];
        let output = call(&mut loaded.instance(), "work", Input::Values(&given));
        let Ok(Output::Values(values)) = output else { panic!("{output:?}") };
        let [Value::I64(ns)] = values[..] else { panic!("{values:?}") };
        ns - 1_000_000
    };
    assert_eq!(elapsed(20), elapsed(20));
    // 21,891 calls of 13 instructions and the one that calls them.
    assert!((1_000_000..4_000_000).contains(&elapsed(20)), "{}", elapsed(20));
    assert!(elapsed(1) < 1000, "{}", elapsed(1));
}

#[test]
fn fuel_is_time_where_it_is_counted() {
    let params = Params { metering: true, ..text(Profile::Wasi) };
    let code = r#"(module
        (import "wasi_snapshot_preview1" "clock_time_get"
            (func $now (param i32 i64 i32) (result i32)))
        (memory (export "memory") 1)
        (func (export "work") (result i64) (local $n i32)
            (loop $again
                (local.set $n (i32.add (local.get $n) (i32.const 1)))
                (br_if $again (i32.lt_u (local.get $n) (i32.const 1000))))
            (drop (call $now (i32.const 1) (i64.const 0) (i32.const 0)))
            (i64.load (i32.const 0))))"#;
    let loaded = load(code.as_bytes(), &params);
    let elapsed = || {
        let mut instance = loaded.instance();
        let mut world = Streams::default().world();
        world.clock = Clock::Counted { start_ns: 0, step_ns: 0 };
        instance.provide(world);
        let input = Input::Values(&[]);
        let Ok(Output::Values(values)) = call(&mut instance, "work", input) else {
            panic!("no values")
        };
        (values, instance.usage().fuel)
    };
    let (values, fuel) = elapsed();
    let Value::I64(ns) = values[0] else { panic!("{values:?}") };
    assert!((5000..10_000).contains(&ns), "{ns}");
    assert!(fuel.is_some_and(|fuel| fuel > ns as u64), "{fuel:?}");
    assert_eq!(elapsed(), (values, fuel));
}
