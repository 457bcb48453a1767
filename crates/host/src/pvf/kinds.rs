//! Why code is called or prepared, and the settings that follow from it.

use std::time::{Duration, Instant};

use parity_scale_codec::Encode;

use crate::{
    Group, Lane, Limits, Params, PrepareLimits, Retry,
    pvf::{ExecTimeoutKind, ExecutorParams, Unusable},
};

/// The pause before an approval or dispute is tried again (`PVF_APPROVAL_EXECUTION_RETRY_DELAY`).
const RETRY_PAUSE: Duration = Duration::from_secs(3);

/// Why a block is validated; the most urgent first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ExecKind {
    /// Somebody disputes it.
    Dispute,
    /// This validator was drawn to approve it.
    Approval,
    /// This validator may back it, for a system parachain.
    BackingSystemParas,
    /// This validator may back it.
    Backing,
}

/// Why code is prepared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Encode)]
pub enum PrepareKind {
    /// To say whether it may be accepted at all.
    #[codec(index = 0)]
    Precheck,
    /// It was accepted, and is or soon will be called.
    #[codec(index = 1)]
    Prepare,
}

impl ExecKind {
    /// Which of the two limits of CPU time holds.
    pub fn timeout_kind(self) -> ExecTimeoutKind {
        match self {
            Self::Dispute | Self::Approval => ExecTimeoutKind::Approval,
            Self::BackingSystemParas | Self::Backing => ExecTimeoutKind::Backing,
        }
    }

    /// Its lane, among [`Lanes::pvf`](crate::Lanes::pvf).
    pub fn lane(self) -> Lane {
        match self {
            Self::Dispute => Lane::DISPUTE,
            Self::Approval => Lane::APPROVAL,
            Self::BackingSystemParas => Lane::BACKING_SYSTEM,
            Self::Backing => Lane::BACKING,
        }
    }

    /// A block that validates only at times should not be backed, so backing is never tried again.
    pub fn retry(self) -> Retry {
        match self {
            Self::Dispute | Self::Approval => Retry::OnceAfter(RETRY_PAUSE),
            Self::BackingSystemParas | Self::Backing => Retry::Never,
        }
    }
}

impl ExecTimeoutKind {
    /// `DEFAULT_BACKING_EXECUTION_TIMEOUT` and `DEFAULT_APPROVAL_EXECUTION_TIMEOUT`.
    pub(super) fn millis_default(self) -> u64 {
        match self {
            Self::Backing => 2_000,
            Self::Approval => 12_000,
        }
    }
}

impl PrepareKind {
    /// `DEFAULT_PRECHECK_PREPARATION_TIMEOUT` and `DEFAULT_LENIENT_PREPARATION_TIMEOUT`.
    pub(super) fn millis_default(self) -> u64 {
        match self {
            Self::Precheck => 60_000,
            Self::Prepare => 360_000,
        }
    }
}

/// How a block is validated.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct Settings {
    /// What the code means; the default is Polkadot's.
    pub params: Params,
    /// Limits of the call.
    pub limits: Limits,
    /// Limits of preparing the code, if it is not prepared yet; the host's if there are none. No kind
    /// sets them: how large code may be is for the runtime to say.
    pub prepare_limits: Option<PrepareLimits>,
    /// Whether to try again.
    pub retry: Retry,
    /// After this moment the answer is worthless: a request that still waits is given up.
    pub deadline: Option<Instant>,
    /// How urgent it is, beside the other calls of this host.
    pub lane: Lane,
    /// With which others it stands and falls ([`Host::withdraw`](crate::Host::withdraw)).
    pub group: Option<Group>,
}

impl Settings {
    /// The network's settings for a kind of validation in a session of these executor params.
    pub fn for_kind(kind: ExecKind, executor_params: &ExecutorParams) -> Result<Self, Unusable> {
        let cpu = executor_params.exec_timeout(kind.timeout_kind());
        Ok(Self {
            params: executor_params.code_params()?,
            limits: Limits { cpu, ..Limits::default() },
            retry: kind.retry(),
            lane: kind.lane(),
            ..Self::default()
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pvf::ExecutorParam;

    #[test]
    fn each_kind_has_its_time_and_its_retry() {
        let none = ExecutorParams::default();
        let backing = vec![ExecutorParam::PvfExecTimeout(ExecTimeoutKind::Backing, 2_500)];
        let backing = ExecutorParams(backing);
        let again = Retry::OnceAfter(Duration::from_secs(3));
        for (kind, by_default, when_set, retry) in [
            (ExecKind::Dispute, 12_000, 12_000, again),
            (ExecKind::Approval, 12_000, 12_000, again),
            (ExecKind::BackingSystemParas, 2_000, 2_500, Retry::Never),
            (ExecKind::Backing, 2_000, 2_500, Retry::Never),
        ] {
            let settings = Settings::for_kind(kind, &none).unwrap();
            assert_eq!(settings.limits.cpu, Duration::from_millis(by_default), "{kind:?}");
            assert_eq!((settings.retry, settings.lane), (retry, kind.lane()), "{kind:?}");
            let settings = Settings::for_kind(kind, &backing).unwrap();
            assert_eq!(settings.limits.cpu, Duration::from_millis(when_set), "{kind:?}");
        }
    }

    #[test]
    fn params_that_cannot_be_honoured_give_no_settings() {
        let zero_pages = ExecutorParams(vec![ExecutorParam::MaxMemoryPages(0)]);
        assert!(Settings::for_kind(ExecKind::Backing, &zero_pages).is_err());
    }
}
