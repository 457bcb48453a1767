//! Throw-away jobs by which a starting worker sees whether the machine gives what it promises.
//!
//! Somebody else may kill one: an operator, or the kernel when memory is short. That says nothing
//! about a layer, so the probe is made again, a few times; and it is never recorded as a layer
//! that is off, which at the weak level would weaken the jail without a word.

use std::io;

use crate::fork::Child;
use crate::layer::{During, Refusal};
use crate::sys::{self, Cloned};
use crate::watch::{self, End};

/// Probes for one purpose that may be killed before the worker gives up.
pub const PROBES_MAX: u32 = 3;

/// Every probe for one purpose was killed by somebody else. No filter kills by this signal, which
/// is SIGKILL.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a probe job was killed by signal {signal}{}", in_a_row(*.times))]
pub struct ProbeKilled {
    /// Its number (`signal(7)`).
    pub signal: i32,
    /// How many probes it were.
    pub times: u32,
}

/// Nothing, of one.
fn in_a_row(times: u32) -> String {
    if times > 1 { format!(", {times} times in a row") } else { String::new() }
}

/// What a step that made a probe failed at.
#[derive(Debug)]
pub(crate) enum ProbeFailure {
    Refused(Refusal),
    Killed(ProbeKilled),
}

impl From<Refusal> for ProbeFailure {
    fn from(refusal: Refusal) -> Self {
        ProbeFailure::Refused(refusal)
    }
}

/// Makes probes until one is not interrupted. `probe` gives nothing for one that
/// somebody else killed.
///
/// # Errors
/// The first of `probe`.
pub fn uninterrupted<T, E>(
    mut probe: impl FnMut() -> Result<Option<T>, E>,
) -> Result<Result<T, ProbeKilled>, E> {
    for _ in 0..PROBES_MAX {
        if let Some(seen) = probe()? {
            return Ok(Ok(seen));
        }
    }
    Ok(Err(ProbeKilled { signal: libc::SIGKILL, times: PROBES_MAX }))
}

/// Whether a probe was killed by somebody else: nothing here kills one.
fn was_killed(end: End) -> bool {
    end == End::Killed(libc::SIGKILL)
}

/// How a job ends that does nothing but exit with a status.
pub(crate) fn end_of(
    fork: impl Fn() -> io::Result<Cloned>,
    call: &'static str,
    status: impl Fn() -> i32,
) -> Result<End, ProbeFailure> {
    let ended = uninterrupted(|| match fork().during(call)? {
        Cloned::Child => sys::exit_group(status()),
        Cloned::Parent { pid, pidfd } => {
            let ended = watch::reap(Child { pid, pidfd }).during("waitid")?;
            Ok::<_, Refusal>((!was_killed(ended.end)).then_some(ended.end))
        }
    })?;
    ended.map_err(ProbeFailure::Killed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_interrupted_probe_is_made_again_a_few_times() {
        let mut made = 0;
        let mut after = |killed: u32| {
            made = 0;
            let probe = || {
                made += 1;
                Ok::<_, ()>((made > killed).then_some(made))
            };
            uninterrupted(probe).unwrap()
        };
        assert_eq!(after(0), Ok(1));
        assert_eq!(after(PROBES_MAX - 1), Ok(PROBES_MAX));
        let given_up = after(PROBES_MAX).unwrap_err();
        assert_eq!(given_up.to_string(), "a probe job was killed by signal 9, 3 times in a row");
        assert_eq!(
            uninterrupted(|| Err::<Option<()>, _>(7)),
            Err(7),
            "a refusal is not tried again"
        );
    }
}
