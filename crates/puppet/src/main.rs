//! A worker that misbehaves on request: it speaks the protocol over descriptor 0, runs nothing, and
//! does one thing wrong. The tests of this package start hosts with it.
//!
//! A host fixes what its workers are told: arguments, environment, descriptors. So a puppet looks at
//! where its program stands: beside it, in a folder named for its role, each file's name is one
//! misbehaviour (see [`script`]). A puppet takes the first of them away and acts it out; one that
//! finds none behaves. So a test lays out what the first, the second and every later worker do.
#![forbid(unsafe_code)]

mod script;
mod socket;

use std::process::exit;

use lazaret_wire::{
    claim::{Claim, Inspection, Prepared},
    evidence::{End, Evidence, Output, Reply, Usage},
    frame::{
        Ending, FRAME_BYTES_MAX, FromWorker, NotStarted, Readiness, StartStep, ToWorker, decode,
        encode,
    },
    greeting::{Hello, Layer, LayerState, encode_greeting},
    work::Work,
};
use rustix::process::{Signal, getpid, kill_process};

use crate::{
    script::{Act, Greeting},
    socket::Attached,
};

/// The smallest `ValidationResult`: an empty head, nothing else.
const RESULT: [u8; 12] = [0; 12];
const ENGINE_FINGERPRINT: [u8; 32] = [7; 32];
/// What a flood writes to the log, many times what the host keeps of it.
const FLOOD_BYTES: usize = 8 * 1024 * 1024;

fn main() {
    let act = script::take();
    // The host's greeting is there before the process is.
    socket::receive();
    greet(act);
    let mut earlier = None;
    let mut already_wrong = false;
    loop {
        if act == Act::DeadUnread {
            socket::wait_until_readable();
            exit(1);
        }
        let ToWorker::Run { number, work, .. } = take() else { continue };
        let answer = FromWorker {
            number,
            readiness: Readiness::Standby,
            ending: Ending::Ended(evidence(&work, output(&work))),
        };
        if already_wrong {
            socket::send(&encoded(&answer), attached(&work));
        } else {
            if act != Act::Good {
                script::say_acting();
            }
            answer_wrongly(act, &answer, &work, earlier.as_ref());
            already_wrong = act != Act::Stale || earlier.is_some();
        }
        earlier = Some(answer);
    }
}

fn take() -> ToWorker {
    decode(&socket::receive()).unwrap_or_else(|_| exit(2))
}

fn encoded(answer: &FromWorker) -> Vec<u8> {
    encode(answer).unwrap_or_else(|_| exit(3))
}

/// Greets, rightly or wrongly. What ends a puppet here ends it before any work.
fn greet(act: Act) {
    let layer = |state| Layer { name: "job-filter".into(), state };
    let ready = |engine_fingerprint| Hello::Ready {
        engine_fingerprint,
        layers: vec![layer(LayerState::On)],
    };
    let good = encode_greeting(&ready(ENGINE_FINGERPRINT)).unwrap_or_else(|_| exit(3));
    let hello = |hello| encode_greeting(&hello).unwrap_or_else(|_| exit(3));
    let frame = match act {
        Act::Greeting(Greeting::Dead) => exit(1),
        Act::Greeting(Greeting::Silent) => socket::wait_for_the_end(),
        Act::Greeting(Greeting::Stopped) => {
            stop();
            good
        }
        Act::Greeting(Greeting::Garbled) => vec![0xa5; 100],
        Act::Greeting(Greeting::Truncated) => good[..good.len() - 1].to_vec(),
        Act::Greeting(Greeting::Oversized) => vec![b'L'; FRAME_BYTES_MAX + 1],
        Act::Greeting(Greeting::Empty) => Vec::new(),
        Act::Greeting(Greeting::WrongVersion) => {
            let mut other = good;
            other[4] ^= 0xff;
            other
        }
        Act::Greeting(Greeting::OtherEngine) => hello(ready([8; 32])),
        Act::Greeting(Greeting::Broken) => hello(Hello::Broken("it \u{1b}[31mis broken".into())),
        Act::Greeting(Greeting::JailIncomplete) => {
            let state = LayerState::Off { call: "unshare".into(), errno: 1 };
            hello(Hello::JailIncomplete(layer(state)))
        }
        Act::Early => {
            socket::send(&good, Attached::Nothing);
            let ending = Ending::NotStarted(NotStarted { step: StartStep::Fork, errno: 11 });
            encoded(&FromWorker { number: 0, readiness: Readiness::Absent, ending })
        }
        _ => good,
    };
    socket::send(&frame, Attached::Nothing);
}

/// Acts out one misbehaviour with work at hand.
fn answer_wrongly(act: Act, answer: &FromWorker, work: &Work, earlier: Option<&FromWorker>) {
    let right = || socket::send(&encoded(answer), attached(work));
    let large = |bytes: u32, attached| {
        let ending = Ending::Ended(evidence(work, Output::Attached(bytes)));
        socket::send(&encoded(&FromWorker { ending, ..answer.clone() }), attached);
    };
    match act {
        Act::Silent => socket::wait_for_the_end(),
        Act::DeadWithJob => exit(1),
        Act::Stopped => stop(),
        Act::Garbled => socket::send(&[0xff; 64], Attached::Nothing),
        Act::Oversized => socket::send(&vec![0; FRAME_BYTES_MAX + 1], Attached::Nothing),
        Act::Empty => socket::send(&[], Attached::Nothing),
        Act::Slow => {
            // The withdrawal is the event: answered after it, as one that crossed it would be.
            take();
            right();
        }
        Act::DeafToWithdrawal => {
            take();
            socket::wait_for_the_end();
        }
        Act::Double => {
            right();
            right();
        }
        Act::Stale => match earlier {
            Some(earlier) => socket::send(&encoded(earlier), attached(work)),
            None => right(),
        },
        Act::WrongNumber => {
            let number = answer.number.wrapping_add(1);
            socket::send(&encoded(&FromWorker { number, ..answer.clone() }), attached(work));
        }
        Act::NotStarted => {
            let ending = Ending::NotStarted(NotStarted { step: StartStep::Fork, errno: 11 });
            let answer = FromWorker { ending, ..answer.clone() };
            socket::send(&encoded(&answer), Attached::Nothing);
        }
        Act::NothingAttached => match work {
            Work::Execute(_) => large(100, Attached::Nothing),
            _ => socket::send(&encoded(answer), Attached::Nothing),
        },
        Act::Unsealed => match work {
            Work::Execute(_) => large(100, Attached::Unsealed(100)),
            _ => socket::send(&encoded(answer), Attached::Unsealed(100)),
        },
        Act::LargeOutput => large(100, Attached::Sealed(100)),
        Act::NotAMemfd => large(100, Attached::Socket),
        Act::TooMany => socket::send(&encoded(answer), Attached::Sockets),
        Act::OtherLength => large(100, Attached::Sealed(99)),
        Act::HugeOutput => large(u32::MAX, Attached::Sealed(u32::MAX.into())),
        Act::Flood => {
            flood();
            right();
        }
        Act::Early | Act::Good | Act::Greeting(_) | Act::DeadUnread => right(),
    }
}

fn stop() {
    kill_process(getpid(), Signal::STOP).unwrap_or_else(|_| exit(3));
}

fn flood() {
    let line = b"\x1b]0;owned\x07 a line that is none of the host's business\r\n";
    let mut written = 0;
    while written < FLOOD_BYTES {
        written += rustix::io::write(rustix::stdio::stderr(), line).unwrap_or_else(|_| exit(3));
    }
}

fn evidence(work: &Work, output: Output) -> Evidence {
    let claim = match work {
        Work::Execute(_) => Claim::Returned { memory_pages: 1, input_shift: 0 },
        Work::Prepare(_) => {
            Claim::Prepared(Prepared { artifact_bytes: 100, code_bytes: 1, heap_bytes_peak: 1 })
        }
        Work::Inspect(_) => Claim::Inspected,
    };
    Evidence {
        end: End::Exited(0),
        stop: None,
        reply: Reply::Whole { claim, output },
        usage: Usage::default(),
        log: Vec::new(),
        log_lines_dropped: 0,
    }
}

fn output(work: &Work) -> Output {
    Output::Inline(match work {
        Work::Execute(_) => RESULT.to_vec(),
        Work::Prepare(_) => Vec::new(),
        Work::Inspect(_) => Inspection::default().encode().unwrap_or_else(|_| exit(3)),
    })
}

fn attached(work: &Work) -> Attached {
    match work {
        Work::Prepare(_) => Attached::Sealed(100),
        Work::Execute(_) | Work::Inspect(_) => Attached::Nothing,
    }
}
