//! How much of the jail must hold before anything untrusted runs.
//!
//! A decision over plain values: no system call is made here. The worker is told its level by
//! the host and never lowers it.

use crate::layer::{Layer, Layers, Refusal, StepError};

/// How much of the jail is required.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Level {
    /// Every layer the design requires and the kernel has.
    #[default]
    Strict,
    /// System call filters, no new privileges, limits, and either an empty root in namespaces
    /// or Landlock.
    Standard,
    /// What the machine gives. Only on the operator's explicit word; verdicts say what was off.
    Weak,
}

/// What the strict level makes of a layer that is off.
enum Need {
    /// Nothing runs without it, at any level: without it the other steps mean nothing.
    Foundation,
    /// Required at strict and standard.
    Core,
    /// Required at strict.
    Strict,
    /// Required at strict if the kernel has it at all.
    WhereOffered,
    /// Told, never required: it depends on the processor or on a costly kernel option.
    Told,
}

impl Level {
    /// Whether `layer` must be on although it failed with `errno` (`errno(3)`).
    pub fn requires(self, layer: Layer, errno: i32) -> bool {
        match need(layer) {
            Need::Foundation => true,
            Need::Core => self != Level::Weak,
            Need::Strict => self == Level::Strict,
            Need::WhereOffered => self == Level::Strict && !kernel_lacks_it(errno),
            Need::Told => false,
        }
    }

    /// What no single layer decides: at standard, one of two ways to hide the file system.
    pub(crate) fn check_whole(self, layers: &Layers) -> Result<(), StepError> {
        let hidden = layers.is_on(Layer::EmptyRoot) || layers.is_on(Layer::Landlock);
        if hidden || self != Level::Standard {
            return Ok(());
        }
        let refusal = Refusal { call: "an empty root or Landlock", errno: 0 };
        Err(StepError { layer: Layer::EmptyRoot, refusal })
    }
}

fn need(layer: Layer) -> Need {
    match layer {
        Layer::SingleThread
        | Layer::Descriptors
        | Layer::JobDescriptors
        | Layer::JobParentDeath
        | Layer::ParentDeath => Need::Foundation,

        Layer::NoNewPrivs
        | Layer::WorkerLimits
        | Layer::WorkerFilter
        | Layer::JobCapabilities
        | Layer::JobLimits
        | Layer::NoNewDescriptors
        | Layer::LoadingFilter
        | Layer::JobFilter => Need::Core,

        Layer::Session
        | Layer::JobSession
        | Layer::UserNamespace
        | Layer::MountNamespace
        | Layer::IpcNamespace
        | Layer::UtsNamespace
        | Layer::NetworkNamespace
        | Layer::EmptyRoot
        | Layer::WorkerCapabilities
        | Layer::NotDumpable
        | Layer::Landlock
        | Layer::PidNamespace => Need::Strict,

        // "Offered" is here: delegated to the host. What is not says ENODEV.
        Layer::JobScope
        | Layer::JobCgroup
        | Layer::CgroupLimits
        | Layer::CgroupNamespace
        | Layer::SessionKeyring
        | Layer::SealedText
        | Layer::DenyWriteExecute
        | Layer::NoTsc => Need::WhereOffered,

        // A kernel that seals its own mappings (CONFIG_MSEAL_SYSTEM_MAPPINGS) refuses to give
        // the clock pages up, and is not the worse for it.
        // Containers mount /proc/sys read-only; the filters deny the calls anyway.
        Layer::NoVdso
        | Layer::NoNestedNamespaces
        | Layer::NoCpuid
        | Layer::BranchSpeculation
        | Layer::CoreScheduling => Need::Told,
    }
}

/// Whether the error says that the kernel was built without the thing, rather than forbids it.
fn kernel_lacks_it(errno: i32) -> bool {
    [libc::ENOSYS, libc::EINVAL, libc::ENODEV, libc::EOPNOTSUPP].contains(&errno)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strict_forgives_only_what_the_kernel_does_not_have() {
        assert!(!Level::Strict.requires(Layer::SealedText, libc::ENOSYS));
        assert!(Level::Strict.requires(Layer::SealedText, libc::EPERM));
        assert!(Level::Strict.requires(Layer::Landlock, libc::ENOSYS));
        assert!(!Level::Strict.requires(Layer::NoCpuid, libc::EPERM));
        assert!(!Level::Strict.requires(Layer::JobCgroup, libc::ENODEV));
        assert!(Level::Strict.requires(Layer::JobCgroup, libc::EACCES));
    }

    #[test]
    fn weak_still_requires_the_foundation() {
        for &layer in Layer::ALL {
            let foundation = matches!(need(layer), Need::Foundation);
            assert_eq!(Level::Weak.requires(layer, libc::EPERM), foundation, "{layer}");
        }
    }

    #[test]
    fn standard_requires_one_way_to_hide_the_file_system() {
        assert!(Level::Standard.check_whole(&Layers::default()).is_err());
        assert!(Level::Weak.check_whole(&Layers::default()).is_ok());
    }
}
