//! What mends a layer that is off: a table from the layer, the call that failed, its error number and
//! what the machine tells of itself, to words. No system call is made here.
//!
//! The order of the rules matters where two could hold: what forbids the call itself comes before
//! what forbids its use.

mod cgroups;

use super::facts::{Facts, Surroundings};

// errno(3), as Linux has them on x86-64.
const EPERM: i32 = 1;
const ENXIO: i32 = 6;
const EACCES: i32 = 13;
const ENODEV: i32 = 19;
const EINVAL: i32 = 22;
const ENOSPC: i32 = 28;
const EROFS: i32 = 30;
const ENOSYS: i32 = 38;
const EUSERS: i32 = 87;
const EOPNOTSUPP: i32 = 95;
const EDQUOT: i32 = 122;

const APPARMOR_PROFILE: &str = "packaging/apparmor/lazaret";
const DOCKER_PROFILE: &str = "packaging/docker/seccomp.json";
const SYSTEMD_UNIT: &str = "packaging/systemd/lazaret.service";

/// A layer that is off, and how it failed.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Off<'a> {
    pub(crate) layer: &'a str,
    pub(crate) call: &'a str,
    pub(crate) errno: i32,
}

/// How a layer is turned on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Mending {
    /// Why it is off.
    pub(crate) cause: &'static str,
    /// What decides that: a setting, an option, a version. Stable: programs match on it.
    pub(crate) knob: &'static str,
    /// What to run or to change; `None` if nothing helps.
    pub(crate) command: Option<&'static str>,
    /// A file of this project that goes with it.
    pub(crate) profile: Option<&'static str>,
}

const fn mend(cause: &'static str, knob: &'static str, command: &'static str) -> Mending {
    Mending { cause, knob, command: Some(command), profile: None }
}

/// Nothing helps, or something that is said of another layer.
const fn hopeless(cause: &'static str, knob: &'static str) -> Mending {
    Mending { cause, knob, command: None, profile: None }
}

impl Mending {
    const fn with(self, profile: &'static str) -> Self {
        Self { profile: Some(profile), ..self }
    }
}

/// What mends the layer. There is always an answer, if only that none is known.
pub(crate) fn mending(off: &Off<'_>, facts: &Facts) -> Mending {
    match off.layer {
        "user-namespace" | "mount-namespace" | "ipc-namespace" | "uts-namespace"
        | "cgroup-namespace" | "network-namespace" | "empty-root" | "pid-namespace" => {
            namespaces(off, facts)
        }
        "no-nested-namespaces" => nested(off, facts),
        "job-cgroup" | "cgroup-limits" => cgroups::mending(off),
        "worker-filter" | "loading-filter" | "job-filter" => filters(off, facts),
        "landlock" => landlock(off, facts),
        "session-keyring" => keyring(off, facts),
        "sealed-text" | "deny-write-execute" => newer_kernel(off, facts),
        "no-tsc" | "no-vdso" | "no-cpuid" | "branch-speculation" | "core-scheduling" => {
            processor(off, facts)
        }
        "parent-death" => hopeless(
            "the host died meanwhile, or it is in another pid namespace than its worker",
            "the program that starts lazaret",
        ),
        _ => forbidden(off, facts).unwrap_or(UNKNOWN),
    }
}

fn namespaces(off: &Off<'_>, facts: &Facts) -> Mending {
    if off.layer != "user-namespace" && facts.user_namespace_off {
        return hopeless(
            "without a user namespace of its own the worker has no right to this: it comes with \
             that one",
            "user-namespace",
        );
    }
    match (off.errno, off.call) {
        (ENOSPC, "unshare CLONE_NEWUSER") if facts.user_namespaces_max == Some(0) => Mending {
            cause: "user namespaces are disabled: user.max_user_namespaces is 0",
            ..namespace_bounds(off.layer)
        },
        (ENOSPC | EUSERS, _) => namespace_bounds(off.layer),
        (EINVAL, "setresuid" | "setresgid") => mend(
            "the container maps fewer ids than the worker needs for one that owns nothing",
            "uid_map of the container",
            "map at least 65534 ids (Docker's and LXC's default is 65536), or start lazaret as an \
             ordinary user",
        ),
        (EPERM, "setgroups" | "setresuid" | "setresgid") => mend(
            "root without CAP_SETUID and CAP_SETGID cannot become an id that owns nothing",
            "CAP_SETUID, CAP_SETGID",
            "start lazaret as an ordinary user (docker run --user 10001:10001, User= in systemd)",
        ),
        (EINVAL | ENOSYS, call) if call.starts_with("unshare") || call.starts_with("clone") => mend(
            "this kernel was built without that kind of namespace",
            "CONFIG_USER_NS, CONFIG_PID_NS, CONFIG_NET_NS, CONFIG_IPC_NS, CONFIG_UTS_NS, CONFIG_CGROUPS",
            "install a kernel of a general-purpose distribution",
        ),
        (EPERM | EACCES, _) => forbidden(off, facts).unwrap_or(mend(
            "neither a sysctl nor a filter shows: a chroot (which may not make user namespaces) or a \
             security module forbids it",
            "chroot, SELinux",
            "start lazaret outside the chroot; look for denials with: sudo ausearch -m avc -ts recent",
        )),
        _ => UNKNOWN,
    }
}

/// What forbids a call although the kernel has it.
fn forbidden(off: &Off<'_>, facts: &Facts) -> Option<Mending> {
    if ![EPERM, EACCES].contains(&off.errno) {
        return None;
    }
    let of_namespaces = off.layer.ends_with("-namespace") || off.layer == "empty-root";
    let makes_it = off.call == "unshare CLONE_NEWUSER";
    if makes_it && facts.userns_clone == Some(false) {
        return Some(mend(
            "the kernel lets only root make user namespaces",
            "kernel.unprivileged_userns_clone",
            "echo kernel.unprivileged_userns_clone=1 | sudo tee /etc/sysctl.d/60-lazaret.conf && \
             sudo sysctl --system",
        ));
    }
    // Ubuntu lets the namespace be made and denies what it is for; a filter denies the making.
    let made_and_useless = of_namespaces && !(makes_it && facts.outer_filter);
    if made_and_useless && facts.apparmor_restricts == Some(true) {
        return Some(
            mend(
                "AppArmor gives user namespaces no rights unless the program has a profile that \
                 says so (Ubuntu 23.10 and later)",
                "kernel.apparmor_restrict_unprivileged_userns",
                "sudo install -m 644 packaging/apparmor/lazaret /etc/apparmor.d/lazaret && \
                 sudo apparmor_parser -r /etc/apparmor.d/lazaret (for a program at another path \
                 than /usr/bin or /usr/local/bin, change the path in it first)",
            )
            .with(APPARMOR_PROFILE),
        );
    }
    match facts.surroundings {
        Surroundings::Docker | Surroundings::Podman if facts.outer_filter => Some(DOCKER_FILTER),
        Surroundings::Docker | Surroundings::Podman if of_namespaces => Some(
            mend(
                "the container's AppArmor profile (docker-default) denies every mount",
                "apparmor",
                "docker run --security-opt apparmor=unconfined ... (the whole line is in \
                 packaging/README.md)",
            )
            .with(DOCKER_PROFILE),
        ),
        Surroundings::Lxc => Some(mend(
            "the container may not nest others",
            "security.nesting",
            "lxc config set NAME security.nesting true && lxc restart NAME (Incus: incus config set; \
             Proxmox: pct set ID --features nesting=1,keyctl=1; plain LXC: lxc.include = \
             /usr/share/lxc/config/nesting.conf)",
        )),
        Surroundings::Service => Some(
            mend(
                "the unit's RestrictNamespaces=, SystemCallFilter= or ProtectHostname= denies it",
                "RestrictNamespaces, SystemCallFilter",
                "sudo systemctl edit UNIT: RestrictNamespaces=no, ProtectHostname=no, and in \
                 SystemCallFilter= also @mount @keyring @process sethostname setdomainname mseal \
                 landlock_create_ruleset landlock_restrict_self seccomp",
            )
            .with(SYSTEMD_UNIT),
        ),
        _ if facts.outer_filter => Some(mend(
            "a system-call filter that was put on before this program denies it",
            "seccomp",
            "find who put it on: grep Seccomp /proc/PID/status, for the parents of lazaret in turn",
        )),
        _ => None,
    }
}

const DOCKER_FILTER: Mending = mend(
    "the container's seccomp profile denies it",
    "seccomp",
    "docker run --user 10001:10001 --cap-drop ALL --security-opt no-new-privileges --security-opt \
     seccomp=packaging/docker/seccomp.json --security-opt apparmor=unconfined IMAGE lazaret doctor",
)
.with(DOCKER_PROFILE);

const UNKNOWN: Mending = hopeless(
    "no reason for this is known; a report with the output of lazaret doctor --json would help",
    "unknown",
);

/// The bounds of `/proc/sys/user` (namespaces(7)); they count in every namespace above as well.
fn namespace_bounds(layer: &str) -> Mending {
    macro_rules! bound {
        ($kind:literal) => {
            mend(
                "as many namespaces as may be exist already, or 32 are nested, here or in a \
                 container around this one",
                concat!("user.max_", $kind, "_namespaces"),
                concat!(
                    "echo user.max_",
                    $kind,
                    "_namespaces=15000 | sudo tee /etc/sysctl.d/60-lazaret.conf && sudo sysctl --system"
                ),
            )
        };
    }
    match layer {
        "mount-namespace" => bound!("mnt"),
        "ipc-namespace" => bound!("ipc"),
        "uts-namespace" => bound!("uts"),
        "cgroup-namespace" => bound!("cgroup"),
        "network-namespace" => bound!("net"),
        "pid-namespace" => bound!("pid"),
        _ => bound!("user"),
    }
}

fn nested(off: &Off<'_>, facts: &Facts) -> Mending {
    match off.errno {
        EROFS | EACCES | EPERM => mend(
            "the container mounts /proc/sys read-only; the system-call filters deny the same",
            "/proc/sys",
            "nothing needs to be done; docker run --security-opt systempaths=unconfined turns it on",
        ),
        _ if facts.user_namespace_off => hopeless(
            "its bounds belong to a user namespace, and there is none: it comes with that one",
            "user-namespace",
        ),
        _ => UNKNOWN,
    }
}

fn filters(off: &Off<'_>, facts: &Facts) -> Mending {
    match off.errno {
        ENOSYS | EINVAL if facts.outer_filter => mend(
            "the kernel was built without filters, or a filter around this program hides that it \
             has them (it is under one itself)",
            "CONFIG_SECCOMP_FILTER, seccomp",
            "allow seccomp(2) in the profile of the container or unit; gVisor and qemu-user cannot \
             run lazaret",
        ),
        ENOSYS | EINVAL => mend(
            "the kernel was built without system-call filters, or something that is no Linux plays \
             its part (gVisor, qemu-user)",
            "CONFIG_SECCOMP_FILTER",
            "install a kernel of a general-purpose distribution; check with: grep SECCOMP \
             /boot/config-$(uname -r)",
        ),
        _ => forbidden(off, facts).unwrap_or(UNKNOWN),
    }
}

fn landlock(off: &Off<'_>, facts: &Facts) -> Mending {
    match off.errno {
        EOPNOTSUPP => mend(
            "the kernel has Landlock and was started without it",
            "lsm=",
            "add landlock to the list lsm= in GRUB_CMDLINE_LINUX of /etc/default/grub (the present \
             list: cat /sys/kernel/security/lsm), then sudo update-grub and restart",
        ),
        ENOSYS if facts.outer_filter => mend(
            "the kernel is older than Linux 5.13 or was built without Landlock, or a filter around \
             this program does not know its calls",
            "CONFIG_SECURITY_LANDLOCK, seccomp",
            "allow landlock_create_ruleset, landlock_add_rule and landlock_restrict_self in the \
             profile of the container or unit; otherwise install a newer kernel",
        )
        .with(DOCKER_PROFILE),
        ENOSYS => mend(
            "the kernel is older than Linux 5.13 or was built without Landlock",
            "CONFIG_SECURITY_LANDLOCK",
            "install Linux 5.13 or later with CONFIG_SECURITY_LANDLOCK=y; check with: grep LANDLOCK \
             /boot/config-$(uname -r)",
        ),
        _ => forbidden(off, facts).unwrap_or(UNKNOWN),
    }
}

fn keyring(off: &Off<'_>, facts: &Facts) -> Mending {
    match off.errno {
        ENOSYS => hopeless(
            "the kernel has no keyrings (CONFIG_KEYS), so there is no key to hide",
            "CONFIG_KEYS",
        ),
        EDQUOT => mend(
            "the user has as many keys as it may",
            "kernel.keys.maxkeys",
            "echo kernel.keys.maxkeys=2000 | sudo tee /etc/sysctl.d/60-lazaret-keys.conf && sudo \
             sysctl --system",
        ),
        _ => forbidden(off, facts).unwrap_or(UNKNOWN),
    }
}

fn newer_kernel(off: &Off<'_>, facts: &Facts) -> Mending {
    match (off.layer, off.errno) {
        ("sealed-text", ENOSYS) => mend(
            "the kernel has no mseal(2): it came with Linux 6.10",
            "kernel version",
            "install Linux 6.10 or later; the strict jail does without it on older kernels",
        ),
        ("deny-write-execute", EINVAL) => mend(
            "the kernel has no PR_SET_MDWE: it came with Linux 6.3",
            "kernel version",
            "install Linux 6.3 or later; the strict jail does without it on older kernels",
        ),
        _ => forbidden(off, facts).unwrap_or(UNKNOWN),
    }
}

/// Layers that depend on the processor or on how the kernel was built.
fn processor(off: &Off<'_>, facts: &Facts) -> Mending {
    match (off.layer, off.errno) {
        ("no-vdso", EPERM | EACCES) => hopeless(
            "the kernel seals its clock pages (CONFIG_MSEAL_SYSTEM_MAPPINGS); the layer no-tsc still \
             holds",
            "CONFIG_MSEAL_SYSTEM_MAPPINGS",
        ),
        ("no-cpuid", ENODEV) => hopeless(
            "this processor, or the hypervisor in front of it, cannot make cpuid fault",
            "processor",
        ),
        ("branch-speculation", EPERM | ENXIO | ENODEV | EINVAL) => mend(
            "the kernel was told to decide about branch prediction for all processes alike, or the \
             processor leaves nothing to decide",
            "spectre_v2_user=",
            "start the kernel with spectre_v2_user=prctl; the present state: cat \
             /sys/devices/system/cpu/vulnerabilities/spectre_v2",
        ),
        ("core-scheduling", ENODEV) => {
            hopeless("no core runs two threads here, so there is nothing to keep apart", "smt")
        }
        ("core-scheduling", EINVAL) => mend(
            "the kernel was built without core scheduling",
            "CONFIG_SCHED_CORE",
            "where the hazard smt is present, turn it off: echo off | sudo tee /sys/devices/system/cpu/smt/control",
        ),
        _ => forbidden(off, facts).unwrap_or(UNKNOWN),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NEW_USER: &str = "unshare CLONE_NEWUSER";

    fn knob(layer: &str, call: &str, errno: i32, facts: &Facts) -> &'static str {
        mending(&Off { layer, call, errno }, facts).knob
    }

    fn inside(surroundings: Surroundings) -> Facts {
        Facts { surroundings, outer_filter: true, ..Facts::default() }
    }

    #[test]
    fn each_machine_is_told_its_own_knob() {
        let plain = Facts::default();
        let ubuntu = Facts { apparmor_restricts: Some(true), ..Facts::default() };
        let debian = Facts { userns_clone: Some(false), ..Facts::default() };
        let docker = inside(Surroundings::Docker);
        let docker_on_ubuntu = Facts { apparmor_restricts: Some(true), ..docker.clone() };
        let unfiltered_docker = Facts { outer_filter: false, ..docker.clone() };
        let without = Facts { user_namespace_off: true, ..Facts::default() };
        let apparmor = "kernel.apparmor_restrict_unprivileged_userns";
        for (layer, call, errno, facts, expected) in [
            ("user-namespace", NEW_USER, ENOSPC, &plain, "user.max_user_namespaces"),
            ("user-namespace", NEW_USER, EPERM, &debian, "kernel.unprivileged_userns_clone"),
            ("user-namespace", NEW_USER, EPERM, &docker, "seccomp"),
            ("user-namespace", NEW_USER, EPERM, &docker_on_ubuntu, "seccomp"),
            ("user-namespace", NEW_USER, EPERM, &plain, "chroot, SELinux"),
            ("user-namespace", NEW_USER, EPERM, &inside(Surroundings::Lxc), "security.nesting"),
            ("user-namespace", "write /proc/self/uid_map", EPERM, &ubuntu, apparmor),
            ("mount-namespace", "unshare CLONE_NEWNS", EPERM, &ubuntu, apparmor),
            ("user-namespace", "setgroups", EPERM, &plain, "CAP_SETUID, CAP_SETGID"),
            ("user-namespace", "setresgid", EINVAL, &plain, "uid_map of the container"),
            (
                "network-namespace",
                "unshare CLONE_NEWNET",
                ENOSPC,
                &plain,
                "user.max_net_namespaces",
            ),
            ("empty-root", "a mount namespace of its own", 0, &without, "user-namespace"),
            ("empty-root", "mount MS_PRIVATE /", EACCES, &unfiltered_docker, "apparmor"),
            ("landlock", "landlock_create_ruleset", EOPNOTSUPP, &plain, "lsm="),
            ("landlock", "landlock_create_ruleset", ENOSYS, &plain, "CONFIG_SECURITY_LANDLOCK"),
            ("landlock", "landlock_create_ruleset", EPERM, &docker, "seccomp"),
            ("job-filter", "seccomp", ENOSYS, &plain, "CONFIG_SECCOMP_FILTER"),
            ("session-keyring", "keyctl", EPERM, &docker, "seccomp"),
            ("session-keyring", "keyctl", EDQUOT, &plain, "kernel.keys.maxkeys"),
            ("sealed-text", "mseal", ENOSYS, &plain, "kernel version"),
            ("no-cpuid", "arch_prctl ARCH_SET_CPUID", ENODEV, &plain, "processor"),
            ("job-cgroup", "a delegated control group", ENODEV, &plain, "Delegate="),
            ("job-cgroup", "clone3 CLONE_INTO_CGROUP", ENOSYS, &docker, "clone3"),
            ("job-cgroup", "write cgroup.procs", EACCES, &plain, "owner of cgroup.procs"),
            ("cgroup-limits", "a control group of the jobs", ENODEV, &plain, "job-cgroup"),
        ] {
            assert_eq!(knob(layer, call, errno, facts), expected, "{layer}: {call} {errno}");
        }
        let service = inside(Surroundings::Service);
        let unit =
            mending(&Off { layer: "uts-namespace", call: "sethostname", errno: EPERM }, &service);
        assert_eq!(unit.profile, Some(SYSTEMD_UNIT));
    }

    #[test]
    fn every_layer_has_an_answer_to_every_error() {
        let facts = inside(Surroundings::Docker);
        for layer in lazaret_worker::layer_names() {
            for errno in 0..=133 {
                let found = mending(&Off { layer, call: "a call", errno }, &facts);
                assert!(!found.cause.is_empty() && !found.knob.is_empty(), "{layer} {errno}");
            }
        }
    }

    #[test]
    fn whatever_a_container_forbids_is_mended_there() {
        let facts = inside(Surroundings::Docker);
        for layer in lazaret_worker::layer_names().filter(|name| name.ends_with("-namespace")) {
            let found = mending(&Off { layer, call: "unshare", errno: EPERM }, &facts);
            assert_eq!(found.profile, Some(DOCKER_PROFILE), "{layer}");
        }
    }

    #[test]
    fn every_profile_that_is_advised_is_shipped() {
        for profile in [APPARMOR_PROFILE, DOCKER_PROFILE, SYSTEMD_UNIT] {
            let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").join(profile);
            assert!(path.is_file(), "{profile}");
        }
    }
}
