//! Which layers a host's workers leave out, and how they are told: by the name of their program.

use lazaret_sandbox::layer::Layer;
use lazaret_worker::Trial;

use crate::native::NATIVE;

/// What is left out of the jail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Without {
    Nothing,
    /// Nothing either, but a job loads the artifact before it is handed its call.
    NothingAhead,
    Seccomp,
    Landlock,
    Namespaces,
}

impl Without {
    pub(crate) const ALL: [Without; 5] =
        [Self::Nothing, Self::NothingAhead, Self::Seccomp, Self::Landlock, Self::Namespaces];
    pub(crate) const SHORT: [Without; 3] = [Self::Nothing, Self::NothingAhead, Self::Seccomp];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Nothing => "full",
            Self::NothingAhead => "full, loaded ahead",
            Self::Seccomp => "seccomp off",
            Self::Landlock => "Landlock off",
            Self::Namespaces => "namespaces off",
        }
    }

    pub(crate) fn program_name(self) -> &'static str {
        match self {
            Self::Nothing => "attack-without-nothing",
            Self::NothingAhead => "attack-loaded-ahead",
            Self::Seccomp => "attack-without-seccomp",
            Self::Landlock => "attack-without-landlock",
            Self::Namespaces => "attack-without-namespaces",
        }
    }

    fn layers(self) -> &'static [Layer] {
        match self {
            Self::Nothing | Self::NothingAhead => &[],
            Self::Seccomp => &[Layer::WorkerFilter, Layer::LoadingFilter, Layer::JobFilter],
            Self::Landlock => &[Layer::Landlock],
            Self::Namespaces => &[
                Layer::UserNamespace,
                Layer::MountNamespace,
                Layer::IpcNamespace,
                Layer::UtsNamespace,
                Layer::CgroupNamespace,
                Layer::NetworkNamespace,
                Layer::NoNestedNamespaces,
                Layer::EmptyRoot,
                Layer::PidNamespace,
            ],
        }
    }
}

/// What this process is to leave out, if it is a worker.
pub(crate) fn trial() -> Trial {
    let program = std::env::current_exe().unwrap_or_default();
    let name = program.file_name().map(|name| name.to_string_lossy().into_owned());
    let without = Without::ALL.into_iter().find(|without| {
        // The kernel adds a word to the name of a program that was deleted meanwhile.
        name.as_deref().is_some_and(|name| name.starts_with(without.program_name()))
    });
    let without = without.unwrap_or(Without::Nothing);
    let loads_ahead = without == Without::NothingAhead;
    Trial { left_out: without.layers().to_vec(), native: NATIVE, loads_ahead }
}
