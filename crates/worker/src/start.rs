//! A worker's first second: greeting read, engine made, jail closed, a canary job run, greeting
//! answered. Everything that could fail for reasons of this machine fails here, before any work.

use std::{io, os::fd::AsFd, process::exit};

use lazaret_engine::Engine;
use lazaret_sandbox::{
    fork::{Forked, fork_job},
    home::Home,
    layer::StepError,
    level::Level,
    markers,
    probe::{self, ProbeKilled},
    text::{self, LargeText},
    worker::{self, ConfineError, Policy, WorkerJail},
};
use lazaret_wire::{
    evidence::{End, Evidence},
    frame::{OUTPUT_BYTES_MAX, decode},
    greeting::{
        Birthplace, Hello, JailLevel, Layer, Role, Start, decode_greeting, encode_greeting,
    },
    text::Text,
    work::{ARTIFACT_BYTES_MAX, Limits},
};
use rustix::process::{Pid, Signal};

use crate::{
    hand_over,
    host_link::HostLink,
    job,
    layers::{CanaryWord, missing_layer},
    native::Trial,
    placing::{Placing, Spot},
    serve::Worker,
    standby::{Copies, Standby, Terms},
    watch::{self, Begin, Job, Seen},
};

/// How a worker ends when its host is gone or cannot be understood. The host knows without being
/// told; the numbers are for people who trace processes.
const EXIT_HOST_GONE: i32 = 0;
const EXIT_NOT_UNDERSTOOD: i32 = 2;
const EXIT_NOT_STARTED: i32 = 3;
/// The canary only confines itself and says so.
const CANARY_LIMITS: Limits = Limits {
    cpu_micros: 2_000_000,
    wall_micros: 8_000_000,
    memory_bytes: 1 << 30,
    heap_bytes: 0,
    output_bytes: 16 * 1024,
};

/// The life of a worker. Only an attack brings a trial.
pub(crate) fn run(trial: Option<Trial>) -> ! {
    let host = HostLink::inherited();
    let start = match read_start(&host) {
        Ok(start) => start,
        Err(reason) => refuse(&host, &Hello::Broken(reason), EXIT_NOT_UNDERSTOOD),
    };
    let (mut worker, layers) = match prepare_to_serve(host, &start, trial) {
        Ok(ready) => ready,
        Err((host, hello)) => refuse(&host, &hello, EXIT_NOT_STARTED),
    };
    let engine_fingerprint = worker.engine.fingerprint();
    let greeted = greet(&worker.host, &Hello::Ready { engine_fingerprint, layers });
    // An error here is one of the host's socket: there is nobody to tell.
    let _ = greeted.and_then(|()| worker.serve());
    exit(EXIT_HOST_GONE)
}

fn read_start(host: &HostLink) -> Result<Start, Text> {
    let received = host.receive().map_err(|error| Text::from(error.to_string()))?;
    let Some(received) = received else { exit(EXIT_HOST_GONE) };
    decode_greeting(&received.frame).map_err(|error| Text::from(error.to_string()))
}

/// In this order: the markers before the engine, which keeps what signal actions it finds; the
/// engine before the jail, because making it asks the machine for its features.
fn prepare_to_serve(
    host: HostLink,
    start: &Start,
    trial: Option<Trial>,
) -> Result<(Worker, Vec<Layer>), (HostLink, Hello)> {
    let left_out = trial.as_ref().map(|trial| trial.left_out.clone());
    // Before the jail, which keeps it open only if it is what it should be.
    let text = LargeText::given();
    let policy =
        policy(start).leaving_out(&left_out.unwrap_or_default()).keeping_text(text.is_some());
    // What `ps` and `top` show. Otherwise it is the number of the descriptor that was executed.
    let _ = rustix::thread::set_name(match start.role {
        Role::Execute => c"lazaret-execute",
        Role::Prepare => c"lazaret-prepare",
    });
    let copies = match &trial {
        None => Copies::Likely,
        Some(trial) if trial.copies_always => Copies::Always,
        Some(_) => Copies::Never,
    };
    let native = trial.map(|trial| trial.native);
    let ready = || -> Result<_, Hello> {
        markers::install().map_err(broken)?;
        let engine = Engine::new(&lazaret_engine::Params::default()).map_err(broken)?;
        let home = Home::of_caller();
        let mut jail = worker::confine(&policy).map_err(not_confined)?;
        jail.enter_filter().map_err(incomplete)?;
        let layers = layers_of_a_job(&jail, &home, start.role, &host)?;
        text::let_go();
        Ok((engine, jail, home, layers))
    };
    match ready() {
        Ok((engine, jail, home, layers)) => {
            let (role, leaving, placing) = (start.role, None, Placing::new(home));
            let standby = Standby::new(Terms { copies, one_artifact: jail.jobs_share_a_limit() });
            let has_answered = false;
            let worker = Worker {
                host,
                role,
                engine,
                native,
                jail,
                placing,
                text,
                standby,
                leaving,
                has_answered,
            };
            Ok((worker, layers))
        }
        Err(hello) => Err((host, hello)),
    }
}

fn policy(start: &Start) -> Policy {
    let level = match start.jail {
        JailLevel::Strict => Level::Strict,
        JailLevel::Standard => Level::Standard,
        JailLevel::Weak => Level::Weak,
    };
    let file_bytes_max = match start.role {
        Role::Prepare => ARTIFACT_BYTES_MAX,
        Role::Execute => OUTPUT_BYTES_MAX.into(),
    };
    let parent = Pid::from_raw(start.host_pid).unwrap_or(Pid::INIT);
    let policy = Policy::new(level, parent, file_bytes_max);
    match start.cgroup {
        Birthplace::InCgroup => policy.born_in_cgroup(),
        Birthplace::WithHost => policy,
    }
}

/// Runs a job that confines itself to the end and says which layers that gave it. One that was killed
/// by somebody else has said nothing.
fn layers_of_a_job(
    jail: &WorkerJail,
    home: &Home,
    role: Role,
    host: &HostLink,
) -> Result<Vec<Layer>, Hello> {
    let seen = probe::uninterrupted(|| {
        let seen = run_canary(jail, home, role, host)?;
        let Evidence { end, stop, .. } = seen.evidence;
        let killed = stop.is_none() && end == End::Signaled(Signal::KILL.as_raw());
        Ok((!killed).then_some(seen))
    })?;
    let Seen { evidence, output } = seen.map_err(probe_killed)?;
    match (evidence.end, decode::<CanaryWord>(&output)) {
        (End::Exited(0), Ok(Ok(layers))) => Ok(layers),
        (End::Exited(markers::EXIT_NOT_CONFINED), Ok(Err(missing))) => {
            Err(Hello::JailIncomplete(missing))
        }
        (end, _) => {
            let stop = evidence.stop.map(|stop| format!(", killed at its {}", stop.word()));
            let stop = stop.unwrap_or_default();
            Err(Hello::Broken(format!("the canary job ended with {end:?}{stop}").into()))
        }
    }
}

fn run_canary(jail: &WorkerJail, home: &Home, role: Role, host: &HostLink) -> Result<Seen, Hello> {
    let (ours, theirs) = hand_over::channel().map_err(broken)?;
    let child = match fork_job(jail).map_err(broken)? {
        Forked::Worker(child) => child,
        Forked::Job(start) => job::run_canary(start, theirs, role),
    };
    let job = Job { child, channel: ours, announced: 0, spot: Spot::Anywhere };
    let begin = Begin::now(&job);
    let mut ask_host = || Err(io::ErrorKind::ConnectionReset.into());
    let host = (host.as_fd(), &mut ask_host as _);
    let (seen, _) =
        watch::until_ended(job, &CANARY_LIMITS, begin, host, (None, home), &mut |_| Ok(()))
            .map_err(broken)?;
    Ok(seen)
}

fn not_confined(error: ConfineError) -> Hello {
    match error {
        ConfineError::Step(error) => incomplete(error),
        ConfineError::Probe(killed) => probe_killed(killed),
    }
}

fn probe_killed(killed: ProbeKilled) -> Hello {
    Hello::ProbeKilled { signal: killed.signal, times: killed.times }
}

fn incomplete(error: StepError) -> Hello {
    Hello::JailIncomplete(missing_layer(error))
}

fn broken(error: impl std::fmt::Display) -> Hello {
    Hello::Broken(error.to_string().into())
}

fn greet(host: &HostLink, hello: &Hello) -> io::Result<()> {
    let frame = encode_greeting(hello).map_err(io::Error::other)?;
    host.send(&frame, &[])
}

fn refuse(host: &HostLink, hello: &Hello, status: i32) -> ! {
    let _ = greet(host, hello);
    exit(status)
}
