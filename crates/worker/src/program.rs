//! A job that calls a plain or WASI program: as `execute`, which calls this, with another engine's words.

use std::{fs::File, os::fd::OwnedFd};

use lazaret_engine::{
    Engine, ExecuteError, Room,
    program::{Call, Entry, Input, Instance, Output, Program, Value},
};
use lazaret_sandbox::{
    job::{JobJail, Streams, TimeOfDay},
    memfd::Mapped,
};
use lazaret_wire::{
    claim::{Claim, Ran, Refusal, RunEnd},
    greeting::Role,
    params::Params,
    program::{self, Arguments, Clock, ExportCall, Stdin, VALUES_MAX, WasiCall},
    sequence::{self, CallEnd},
    work::{self, Execute},
};

use crate::{
    claims,
    job::{end, end_unable, or_unable, own_engine, seal, shut},
    world,
};

/// What waits for its input.
pub(crate) struct Loaded {
    instance: Result<Instance, ExecuteError>,
    /// Both are there until the job ends.
    _program: Program,
    _own_engine: Option<Engine>,
}

impl Loaded {
    /// Room on the stack for its call, if it can be called.
    pub(crate) fn room(&self) -> Option<Room> {
        self.instance.as_ref().ok().map(Instance::room)
    }
}

/// Maps the artifact and makes an instance, which runs nothing of the guest's.
pub(crate) fn load(
    jail: &mut JobJail,
    engine: &Engine,
    params: &Params,
    artifact: OwnedFd,
) -> Box<Loaded> {
    let params = claims::engine_params(params);
    let own_engine = own_engine(jail, engine, &params);
    let engine = own_engine.as_ref().unwrap_or(engine);
    let program = match claims::load_program(engine, File::from(artifact), &params) {
        Ok(program) => program,
        Err(error) => end(jail, &[], Claim::ArtifactUnusable(claims::with_causes(&error))),
    };
    let sealed = seal(jail, Role::Execute, &[program.text()]);
    or_unable(jail, sealed);
    // Sealed first, for the sake of an artifact that runs something although none should.
    let instance = Instance::new(engine, &program, &params);
    Box::new(Loaded { instance, _program: program, _own_engine: own_engine })
}

/// Loads what was compiled, to see that it can be. No instance is made: what that takes are tables and memory
/// under the limits of a call, and want of it here would be no fault of the code. Unlike the code of a
/// parachain validation function, a program's `start` function does not run before its first call.
pub(crate) fn check(
    jail: &JobJail,
    engine: &Engine,
    params: &lazaret_engine::Params,
    artifact: OwnedFd,
) {
    let program = or_unable(jail, claims::load_program(engine, File::from(artifact), params));
    // Not dropped, as the job ends without returning.
    std::mem::forget(program);
}

/// Gives the program what it is to see, closes the last doors, and calls it.
pub(crate) fn call(
    mut jail: JobJail,
    loaded: Loaded,
    work: &Execute,
    input_bytes: &[u8],
    more: impl Iterator<Item = OwnedFd>,
) -> ! {
    let mut instance = match loaded.instance {
        Ok(instance) => instance,
        Err(error) => end(&jail, &[], claims::of_execution(error, &work.params)),
    };
    let (call, fuel, argument) = match &work.input {
        work::Input::Plain(plain) => {
            shut(&mut jail);
            (Some(&plain.call), plain.fuel, input_bytes)
        }
        work::Input::Sequence(sequence) => {
            shut(&mut jail);
            run_sequence(&jail, instance, work, input_bytes, sequence.fuel)
        }
        work::Input::Wasi(wasi) => {
            let handed = Handed::take(&mut jail, wasi, more);
            let filtered = jail.enter_final_filter();
            or_unable(&jail, filtered);
            let start = input_bytes.split_at_checked(wasi.start_bytes as usize);
            let Some((start, argument)) = start else {
                end_unable(&jail, "its input is shorter than what it starts with");
            };
            match world::new(wasi, start, handed.image, handed.streams) {
                Ok(world) => instance.provide(world),
                Err(why) => end(&jail, &[], Claim::Refused(Refusal::BadInput(why))),
            }
            (wasi.call.as_ref(), wasi.fuel, argument)
        }
        work::Input::PvfEncoded | work::Input::PvfParts(_) => {
            end_unable(&jail, "its input is not that of a program")
        }
    };
    run(&jail, instance, work, (call, argument), fuel)
}

/// What rode along with a call of a WASI program.
struct Handed {
    image: Option<Mapped>,
    streams: Streams,
}

impl Handed {
    fn take(jail: &mut JobJail, wasi: &WasiCall, mut more: impl Iterator<Item = OwnedFd>) -> Self {
        let image = match wasi.has_image {
            true => more.next().map(|image| or_unable(jail, Mapped::open(&image, u64::MAX))),
            false => None,
        };
        let stdin = match wasi.stdin {
            Stdin::Pipe => more.next(),
            Stdin::Absent => None,
        };
        let (Some(stdout), Some(stderr)) = (more.next(), more.next()) else {
            end_unable(jail, "it was not handed the program's streams");
        };
        let time = match wasi.clock {
            Clock::Fixed => TimeOfDay::Hidden,
            Clock::Real => TimeOfDay::Told,
        };
        let kept = jail.keep_streams(Streams { stdin, stdout, stderr }, time);
        Self { image, streams: or_unable(jail, kept) }
    }
}

/// Behind the last doors.
fn run(
    jail: &JobJail,
    mut instance: Instance,
    work: &Execute,
    (call, argument): (Option<&ExportCall>, &[u8]),
    fuel: Option<u64>,
) -> ! {
    let values;
    let entry = match call {
        None => Entry::Command,
        Some(ExportCall { export, arguments }) => {
            let input = match arguments {
                Arguments::Values(given) => {
                    values = given.iter().map(engine_value).collect::<Vec<_>>();
                    Input::Values(&values)
                }
                Arguments::Words(words) => Input::Words(words),
                Arguments::Bytes => Input::Bytes(argument),
            };
            Entry::Export { name: export, input }
        }
    };
    let returned = instance.call(&Call { entry, fuel });
    let usage = instance.usage();
    let output_bytes_max = u64::from(work.limits.output_bytes);
    let range = match &returned {
        Ok(Output::Bytes(range)) => range.clone(),
        _ => 0..0,
    };
    let ended = match returned {
        Ok(returned) => Ok(returned_end(returned, output_bytes_max)),
        Err(error) => claims::refusal(error, &work.params).map(RunEnd::Refused),
    };
    let output = match ended {
        Ok(RunEnd::Bytes) => instance.bytes(&range),
        _ => &[],
    };
    let (memory_pages, fuel_used) = (usage.memory_pages, usage.fuel);
    let claim =
        ended.map_or_else(|claim| claim, |end| Claim::Ran(Ran { end, memory_pages, fuel_used }));
    end(jail, output, claim)
}

/// One call after another, whatever came of those before.
fn run_sequence(
    jail: &JobJail,
    mut instance: Instance,
    work: &Execute,
    calls: &[u8],
    fuel: Option<u64>,
) -> ! {
    let Some(calls) = sequence::decode_calls(calls) else {
        end_unable(jail, "its calls do not decode")
    };
    let mut ends = Vec::with_capacity(calls.len());
    for ExportCall { export, arguments } in &calls {
        let values;
        let input = match arguments {
            Arguments::Values(given) => {
                values = given.iter().map(engine_value).collect::<Vec<_>>();
                Input::Values(&values)
            }
            Arguments::Words(words) => Input::Words(words),
            Arguments::Bytes => Input::Bytes(&[]),
        };
        let entry = Entry::Export { name: export, input };
        let returned = match instance.call(&Call { entry, fuel }) {
            Ok(returned) => Ok(returned_end(returned, work.limits.output_bytes.into())),
            Err(error) => claims::refusal(error, &work.params).map(RunEnd::Refused),
        };
        ends.push(match returned {
            Ok(RunEnd::Values(values)) => CallEnd::Values(values),
            Ok(RunEnd::Refused(refusal)) => CallEnd::Refused(refusal),
            Ok(RunEnd::Bytes | RunEnd::Exited(_)) => {
                CallEnd::Refused(Refusal::BadOutput("what it returned are no numbers".into()))
            }
            Err(claim) => end(jail, &[], claim),
        });
    }
    let output = sequence::encode_ends(&ends).unwrap_or_default();
    let usage = instance.usage();
    let output_bytes_max = u64::from(work.limits.output_bytes);
    let end_of_run = match output.len() as u64 > output_bytes_max {
        true => RunEnd::Refused(Refusal::OutputTooLarge { limit_bytes: output_bytes_max }),
        false => RunEnd::Bytes,
    };
    let output = if end_of_run == RunEnd::Bytes { &output[..] } else { &[] };
    let (memory_pages, fuel_used) = (usage.memory_pages, usage.fuel);
    end(jail, output, Claim::Ran(Ran { end: end_of_run, memory_pages, fuel_used }))
}

/// What an export returned, but for the bytes themselves.
fn returned_end(returned: Output, output_bytes_max: u64) -> RunEnd {
    match returned {
        Output::Values(values) if values.len() > VALUES_MAX => {
            let why = format!("it has {} results, the limit is {VALUES_MAX}", values.len());
            RunEnd::Refused(Refusal::BadOutput(why.into()))
        }
        Output::Values(values) => RunEnd::Values(values.into_iter().map(wire_value).collect()),
        Output::Exit(code) => RunEnd::Exited(code),
        Output::Bytes(range) if range.len() as u64 > output_bytes_max => {
            RunEnd::Refused(Refusal::OutputTooLarge { limit_bytes: output_bytes_max })
        }
        Output::Bytes(_) => RunEnd::Bytes,
    }
}

fn engine_value(value: &program::Value) -> Value {
    match *value {
        program::Value::I32(number) => Value::I32(number),
        program::Value::I64(number) => Value::I64(number),
        program::Value::F32(bits) => Value::F32(bits),
        program::Value::F64(bits) => Value::F64(bits),
    }
}

fn wire_value(value: Value) -> program::Value {
    match value {
        Value::I32(number) => program::Value::I32(number),
        Value::I64(number) => program::Value::I64(number),
        Value::F32(bits) => program::Value::F32(bits),
        Value::F64(bits) => program::Value::F64(bits),
    }
}
