//! What the machine tells about itself: the plain values that advice is chosen by.
//!
//! Read from `/proc`, `/sys`, `/etc` and the environment; what cannot be read is `None`. Nothing is
//! decided here.

use std::{env, fs, path::Path};

/// The environment that mending depends on.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Facts {
    /// The kernel's release, as in `uname -r`.
    pub(crate) kernel: Option<String>,
    /// The distribution, by its own name (os-release(5)).
    pub(crate) system: Option<String>,
    /// The effective user id.
    pub(crate) user: Option<u32>,
    /// This program's file.
    pub(crate) program: Option<String>,
    /// What it runs in.
    pub(crate) surroundings: Surroundings,
    /// Whether somebody else's system-call filter is on this process already.
    pub(crate) outer_filter: bool,
    /// The AppArmor profile of this process.
    pub(crate) apparmor_profile: Option<String>,
    /// `kernel.apparmor_restrict_unprivileged_userns`, since Ubuntu 23.10.
    pub(crate) apparmor_restricts: Option<bool>,
    /// `kernel.unprivileged_userns_clone`, of Debian's and Arch's kernels.
    pub(crate) userns_clone: Option<bool>,
    /// `user.max_user_namespaces`.
    pub(crate) user_namespaces_max: Option<u64>,
    /// Whether the layer `user-namespace` is off, on which other layers rest.
    pub(crate) user_namespace_off: bool,
}

/// What a process runs in, as far as it shows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Surroundings {
    /// Nothing that shows.
    #[default]
    Machine,
    /// Docker, or a machine made from an image for it (`/.dockerenv`).
    Docker,
    Podman,
    Lxc,
    /// Another container.
    Container,
    /// A systemd service with a system-call filter.
    Service,
}

impl Surroundings {
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Machine => "machine",
            Self::Docker => "docker",
            Self::Podman => "podman",
            Self::Lxc => "lxc",
            Self::Container => "container",
            Self::Service => "systemd-service",
        }
    }
}

impl Facts {
    pub(crate) fn read(user_namespace_off: bool) -> Self {
        let status = word("/proc/self/status").unwrap_or_default();
        // 2 is SECCOMP_MODE_FILTER (proc_pid_status(5)).
        let outer_filter = field(&status, "Seccomp:") == Some("2");
        let user = field(&status, "Uid:").and_then(|ids| ids.split_whitespace().nth(1));
        Self {
            kernel: word("/proc/sys/kernel/osrelease"),
            system: word("/etc/os-release").and_then(|release| pretty_name(&release)),
            user: user.and_then(|id| id.parse().ok()),
            program: env::current_exe().ok().map(|path| path.display().to_string()),
            surroundings: surroundings(outer_filter),
            outer_filter,
            apparmor_profile: word("/proc/self/attr/apparmor/current")
                .or_else(|| word("/proc/self/attr/current"))
                .filter(|profile| !profile.is_empty()),
            apparmor_restricts: switch("/proc/sys/kernel/apparmor_restrict_unprivileged_userns"),
            userns_clone: switch("/proc/sys/kernel/unprivileged_userns_clone"),
            user_namespaces_max: word("/proc/sys/user/max_user_namespaces")
                .and_then(|number| number.parse().ok()),
            user_namespace_off,
        }
    }
}

/// By the marks that container programs leave: systemd's file for it, their own files, and the
/// variable `container` that most set.
fn surroundings(outer_filter: bool) -> Surroundings {
    let exists = |path: &str| Path::new(path).exists();
    let name = word("/run/systemd/container").or_else(|| env::var("container").ok());
    match name.as_deref() {
        Some("docker") => Surroundings::Docker,
        Some("podman") => Surroundings::Podman,
        Some("lxc" | "lxc-libvirt") => Surroundings::Lxc,
        Some(_) => Surroundings::Container,
        None if exists("/run/.containerenv") => Surroundings::Podman,
        None if exists("/dev/lxd/sock") || exists("/dev/incus/sock") => Surroundings::Lxc,
        None if exists("/.dockerenv") => Surroundings::Docker,
        // Terminals inherit the variable from a user's services; those have no filter.
        None if outer_filter && env::var_os("INVOCATION_ID").is_some() => Surroundings::Service,
        None => Surroundings::Machine,
    }
}

/// A small file of the kernel, without the white space around.
pub(crate) fn word(path: &str) -> Option<String> {
    fs::read_to_string(path).ok().map(|text| text.trim().to_owned())
}

fn switch(path: &str) -> Option<bool> {
    word(path).map(|value| value != "0")
}

fn field<'a>(status: &'a str, name: &str) -> Option<&'a str> {
    status.lines().find_map(|line| line.strip_prefix(name)).map(str::trim)
}

fn pretty_name(release: &str) -> Option<String> {
    field(release, "PRETTY_NAME=").map(|name| name.trim_matches('"').to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_found_by_their_whole_name() {
        let status = "Uid:\t0\t7\t0\t0\nSeccomp:\t2\nSeccomp_filters:\t1\n";
        assert_eq!(field(status, "Seccomp:"), Some("2"));
        assert_eq!(field(status, "Uid:"), Some("0\t7\t0\t0"));
        assert_eq!(field(status, "Gid:"), None);
        assert_eq!(pretty_name("ID=x\nPRETTY_NAME=\"X 1\"\n").as_deref(), Some("X 1"));
    }
}
