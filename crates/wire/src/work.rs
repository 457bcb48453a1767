//! What a host asks of a worker, and a worker hands on to one job.
//!
//! Code, artifacts and all but small inputs are descriptors that ride along in the order each message
//! names. A small input stands in the message, as bytes that nobody but the job looks into.

use serde::{Deserialize, Serialize};

use crate::{
    params::Params,
    program::{PlainCall, SequenceCall, Stdin, WasiCall},
};

/// The most bytes that any artifact may have: the largest of today's chain runtimes has 61 MB.
pub const ARTIFACT_BYTES_MAX: u64 = 512 * 1024 * 1024;
/// An input of at most this many bytes stands in the work itself; more is a descriptor.
pub const INPUT_INLINE_BYTES_MAX: usize = 32 * 1024;
/// The most bytes of an order without an inline input: numbers and settings.
pub const ORDER_BYTES_MAX: usize = 4096;
/// Artifacts that a worker keeps loaded, ready for the next call, at most, and together no more bytes than one may have. Each takes a megabyte of memory, two where
/// calls of it came one after another, and two or three processes that sleep; a host's share of a network's chains is about as many.
pub const TEMPLATES_MAX: usize = 32;

/// What a worker tells a job.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Order {
    /// Do this. Descriptors: as the work says; to a copy of a template all but the artifact.
    Work(Work),
    /// Become a template: load what calls are likely of. Descriptor: the artifact. What comes next are
    /// orders to copy itself, or the end.
    Load(Load),
    /// Make a copy of yourself, which says a byte on its channel and waits there for its call.
    /// Descriptor: the copy's end of that channel.
    Copy {
        /// How it waits.
        how: Copy,
        /// Whether its call is likely to run for long, so that it is worth more that it finds what it needs.
        long: bool,
    },
    /// Have what you wrote in large pages, for the copies to come: nobody waits for one now.
    Gather,
}

/// How a copy waits for its call.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Copy {
    /// For any that its template can serve, with descriptors or without.
    Open,
    /// Under these limits and behind its last doors, for a call that has the same limits of a process
    /// and whose input is inline.
    Shut(Limits),
}

/// What a likely call is like.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Load {
    /// The params of the call.
    pub params: Params,
    /// The widest that it may have.
    pub limits: Limits,
    /// Whether its copies wait behind their last doors ([`Copy::Shut`]): all of them, or none.
    pub shut: bool,
    /// Whether calls of it came one after another, so that copies of it may take some memory to be made sooner.
    pub often: bool,
}

/// One piece of work. The worker hands it to a job as it is, as an [`Order`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Work {
    /// Call an artifact once. Descriptors: the artifact, the input's file if it is not inline, and those that
    /// the input says.
    Execute(Execute),
    /// Compile code. Descriptor: the code. The worker adds an empty memfd for the artifact when it
    /// hands the work to its job.
    Prepare(Prepare),
    /// Say what code is, without compiling it. Descriptor: the code.
    Inspect(Inspect),
}

impl Work {
    /// How many descriptors the host attaches.
    pub fn descriptors_from_host(&self) -> usize {
        match self {
            Self::Execute(execute) => {
                1 + usize::from(execute.given.is_in_a_file()) + execute.input.descriptors()
            }
            Self::Prepare(_) | Self::Inspect(_) => 1,
        }
    }

    /// The limits that the worker enforces.
    pub fn limits(&self) -> &Limits {
        match self {
            Self::Execute(execute) => &execute.limits,
            Self::Prepare(prepare) => &prepare.limits,
            Self::Inspect(inspect) => &inspect.limits,
        }
    }
}

/// One call of one artifact.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Execute {
    /// Which copy of which artifact: a number that the host gives to no other, so that a job which
    /// has loaded it beforehand is known.
    pub artifact: u64,
    /// Where the input's bytes are.
    pub given: Given,
    /// How they are to be read.
    pub input: Input,
    /// The params that the artifact was prepared under, and the memory limit of this call.
    pub params: Params,
    /// What the worker enforces.
    pub limits: Limits,
}

/// Where the bytes of an input are.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Given {
    /// In the sealed memfd that rides along.
    Attached,
    /// In the file that rides along, the worker's input file: only the host can write to it, and does not before
    /// the worker has answered. There is nothing else in it.
    Placed {
        /// Where they begin, in its first page.
        at: u16,
        /// How many there are.
        bytes: u64,
    },
    /// Here: at most [`INPUT_INLINE_BYTES_MAX`].
    Inline(#[serde(with = "serde_bytes")] Vec<u8>),
}

impl Given {
    /// Whether a descriptor rides along.
    pub fn is_in_a_file(&self) -> bool {
        match self {
            Self::Attached | Self::Placed { .. } => true,
            Self::Inline(_) => false,
        }
    }
}

/// How the input's bytes become the guest's argument.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Input {
    /// The bytes are a SCALE-encoded `ValidationParams` and go to the guest as they are.
    PvfEncoded,
    /// The bytes are a parent head, block data, which may be compressed, and an extension.
    PvfParts(PvfParts),
    /// An export of a plain module is called.
    Plain(PlainCall),
    /// Exports of a plain module are called one after another; the output is what came of each.
    Sequence(SequenceCall),
    /// A WASI program runs; the bytes begin with its [`WasiStart`](crate::program::WasiStart).
    Wasi(WasiCall),
}

impl Input {
    /// How many descriptors there are beside the artifact and the input itself.
    pub fn descriptors(&self) -> usize {
        match self {
            Self::PvfEncoded | Self::PvfParts(_) | Self::Plain(_) | Self::Sequence(_) => 0,
            Self::Wasi(call) => {
                2 + usize::from(call.has_image) + usize::from(call.stdin == Stdin::Pipe)
            }
        }
    }
}

/// The parts of `ValidationParams` that are not in the input's bytes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PvfParts {
    /// How many of the input's first bytes are the parent head.
    pub parent_head_bytes: u32,
    /// How many of the input's last bytes are what follows the storage root; often none.
    pub extension_bytes: u32,
    /// `ValidationParams::relay_parent_number`.
    pub relay_parent_number: u32,
    /// `ValidationParams::relay_parent_storage_root`.
    pub relay_parent_storage_root: [u8; 32],
    /// The most bytes that block data may have once decompressed.
    pub block_data_bytes_max: u64,
}

/// One compilation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Prepare {
    /// The params to compile under.
    pub params: Params,
    /// The most bytes that code may have once decompressed.
    pub code_bytes_max: u64,
    /// The most bytes that the artifact may have.
    pub artifact_bytes_max: u64,
    /// What the worker enforces.
    pub limits: Limits,
}

/// One look at code.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Inspect {
    /// The params to judge the code by.
    pub params: Params,
    /// The most bytes that code may have once decompressed.
    pub code_bytes_max: u64,
    /// What the worker enforces.
    pub limits: Limits,
}

/// Limits of one job, enforced where the job cannot reach.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limits {
    /// CPU time of the job from the moment it is handed its work, in microseconds.
    pub cpu_micros: u64,
    /// Wall time of the same span, in microseconds: a backstop.
    pub wall_micros: u64,
    /// Bytes of private memory (`RLIMIT_DATA`).
    pub memory_bytes: u64,
    /// Heap bytes that a job's own allocator grants, counted exactly; 0 for no such limit.
    pub heap_bytes: u64,
    /// Bytes of output that the worker takes from the job.
    pub output_bytes: u32,
}

impl Limits {
    /// Whether those that a process takes on itself are the same.
    pub fn are_alike_for_a_process(&self, other: &Self) -> bool {
        (self.memory_bytes, self.cpu_micros) == (other.memory_bytes, other.cpu_micros)
    }
}
