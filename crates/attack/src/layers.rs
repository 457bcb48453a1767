//! Which layers a host's workers leave out, and how they are told: by the name of their program.

use lazaret_sandbox::layer::Layer;
use lazaret_worker::Trial;

use crate::native::NATIVE;

/// More than the 32 KiB that stand in a message.
const FILE_INPUT_BYTES: usize = 33 * 1024;

/// What is left out of the jail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Without {
    Nothing,
    /// Nothing either, but every job is the copy of a template that has loaded the artifact.
    NothingTemplate,
    /// The same, and every input is in its worker's input file, whose descriptor the copy is handed.
    NothingFile,
    Seccomp,
    Landlock,
    Namespaces,
}

impl Without {
    pub(crate) const ALL: [Without; 6] = [
        Self::Nothing,
        Self::NothingTemplate,
        Self::NothingFile,
        Self::Seccomp,
        Self::Landlock,
        Self::Namespaces,
    ];
    pub(crate) const SHORT: [Without; 4] =
        [Self::Nothing, Self::NothingTemplate, Self::NothingFile, Self::Seccomp];

    /// What may be ready below each worker: the keeper of its pid namespace and a job for anything, and a
    /// template with two copies where every job is one.
    pub(crate) fn ready_max(self) -> usize {
        match self {
            Self::NothingTemplate | Self::NothingFile => 5,
            Self::Nothing | Self::Seccomp | Self::Landlock => 2,
            Self::Namespaces => 1,
        }
    }

    /// Whether it differs from nothing in that every job is a copy.
    pub(crate) fn is_of_a_template(self) -> bool {
        matches!(self, Self::NothingTemplate | Self::NothingFile)
    }

    /// How long an input is at the least.
    pub(crate) fn input_bytes_min(self) -> usize {
        match self {
            Self::NothingFile => FILE_INPUT_BYTES,
            _ => 0,
        }
    }

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Nothing => "full",
            Self::NothingTemplate => "full, of a template",
            Self::NothingFile => "full, of a template, input in a file",
            Self::Seccomp => "seccomp off",
            Self::Landlock => "Landlock off",
            Self::Namespaces => "namespaces off",
        }
    }

    pub(crate) fn program_name(self) -> &'static str {
        match self {
            Self::Nothing => "attack-without-nothing",
            Self::NothingTemplate => "attack-of-a-template",
            Self::NothingFile => "attack-with-a-file",
            Self::Seccomp => "attack-without-seccomp",
            Self::Landlock => "attack-without-landlock",
            Self::Namespaces => "attack-without-namespaces",
        }
    }

    fn layers(self) -> &'static [Layer] {
        match self {
            Self::Nothing | Self::NothingTemplate | Self::NothingFile => &[],
            Self::Seccomp => &[Layer::WorkerFilter, Layer::LoadingFilter, Layer::JobFilter],
            Self::Landlock => &[Layer::Landlock, Layer::JobScope],
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
    let copies_always = without.is_of_a_template();
    Trial { left_out: without.layers().to_vec(), native: NATIVE, copies_always }
}
