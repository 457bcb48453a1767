//! Why a command did not come to an answer: bad usage, or a fault of this machine.

use std::{error::Error, io, net::SocketAddr, path::PathBuf, process::ExitCode};

use lazaret::{CodeError, Fault, Host, Security};
use serde_json::json;

use crate::{
    exit_codes::Codes,
    report::{self, Ending},
};

/// What went wrong, naming the thing, its value and what is accepted.
#[derive(Debug)]
pub(crate) enum Failure {
    /// A file that was named cannot be read.
    Read { path: PathBuf, source: io::Error },
    /// A file that was named cannot be written.
    Write { path: PathBuf, source: io::Error },
    /// A file's bytes cannot be code.
    Code { path: PathBuf, source: CodeError },
    /// An argument is not hex of the right length.
    Hex { argument: &'static str, value: String, accepted: &'static str },
    /// Executor params cannot be read, or cannot be honoured.
    ExecutorParams { value: String, reason: String },
    /// The weak jail was asked for and not accepted.
    WeakNotAccepted,
    /// No place for the cache.
    NoCacheDirectory,
    /// A value of an argument that is not accepted.
    Argument { argument: &'static str, value: String, accepted: &'static str },
    /// A directory cannot be packed for a program.
    Image(lazaret::program::ImageError),
    /// A file that was named is no bundle that can be used.
    Bundle { path: PathBuf, reason: String },
    /// Metrics cannot be served at this address.
    Listen { address: SocketAddr, source: io::Error },
    /// The async runtime did not start.
    Runtime(io::Error),
    /// Something that was to be measured did not do what it must.
    Measurement { what: &'static str, reason: String },
    /// This machine failed, before there was a host or with this jail around it.
    Fault { fault: Fault, jail: Option<Box<Security>> },
}

impl From<Fault> for Failure {
    fn from(fault: Fault) -> Self {
        Self::Fault { fault, jail: None }
    }
}

impl Failure {
    /// A fault of a host that had started.
    pub(crate) fn of(fault: Fault, host: &Host) -> Self {
        Self::Fault { fault, jail: Some(Box::new(host.security().clone())) }
    }

    /// Says it on standard error, or as an object on standard output, and gives the exit code.
    pub(crate) fn tell(&self, as_json: bool, codes: Codes) -> ExitCode {
        let text = self.text();
        if as_json {
            let kind = self.ending().word();
            let jail = match self {
                Self::Fault { jail: Some(security), .. } => report::jail_object(security),
                _ => serde_json::Value::Null,
            };
            let stall = match self {
                Self::Fault { fault, .. } => report::stall_object(fault),
                _ => serde_json::Value::Null,
            };
            say!(
                "{}",
                json!({
                    "verdict": kind, "vote": self.vote(), "reason": text, "jail": jail, "stall": stall,
                })
            );
        }
        tell!("lazaret: {text}");
        if let Self::Fault { fault: Fault::Jail { .. }, .. } = self {
            tell!(
                "lazaret: the jail is what keeps guests from this machine, so nothing was run. \
                 `lazaret doctor` says what is off and how to mend it; --accept-weaker-jail runs \
                 without."
            );
        }
        codes.code(self.ending())
    }

    pub(crate) fn ending(&self) -> Ending {
        match self {
            Self::Runtime(_) | Self::Measurement { .. } | Self::Fault { .. } => Ending::Fault,
            _ => Ending::Usage,
        }
    }

    fn vote(&self) -> Option<&'static str> {
        (self.ending() == Ending::Fault).then_some("abstain")
    }

    pub(crate) fn text(&self) -> String {
        match self {
            Self::Read { path, source } => format!("cannot read {}: {source}", path.display()),
            Self::Write { path, source } => format!("cannot write {}: {source}", path.display()),
            Self::Code { path, source } => format!("{}: {source}", path.display()),
            Self::Hex { argument, value, accepted } => {
                format!("{argument} is {value:?}; {accepted} is accepted")
            }
            Self::ExecutorParams { value, reason } => {
                format!("--executor-params is {value:?}: {reason}")
            }
            Self::Argument { argument, value, accepted } => {
                format!("{argument} is {value:?}; {accepted} is accepted")
            }
            Self::Bundle { path, reason } => {
                format!("{} cannot be replayed: {reason}", path.display())
            }
            Self::Image(error) => format!("--dir: {}", with_causes(error)),
            Self::WeakNotAccepted => {
                "--jail is \"weak\"; that is accepted together with --accept-weaker-jail only"
                    .into()
            }
            Self::NoCacheDirectory => {
                "there is no home directory for the cache; name one with --cache DIR".into()
            }
            Self::Listen { address, source } => {
                format!("--metrics is {address}, where nothing can be served: {source}")
            }
            Self::Runtime(error) => format!("cannot start the async runtime: {error}"),
            Self::Measurement { what, reason } => format!("cannot measure {what}: {reason}"),
            Self::Fault { fault, .. } => format!("fault of this machine: {}", with_causes(fault)),
        }
    }
}

/// An error with the errors that caused it, on one line.
pub(crate) fn with_causes(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}
