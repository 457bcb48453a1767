//! Measures what the jail costs on this machine and prints which layers are on.
//!
//! `cargo run --release -p lazaret-sandbox --example cost`. It starts itself as a worker, with
//! the log as its only output.

use std::os::unix::net::UnixStream;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use lazaret_sandbox::fork::{Forked, fork_job};
use lazaret_sandbox::job::{self, Clocks, JobKind, JobLimits, Seal};
use lazaret_sandbox::layer::{Layer, LayerState};
use lazaret_sandbox::level::Level;
use lazaret_sandbox::worker::{self, Policy};
use lazaret_sandbox::{markers, watch};

const ROUNDS: usize = 2000;

fn main() {
    let role = std::env::args().nth(1);
    match role.as_deref() {
        Some("worker") => be_worker(&[]),
        Some("nested") => be_worker(&[
            Layer::WorkerFilter,
            Layer::LoadingFilter,
            Layer::JobFilter,
            Layer::NoNestedNamespaces,
        ]),
        _ => {
            for role in ["worker", "nested"] {
                let mut worker = Command::new("/proc/self/exe");
                worker.arg(role).env_clear().stdin(Stdio::null()).stdout(Stdio::null());
                // A pipe, because the worker's file size limit would also stop a log file.
                let mut worker = worker.stderr(Stdio::piped()).spawn().expect("itself");
                let mut log = worker.stderr.take().expect("piped");
                std::io::copy(&mut log, &mut std::io::stdout()).expect("a log");
                worker.wait().expect("own child");
            }
        }
    }
}

fn be_worker(left_out: &[Layer]) {
    markers::install().expect("signal actions");
    let began = Instant::now();
    let parent = rustix::process::getppid().expect("a parent");
    let policy = Policy::new(Level::Strict, parent, 0).leaving_out(left_out);
    let mut jail = worker::confine(&policy).expect("a jail");
    jail.enter_filter().expect("a filter");
    if !left_out.is_empty() {
        let namespace = libc::CLONE_NEWPID;
        report("raw clone NEWPID, exit, wait", || raw_clone(namespace));
        report("raw clone NEWUSER|NEWPID, exit, wait", || {
            raw_clone(namespace | libc::CLONE_NEWUSER);
        });
        return;
    }
    eprintln!("worker: confine and filter {:?}", began.elapsed());

    report("fork_job, end, reap", || match fork_job(&jail).expect("a job") {
        Forked::Job(_) => job::end(0),
        Forked::Worker(child) => {
            watch::reap(child).expect("reaped");
        }
    });
    for clocks in [Clocks::Kept, Clocks::Removed] {
        let mut steps = [const { Vec::new() }; 3];
        report(&format!("whole empty job, clocks {clocks:?}"), || {
            let told = whole_job(&jail, clocks);
            told.into_iter().zip(&mut steps).for_each(|(step, all)| all.push(step));
        });
        if clocks == Clocks::Kept {
            for (step, all) in ["confine", "seal", "final filter"].iter().zip(&mut steps) {
                print(&format!("  in the job: {step}"), all);
            }
        }
    }
    tell_layers(&jail);
}

/// Runs a job through all its steps; it tells how long each took, if it can read a clock.
fn whole_job(jail: &worker::WorkerJail, clocks: Clocks) -> [Duration; 3] {
    let (ours, theirs) = UnixStream::pair().expect("a channel");
    let start = match fork_job(jail).expect("a job") {
        Forked::Worker(child) => {
            drop(theirs);
            let mut told = [0u8; 12];
            rustix::io::read(&ours, &mut told).expect("the channel");
            watch::reap(child).expect("reaped");
            let step = |at: usize| {
                let micros = told[at..at + 4].try_into().expect("four bytes");
                Duration::from_nanos(u32::from_le_bytes(micros).into())
            };
            return [step(0), step(4), step(8)];
        }
        Forked::Job(start) => start,
    };
    let began = Instant::now();
    let mut jail = job::confine(start, JobKind::Execute, theirs.into()).expect("confined");
    jail.limit(&LIMITS).expect("limited");
    let confined = began.elapsed();
    jail.seal(&Seal { text: &[], clocks }).expect("sealed");
    let now = || if clocks == Clocks::Kept { began.elapsed() } else { Duration::ZERO };
    let sealed = now();
    jail.enter_final_filter().expect("filtered");
    let filtered = now();
    let steps = [confined, sealed.saturating_sub(confined), filtered.saturating_sub(sealed)];
    let told: Vec<u8> =
        steps.iter().flat_map(|step| (step.as_nanos() as u32).to_le_bytes()).collect();
    rustix::io::write(jail.channel(), &told).expect("the worker reads");
    job::end(0)
}

fn tell_layers(jail: &worker::WorkerJail) {
    let (ours, theirs) = UnixStream::pair().expect("a channel");
    match fork_job(jail).expect("a job") {
        Forked::Worker(child) => {
            drop(theirs);
            let mut text = vec![0u8; 1 << 14];
            while let Ok(bytes @ 1..) = rustix::io::read(&ours, &mut text) {
                eprint!("{}", String::from_utf8_lossy(&text[..bytes]));
            }
            watch::reap(child).expect("reaped");
        }
        Forked::Job(start) => {
            let mut jail = job::confine(start, JobKind::Execute, theirs.into()).expect("confined");
            jail.limit(&LIMITS).expect("limited");
            jail.seal(&Seal { text: &[], clocks: Clocks::Removed }).expect("sealed");
            jail.enter_final_filter().expect("filtered");
            for (layer, state) in jail.layers().iter() {
                let line = match state {
                    LayerState::On => format!("on   {layer}\n"),
                    LayerState::Off(refusal) => format!("OFF  {layer}: {refusal}\n"),
                };
                rustix::io::write(jail.channel(), line.as_bytes()).expect("the worker reads");
            }
            job::end(0)
        }
    }
}

const LIMITS: JobLimits = JobLimits {
    memory_bytes: 64 << 20,
    cpu: Duration::from_secs(1),
    stack_bytes: 1 << 20,
    file_bytes: 0,
    descriptors: 4,
    processes: 0,
};

fn raw_clone(namespaces: i32) {
    // SAFETY: a fork without CLONE_VM; the child ends at once.
    unsafe {
        match libc::syscall(libc::SYS_clone, namespaces | libc::SIGCHLD, 0, 0, 0, 0) {
            0 => libc::_exit(0),
            -1 => eprintln!("clone: {}", std::io::Error::last_os_error()),
            pid => {
                libc::waitpid(pid as i32, std::ptr::null_mut(), 0);
            }
        }
    }
}

fn report(what: &str, mut once: impl FnMut()) {
    let mut taken: Vec<Duration> = (0..ROUNDS)
        .map(|_| {
            let began = Instant::now();
            once();
            began.elapsed()
        })
        .collect();
    print(what, &mut taken);
}

fn print(what: &str, taken: &mut [Duration]) {
    taken.sort_unstable();
    let at = |percent: usize| taken[taken.len() * percent / 100];
    eprintln!("{what}: p50 {:?}, p90 {:?}, p99 {:?}", at(50), at(90), at(99));
}
