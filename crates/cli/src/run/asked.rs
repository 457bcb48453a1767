//! What was asked for, as a case that can be asked again, and the bytes that belong to it.

use std::{
    ffi::OsString,
    os::unix::ffi::{OsStrExt, OsStringExt},
    path::{Path, PathBuf},
    time::Duration,
};

use lazaret::{
    Answer, CODE_BYTES_MAX, Code, CodeFormat, Fault, Features, Host, Metering, Params, Profile,
    UnknownImports,
    program::{Clock, Image, Ran, Random, Streams},
};

use super::arguments::{ClockChoice, LimitArguments, ProfileChoice, RandomChoice, Run, Sees};
use crate::{
    bundle::case::{Case, CaseLimits, CaseRandom, Export, Text, Wasi, What},
    errors::Failure,
    hosting,
};

/// A WASI program may wait for a person.
const WALL_LIMIT_OF_WASI: Duration = Duration::from_secs(24 * 60 * 60);
/// Bytes of a first line that names an interpreter, at most (BINPRM_BUF_SIZE of Linux).
const SHEBANG_BYTES_MAX: usize = 256;
/// Bytes that an export is given, at most.
const INPUT_BYTES_MAX: u64 = 64 * 1024 * 1024;

/// A program and all that it is given but its standard input.
#[derive(Clone)]
pub(crate) struct Asked {
    pub(crate) case: Case,
    pub(crate) code: Code,
    pub(crate) image: Option<Image>,
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
        let wall = verb.limits.wall_limit.or(match profile {
            ProfileChoice::Plain => None,
            ProfileChoice::Wasi => Some(WALL_LIMIT_OF_WASI),
        });
        let micros = |time: Duration| u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
        let limits = CaseLimits {
            cpu_micros: micros(verb.limits.cpu_limit),
            wall_micros: wall.map(micros),
            fuel: verb.limits.fuel,
            output_bytes_max: verb.limits.output_max,
            input_bytes_max: INPUT_BYTES_MAX,
        };
        let (asked, image) = match profile {
            ProfileChoice::Plain => (What::Plain(plain(verb)?), None),
            ProfileChoice::Wasi => {
                let image = image(&verb.sees.dir)?;
                (What::Wasi(Box::new(wasi(verb, image.as_ref())?)), image)
            }
        };
        Ok(Self { case: Case { params, limits, asked }, code, image })
    }

    /// Whether standard input is bytes for an export.
    pub(crate) fn takes_bytes(&self) -> bool {
        match &self.case.asked {
            What::Plain(export) => export.takes_bytes(),
            What::Wasi(wasi) => wasi.export.as_ref().is_some_and(Export::takes_bytes),
            What::PvfEncoded | What::PvfParts(_) => false,
        }
    }

    pub(crate) fn is_wasi(&self) -> bool {
        matches!(self.case.asked, What::Wasi(_))
    }

    /// Runs it once with this input, and keeps what it writes.
    pub(crate) async fn run(&self, host: &Host, input: Vec<u8>) -> Result<Answer<Ran>, Fault> {
        let settings = self.case.settings();
        match &self.case.asked {
            What::Plain(export) => host.call(&self.code, export.call(input), &settings).await,
            What::Wasi(wasi) => {
                let command = wasi.command(self.image.as_ref(), &input);
                let command = if self.takes_bytes() { command } else { command.stdin(input) };
                host.run(&self.code, command, &settings).await
            }
            What::PvfEncoded | What::PvfParts(_) => Err(Fault::Withdrawn),
        }
    }

    /// Runs it once with these streams, if it is a WASI program; else as [`run`](Self::run).
    pub(crate) async fn run_streaming(
        &self,
        host: &Host,
        streams: Streams,
        input: Vec<u8>,
    ) -> Result<Answer<Ran>, Fault> {
        let What::Wasi(wasi) = &self.case.asked else { return self.run(host, input).await };
        let command = wasi.command(self.image.as_ref(), &input);
        host.run_streaming(&self.code, command, streams, &self.case.settings()).await
    }
}

/// Reads code, without the line that made it a script.
pub(crate) fn read_code(path: &Path) -> Result<Code, Failure> {
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
            return Err(wrong("--without", name, "the name of a feature as in --help"));
        };
        *feature = false;
    }
    let profile = match profile {
        ProfileChoice::Plain => Profile::Plain,
        ProfileChoice::Wasi => Profile::Wasi,
    };
    let metering = match limits.meter || limits.fuel.is_some() {
        true => Metering::Fuel,
        false => Metering::Off,
    };
    Ok(Params {
        memory_pages_max: limits.memory,
        table_elements_max: limits.table_elements,
        stack_logical_max: limits.stack_values,
        features,
        metering,
        unknown_imports: match limits.stub_imports {
            true => UnknownImports::TrapWhenCalled,
            false => UnknownImports::Refused,
        },
        ..Params::of(profile)
    })
}

fn plain(verb: &Run) -> Result<Export, Failure> {
    match &verb.invoke {
        Some(name) => export(name, verb),
        None => Err(wrong("--profile", "plain", "plain together with --invoke NAME")),
    }
}

fn export(name: &str, verb: &Run) -> Result<Export, Failure> {
    let word = |argument: &OsString| {
        argument.to_str().map(str::to_owned).ok_or_else(|| {
            let value = argument.to_string_lossy().into_owned();
            Failure::Argument { argument: "ARG", value, accepted: "a number" }
        })
    };
    let words = match verb.bytes {
        true => None,
        false => Some(verb.arguments.iter().map(word).collect::<Result<_, _>>()?),
    };
    Ok(Export { name: name.to_owned(), words })
}

fn wasi(verb: &Run, image: Option<&Image>) -> Result<Wasi, Failure> {
    let Sees { env, tmp, seed, clock, random, .. } = &verb.sees;
    let name = Text::from(verb.file.file_name().unwrap_or(verb.file.as_os_str()).as_bytes());
    let (arguments, export) = match &verb.invoke {
        Some(export) => (vec![name], Some(self::export(export, verb)?)),
        None => {
            let given = verb.arguments.iter().map(|argument| Text::from(argument.as_bytes()));
            (std::iter::once(name).chain(given).collect(), None)
        }
    };
    let variable = |pair: &OsString| {
        let mut parts = pair.as_bytes().splitn(2, |byte| *byte == b'=');
        match (parts.next(), parts.next()) {
            (Some(name), Some(value)) => Ok((Text::from(name), Text::from(value))),
            _ => Err(wrong("--env", &pair.to_string_lossy(), "NAME=VALUE")),
        }
    };
    Ok(Wasi {
        arguments,
        environment: env.iter().map(variable).collect::<Result<_, _>>()?,
        export,
        mounts: image.iter().flat_map(|image| image.mounts()).map(|at| Text::from(&**at)).collect(),
        tmp_bytes_max: tmp.unwrap_or(0),
        clock: match clock {
            ClockChoice::Fixed => Clock::Fixed,
            ClockChoice::Real => Clock::Real,
        },
        random: match random {
            RandomChoice::Seeded => CaseRandom::Seeded(*seed),
            // Drawn here and not in the library, so that a bundle can tell it.
            RandomChoice::Real => match Random::draw() {
                Random::Drawn(bytes) => CaseRandom::Drawn(hex::encode(bytes)),
                Random::Seeded(seed) => CaseRandom::Seeded(seed),
            },
        },
    })
}

/// Directories of this machine, if any were named, each with where the program finds it.
fn image(pairs: &[OsString]) -> Result<Option<Image>, Failure> {
    let directory = |pair: &OsString| {
        let bytes = pair.as_bytes();
        let middle = bytes.windows(2).position(|two| two == b"::");
        let (host, guest) = middle.map_or((bytes, bytes), |at| (&bytes[..at], &bytes[at + 2..]));
        match host.is_empty() || guest.is_empty() {
            true => Err(wrong("--dir", &pair.to_string_lossy(), "HOST::GUEST")),
            false => Ok((PathBuf::from(OsString::from_vec(host.to_vec())), guest.to_vec())),
        }
    };
    if pairs.is_empty() {
        return Ok(None);
    }
    let directories = pairs.iter().map(directory).collect::<Result<Vec<_>, _>>()?;
    Image::pack(&directories).map(Some).map_err(Failure::Image)
}

fn wrong(argument: &'static str, value: &str, accepted: &'static str) -> Failure {
    Failure::Argument { argument, value: value.into(), accepted }
}
