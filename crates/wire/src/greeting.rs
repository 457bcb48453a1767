//! The first frames: who is speaking, and in which version.
//!
//! Both greetings begin with the same prefix in every version there will ever be, so that a host
//! and a worker of different builds can say so instead of misreading each other:
//! `b"LZRT"`, the wire version (u16, little endian), the length of the package version (u8), the
//! package version.

use serde::{Deserialize, Serialize, de::DeserializeOwned};

use crate::{
    frame::{FrameError, decode, encode},
    text::Text,
};

const MAGIC: [u8; 4] = *b"LZRT";
/// Goes up whenever any message changes.
pub const WIRE_VERSION: u16 = 10;
const PACKAGE_VERSION: &str = env!("CARGO_PKG_VERSION");

/// What a worker is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Role {
    /// It runs preparations and inspections.
    Prepare,
    /// It runs calls.
    Execute,
}

impl Role {
    /// In lower case.
    pub fn word(self) -> &'static str {
        match self {
            Self::Prepare => "prepare",
            Self::Execute => "execute",
        }
    }
}

/// How much of the jail must hold before a worker accepts work.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum JailLevel {
    /// Every layer that the design names as required.
    #[default]
    Strict,
    /// The system-call filter, no_new_privs, limits, and an empty root or Landlock.
    Standard,
    /// Whatever the machine gives.
    Weak,
}

/// Host to worker, first frame.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Start {
    /// What the worker is for.
    pub role: Role,
    /// How much of the jail must hold.
    pub jail: JailLevel,
    /// The host's process id, so that a worker whose host died meanwhile can tell.
    pub host_pid: i32,
    /// Whether the worker was born in a control group.
    pub cgroup: Birthplace,
}

/// Where a worker is when it begins (cgroups(7)).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Birthplace {
    /// Where its host is.
    WithHost,
    /// In a control group that the host made, with two below it: `own` for the worker, which it has
    /// to enter, and `jobs` for its jobs.
    InCgroup,
}

/// Worker to host, first frame.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Hello {
    /// The worker is confined and takes work.
    Ready {
        /// Engine version and settings, target and CPU features, as one digest.
        engine_fingerprint: [u8; 32],
        /// Every layer of the jail, in the order of its steps.
        layers: Vec<Layer>,
    },
    /// A layer that the level asks for could not be had.
    JailIncomplete(Layer),
    /// Jobs that were to show whether the jail holds were killed, each of them and not by the worker.
    ProbeKilled {
        /// By which signal (signal(7)).
        signal: i32,
        /// How many in a row.
        times: u32,
    },
    /// The worker cannot work for another reason.
    Broken(Text),
}

/// One layer of the jail on this machine.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Layer {
    /// Its name, the same in every release.
    pub name: Text,
    /// Whether it is on.
    pub state: LayerState,
}

/// Whether a layer is on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum LayerState {
    /// It is.
    On,
    /// It is not, and this is the call that failed.
    Off {
        /// The system call or check.
        call: Text,
        /// Its errno, 0 if it has none.
        errno: i32,
    },
}

/// Why a greeting was not understood.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum GreetingError {
    /// These bytes are no greeting of any version.
    #[error("the first frame is no greeting")]
    NotAGreeting,
    /// The other side is of another build.
    #[error(
        "the other side speaks wire version {wire} of package {package}, this side {WIRE_VERSION} of {PACKAGE_VERSION}"
    )]
    Version {
        /// Its wire version.
        wire: u16,
        /// Its package version.
        package: Text,
    },
    /// The version matches and the rest does not decode.
    #[error("a greeting of this version that does not decode")]
    Body(#[source] FrameError),
}

/// A greeting as a frame, prefix first.
pub fn encode_greeting(greeting: &impl Serialize) -> Result<Vec<u8>, FrameError> {
    let mut frame = Vec::with_capacity(256);
    frame.extend_from_slice(&MAGIC);
    frame.extend_from_slice(&WIRE_VERSION.to_le_bytes());
    frame.push(PACKAGE_VERSION.len() as u8);
    frame.extend_from_slice(PACKAGE_VERSION.as_bytes());
    frame.extend_from_slice(&encode(greeting)?);
    Ok(frame)
}

/// The greeting in a frame, after its version was checked.
pub fn decode_greeting<T: DeserializeOwned>(frame: &[u8]) -> Result<T, GreetingError> {
    let rest = frame.strip_prefix(&MAGIC).ok_or(GreetingError::NotAGreeting)?;
    let (wire, rest) = rest.split_first_chunk().ok_or(GreetingError::NotAGreeting)?;
    let (length, rest) = rest.split_first().ok_or(GreetingError::NotAGreeting)?;
    let (package, body) =
        rest.split_at_checked(usize::from(*length)).ok_or(GreetingError::NotAGreeting)?;
    let wire = u16::from_le_bytes(*wire);
    if wire != WIRE_VERSION || package != PACKAGE_VERSION.as_bytes() {
        return Err(GreetingError::Version { wire, package: Text::from_guest(package) });
    }
    decode(body).map_err(GreetingError::Body)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn start() -> Start {
        Start {
            role: Role::Execute,
            jail: JailLevel::Strict,
            host_pid: 7,
            cgroup: Birthplace::WithHost,
        }
    }

    #[test]
    fn a_greeting_comes_back_as_it_went() {
        let frame = encode_greeting(&start()).unwrap();
        assert_eq!(decode_greeting::<Start>(&frame), Ok(start()));
    }

    #[test]
    fn another_version_is_named_even_if_the_rest_is_unreadable() {
        let mut frame = encode_greeting(&start()).unwrap();
        frame[4] = 0xee;
        frame.truncate(4 + 2 + 1 + PACKAGE_VERSION.len());
        let Err(GreetingError::Version { wire, .. }) = decode_greeting::<Start>(&frame) else {
            panic!("a greeting of another version was taken for one of ours");
        };
        assert_eq!(wire, u16::from_le_bytes([0xee, 0]));
    }

    #[test]
    fn every_truncation_of_a_greeting_is_an_error() {
        let frame = encode_greeting(&start()).unwrap();
        for length in 0..frame.len() {
            assert!(decode_greeting::<Start>(&frame[..length]).is_err(), "{length} bytes");
        }
    }
}
