//! Calls of plain and WASI programs: what they are given, and what comes back.
//!
//! What a WASI program starts with (arguments, environment) is part of the input's bytes and not of a message,
//! because a person may give more of it than an order holds. It is read in the job.

use serde::{Deserialize, Serialize};

/// The most arguments and the most results of a call in numbers.
pub const VALUES_MAX: usize = 64;
/// The most bytes of an export's name and of arguments in words together: what an order has room for.
pub const CALL_BYTES_MAX: usize = 2048;
/// The most bytes of a WASI program's arguments and environment together, encoded.
pub const START_BYTES_MAX: u32 = 1024 * 1024;
/// The most directories in an image.
pub const MOUNTS_MAX: usize = 64;
/// The most bytes of an image.
pub const IMAGE_BYTES_MAX: u64 = 2 * 1024 * 1024 * 1024;

/// A number. Floats are their bits, so that a NaN is the same after it travelled.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Value {
    /// A 32-bit integer.
    I32(i32),
    /// A 64-bit integer.
    I64(i64),
    /// The bits of a 32-bit float.
    F32(u32),
    /// The bits of a 64-bit float.
    F64(u64),
}

/// One call of an export.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExportCall {
    /// Its name.
    pub export: String,
    /// What it is given.
    pub arguments: Arguments,
}

/// What an export is given. Decides what is expected of it in return.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Arguments {
    /// These numbers, at most [`VALUES_MAX`]; it returns numbers.
    Values(Vec<Value>),
    /// Numbers as a person writes them, to be read by the types of its parameters; it returns numbers.
    Words(Vec<String>),
    /// The input's bytes; it returns bytes.
    Bytes,
}

impl ExportCall {
    /// Whether it fits into an order.
    pub fn fits(&self) -> bool {
        let words = match &self.arguments {
            Arguments::Values(values) => return values.len() <= VALUES_MAX && self.name_fits(),
            Arguments::Words(words) => words.as_slice(),
            Arguments::Bytes => &[],
        };
        let bytes: usize = words.iter().map(|word| word.len() + 1).sum();
        words.len() <= VALUES_MAX && bytes + self.export.len() <= CALL_BYTES_MAX
    }

    fn name_fits(&self) -> bool {
        self.export.len() <= CALL_BYTES_MAX
    }
}

/// One call of a plain program. The input is the bytes it is given, if it is given bytes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlainCall {
    /// What is called.
    pub call: ExportCall,
    /// The most fuel that it may use, where the artifact counts.
    pub fuel: Option<u64>,
}

/// Calls of a plain program one after another in one instance. The input's bytes are the
/// [calls](crate::sequence).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SequenceCall {
    /// The most fuel that each call may use, where the artifact counts.
    pub fuel: Option<u64>,
}

/// One run of a WASI program. Descriptors after the input: the image, if it has one; the read end of a pipe
/// for standard input, if there is one; the write ends for standard output and standard error.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WasiCall {
    /// What is called in place of `_start`. Bytes it is given are the rest of the input.
    pub call: Option<ExportCall>,
    /// How many of the input's first bytes are its [`WasiStart`].
    pub start_bytes: u32,
    /// What its randomness is made of.
    pub random: Random,
    /// What its clocks show.
    pub clock: Clock,
    /// Whether an image of files rides along.
    pub has_image: bool,
    /// Where standard input comes from.
    pub stdin: Stdin,
    /// Bytes of a writable area of its own at `/tmp`; 0 for none.
    pub tmp_bytes_max: u64,
    /// The most bytes on standard output, and the most on standard error.
    pub stream_bytes_max: u64,
    /// The most fuel that it may use, where the artifact counts.
    pub fuel: Option<u64>,
}

/// What the randomness of a program is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Random {
    /// This number: the same bytes at every run.
    Seeded(u64),
    /// Bytes that were drawn, which nobody knows before.
    Drawn([u8; 32]),
}

/// What the clocks of a program show.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Clock {
    /// The same at every run: they begin at a fixed time.
    #[default]
    Fixed,
    /// The time of this machine.
    Real,
}

/// Where standard input comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Stdin {
    /// Nowhere: it is at its end.
    Absent,
    /// A pipe that rides along.
    Pipe,
}

/// What a WASI program starts with, as the input's first bytes have it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct WasiStart {
    /// Its arguments; by custom the first is its name.
    pub arguments: Vec<Vec<u8>>,
    /// Its environment: names and values.
    pub environment: Vec<(Vec<u8>, Vec<u8>)>,
    /// Where it finds the directories of its image, which lie there as `0`, `1` and so on.
    pub mounts: Vec<Vec<u8>>,
}

impl WasiStart {
    /// The input's first bytes.
    pub fn encode(&self) -> Result<Vec<u8>, postcard::Error> {
        postcard::to_stdvec(self)
    }

    /// Back from those bytes, which must be all of it and not too many.
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        if bytes.len() as u64 > u64::from(START_BYTES_MAX) {
            return None;
        }
        match postcard::take_from_bytes(bytes) {
            Ok((start, [])) => Some(start),
            _ => None,
        }
    }
}
