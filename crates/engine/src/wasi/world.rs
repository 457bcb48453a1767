//! What a WASI program is given: arguments, files, streams, time, randomness.

use super::tree::Tree;

/// What a program sees of the world.
pub struct World {
    /// Arguments; the first is the program's name by custom. None may hold a zero byte.
    pub args: Vec<Vec<u8>>,
    /// Variables of the environment. None may hold a zero byte, no name an `=`.
    pub env: Vec<(Vec<u8>, Vec<u8>)>,
    /// Directories, in the order the program finds them (from descriptor 3 on).
    pub mounts: Vec<Mount>,
    /// What its clocks show.
    pub clock: Clock,
    /// Where its randomness comes from.
    pub random: Random,
    /// Its standard streams, and real time and randomness.
    pub outside: Box<dyn Outside>,
}

/// A directory that is there from the start.
pub struct Mount {
    /// Where the program finds it (`/`, `/data`, `.`).
    pub path: Vec<u8>,
    /// What is in it.
    pub contents: Contents,
}

/// What is in a mounted directory.
pub enum Contents {
    /// Files that can be read.
    Image(Tree),
    /// Nothing, and room for files that vanish with the instance.
    Private {
        /// Bytes of all files, names and a fixed sum for each entry together.
        bytes_max: u64,
    },
}

/// What clocks show. Sleeping never takes time: the clock jumps to when the sleep would end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Clock {
    /// The same in every run. Each reading is `step_ns` after the one before, and work takes time: a
    /// nanosecond for each unit of fuel where code was prepared with metering, else eight for each
    /// instruction in the text of a function that is entered (functions that are small and call
    /// nothing are left out). Both clocks show the same, the monotonic one from zero on.
    Counted {
        /// Nanoseconds since 1970 that the real-time clock starts at.
        start_ns: u64,
        /// Nanoseconds from one reading to the next.
        step_ns: u64,
    },
    /// What [`Outside::now`] says.
    Outside,
}

impl Clock {
    /// 2000-01-01 00:00 UTC, and a millisecond for each reading.
    pub const DEFAULT: Self =
        Self::Counted { start_ns: 946_684_800_000_000_000, step_ns: 1_000_000 };
}

/// Where randomness comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Random {
    /// ChaCha with 12 rounds, seeded with this number: the same bytes in every run, on every machine.
    Seeded(u64),
    /// What [`Outside::random`] gives.
    Outside,
}

/// One of the two clocks that programs use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClockId {
    /// Since 1970-01-01 00:00 UTC.
    RealTime,
    /// Since some moment; never goes back. The clocks of CPU time show it too.
    Monotonic,
}

/// A standard stream that a program writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stream {
    /// Standard output.
    Out,
    /// Standard error.
    Err,
}

impl std::fmt::Display for Stream {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Out => "standard output",
            Self::Err => "standard error",
        })
    }
}

/// Why bytes could not be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WriteError {
    /// Nobody reads them any more. The program is told so (`EPIPE`) and goes on.
    Closed,
    /// They are more than the stream takes. Ends the program.
    Limit {
        /// What it takes in all.
        bytes_max: u64,
    },
}

/// What the caller does for a program. Called inside [`Instance::call`](crate::program::Instance::call)
/// only, behind whatever filter the caller's process has then.
pub trait Outside {
    /// Reads standard input; 0 is its end. May wait. An error counts as the end.
    fn read(&mut self, buffer: &mut [u8]) -> usize;

    /// Writes all bytes.
    fn write(&mut self, stream: Stream, bytes: &[u8]) -> Result<(), WriteError>;

    /// Nanoseconds. Asked under [`Clock::Outside`] only.
    fn now(&mut self, clock: ClockId) -> u64 {
        let _ = clock;
        0
    }

    /// Fills the buffer. Asked under [`Random::Outside`] only.
    fn random(&mut self, buffer: &mut [u8]) {
        buffer.fill(0);
    }
}

/// Nothing: no input, and what is written is gone.
pub struct Nowhere;

impl Outside for Nowhere {
    fn read(&mut self, _: &mut [u8]) -> usize {
        0
    }

    fn write(&mut self, _: Stream, _: &[u8]) -> Result<(), WriteError> {
        Ok(())
    }
}

impl World {
    /// A world with streams and nothing else: no arguments, no files, the default clock, seed 0.
    pub fn new(outside: Box<dyn Outside>) -> Self {
        Self {
            args: Vec::new(),
            env: Vec::new(),
            mounts: Vec::new(),
            clock: Clock::DEFAULT,
            random: Random::Seeded(0),
            outside,
        }
    }
}
