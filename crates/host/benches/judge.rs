//! What it costs to decide about blame: nothing that anybody would notice.
//! `cargo bench -p lazaret --bench judge`.

use divan::{Bencher, black_box};
use lazaret_wire::{
    claim::{Claim, Refusal, TrapKind},
    evidence::{End, Evidence, Output, Reply, Stop, Usage},
    frame::OUTPUT_INLINE_BYTES_MAX,
    work::Limits,
};

#[allow(dead_code, unused_imports, reason = "the host and its tests use the rest")]
#[path = "../src/judge.rs"]
mod judge;

/// What the judge says, as the library shows it.
mod verdict {
    pub(crate) use lazaret::{Culprit, Doubt, Fault, culprit};
}
mod machine {
    pub(crate) use lazaret::MachineLoad;
}
mod worker {
    pub(crate) use lazaret::JobTurn;
}

use judge::{Asked, OomKill, Outcome, Waiting, judge};

const LIMITS: Limits = Limits {
    cpu_micros: 2_000_000,
    wall_micros: 8_000_000,
    memory_bytes: 1 << 30,
    heap_bytes: 0,
    output_bytes: 64 << 20,
};

fn main() {
    divan::main();
}

fn whole(claim: Claim, output: Vec<u8>) -> Reply {
    Reply::Whole { claim, output: Output::Inline(output) }
}

fn bench(bencher: Bencher<'_, '_>, end: End, stop: Option<Stop>, reply: Reply) {
    let (usage, log) = (Usage::default(), Vec::new());
    let evidence = Evidence { end, stop, reply, usage, log, log_lines_dropped: 0 };
    let outcome = || Outcome::Ended(evidence.clone(), OomKill::None);
    bencher.with_inputs(outcome).bench_local_values(|outcome| {
        judge(black_box(Asked::Execute), &LIMITS, Waiting::Impossible, outcome)
    });
}

#[divan::bench(args = [12, OUTPUT_INLINE_BYTES_MAX])]
fn returned(bencher: Bencher<'_, '_>, output_bytes: usize) {
    let reply = whole(Claim::Returned { memory_pages: 20, input_shift: 0 }, vec![7; output_bytes]);
    bench(bencher, End::Exited(0), None, reply);
}

#[divan::bench]
fn trapped(bencher: Bencher<'_, '_>) {
    let trap = Refusal::Trap { kind: TrapKind::Unreachable, message: "unreachable".into() };
    bench(bencher, End::Exited(0), None, whole(Claim::Refused(trap), Vec::new()));
}

#[divan::bench]
fn died(bencher: Bencher<'_, '_>) {
    bench(bencher, End::Signaled(11), None, Reply::Silence);
}

#[divan::bench]
fn stopped_at_its_limit(bencher: Bencher<'_, '_>) {
    bench(bencher, End::Signaled(9), Some(Stop::CpuLimit), Reply::Silence);
}
