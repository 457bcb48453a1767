//! What was asked for, in the library's words: read once, run as often as one likes.

use std::{
    ffi::OsString,
    os::unix::ffi::{OsStrExt, OsStringExt},
    path::{Path, PathBuf},
    time::Duration,
};

use lazaret::{
    Answer, CODE_BYTES_MAX, Code, CodeFormat, Fault, Features, Host, Metering, Params, Profile,
    UnknownImports,
    program::{Clock, Command, ExportCall, Image, Limits, Ran, Random, Settings, Streams},
};

use super::arguments::{ClockChoice, LimitArguments, ProfileChoice, RandomChoice, Run, Sees};
use crate::{errors::Failure, hosting};

/// A WASI program may wait for a person.
const WALL_LIMIT_OF_WASI: Duration = Duration::from_secs(24 * 60 * 60);
/// Bytes of a first line that names an interpreter, at most (BINPRM_BUF_SIZE of Linux).
const SHEBANG_BYTES_MAX: usize = 256;

/// A program and all that it is given but its standard input.
pub(crate) struct Asked {
    pub(crate) code: Code,
    pub(crate) settings: Settings,
    pub(crate) given: Given,
    real: Vec<&'static str>,
}

/// What it is given.
#[derive(Clone)]
pub(crate) enum Given {
    /// An export of a plain module, and words for it.
    Words(String, Vec<String>),
    /// An export, and standard input as its bytes.
    Bytes(String),
    /// A WASI program. Its standard input is what is left to be given.
    Wasi(Command),
}

impl Asked {
    pub(crate) fn read(verb: &Run) -> Result<Self, Failure> {
        let is_text = verb.file.extension().is_some_and(|extension| extension == "wat");
        let code = read_code(&verb.file)?;
        let profile = verb.profile();
        let params = Params {
            code_format: if is_text { CodeFormat::Text } else { CodeFormat::Binary },
            ..params(&verb.limits, profile)?
        };
        let limits = Limits {
            cpu: verb.limits.cpu_limit,
            wall: verb.limits.wall_limit.or(match profile {
                ProfileChoice::Plain => None,
                ProfileChoice::Wasi => Some(WALL_LIMIT_OF_WASI),
            }),
            fuel: verb.limits.fuel,
            output_bytes_max: verb.limits.output_max,
            ..Limits::default()
        };
        let given = match profile {
            ProfileChoice::Plain => plain(verb)?,
            ProfileChoice::Wasi => Given::Wasi(command(verb)?),
        };
        let mut real = Vec::new();
        if profile == ProfileChoice::Wasi {
            real.extend((verb.sees.clock == ClockChoice::Real).then_some("clock"));
            real.extend((verb.sees.random == RandomChoice::Real).then_some("random"));
        }
        Ok(Self { code, settings: Settings { params, limits, ..Settings::plain() }, given, real })
    }

    /// Whether standard input is bytes for an export.
    pub(crate) fn takes_bytes(&self) -> bool {
        matches!(self.given, Given::Bytes(_))
    }

    /// What it sees of this machine that differs from run to run.
    pub(crate) fn real(&self) -> Vec<&'static str> {
        self.real.clone()
    }

    /// The same in words, if there is any.
    pub(crate) fn what_is_real(&self) -> Option<String> {
        (!self.real.is_empty()).then(|| format!("it sees the real {}", self.real.join(" and ")))
    }

    /// Runs it once with these bytes as its standard input, and keeps what it writes.
    pub(crate) async fn run(&self, host: &Host, stdin: Vec<u8>) -> Result<Answer<Ran>, Fault> {
        match &self.given {
            Given::Words(export, words) => {
                let call = ExportCall::words(export.clone(), words.clone());
                host.call(&self.code, call, &self.settings).await
            }
            Given::Bytes(export) => {
                let call = ExportCall::bytes(export.clone(), stdin);
                host.call(&self.code, call, &self.settings).await
            }
            Given::Wasi(command) => {
                host.run(&self.code, command.clone().stdin(stdin), &self.settings).await
            }
        }
    }

    /// Runs it once with these streams, if it has any.
    pub(crate) async fn run_streaming(
        &self,
        host: &Host,
        streams: Streams,
        stdin: Vec<u8>,
    ) -> Result<Answer<Ran>, Fault> {
        match &self.given {
            Given::Wasi(command) => {
                host.run_streaming(&self.code, command.clone(), streams, &self.settings).await
            }
            Given::Words(..) | Given::Bytes(_) => self.run(host, stdin).await,
        }
    }
}

/// Reads code, without the line that made it a script.
fn read_code(path: &Path) -> Result<Code, Failure> {
    let bytes = hosting::read_up_to(path, CODE_BYTES_MAX + 1)?;
    let mut code = bytes.as_slice();
    if code.starts_with(b"#!") {
        let line = code.iter().take(SHEBANG_BYTES_MAX).position(|byte| *byte == b'\n');
        code = line.map_or(code, |end| &code[end + 1..]);
    }
    Code::new(code).map_err(|source| Failure::Code { path: path.to_owned(), source })
}

fn params(limits: &LimitArguments, profile: ProfileChoice) -> Result<Params, Failure> {
    let mut features = Features::ALL;
    for name in &limits.without {
        let Some(feature) = features.named(name) else {
            return Err(Failure::Argument {
                argument: "--without",
                value: name.clone(),
                accepted: "the name of a feature as in --help",
            });
        };
        *feature = false;
    }
    let profile = match profile {
        ProfileChoice::Plain => Profile::Plain,
        ProfileChoice::Wasi => Profile::Wasi,
    };
    Ok(Params {
        memory_pages_max: limits.memory,
        table_elements_max: limits.table_elements,
        stack_logical_max: limits.stack_values,
        features,
        metering: if limits.meter { Metering::Fuel } else { Metering::Off },
        unknown_imports: match limits.stub_imports {
            true => UnknownImports::TrapWhenCalled,
            false => UnknownImports::Refused,
        },
        ..Params::of(profile)
    })
}

fn plain(verb: &Run) -> Result<Given, Failure> {
    let Some(export) = verb.invoke.clone() else {
        return Err(Failure::Argument {
            argument: "--profile",
            value: "plain".into(),
            accepted: "plain together with --invoke NAME",
        });
    };
    match verb.bytes {
        true => Ok(Given::Bytes(export)),
        false => Ok(Given::Words(export, words(&verb.arguments)?)),
    }
}

fn words(arguments: &[OsString]) -> Result<Vec<String>, Failure> {
    let word = |argument: &OsString| {
        argument.clone().into_string().map_err(|argument| Failure::Argument {
            argument: "ARG",
            value: argument.to_string_lossy().into_owned(),
            accepted: "a number",
        })
    };
    arguments.iter().map(word).collect()
}

fn command(verb: &Run) -> Result<Command, Failure> {
    let name = verb.file.file_name().unwrap_or(verb.file.as_os_str());
    let Sees { env, dir, tmp, seed, clock, random } = &verb.sees;
    let mut command = Command::new(name.as_bytes());
    command = match &verb.invoke {
        Some(export) if verb.bytes => command.export(ExportCall::bytes(export.clone(), Vec::new())),
        Some(export) => command.export(ExportCall::words(export.clone(), words(&verb.arguments)?)),
        None => {
            let arguments = verb.arguments.iter().cloned().map(OsString::into_vec);
            arguments.fold(command, Command::argument)
        }
    };
    for variable in env {
        let Some((name, value)) = variable.split_once('=') else {
            return Err(argument("--env", variable, "NAME=VALUE"));
        };
        command = command.variable(name, value);
    }
    if !dir.is_empty() {
        let directories = dir.iter().map(|pair| directory(pair)).collect::<Result<Vec<_>, _>>()?;
        command = command.image(Image::pack(&directories).map_err(Failure::Image)?);
    }
    let clock = match clock {
        ClockChoice::Fixed => Clock::Fixed,
        ClockChoice::Real => Clock::Real,
    };
    let random = match random {
        RandomChoice::Seeded => Random::Seeded(*seed),
        RandomChoice::Real => Random::Real,
    };
    Ok(command.tmp(tmp.unwrap_or(0)).clock(clock).random(random))
}

/// A directory of this machine and where the program finds it.
fn directory(pair: &str) -> Result<(PathBuf, Vec<u8>), Failure> {
    let (host, guest) = pair.split_once("::").unwrap_or((pair, pair));
    if host.is_empty() || guest.is_empty() {
        return Err(argument("--dir", pair, "HOST::GUEST"));
    }
    Ok((host.into(), guest.into()))
}

fn argument(argument: &'static str, value: &str, accepted: &'static str) -> Failure {
    Failure::Argument { argument, value: value.into(), accepted }
}
