//! A job that calls an artifact. It loads it when the call comes or, where calls are likely, is a copy of a
//! template that has loaded it.
//!
//! Loading runs nothing of the guest's: an instance is made, and the `start` function was taken out
//! when the artifact was. What the artifact made final stays so while template and copy wait. With the
//! input the last doors close, and then the guest runs. Where the input is likely to come in the order
//! itself they close before: whoever calls waits for nothing but the guest.

use std::{fs::File, os::fd::OwnedFd};

use lazaret_engine::{Artifact, Engine, ExecuteError, LogSink, pvf};
use lazaret_sandbox::{
    fork::{Copied, copy_job},
    job::{self, JobJail},
    layer::StepError,
    markers, set_scratch_memory_apart,
};
use lazaret_wire::{
    claim::{Claim, Refusal},
    frame::encode,
    greeting::Role,
    params::{Params, Profile},
    reply::{LOG_LINES_MAX, push_claim, push_log},
    work::{Copy, Execute, Given, Input, Limits, Load, Order, Work},
};

use crate::{
    claims, hand_over,
    input::{self, InputBytes},
    job::{Runners, end, end_unable, job_limits, or_unable, own_engine, seal, shut, write_all},
    native::{self, Native},
    program,
};

/// Lines that a job sends before it counts the rest in silence; the worker keeps fewer.
const LINES_SENT_MAX: usize = 2 * LOG_LINES_MAX;

/// Stack and heap of the engine that a call takes which runs long.
const LONG_CALL_BYTES: usize = 16 * 1024;

/// What waits for its input.
enum Loaded {
    Guest(Box<Guest>),
    /// Of a profile other than that of parachain validation functions.
    Program(Box<program::Loaded>),
    /// Only of an attack. Its artifact is mapped when it is called.
    Native(Native, OwnedFd),
    /// Only of an attack, when its artifact is mapped.
    NativeText(Native, &'static [u8]),
}

struct Guest {
    instance: Result<pvf::Instance, ExecuteError>,
    /// Both are there until the job ends.
    _artifact: Artifact,
    _own_engine: Option<Engine>,
}

/// Loads and calls.
pub(crate) fn now(
    mut jail: JobJail,
    runners: Runners<'_>,
    work: Execute,
    descriptors: Vec<OwnedFd>,
) -> ! {
    let mut descriptors = descriptors.into_iter();
    let Some(artifact) = descriptors.next() else {
        end_unable(&jail, "it was not handed an artifact");
    };
    let loaded = load(&mut jail, runners, &work.params, artifact);
    call(jail, loaded, work, descriptors.collect())
}

/// Loads, and copies itself for each call of what it loaded, until the worker ends it.
pub(crate) fn template(
    mut jail: JobJail,
    runners: Runners<'_>,
    likely: &Load,
    descriptors: Vec<OwnedFd>,
) -> ! {
    let Ok([artifact]) = <[OwnedFd; 1]>::try_from(descriptors) else {
        job::end(markers::EXIT_ORPHANED)
    };
    jail.expect(&artifact);
    let mut loaded = match load(&mut jail, runners, &likely.params, artifact) {
        Loaded::Native(native, artifact) if likely.shut => {
            let text = native::map(&jail, native, artifact);
            let sealed = seal(&mut jail, Role::Execute, &[text]);
            or_unable(&jail, sealed);
            Loaded::NativeText(native, text)
        }
        loaded => loaded,
    };
    jail.map_text_ahead();
    if let Loaded::Guest(guest) = &mut loaded {
        guest.instance.iter_mut().for_each(pvf::Instance::look_up_functions);
    }
    let rehearsal = rehearsal(likely);
    set_scratch_memory_apart();
    let kept = jail.keep_written_in_file(likely.often);
    or_unable(&jail, kept);
    if let Loaded::Native(..) = &loaded {
        copies(jail, loaded, likely, &rehearsal)
    }
    // What is mapped is enough.
    or_unable(&jail, jail.close_all_but_channel());
    if likely.shut {
        let filtered = jail.enter_filter_of_copies();
        or_unable(&jail, filtered);
    }
    let room = match &loaded {
        Loaded::Guest(guest) => guest.instance.as_ref().ok().map(pvf::Instance::room),
        Loaded::Program(program) => program.room(),
        Loaded::Native(..) | Loaded::NativeText(..) => None,
    };
    match room {
        // The stack is made once, and not by each copy.
        Some(room) => room.enter(|| copies(jail, loaded, likely, &rehearsal)),
        None => copies(jail, loaded, likely, &rehearsal),
    }
}

/// An order like those that will come.
fn rehearsal(likely: &Load) -> Vec<u8> {
    let Load { params, limits, .. } = likely.clone();
    let given = Given::Inline(vec![0]);
    let like = Execute { artifact: 0, given, input: Input::PvfEncoded, params, limits };
    encode(&Order::Work(Work::Execute(like))).unwrap_or_default()
}

/// Makes a copy as often as the worker wants one.
fn copies(mut jail: JobJail, loaded: Loaded, likely: &Load, rehearsal: &[u8]) -> ! {
    let mut channels = hand_over::Channels::none();
    loop {
        let (how, long) = match channels.take_next(&jail) {
            Ok(Some(Order::Copy { how, long })) => (how, long),
            Ok(Some(Order::Gather)) => {
                jail.gather_written();
                continue;
            }
            _ => job::end(markers::EXIT_ORPHANED),
        };
        let Some(channel) = channels.next() else { job::end(markers::EXIT_ORPHANED) };
        match copy_job(&jail) {
            Ok(Copied::Template) => jail.close(channel),
            Ok(Copied::Job) => {
                let rehearsal = Rehearsal { order: rehearsal, long };
                copy((jail, loaded), channel, (&how, &likely.limits), &rehearsal)
            }
            Err(_) => job::end(markers::EXIT_NOT_CONFINED),
        }
    }
}

/// Waits for the call and calls.
fn copy(
    (mut jail, mut loaded): (JobJail, Loaded),
    channel: OwnedFd,
    (how, inherited): (&Copy, &Limits),
    rehearsal: &Rehearsal<'_>,
) -> ! {
    let confined = jail.become_copy(channel).and_then(|()| match how {
        Copy::Open => Ok(()),
        Copy::Shut(limits) => {
            rehearsal.of(&jail, &mut loaded);
            shut_before(&mut jail, limits, inherited)
        }
    });
    if confined.is_err() {
        job::end(markers::EXIT_NOT_CONFINED)
    }
    if hand_over::announce(jail.channel()).is_err() {
        job::end(markers::EXIT_ORPHANED)
    }
    let taken = match how {
        Copy::Open => hand_over::take(jail.channel()),
        Copy::Shut(_) => hand_over::read(jail.channel()).map(|order| Some((order?, Vec::new()))),
    };
    let Ok(Some((Order::Work(Work::Execute(work)), descriptors))) = taken else {
        job::end(markers::EXIT_ORPHANED)
    };
    if matches!(how, Copy::Open) && jail.limit_call(&job_limits(&work.limits, 0)).is_err() {
        job::end(markers::EXIT_NOT_CONFINED)
    }
    call(jail, loaded, work, descriptors)
}

/// What a copy does before its call, so that the pages that the call needs are there when it comes, and nobody waits for them.
struct Rehearsal<'a> {
    /// An order like the one that will come.
    order: &'a [u8],
    /// Whether its call is likely to run for long.
    long: bool,
}

impl Rehearsal<'_> {
    /// Goes the way of an order and of a claim once.
    fn of(&self, jail: &JobJail, loaded: &mut Loaded) {
        if let Loaded::Guest(guest) = loaded {
            guest.instance.iter_mut().for_each(|instance| instance.rehearse(self.long));
        }
        if self.long {
            jail.map_text_ends_ahead();
            touch_room();
        }
        let mut claim = Vec::with_capacity(self.order.len());
        push_claim(&mut claim, &Claim::Returned { memory_pages: 0, input_shift: 0 });
        std::hint::black_box((hand_over::order(self.order), claim)).0.ok();
    }
}

/// Writes to the stack below, and to what is allocated next.
#[inline(never)]
fn touch_room() {
    std::hint::black_box(&mut [1_u8; LONG_CALL_BYTES]);
    std::hint::black_box(vec![1_u8; LONG_CALL_BYTES]);
}

/// Closes the last doors of a copy that waits for its call behind them.
fn shut_before(jail: &mut JobJail, limits: &Limits, inherited: &Limits) -> Result<(), StepError> {
    if !limits.are_alike_for_a_process(inherited) {
        jail.limit_call(&job_limits(limits, 0))?;
    }
    or_unable(jail, jail.close_all_but_channel());
    jail.enter_final_filter_and_wait()
}

fn load(
    jail: &mut JobJail,
    (engine, native): Runners<'_>,
    params: &Params,
    artifact: OwnedFd,
) -> Loaded {
    if let Some(native) = native.filter(|native| native.takes(&artifact)) {
        return Loaded::Native(native, artifact);
    }
    if params.profile != Profile::Pvf {
        return Loaded::Program(program::load(jail, engine, params, artifact));
    }
    let params = claims::engine_params(params);
    let own_engine = own_engine(jail, engine, &params);
    let engine = own_engine.as_ref().unwrap_or(engine);
    let artifact = match claims::load(engine, File::from(artifact)) {
        Ok(artifact) => artifact,
        Err(error) => end(jail, &[], Claim::ArtifactUnusable(claims::with_causes(&error))),
    };
    let sealed = seal(jail, Role::Execute, &[artifact.text()]);
    or_unable(jail, sealed);
    // Sealed first, for the sake of an artifact that runs something although none should.
    let mut instance = pvf::Instance::new(engine, &artifact, &params, log_to_worker());
    instance.iter_mut().for_each(|instance| instance.find_ahead(job::find_ahead));
    Loaded::Guest(Box::new(Guest { instance, _artifact: artifact, _own_engine: own_engine }))
}

fn call(mut jail: JobJail, loaded: Loaded, mut work: Execute, descriptors: Vec<OwnedFd>) -> ! {
    let mut descriptors = descriptors.into_iter();
    let given = std::mem::replace(&mut work.given, Given::Attached);
    let Some(bytes) = InputBytes::take(given, &mut descriptors) else {
        end_unable(&jail, "it was not handed an input");
    };
    let bytes = or_unable(&jail, bytes);
    let guest = match loaded {
        Loaded::Program(loaded) => program::call(jail, *loaded, &work, &bytes, descriptors),
        Loaded::Native(native, artifact) => {
            let text = native::map(&jail, native, artifact);
            let sealed = seal(&mut jail, Role::Execute, &[text]);
            or_unable(&jail, sealed);
            shut(&mut jail);
            native::execute(native, text, &bytes)
        }
        Loaded::NativeText(native, text) => native::execute(native, text, &bytes),
        Loaded::Guest(guest) => *guest,
    };
    let Some(input) = claims::pvf_input(&work.input, &bytes) else {
        end_unable(&jail, "its input is shorter than the parent head in it");
    };
    let placed = guest.instance.and_then(|instance| place(&mut jail, instance, input, &bytes));
    shut(&mut jail);
    let called = placed.and_then(|(placed, shift)| Ok((placed.validate_block()?, shift)));
    match called {
        Err(error) => end(&jail, &[], claims::of_execution(error, &work.params)),
        Ok((reply, _)) if reply.output().len() as u64 > u64::from(work.limits.output_bytes) => {
            let limit_bytes = work.limits.output_bytes.into();
            end(&jail, &[], Claim::Refused(Refusal::OutputTooLarge { limit_bytes }))
        }
        Ok((reply, input_shift)) => {
            let memory_pages = reply.memory_pages();
            end(&jail, reply.output(), Claim::Returned { memory_pages, input_shift })
        }
    }
}

/// Puts the input in the guest's memory: where that runs nothing and looks at nothing before the last doors, because
/// behind them nothing can be mapped; otherwise behind them. Says by how many bytes later in its
/// file it should begin.
fn place(
    jail: &mut JobJail,
    instance: pvf::Instance,
    input: pvf::Input<'_>,
    bytes: &InputBytes,
) -> Result<(pvf::Placed, u16), ExecuteError> {
    // That of the longest piece.
    let (mut longest, mut shift) = (0, 0);
    let placed = match bytes {
        InputBytes::InFile(file) if instance.can_place_unseen(&input) => {
            instance.place(input, &mut |to, piece| {
                let wanted = or_unable(jail, file.put(to, piece));
                if piece.len() > longest {
                    (longest, shift) = (piece.len(), wanted);
                }
            })
        }
        _ => {
            shut(jail);
            instance.place(input, &mut input::copy)
        }
    };
    Ok((placed?, shift))
}

/// Sends each line to the worker as it comes, so that a guest that dies later was heard.
fn log_to_worker() -> LogSink {
    let mut sent = 0;
    Box::new(move |line| {
        if sent < LINES_SENT_MAX {
            sent += 1;
            let mut record = Vec::new();
            push_log(&mut record, &claims::log_line(&line));
            // The channel of a confined job is descriptor 0.
            write_all(rustix::stdio::stdin(), &record);
        }
    })
}
