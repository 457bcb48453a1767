//! The way of a job, from its fork to its last word.
//!
//! Order is everything here. First the job gives up what it never needs; then it waits for its work;
//! then it takes its limits and maps what it was handed; then the last doors close; and only then
//! does it run or compile what nobody trusts. It ends without returning to the worker's frames.

use std::{
    fs::File,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    time::Duration,
};

use lazaret_engine::{Engine, Params, Profile};
use lazaret_sandbox::{
    fork::JobStart,
    heap_bytes_peak,
    job::{self, Clocks, JobJail, JobKind, JobLimits, Seal, WRITTEN_BYTES_MAX},
    layer::StepError,
    limit_heap, markers,
    memfd::Mapped,
};
use lazaret_wire::{
    claim::{Claim, Refusal},
    greeting::Role,
    reply::{push_claim, push_output_header},
    text::Text,
    work::{Inspect, Limits, Order, Prepare, TEMPLATES_MAX, Work},
};

use crate::{
    claims, execute, hand_over,
    layers::{CanaryWord, missing_layer, on_the_wire},
    native::{self, Native},
    program,
    standby::LEAVING_MAX,
    stock::STOCK_MAX,
    template::COPIES_MAX,
};

/// Native stack of a job beside the guest's: the engine, host functions, decoders.
const OWN_STACK_BYTES: u64 = 8 * 1024 * 1024;
/// Descriptors a job is handed at most, what its loader needs of them at once, and the places of a
/// program's streams above them.
const DESCRIPTORS: u32 = job::STDERR as u32;
/// Processes that a worker and all it made may be, so that a template that was taken over makes no more: the
/// worker, the keeper, an idle job, templates and one more until the oldest has ended, each with its copies, what is in stock and
/// as many copies in the place of some that wait for other calls, one that runs, and those that are ending with the one
/// that was just let.
const PROCESSES_MAX: u32 = 3
    + (TEMPLATES_MAX as u32 + 1) * (1 + COPIES_MAX as u32)
    + (STOCK_MAX + COPIES_MAX) as u32
    + 1
    + (LEAVING_MAX as u32 + 1);

/// What runs a guest: the engine, and machine code in its place if this is an attack.
pub(crate) type Runners<'a> = (&'a Engine, Option<Native>);

/// Runs one piece of work and ends.
pub(crate) fn run(start: JobStart, channel: OwnedFd, kind: JobKind, runners: Runners<'_>) -> ! {
    let Ok(mut jail) = job::confine(start, kind, channel) else {
        job::end(markers::EXIT_NOT_CONFINED)
    };
    let Ok(Some((order, descriptors))) = hand_over::take(jail.channel()) else {
        job::end(markers::EXIT_ORPHANED)
    };
    match order {
        Order::Load(load) => {
            let limits = job_limits(&load.limits, WRITTEN_BYTES_MAX);
            let limits = JobLimits { processes: PROCESSES_MAX, ..limits };
            limit(&mut jail, &limits);
            execute::template(jail, runners, &load, descriptors)
        }
        Order::Copy { .. } | Order::Gather => job::end(markers::EXIT_NOT_CONFINED),
        Order::Work(work) => {
            let file_bytes = match &work {
                Work::Prepare(prepare) => prepare.artifact_bytes_max,
                Work::Execute(_) | Work::Inspect(_) => 0,
            };
            limit(&mut jail, &job_limits(work.limits(), file_bytes));
            match work {
                Work::Execute(execute) => execute::now(jail, runners, execute, descriptors),
                Work::Prepare(prepare) => run_prepare(jail, runners, &prepare, descriptors),
                Work::Inspect(inspect) => run_inspect(jail, &inspect, descriptors),
            }
        }
    }
}

/// Confines itself as far as any job does and says which layers that gave.
pub(crate) fn run_canary(start: JobStart, channel: OwnedFd, role: Role) -> ! {
    // A second handle, because a job that cannot be confined gives its channel up.
    let spare = channel.try_clone();
    let confined = confine_wholly(start, channel, role);
    let word: CanaryWord = match &confined {
        Ok(jail) => {
            Ok(jail.layers().iter().map(|(layer, state)| on_the_wire(layer, state)).collect())
        }
        Err(error) => Err(missing_layer(*error)),
    };
    let bytes = lazaret_wire::frame::encode(&word).unwrap_or_default();
    let mut stream = output_record(&bytes);
    push_claim(&mut stream, &Claim::Inspected);
    match (&confined, &spare) {
        (Ok(jail), _) => write_all(jail.channel(), &stream),
        (Err(_), Ok(spare)) => write_all(spare.as_fd(), &stream),
        (Err(_), Err(_)) => {}
    }
    job::end(if word.is_ok() { 0 } else { markers::EXIT_NOT_CONFINED })
}

fn confine_wholly(start: JobStart, channel: OwnedFd, role: Role) -> Result<JobJail, StepError> {
    let mut jail = job::confine(start, kind(role), channel)?;
    jail.limit(&JobLimits {
        memory_bytes: 1 << 30,
        cpu: Duration::from_secs(2),
        stack_bytes: OWN_STACK_BYTES,
        file_bytes: 0,
        descriptors: DESCRIPTORS,
        processes: 0,
    })?;
    close_the_last_doors(&mut jail, role, &[])?;
    Ok(jail)
}

/// Another engine, where params ask for other settings than the worker's.
pub(crate) fn own_engine(jail: &JobJail, engine: &Engine, params: &Params) -> Option<Engine> {
    match engine.suits(params) {
        true => None,
        false => Some(or_unable(jail, Engine::new(params))),
    }
}

/// Compiles code into the artifact's memfd.
fn run_prepare(
    mut jail: JobJail,
    (engine, native): Runners<'_>,
    work: &Prepare,
    descriptors: Vec<OwnedFd>,
) -> ! {
    let params = claims::preparation_params(&work.params);
    let Ok([code, artifact]) = <[OwnedFd; 2]>::try_from(descriptors) else {
        end_unable(&jail, "it was not handed code and a place for the artifact");
    };
    if let Some(native) = native.filter(|native| native.takes(&code)) {
        native::prepare(jail, native, code, artifact);
    }
    let own_engine = own_engine(&jail, engine, &params);
    let engine = own_engine.as_ref().unwrap_or(engine);
    let code = or_unable(&jail, Mapped::open(&code, u64::MAX));
    let closed = close_the_last_doors(&mut jail, Role::Prepare, &[]);
    or_unable(&jail, closed);
    refuse_beyond(work.limits.heap_bytes);
    let prepared = engine.prepare(&code, &params, &claims::code_limits(work.code_bytes_max));
    let heap_bytes_peak = heap_bytes_peak();
    let prepared = match prepared {
        Err(error) => end(&jail, &[], claims::of_preparation(error)),
        Ok(prepared) => prepared,
    };
    write_all(artifact.as_fd(), &prepared.artifact);
    // The file itself is tried, and not what was written to it.
    if params.profile == Profile::Pvf {
        let loaded = or_unable(&jail, claims::load(engine, File::from(artifact)));
        if let Err(error) = engine.check(&loaded, &params) {
            end(&jail, &[], claims::of_preparation(error));
        }
        // Not dropped, as the job ends without returning.
        std::mem::forget(loaded);
    } else {
        program::check(&jail, engine, &params, artifact);
    }
    let claim = Claim::Prepared(lazaret_wire::claim::Prepared {
        artifact_bytes: prepared.artifact.len() as u64,
        code_bytes: prepared.code_bytes,
        heap_bytes_peak,
    });
    end(&jail, &[], claim)
}

/// Reads code without compiling it.
fn run_inspect(mut jail: JobJail, work: &Inspect, descriptors: Vec<OwnedFd>) -> ! {
    let Ok([code]) = <[OwnedFd; 1]>::try_from(descriptors) else {
        end_unable(&jail, "it was not handed code");
    };
    let code = or_unable(&jail, Mapped::open(&code, u64::MAX));
    let closed = close_the_last_doors(&mut jail, Role::Prepare, &[]);
    or_unable(&jail, closed);
    refuse_beyond(work.limits.heap_bytes);
    let params = claims::engine_params(&work.params);
    let limits = claims::code_limits(work.code_bytes_max);
    let inspection = match lazaret_engine::inspect(&code, &params, &limits) {
        Err(error) => end(&jail, &[], claims::of_preparation(error)),
        Ok(inspection) => claims::inspection(inspection),
    };
    let output = or_unable(&jail, inspection.encode());
    end(&jail, &output, Claim::Inspected)
}

/// After this nothing can be opened, made executable or told the time, and only the calls of the
/// final filter are left.
pub(crate) fn close_the_last_doors(
    jail: &mut JobJail,
    role: Role,
    text: &[&[u8]],
) -> Result<(), StepError> {
    seal(jail, role, text)?;
    jail.enter_final_filter()
}

/// The same for a call whose text is sealed, if it has not been done already: what is mapped is enough.
pub(crate) fn shut(jail: &mut JobJail) {
    if !jail.is_shut() {
        or_unable(jail, jail.close_all_but_channel());
        let filtered = jail.enter_final_filter();
        or_unable(jail, filtered);
    }
}

/// A preparation keeps its clock: the compiler times its own passes. What it reads reaches nobody,
/// because the artifact is the same whatever the time.
pub(crate) fn seal(jail: &mut JobJail, role: Role, text: &[&[u8]]) -> Result<(), StepError> {
    let clocks = match role {
        Role::Execute => Clocks::Removed,
        Role::Prepare => Clocks::Kept,
    };
    jail.seal(&Seal { text, clocks })
}

/// Sets the heap limit that is the same on every machine. Beyond it the allocator sends this claim,
/// encoded now because nothing can be allocated then.
fn refuse_beyond(heap_bytes: u64) {
    if heap_bytes > 0 {
        let mut claim = Vec::new();
        let refusal = Refusal::PrepareMemory { limit_bytes: heap_bytes };
        push_claim(&mut claim, &Claim::Refused(refusal));
        limit_heap(heap_bytes, claim);
    }
}

/// Takes the limits of its work.
fn limit(jail: &mut JobJail, limits: &JobLimits) {
    if jail.limit(limits).is_err() {
        job::end(markers::EXIT_NOT_CONFINED)
    }
}

pub(crate) fn job_limits(limits: &Limits, file_bytes: u64) -> JobLimits {
    JobLimits {
        memory_bytes: limits.memory_bytes,
        cpu: Duration::from_micros(limits.cpu_micros),
        stack_bytes: OWN_STACK_BYTES,
        file_bytes,
        descriptors: DESCRIPTORS,
        processes: 0,
    }
}

pub(crate) fn kind(role: Role) -> JobKind {
    match role {
        Role::Execute => JobKind::Execute,
        Role::Prepare => JobKind::Prepare,
    }
}

/// The last word: the output, the claim, and no destructor, because a sealed mapping cannot be
/// unmapped and the final filter has no `close`.
pub(crate) fn end(jail: &JobJail, output: &[u8], claim: Claim) -> ! {
    let mut stream = output_record(output);
    push_claim(&mut stream, &claim);
    write_all(jail.channel(), &stream);
    jail.end(0)
}

pub(crate) fn or_unable<T, E: std::fmt::Display>(jail: &JobJail, done: Result<T, E>) -> T {
    done.unwrap_or_else(|error| end_unable(jail, error))
}

/// The last word of a job that the machine kept from going on.
pub(crate) fn end_unable(jail: &JobJail, why: impl std::fmt::Display) -> ! {
    end(jail, &[], Claim::Unable(Text::from(why.to_string())))
}

fn output_record(output: &[u8]) -> Vec<u8> {
    let mut stream = Vec::with_capacity(output.len() + 64);
    if !output.is_empty() {
        push_output_header(&mut stream, output.len() as u32);
        stream.extend_from_slice(output);
    }
    stream
}

/// Writes everything or ends: a worker that stopped reading wants to hear no more.
pub(crate) fn write_all(file: BorrowedFd<'_>, bytes: &[u8]) {
    let mut rest = bytes;
    while !rest.is_empty() {
        match rustix::io::write(file, rest) {
            Ok(written) => rest = &rest[written..],
            Err(rustix::io::Errno::INTR) => {}
            Err(_) => job::end(markers::EXIT_ORPHANED),
        }
    }
}
