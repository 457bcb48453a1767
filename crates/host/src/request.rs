//! What is asked of a host, and what it answers.

use std::{
    io,
    sync::Arc,
    time::{Duration, Instant},
};

use lazaret_wire::{
    claim::RunEnd,
    evidence,
    work::{self, Given, INPUT_INLINE_BYTES_MAX},
};

use crate::{
    artifacts::{Origin, PrepareFacts, Purpose},
    blob::{Attached, Blob},
    host::Security,
    verdict::{LogLine, Verdict},
    worker::{INPUT_FILE_BYTES_MAX, InputFile},
};

/// Bytes of private memory that a call may have beyond its linear memory and its stack: the engine,
/// the artifact's own pages, and what host functions need.
const EXECUTE_MEMORY_BEYOND: u64 = 1024 * 1024 * 1024;
/// Bytes of private memory that a preparation may have, at least.
const PREPARE_MEMORY: u64 = 4 * 1024 * 1024 * 1024;
/// Bytes of private memory that a preparation may have beyond its heap.
const PREPARE_MEMORY_BEYOND: u64 = 1024 * 1024 * 1024;
const WASM_PAGE_BYTES: u64 = 64 * 1024;
/// Wall time is only a backstop: so many times the CPU time.
const WALL_PER_CPU: u32 = 4;
/// The shortest wall-clock limit: a job with a tiny CPU limit needs its turn on a busy machine, and
/// is not a stalled machine's fault when it did not get it at once.
const WALL_LIMIT_MIN: Duration = Duration::from_secs(2);
/// The shortest CPU limit. To a timer 0 would mean none (timer_settime(2)).
const CPU_LIMIT_MIN: Duration = Duration::from_micros(1);
/// The most that any CPU limit may be: a day.
const CPU_LIMIT_MAX: Duration = Duration::from_secs(24 * 60 * 60);

/// Tells a request from all others of its host in the log.
pub(crate) type RequestId = u64;

/// Limits of one call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// CPU time of the job, from the moment it holds its work. Wall time is limited to 4 times
    /// that, and at least 2 s. Values above a day count as a day, 0 as a microsecond.
    pub cpu: Duration,
    /// The most bytes that the guest may return. Values above 64 MiB count as 64 MiB.
    pub output_bytes_max: u32,
    /// The most bytes of input.
    pub input_bytes_max: u64,
}

impl Default for Limits {
    /// 12 s of CPU time (Polkadot's for approval), 16 MiB out, 64 MiB in.
    fn default() -> Self {
        Self {
            cpu: Duration::from_secs(12),
            output_bytes_max: 16 * 1024 * 1024,
            input_bytes_max: 64 * 1024 * 1024,
        }
    }
}

/// Limits of preparing code.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PrepareLimits {
    /// CPU time to say whether code may be accepted at all.
    pub precheck_cpu: Duration,
    /// CPU time to prepare accepted code because a call needs it.
    pub execution_cpu: Duration,
    /// Heap bytes that a compilation may hold at once, counted exactly and so the same on every
    /// machine.
    pub heap_bytes_max: u64,
    /// Bytes that code may have once decompressed.
    pub code_bytes_max: u64,
    /// Bytes that an artifact may have.
    pub artifact_bytes_max: u64,
}

impl Default for PrepareLimits {
    /// 60 s and 360 s of CPU time (Polkadot's), 3 GiB of heap, 50 MiB of code, 512 MiB of artifact.
    fn default() -> Self {
        Self {
            precheck_cpu: Duration::from_secs(60),
            execution_cpu: Duration::from_secs(360),
            heap_bytes_max: 3 * 1024 * 1024 * 1024,
            code_bytes_max: crate::code::CODE_BYTES_MAX,
            artifact_bytes_max: 512 * 1024 * 1024,
        }
    }
}

/// Whether to try again when it cannot be said whose fault it was, or when this machine failed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Retry {
    /// Once, on a fresh worker, after a second if it could not be said whose fault it was.
    #[default]
    Once,
    /// The same, after this pause.
    OnceAfter(Duration),
    /// Never: for requests that are worthless when late.
    Never,
}

/// What one call is given.
#[derive(Clone, Debug)]
pub(crate) struct Input {
    /// Plain memory while it waits: a descriptor is taken only once there is a worker.
    pub(crate) pieces: Arc<[Vec<u8>]>,
    pub(crate) form: work::Input,
    /// Files that go beside them.
    pub(crate) image: Option<Blob>,
}

impl Input {
    pub(crate) fn len(&self) -> u64 {
        self.pieces.iter().map(|piece| piece.len() as u64).sum()
    }

    pub(crate) fn digest(&self) -> [u8; 32] {
        let mut hasher = blake3::Hasher::new();
        self.pieces.iter().for_each(|piece| _ = hasher.update(piece));
        *hasher.finalize().as_bytes()
    }

    /// The bytes themselves if they are few, or that they will be in a file.
    pub(crate) fn given(&self) -> Given {
        match self.len() <= INPUT_INLINE_BYTES_MAX as u64 {
            true => Given::Inline(self.pieces.concat()),
            false => Given::Attached,
        }
    }

    /// The bytes in a file, and in which: the worker's, if it has one and they are not too many, or a memfd of
    /// their own. In the former they begin at this place.
    pub(crate) fn in_a_file(
        &self,
        file: Option<&InputFile>,
        at: u16,
    ) -> io::Result<(Given, Attached)> {
        let bytes = self.len();
        match file.filter(|_| bytes <= INPUT_FILE_BYTES_MAX) {
            Some(file) => {
                let attached = Attached::InputFile(file.put(at, &self.pieces)?);
                Ok((Given::Placed { at, bytes }, attached))
            }
            None => Ok((Given::Attached, Attached::Blob(self.to_blob()?))),
        }
    }

    fn to_blob(&self) -> io::Result<Blob> {
        let pieces: Vec<_> = self.pieces.iter().map(Vec::as_slice).collect();
        Blob::from_parts(&pieces)
    }
}

/// What is known when a request has run its course.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Answer<T> {
    /// The conclusion about the guest.
    pub verdict: Verdict<T>,
    /// What the last job used.
    pub usage: Usage,
    /// How many jobs were run for it: 1, or 2 after a retry.
    pub attempts: u32,
    /// The artifact that was called or made; `None` if there is none.
    pub artifact: Option<ArtifactUse>,
    /// What the guest logged in the last job: untrusted, capped, in order.
    pub log: Vec<LogLine>,
    /// Log lines beyond the cap.
    pub log_lines_dropped: u32,
    /// What a program wrote to streams that were kept, whatever came of it.
    pub written: Written,
    /// The jail that it was found in; always there in an answer of a [`Host`](crate::Host).
    pub security: Option<Arc<Security>>,
}

impl<T> Answer<T> {
    /// The same with what was returned read as something else.
    pub(crate) fn read<U>(self, read: impl FnOnce(T) -> Verdict<U>) -> Answer<U> {
        let verdict = match self.verdict {
            Verdict::Returned(output) => read(output),
            Verdict::Refused(refusal) => Verdict::Refused(refusal),
            Verdict::Inconclusive(doubt) => Verdict::Inconclusive(doubt),
        };
        Answer {
            verdict,
            usage: self.usage,
            attempts: self.attempts,
            artifact: self.artifact,
            log: self.log,
            log_lines_dropped: self.log_lines_dropped,
            written: self.written,
            security: self.security,
        }
    }
}

/// What a program wrote: bytes, untrusted, no more than the limit of each.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Written {
    /// To its standard output.
    pub stdout: Vec<u8>,
    /// To its standard error.
    pub stderr: Vec<u8>,
}

/// What a guest returned: bytes, untrusted, and pages of linear memory at the end of the call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Output {
    pub(crate) bytes: Vec<u8>,
    pub(crate) memory_pages: u32,
    /// How a program ended, where it was one.
    pub(crate) end: Option<RunEnd>,
}

/// The artifact of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ArtifactUse {
    /// Where it came from.
    pub origin: Origin,
    /// Its size.
    pub bytes: u64,
    /// What preparing it took, then.
    pub facts: PrepareFacts,
}

/// What a job used, by the kernel's accounting but for the fuel.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Usage {
    /// CPU time from the moment it was handed its work.
    pub cpu: Duration,
    /// Wall time of the same span.
    pub wall: Duration,
    /// The most resident memory, in bytes, the program's own pages included, which all jobs share. Not known of a job that
    /// was a copy of one that had loaded the artifact: its answer is there before its memory is counted.
    pub resident_bytes_peak: Option<u64>,
    /// Fuel, where a program counted it. Counted in its own job, and so only its word.
    pub fuel: Option<u64>,
}

impl From<evidence::Usage> for Usage {
    fn from(usage: evidence::Usage) -> Self {
        Self {
            cpu: Duration::from_micros(usage.cpu_micros),
            wall: Duration::from_micros(usage.wall_micros),
            resident_bytes_peak: usage.memory.map(|memory| memory.resident_bytes_peak),
            fuel: None,
        }
    }
}

impl Limits {
    /// With room for so many more bytes of private memory.
    pub(crate) fn for_execute(
        &self,
        params: &lazaret_wire::params::Params,
        more_bytes: u64,
    ) -> work::Limits {
        let linear_memory = u64::from(params.memory_pages_max) * WASM_PAGE_BYTES;
        let stack = u64::from(params.stack_native_bytes_max);
        work::Limits {
            memory_bytes: (EXECUTE_MEMORY_BEYOND + linear_memory + stack)
                .saturating_add(more_bytes),
            output_bytes: self.output_bytes_max.min(lazaret_wire::frame::OUTPUT_BYTES_MAX),
            ..with_cpu(self.cpu)
        }
    }
}

/// A wall-clock limit that somebody named, as workers know it.
pub(crate) fn wall_micros(wall: Duration) -> u64 {
    wall.clamp(CPU_LIMIT_MIN, CPU_LIMIT_MAX).as_micros() as u64
}

impl PrepareLimits {
    /// The CPU time for that purpose.
    pub(crate) fn cpu(&self, purpose: Purpose) -> Duration {
        match purpose {
            Purpose::Precheck => self.precheck_cpu,
            Purpose::Execution => self.execution_cpu,
        }
    }

    pub(crate) fn for_prepare(&self, cpu: Duration) -> work::Limits {
        let beyond_heap = self.heap_bytes_max.saturating_add(PREPARE_MEMORY_BEYOND);
        work::Limits {
            memory_bytes: PREPARE_MEMORY.max(beyond_heap),
            heap_bytes: self.heap_bytes_max,
            ..with_cpu(cpu)
        }
    }
}

impl PrepareLimits {
    pub(crate) fn for_inspect(&self) -> work::Limits {
        let output_bytes = lazaret_wire::claim::INSPECTION_BYTES_MAX;
        work::Limits { output_bytes, ..self.for_prepare(self.precheck_cpu) }
    }
}

fn with_cpu(cpu: Duration) -> work::Limits {
    let cpu = cpu.clamp(CPU_LIMIT_MIN, CPU_LIMIT_MAX);
    work::Limits {
        cpu_micros: cpu.as_micros() as u64,
        wall_micros: (cpu * WALL_PER_CPU).max(WALL_LIMIT_MIN).as_micros() as u64,
        memory_bytes: 0,
        heap_bytes: 0,
        output_bytes: lazaret_wire::frame::OUTPUT_INLINE_BYTES_MAX as u32,
    }
}

/// A deadline that never comes, if none is given.
pub(crate) fn or_never(deadline: Option<Instant>) -> tokio::time::Instant {
    const NEVER: Duration = Duration::from_secs(365 * 24 * 60 * 60);
    deadline.map_or_else(|| tokio::time::Instant::now() + NEVER, tokio::time::Instant::from_std)
}
