//! A run of a WASI program: what it is given.

use lazaret_wire::{
    program::{self, MOUNTS_MAX, Stdin, WasiCall, WasiStart},
    work,
};

use super::{ExportCall, Image, Limits, START_BYTES_MAX, Streams, input, streams::Source};
use crate::{Refusal, request::Input};

pub use lazaret_wire::program::Clock;

/// What the randomness of a program is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Random {
    /// A number: the same bytes at every run, on every machine.
    Seeded(u64),
    /// Bytes that were drawn: nobody knows before what it will be.
    Drawn([u8; 32]),
}

impl Random {
    /// Draws from the randomness of this machine, because a job has no call for it (getrandom(2)).
    pub fn draw() -> Self {
        let mut bytes = [0; 32];
        // It fails only where the kernel is older than the call, on which no job runs.
        let _ = rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty());
        Self::Drawn(bytes)
    }
}

impl Default for Random {
    fn default() -> Self {
        Self::Seeded(0)
    }
}

/// A run of a WASI program, and all that it will ever see.
#[derive(Clone, Debug, Default)]
#[must_use]
pub struct Command {
    start: WasiStart,
    call: Option<ExportCall>,
    stdin: Option<Vec<u8>>,
    image: Option<Image>,
    tmp_bytes_max: u64,
    random: Random,
    clock: Clock,
}

/// A run, taken apart.
pub(super) struct Parts {
    pub(super) input: Input,
    pub(super) stdin: Source,
}

impl Command {
    /// A run of a command; the name is its first argument.
    pub fn new(name: impl Into<Vec<u8>>) -> Self {
        Self::default().argument(name)
    }

    /// One argument more.
    pub fn argument(mut self, argument: impl Into<Vec<u8>>) -> Self {
        self.start.arguments.push(argument.into());
        self
    }

    /// A variable of its environment, which is empty otherwise.
    pub fn variable(mut self, name: impl Into<Vec<u8>>, value: impl Into<Vec<u8>>) -> Self {
        self.start.environment.push((name.into(), value.into()));
        self
    }

    /// Calls an export in place of the command: of a reactor.
    pub fn export(mut self, call: ExportCall) -> Self {
        self.call = Some(call);
        self
    }

    /// What it reads from its standard input, which is at its end otherwise.
    pub fn stdin(mut self, bytes: Vec<u8>) -> Self {
        self.stdin = Some(bytes);
        self
    }

    /// Files that it may read.
    pub fn image(mut self, image: Image) -> Self {
        self.image = Some(image);
        self
    }

    /// A writable area of its own at `/tmp`, which vanishes with it: so many bytes.
    pub fn tmp(mut self, bytes_max: u64) -> Self {
        self.tmp_bytes_max = bytes_max;
        self
    }

    /// What its randomness is made of; seed 0 by default. [`Random::draw`] gives this machine's.
    pub fn random(mut self, random: Random) -> Self {
        self.random = random;
        self
    }

    /// What its clocks show; a fixed time by default.
    pub fn clock(mut self, clock: Clock) -> Self {
        self.clock = clock;
        self
    }

    pub(super) fn into_parts(self, streams: &Streams, limits: &Limits) -> Result<Parts, Refusal> {
        let mut start = self.start;
        if let Some(image) = &self.image {
            start.mounts = image.mounts.clone();
        }
        check(&start)?;
        let start = start.encode().unwrap_or_default();
        if start.len() > START_BYTES_MAX as usize {
            return Err(Refusal::BadArguments(
                format!(
                    "arguments and environment have {} bytes, the limit is {START_BYTES_MAX}",
                    start.len()
                )
                .into(),
            ));
        }
        let (call, bytes) = match self.call {
            Some(call) => call.into_parts().map(|(call, bytes)| (Some(call), bytes))?,
            None => (None, Vec::new()),
        };
        let is_fed = self.stdin.is_some() || streams.has_stdin();
        let form = WasiCall {
            call,
            start_bytes: start.len() as u32,
            random: match self.random {
                Random::Seeded(seed) => program::Random::Seeded(seed),
                Random::Drawn(bytes) => program::Random::Drawn(bytes),
            },
            clock: self.clock,
            has_image: self.image.is_some(),
            stdin: if is_fed { Stdin::Pipe } else { Stdin::Absent },
            tmp_bytes_max: self.tmp_bytes_max,
            stream_bytes_max: limits.output_bytes_max,
            fuel: limits.fuel,
        };
        let image = self.image.map(|image| image.blob);
        let input = Input { image, ..input(vec![start, bytes], work::Input::Wasi(form)) };
        Ok(Parts { input, stdin: self.stdin.map_or(Source::Absent, Source::bytes) })
    }
}

/// What no program can be told.
fn check(start: &WasiStart) -> Result<(), Refusal> {
    let refuse = |what: &str| Err(Refusal::BadArguments(what.into()));
    let has_zero = |text: &Vec<u8>| text.contains(&0);
    let variables = || start.environment.iter();
    if start.arguments.iter().any(has_zero)
        || variables().any(|(name, value)| has_zero(name) || has_zero(value))
    {
        return refuse("no argument and no variable may hold a zero byte");
    }
    if variables().any(|(name, _)| name.is_empty() || name.contains(&b'=')) {
        return refuse("a variable needs a name, without `=`");
    }
    if start.mounts.len() > MOUNTS_MAX {
        return refuse("there are too many directories");
    }
    Ok(())
}
