//! Frames between host and worker: one message, one `SOCK_SEQPACKET` datagram.
//!
//! The socket keeps frame boundaries, so there is no length field to lie with and no partial frame
//! to wait for. The body is postcard; a decoder takes memory only for bytes that are really there.

use serde::{Deserialize, Serialize, de::DeserializeOwned};

use crate::{evidence::Evidence, work::Work};

/// The most bytes of one frame. Below the smallest default of `net.core.wmem_default`, so that a
/// frame always fits the socket's buffer as a whole.
pub const FRAME_BYTES_MAX: usize = 96 * 1024;
/// The most descriptors that ride along with one frame: a WASI call's artifact, input, image and three
/// streams.
pub const DESCRIPTORS_MAX: usize = 6;
/// The most bytes that any job may return: more than a chain's largest result (code of 5 MiB,
/// 1 MiB of head, messages) by a wide margin.
pub const OUTPUT_BYTES_MAX: u32 = 64 * 1024 * 1024;
/// Output of at most this many bytes stands in the frame itself; more travels as a memfd.
pub const OUTPUT_INLINE_BYTES_MAX: usize = 32 * 1024;

/// Host to worker, after the greetings.
#[allow(clippy::large_enum_variant, reason = "there is one at a time")]
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ToWorker {
    /// Run this as one job and answer with evidence.
    Run {
        /// Tells this work from all others that the worker is sent; it stands in the answer.
        number: u64,
        /// What to run.
        work: Work,
        /// Where its job is to wake.
        wake: Wake,
    },
    /// Kill the job that is running and answer with its evidence. Says nothing to an idle worker.
    Withdraw,
}

/// On which processor a job wakes when it is handed its work.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Wake {
    /// On the worker's. Another then makes the next job meanwhile.
    BesideWorker {
        /// The processor from which the host calls.
        caller: u16,
    },
    /// Where the kernel likes.
    Anywhere,
    /// On one for the worker and all that it forks, as there is a call for each processor.
    Apart {
        /// Which of the processors that the worker may use, counted from 0 and beginning anew behind the last.
        place: u16,
    },
}

/// Worker to host, after the greetings.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FromWorker {
    /// The number of the work that this answers. An answer to anything but the work at hand must
    /// never be taken for one to it: it would be a verdict about another guest.
    pub number: u64,
    /// How far its job was when it came.
    pub readiness: Readiness,
    /// What became of the work.
    pub ending: Ending,
}

/// How far a job was when its work came.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Readiness {
    /// There was none: it was forked then.
    Absent,
    /// It waited, forked and confined.
    Standby,
    /// It was a copy of one that had loaded the artifact.
    Loaded,
}

/// What became of one piece of work.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Ending {
    /// The job has ended and was reaped.
    Ended(Evidence),
    /// The worker could not hand the work to a job: nothing untrusted was touched.
    NotStarted(NotStarted),
}

/// What kept a worker from handing work to a job.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NotStarted {
    /// The step that failed.
    pub step: StartStep,
    /// Its errno.
    pub errno: i32,
}

/// The steps between a frame and a job that holds its work.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum StartStep {
    /// The descriptors were not what the work needs.
    Descriptors,
    /// A memfd for the artifact.
    Memfd,
    /// A socket pair for the job.
    SocketPair,
    /// The fork.
    Fork,
    /// Handing over the work.
    HandOver,
}

/// Why a frame was not understood.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// It has more bytes than a frame may have.
    #[error("a frame of {0} bytes is longer than {FRAME_BYTES_MAX}")]
    TooLong(usize),
    /// It does not decode as the message that was expected.
    #[error("a frame that does not decode")]
    Malformed,
    /// It decodes and bytes are left over.
    #[error("a frame with {0} bytes left over")]
    Surplus(usize),
}

/// A message as a frame.
pub fn encode(message: &impl Serialize) -> Result<Vec<u8>, FrameError> {
    let frame = postcard::to_stdvec(message).map_err(|_| FrameError::Malformed)?;
    if frame.len() > FRAME_BYTES_MAX {
        return Err(FrameError::TooLong(frame.len()));
    }
    Ok(frame)
}

/// The message in a frame, which must be the whole frame.
pub fn decode<T: DeserializeOwned>(frame: &[u8]) -> Result<T, FrameError> {
    if frame.len() > FRAME_BYTES_MAX {
        return Err(FrameError::TooLong(frame.len()));
    }
    match postcard::take_from_bytes(frame) {
        Ok((message, [])) => Ok(message),
        Ok((_, rest)) => Err(FrameError::Surplus(rest.len())),
        Err(_) => Err(FrameError::Malformed),
    }
}
