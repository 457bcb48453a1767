//! What the protocol costs: a frame to a worker, its answer, a job's reply in the pieces in which it
//! comes. `cargo bench -p lazaret-wire --bench frames`.

use divan::{Bencher, black_box, counter::BytesCount};
use lazaret_wire::{
    claim::Claim,
    evidence::{End, Evidence, LogLevel, LogLine, MemoryUsage, Output, Reply, Usage},
    frame::{Ending, FromWorker, Readiness, ToWorker, Wake, decode, encode},
    params::Params,
    reply::{ReplyReader, push_claim, push_log, push_output_header},
    work::{Execute, Given, Input, Limits, Work},
};

const LIMITS: Limits = Limits {
    cpu_micros: 12_000_000,
    wall_micros: 48_000_000,
    memory_bytes: 1 << 30,
    heap_bytes: 0,
    output_bytes: 64 << 20,
};
/// Bytes that a worker takes from a job's channel at a time.
const PIECE_BYTES: usize = 64 * 1024;

fn main() {
    divan::main();
}

fn run() -> ToWorker {
    let (input, params) = (Input::PvfEncoded, Params::default());
    ToWorker::Run {
        number: 1000,
        work: Work::Execute(Execute {
            artifact: 7,
            given: Given::Attached,
            input,
            params,
            limits: LIMITS,
        }),
        wake: Wake::Anywhere,
    }
}

/// An answer with an output of so many bytes in the frame itself.
fn answer(output_bytes: usize) -> FromWorker {
    let output = Output::Inline(vec![7; output_bytes]);
    let reply =
        Reply::Whole { claim: Claim::Returned { memory_pages: 20, input_shift: 0 }, output };
    let usage = Usage {
        cpu_micros: 1500,
        wall_micros: 1600,
        memory: Some(MemoryUsage {
            resident_bytes_peak: 9 << 20,
            faults_minor: 100,
            faults_major: 0,
        }),
    };
    let evidence = Evidence {
        end: End::Exited(0),
        stop: None,
        reply,
        usage,
        log: vec![],
        log_lines_dropped: 0,
    };
    FromWorker { number: 1000, readiness: Readiness::Loaded, ending: Ending::Ended(evidence) }
}

#[divan::bench]
fn encode_work(bencher: Bencher<'_, '_>) {
    let message = run();
    bencher.bench_local(|| encode(black_box(&message)));
}

#[divan::bench]
fn decode_work(bencher: Bencher<'_, '_>) {
    let frame = encode(&run()).expect("a frame");
    bencher.bench_local(|| decode::<ToWorker>(black_box(&frame)));
}

#[divan::bench(args = [12, 4096, 32_768])]
fn encode_answer(bencher: Bencher<'_, '_>, output_bytes: usize) {
    let message = answer(output_bytes);
    bencher.counter(BytesCount::new(output_bytes)).bench_local(|| encode(black_box(&message)));
}

#[divan::bench(args = [12, 4096, 32_768])]
fn decode_answer(bencher: Bencher<'_, '_>, output_bytes: usize) {
    let frame = encode(&answer(output_bytes)).expect("a frame");
    let bencher = bencher.counter(BytesCount::new(output_bytes));
    bencher.bench_local(|| decode::<FromWorker>(black_box(&frame)));
}

/// As a worker reads it: ten log lines, an output, the last word.
#[divan::bench(args = [12, 32_768, 1 << 20])]
fn read_reply(bencher: Bencher<'_, '_>, output_bytes: usize) {
    let mut stream = Vec::new();
    let line = LogLine {
        level: LogLevel::Info,
        target: "runtime".into(),
        message: "a line of a guest".into(),
    };
    (0..10).for_each(|_| push_log(&mut stream, &line));
    push_output_header(&mut stream, output_bytes as u32);
    stream.resize(stream.len() + output_bytes, 7);
    push_claim(&mut stream, &Claim::Returned { memory_pages: 20, input_shift: 0 });
    bencher.counter(BytesCount::new(stream.len())).bench_local(|| {
        let mut reader = ReplyReader::new(LIMITS.output_bytes);
        for piece in stream.chunks(PIECE_BYTES) {
            reader.push(black_box(piece)).expect("a whole reply");
        }
        reader.finish()
    });
}
