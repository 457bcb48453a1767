//! Ordinary programs: functions of plain modules, and commands and reactors of WASI preview 1.
//!
//! ```no_run
//! # async fn example(host: &lazaret::Host) -> Result<(), Box<dyn std::error::Error>> {
//! use lazaret::{Code, Verdict, program::{Command, ExportCall, Returned, Settings, Value}};
//!
//! let adder = Code::new(&std::fs::read("add.wasm")?)?;
//! let call = ExportCall::values("add", [Value::I32(2), Value::I32(40)]);
//! let answer = host.call(&adder, call, &Settings::plain()).await?;
//! if let Verdict::Returned(ran) = &answer.verdict {
//!     assert_eq!(ran.returned, Returned::Values(vec![Value::I32(42)]));
//! }
//!
//! let python = Code::new(&std::fs::read("python.wasm")?)?;
//! let command = Command::new("python").argument("-").stdin(b"print(6 * 7)".to_vec());
//! let answer = host.run(&python, command, &Settings::wasi()).await?;
//! assert_eq!(answer.written.stdout, b"42\n");
//! # Ok(()) }
//! ```
//!
//! A WASI program has no file, clock, random number or network of this machine. Its streams are pipes to
//! this host, which relays them; [`Host::run_streaming`] hands them on while it runs.

mod call;
mod command;
mod image;
mod settings;
mod streams;

use std::sync::Arc;

use lazaret_wire::{claim::RunEnd, params::Profile, sequence, work};
use tokio::sync::Mutex;

use crate::{
    Answer, Code, Doubt, Fault, Host, Metering, Params, Verdict,
    host::Call,
    request::{Input, Limits as CallLimits, Output},
};

pub use call::ExportCall;
pub use command::{Clock, Command, Random};
pub use image::{Image, ImageError};
pub use lazaret_wire::program::{
    CALL_BYTES_MAX, IMAGE_BYTES_MAX, START_BYTES_MAX, VALUES_MAX, Value,
};
pub use lazaret_wire::sequence::{CallEnd, SEQUENCE_MAX};
pub use settings::{Limits, Settings};
pub use streams::Streams;

pub(crate) use streams::{Outside, Relayed};

/// The outer ends of a program's streams, which one job after another may have.
pub(crate) type SharedOutside = Arc<Mutex<Outside>>;

/// How a program ended well.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Ran {
    /// What it returned.
    pub returned: Returned,
    /// Pages of linear memory (64 KiB each) at the end. Its own word.
    pub memory_pages: u32,
}

/// What a program returned: untrusted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Returned {
    /// The numbers of an export.
    Values(Vec<Value>),
    /// The bytes of an export.
    Bytes(Vec<u8>),
    /// The exit code of a command.
    Exited(i32),
}

impl Host {
    /// Calls an export of a plain module once in a jailed job.
    pub async fn call(
        &self,
        code: &Code,
        call: ExportCall,
        settings: &Settings,
    ) -> Result<Answer<Ran>, Fault> {
        let input = match call.into_plain_input(settings.limits.fuel) {
            Ok(input) => input,
            Err(refusal) => return Ok(crate::pipeline::unrun(Verdict::Refused(refusal))),
        };
        self.start_program(code, Profile::Plain, input, None, settings).await
    }

    /// Calls exports of a plain module one after another, in one instance and one jailed job: each finds what
    /// those before it left, also where they trapped. The limits are of all calls together, but for the fuel,
    /// which is of each. What they return must be numbers, and no more than
    /// [`output_bytes_max`](Limits::output_bytes_max) in all.
    pub async fn call_each(
        &self,
        code: &Code,
        calls: Vec<ExportCall>,
        settings: &Settings,
    ) -> Result<Answer<Vec<CallEnd>>, Fault> {
        let count = calls.len();
        let input = match ExportCall::into_sequence_input(calls, settings.limits.fuel) {
            Ok(input) => input,
            Err(refusal) => return Ok(crate::pipeline::unrun(Verdict::Refused(refusal))),
        };
        let answer = self.start_program(code, Profile::Plain, input, None, settings).await?;
        Ok(answer.read(|ran| read_ends(ran, count)))
    }

    /// Runs a WASI program once in a jailed job. What it writes is kept, up to the limit, and is in
    /// [`Answer::written`] whatever the verdict.
    pub async fn run(
        &self,
        code: &Code,
        command: Command,
        settings: &Settings,
    ) -> Result<Answer<Ran>, Fault> {
        self.run_streaming(code, command, Streams::default(), settings).await
    }

    /// The same with streams of the caller's. A run that has read or written any of them is not tried
    /// again, whatever [`Settings::retry`] says, and its wall-clock limit is a doubt and never a fault of
    /// this machine: it may have waited for them.
    ///
    /// The answer comes when all that was written has been passed on; a caller who stops reading waits for
    /// itself.
    pub async fn run_streaming(
        &self,
        code: &Code,
        command: Command,
        streams: Streams,
        settings: &Settings,
    ) -> Result<Answer<Ran>, Fault> {
        let parts = match command.into_parts(&streams, &settings.limits) {
            Ok(parts) => parts,
            Err(refusal) => return Ok(crate::pipeline::unrun(Verdict::Refused(refusal))),
        };
        let outside = Outside::new(streams, parts.stdin, settings.limits.output_bytes_max);
        let outside = Some(Arc::new(Mutex::new(outside)));
        self.start_program(code, Profile::Wasi, parts.input, outside, settings).await
    }

    async fn start_program(
        &self,
        code: &Code,
        profile: Profile,
        input: Input,
        streams: Option<SharedOutside>,
        settings: &Settings,
    ) -> Result<Answer<Ran>, Fault> {
        let limits = &settings.limits;
        let call = Call {
            request: None,
            code: code.clone(),
            params: settings.params_for(profile),
            input,
            limits: CallLimits {
                cpu: limits.cpu,
                output_bytes_max: limits.output_bytes_max.try_into().unwrap_or(u32::MAX),
                input_bytes_max: limits.input_bytes_max,
            },
            wall: limits.wall,
            streams,
            prepare_limits: settings.prepare_limits.clone(),
            retry: settings.retry,
            deadline: settings.deadline,
            lane: settings.lane,
            group: settings.group,
        };
        Ok(self.execute(call).await?.read(read_output))
    }
}

fn read_output(output: Output) -> Verdict<Ran> {
    let returned = match output.end {
        Some(RunEnd::Values(values)) => Returned::Values(values),
        Some(RunEnd::Exited(code)) => Returned::Exited(code),
        Some(RunEnd::Bytes | RunEnd::Refused(_)) | None => Returned::Bytes(output.bytes),
    };
    Verdict::Returned(Ran { returned, memory_pages: output.memory_pages })
}

/// Decoded here because the caller needs it here, by a decoder that takes memory for so many ends only.
fn read_ends(ran: Ran, count: usize) -> Verdict<Vec<CallEnd>> {
    let ends = match &ran.returned {
        Returned::Bytes(bytes) => sequence::decode_ends(bytes, count),
        Returned::Values(_) | Returned::Exited(_) => None,
    };
    ends.map_or(Verdict::Inconclusive(Doubt::Unfitting), Verdict::Returned)
}

impl Settings {
    /// The params as the code is prepared under: with fuel only where it is limited or asked for.
    pub fn params_for(&self, profile: Profile) -> Params {
        let metering = match self.limits.fuel {
            Some(_) => Metering::Fuel,
            None => self.params.metering,
        };
        Params { profile, metering, ..self.params.clone() }
    }
}

/// An input without form.
fn input(pieces: Vec<Vec<u8>>, form: work::Input) -> Input {
    Input { pieces: pieces.into(), form, image: None }
}
