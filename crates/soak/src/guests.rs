//! Codes, blocks, and what each kind of request must come to where nobody does it harm.

use std::time::Duration;

use lazaret::{
    Code,
    pvf::{Block, ValidationParams},
};

use crate::{
    bounds::{ENDLESS_CPU, HONEST_CODES, HONEST_CPU, LARGE_INPUT_BYTES, NEW_CODES},
    choices::Choices,
};

/// A kind of request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Kind {
    /// A call of known code.
    Honest,
    /// A call of code that may have to be prepared.
    New,
    /// A call with a large input.
    Large,
    Trap,
    Endless,
    BadOutput,
    /// Its block does not decompress.
    BadInput,
    /// Not a module.
    BadCode,
    /// Its `start` function traps.
    StartTraps,
    /// Its `start` function never ends, so that it cannot be prepared.
    StartEndless,
    PrecheckGood,
    PrecheckBad,
    PrecheckEndless,
    Inspect,
    HeadsUp,
}

/// All kinds, and how often each is asked, in parts of the sum.
pub(crate) const KINDS: &[(Kind, u64)] = &[
    (Kind::Honest, 40),
    (Kind::New, 10),
    (Kind::Large, 4),
    (Kind::Trap, 8),
    (Kind::Endless, 6),
    (Kind::BadOutput, 4),
    (Kind::BadInput, 4),
    (Kind::BadCode, 4),
    (Kind::StartTraps, 4),
    (Kind::StartEndless, 2),
    (Kind::PrecheckGood, 6),
    (Kind::PrecheckBad, 4),
    (Kind::PrecheckEndless, 2),
    (Kind::Inspect, 2),
    (Kind::HeadsUp, 2),
];

/// What is asked of the host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verb {
    Validate,
    Precheck,
    Inspect,
    HeadsUp,
}

/// What a request comes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Expected {
    /// The guest returns this head.
    Head(u64),
    /// Something is returned that is not looked at.
    Passes,
    /// It is refused for the reason of this word.
    RefusedFor(&'static str),
    /// It is given up, with the doubt of this word.
    GivenUp(&'static str),
}

/// One request.
#[derive(Debug)]
pub(crate) struct Asked {
    pub(crate) kind: Kind,
    pub(crate) verb: Verb,
    pub(crate) code: Code,
    pub(crate) block: Block,
    pub(crate) cpu: Duration,
    pub(crate) expected: Expected,
}

/// The codes that are asked for again and again.
#[derive(Debug)]
pub(crate) struct Guests {
    honest: Vec<Code>,
    trap: Code,
    endless: Code,
    bad_output: Code,
    bad: Code,
    start_traps: Code,
    start_endless: Code,
}

impl Guests {
    pub(crate) fn new() -> Self {
        Self {
            honest: (0..HONEST_CODES).map(honest).collect(),
            trap: guest("unreachable"),
            endless: guest("(loop (br 0)) (unreachable)"),
            bad_output: guest("(i64.const -1)"),
            bad: Code::new(b"not a module").expect("a few bytes"),
            start_traps: starting("unreachable"),
            start_endless: starting("(loop (br 0))"),
        }
    }

    /// A request of some kind.
    pub(crate) fn draw(&self, choices: &mut Choices) -> Asked {
        let mut part = choices.below(KINDS.iter().map(|(_, parts)| parts).sum());
        for &(kind, parts) in KINDS {
            match part.checked_sub(parts) {
                Some(rest) => part = rest,
                None => return self.of_kind(kind, choices),
            }
        }
        self.of_kind(Kind::Honest, choices)
    }

    /// A request of this kind.
    pub(crate) fn of_kind(&self, kind: Kind, choices: &mut Choices) -> Asked {
        let plain = |verb, code: &Code, expected| {
            let block = Block::encoded(vec![1, 2, 3]);
            Asked { kind, verb, code: code.clone(), block, cpu: HONEST_CPU, expected }
        };
        let refused = |code, word| plain(Verb::Validate, code, Expected::RefusedFor(word));
        match kind {
            Kind::Honest => self.call(kind, choices.below(HONEST_CODES), 64, choices),
            Kind::Large => self.call(kind, choices.below(HONEST_CODES), LARGE_INPUT_BYTES, choices),
            Kind::New => self.call(kind, HONEST_CODES + choices.below(NEW_CODES), 64, choices),
            Kind::Trap => refused(&self.trap, "trap"),
            Kind::Endless => Asked { cpu: ENDLESS_CPU, ..refused(&self.endless, "cpu-limit") },
            Kind::BadOutput => refused(&self.bad_output, "bad-output"),
            Kind::BadInput => Asked { block: bad_block(), ..refused(&self.honest[0], "bad-input") },
            Kind::BadCode => refused(&self.bad, "code"),
            Kind::StartTraps => refused(&self.start_traps, "code"),
            Kind::StartEndless => {
                plain(Verb::Validate, &self.start_endless, Expected::GivenUp("preparation"))
            }
            Kind::PrecheckGood => {
                let code = honest(HONEST_CODES + choices.below(NEW_CODES));
                plain(Verb::Precheck, &code, Expected::Passes)
            }
            Kind::PrecheckBad => {
                plain(Verb::Precheck, &self.start_traps, Expected::RefusedFor("code"))
            }
            Kind::PrecheckEndless => {
                plain(Verb::Precheck, &self.start_endless, Expected::RefusedFor("prepare-cpu"))
            }
            Kind::Inspect => plain(Verb::Inspect, &self.trap, Expected::Passes),
            Kind::HeadsUp => {
                let code = honest(HONEST_CODES + choices.below(NEW_CODES));
                plain(Verb::HeadsUp, &code, Expected::Passes)
            }
        }
    }

    fn call(&self, kind: Kind, salt: u64, bytes: usize, choices: &mut Choices) -> Asked {
        let mut input = vec![choices.below(256) as u8; bytes];
        for byte in input.iter_mut().take(64) {
            *byte = choices.below(256) as u8;
        }
        let head = digest(salt, &input);
        let known = self.honest.get(salt as usize).cloned();
        Asked {
            kind,
            verb: Verb::Validate,
            code: known.unwrap_or_else(|| honest(salt)),
            block: Block::encoded(input),
            cpu: HONEST_CPU,
            expected: Expected::Head(head),
        }
    }
}

/// FNV-1a from a salted beginning, as [`honest`] computes it.
fn digest(salt: u64, input: &[u8]) -> u64 {
    let begin = 0xcbf2_9ce4_8422_2325 ^ salt;
    let step = |digest: u64, byte: &u8| (digest ^ u64::from(*byte)).wrapping_mul(0x100_0000_01b3);
    input.iter().fold(begin, step)
}

/// A guest whose new head is the digest of its input.
fn honest(salt: u64) -> Code {
    let begin = 0xcbf2_9ce4_8422_2325 ^ salt;
    guest(&format!(
        "(local $digest i64) (local $end i32)
        (local.set $digest (i64.const {begin:#x}))
        (local.set $end (i32.add (local.get 0) (local.get 1)))
        (block $done
          (loop $next
            (br_if $done (i32.eq (local.get 0) (local.get $end)))
            (local.set $digest (i64.mul
              (i64.xor (local.get $digest) (i64.load8_u (local.get 0)))
              (i64.const 0x100000001b3)))
            (local.set 0 (i32.add (local.get 0) (i32.const 1)))
            (br $next)))
        (i32.store8 (i32.const 512) (i32.const 0x20))
        (i64.store (i32.const 513) (local.get $digest))
        (i64.const 0x0000_0014_0000_0200)"
    ))
}

/// A guest whose `validate_block` has this body.
fn guest(body: &str) -> Code {
    module(body, "")
}

/// A guest whose `start` function has this body.
fn starting(body: &str) -> Code {
    module("(i64.const 0)", &format!("(func $start {body}) (start $start)"))
}

fn module(body: &str, more: &str) -> Code {
    let text = format!(
        r#"(module
            (memory (export "memory") 1)
            (global (export "__heap_base") i32 (i32.const 1024))
            (func (export "validate_block") (param i32 i32) (result i64) {body}) {more})"#
    );
    let bytes = wat::parse_str(text).expect("guests of this file are right");
    Code::new(&bytes).expect("a small module")
}

/// A block whose data says that it is compressed, and is not.
fn bad_block() -> Block {
    Block::parts(ValidationParams {
        parent_head: Vec::new(),
        block_data: vec![0x52, 0xbc, 0x53, 0x76, 0x46, 0xdb, 0x8e, 0x05, 1, 2, 3],
        relay_parent_number: 1,
        relay_parent_storage_root: [2; 32],
        extension: None,
    })
}
