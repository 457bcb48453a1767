//! Machines that refuse something, made for one process: by what user it is, by a user namespace
//! with a bound of its own, or by an outer seccomp filter that answers with an error number, as
//! container programs do.

use std::{
    collections::BTreeMap,
    fs,
    os::unix::process::CommandExt,
    path::Path,
    process::{Command, exit},
};

use libc as c;
use rustix::{
    mount::{MountFlags, MountPropagationFlags, mount_bind, mount_change, mount_remount},
    process::{DumpableBehavior, Gid, Uid, getegid, geteuid, set_dumpable_behavior},
    thread::{
        UnshareFlags, set_thread_groups, set_thread_res_gid, set_thread_res_uid, unshare_unsafe,
    },
};
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter,
    SeccompRule, TargetArch, apply_filter,
};

/// Who an ordinary user is where the tests are run by root.
pub(crate) const ORDINARY_USER: u32 = 1000;
/// How a role says that the situation cannot be made; why is on its standard error.
pub(crate) const CANNOT_BE_MADE: i32 = 77;

/// What a machine refuses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Situation {
    /// Nothing that it does not refuse anyway.
    AsItIs,
    /// `user.max_user_namespaces` is 0.
    NoUserNamespaces,
    /// As Docker's default profile does.
    UnshareDenied,
    /// As a kernel without filters does, or one that is none.
    NoSeccomp,
    /// As a kernel without it does.
    NoLandlock,
    /// What every level of the jail needs.
    NoParentDeathSignal,
    /// A pid namespace whose session leader is outside of it, as container programs and
    /// continuous integration have it.
    InPidNamespace,
    /// Whoever started it ignores SIGCHLD.
    ChildrenIgnored,
    /// Root of a user namespace that has one id, which is an ordinary user's.
    RootOfOneId,
    /// packaging/docker/seccomp.json is on, and where root makes it `/proc/sys` is read-only as
    /// Docker has it.
    OwnDockerProfile,
}

const BY_NAME: &[(&str, Situation)] = &[
    ("as-it-is", Situation::AsItIs),
    ("no-user-namespaces", Situation::NoUserNamespaces),
    ("unshare-denied", Situation::UnshareDenied),
    ("no-seccomp", Situation::NoSeccomp),
    ("no-landlock", Situation::NoLandlock),
    ("no-parent-death-signal", Situation::NoParentDeathSignal),
    ("in-pid-namespace", Situation::InPidNamespace),
    ("children-ignored", Situation::ChildrenIgnored),
    ("root-of-one-id", Situation::RootOfOneId),
    ("own-docker-profile", Situation::OwnDockerProfile),
];

impl Situation {
    /// Its name on the command line of a role.
    pub(crate) fn name(self) -> &'static str {
        BY_NAME.iter().find(|(_, known)| *known == self).expect("every situation has a name").0
    }
}

/// Makes the situation for this process, the user first, and becomes the command.
pub(crate) fn become_lazaret(name: &str, command: &[String]) -> ! {
    let (user, name) = name.split_once(':').expect("user:situation");
    let situation = BY_NAME.iter().find(|(known, _)| *known == name).expect("a known situation").1;
    if situation == Situation::OwnDockerProfile && geteuid().is_root() {
        make_settings_read_only();
    }
    if user == "ordinary" {
        become_ordinary();
    }
    match situation {
        Situation::AsItIs => {}
        Situation::NoUserNamespaces => forbid_user_namespaces(),
        Situation::UnshareDenied => refuse(c::EPERM, [(c::SYS_unshare, vec![])]),
        Situation::NoSeccomp => refuse(
            c::EINVAL,
            [
                (c::SYS_seccomp, vec![first_is(c::SECCOMP_SET_MODE_FILTER.into())]),
                (c::SYS_prctl, vec![first_is(c::PR_SET_SECCOMP as u64)]),
            ],
        ),
        Situation::NoLandlock => refuse(
            c::ENOSYS,
            [
                c::SYS_landlock_create_ruleset,
                c::SYS_landlock_add_rule,
                c::SYS_landlock_restrict_self,
            ]
            .map(|call| (call, vec![])),
        ),
        Situation::NoParentDeathSignal => {
            refuse(c::EPERM, [(c::SYS_prctl, vec![first_is(c::PR_SET_PDEATHSIG as u64)])])
        }
        Situation::InPidNamespace => return_from_pid_namespace(command),
        Situation::ChildrenIgnored => {
            // SAFETY: ignoring a signal runs no code of this process.
            unsafe { c::signal(c::SIGCHLD, c::SIG_IGN) };
        }
        Situation::RootOfOneId => enter_user_namespace(0),
        Situation::OwnDockerProfile => put_on_docker_profile(),
    }
    let [program, arguments @ ..] = command else { panic!("no command") };
    let error = Command::new(program).args(arguments).exec();
    panic!("exec of {program}: {error}")
}

fn cannot(what: &str, error: impl std::fmt::Display) -> ! {
    eprintln!("{what}: {error}");
    exit(CANNOT_BE_MADE)
}

fn become_ordinary() {
    if !geteuid().is_root() {
        return;
    }
    let (user, group) = (Uid::from_raw(ORDINARY_USER), Gid::from_raw(ORDINARY_USER));
    set_thread_groups(&[])
        .and_then(|()| set_thread_res_gid(group, group, group))
        .and_then(|()| set_thread_res_uid(user, user, user))
        // The change of ids gave /proc/self to root.
        .and_then(|()| set_dumpable_behavior(DumpableBehavior::Dumpable))
        .unwrap_or_else(|error| cannot("becoming an ordinary user", error));
}

/// Runs the command as the first process of a pid namespace and ends as it ends. A user needs a user
/// namespace for that.
fn return_from_pid_namespace(command: &[String]) -> ! {
    if !geteuid().is_root() {
        enter_user_namespace(geteuid().as_raw());
    }
    // SAFETY: as below: FILES is not among the flags, and this process has one thread.
    let unshared = unsafe { unshare_unsafe(UnshareFlags::NEWPID) };
    unshared.unwrap_or_else(|error| cannot("unshare CLONE_NEWPID", error));
    let [program, arguments @ ..] = command else { panic!("no command") };
    let ended = Command::new(program).args(arguments).status();
    exit(ended.unwrap_or_else(|error| cannot("a first process", error)).code().unwrap_or(1))
}

fn make_settings_read_only() {
    const SETTINGS: &str = "/proc/sys";
    // SAFETY: as below: FILES is not among the flags, and this process has one thread.
    let unshared = unsafe { unshare_unsafe(UnshareFlags::NEWNS) };
    let private = MountPropagationFlags::PRIVATE | MountPropagationFlags::REC;
    unshared
        .and_then(|()| mount_change("/", private))
        .and_then(|()| mount_bind(SETTINGS, SETTINGS))
        .and_then(|()| mount_remount(SETTINGS, MountFlags::BIND | MountFlags::RDONLY, c""))
        .unwrap_or_else(|error| cannot("a read-only /proc/sys", error));
}

/// In a user namespace of its own, where the same id exists and no other, this process has every
/// right to forbid further ones; it loses its rights with exec, because the id is not 0.
fn forbid_user_namespaces() {
    enter_user_namespace(geteuid().as_raw());
    let bound = "/proc/sys/user/max_user_namespaces";
    fs::write(bound, "0").unwrap_or_else(|error| cannot(bound, error));
}

/// A user namespace in which this user's id is `inside`, and no other id exists.
fn enter_user_namespace(inside: u32) {
    let (user, group) = (geteuid().as_raw(), getegid().as_raw());
    // SAFETY: `unshare_unsafe` asks that no thread sees descriptors of an unshared table: FILES is
    // not among the flags, and this process has one thread.
    let unshared = unsafe { unshare_unsafe(UnshareFlags::NEWUSER) };
    unshared.unwrap_or_else(|error| cannot("unshare CLONE_NEWUSER", error));
    for (path, text) in [
        ("/proc/self/setgroups", "deny".to_owned()),
        ("/proc/self/uid_map", format!("{inside} {user} 1")),
        ("/proc/self/gid_map", format!("{inside} {group} 1")),
    ] {
        fs::write(path, text).unwrap_or_else(|error| cannot(path, error));
    }
}

fn first_is(value: u64) -> SeccompRule {
    let equal = SeccompCondition::new(0, SeccompCmpArgLen::Qword, SeccompCmpOp::Eq, value);
    SeccompRule::new(vec![equal.expect("a condition")]).expect("a rule")
}

fn refuse(errno: i32, calls: impl IntoIterator<Item = (i64, Vec<SeccompRule>)>) {
    let rules = BTreeMap::from_iter(calls);
    let denied = SeccompAction::Errno(errno as u32);
    let filter = SeccompFilter::new(rules, SeccompAction::Allow, denied, TargetArch::x86_64);
    let program = filter.and_then(BpfProgram::try_from).expect("a filter");
    apply_filter(&program).unwrap_or_else(|error| cannot("an outer filter", error));
}

macro_rules! calls {
    ($($name:literal = $number:ident,)*) => { &[$(($name, c::$number),)*] };
}

/// The calls that the profile names. One that is added there has to be added here.
const DENIED: &[(&str, i64)] = calls! {
    "_sysctl" = SYS__sysctl, "acct" = SYS_acct, "add_key" = SYS_add_key, "adjtimex" = SYS_adjtimex,
    "bpf" = SYS_bpf, "clock_adjtime" = SYS_clock_adjtime, "clock_settime" = SYS_clock_settime,
    "delete_module" = SYS_delete_module,
    "fanotify_init" = SYS_fanotify_init, "finit_module" = SYS_finit_module,
    "fsconfig" = SYS_fsconfig, "fsmount" = SYS_fsmount, "fsopen" = SYS_fsopen,
    "fspick" = SYS_fspick,
    "init_module" = SYS_init_module, "io_uring_enter" = SYS_io_uring_enter,
    "io_uring_register" = SYS_io_uring_register, "io_uring_setup" = SYS_io_uring_setup,
    "ioperm" = SYS_ioperm, "iopl" = SYS_iopl, "kcmp" = SYS_kcmp,
    "kexec_file_load" = SYS_kexec_file_load, "kexec_load" = SYS_kexec_load,
    "lookup_dcookie" = SYS_lookup_dcookie, "mount_setattr" = SYS_mount_setattr,
    "move_mount" = SYS_move_mount, "name_to_handle_at" = SYS_name_to_handle_at,
    "nfsservctl" = SYS_nfsservctl, "open_by_handle_at" = SYS_open_by_handle_at,
    "open_tree" = SYS_open_tree, "perf_event_open" = SYS_perf_event_open,
    "personality" = SYS_personality, "pidfd_getfd" = SYS_pidfd_getfd,
    "process_madvise" = SYS_process_madvise, "process_vm_readv" = SYS_process_vm_readv,
    "process_vm_writev" = SYS_process_vm_writev, "ptrace" = SYS_ptrace,
    "quotactl" = SYS_quotactl,
    "quotactl_fd" = SYS_quotactl_fd, "reboot" = SYS_reboot, "request_key" = SYS_request_key,
    "setns" = SYS_setns, "settimeofday" = SYS_settimeofday, "swapoff" = SYS_swapoff,
    "swapon" = SYS_swapon, "sysfs" = SYS_sysfs, "syslog" = SYS_syslog, "uselib" = SYS_uselib,
    "userfaultfd" = SYS_userfaultfd, "ustat" = SYS_ustat, "vhangup" = SYS_vhangup,
    "vmsplice" = SYS_vmsplice,
};

/// The profile as this program reads it, which is not Docker's own reading of it.
fn put_on_docker_profile() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../packaging/docker/seccomp.json");
    let text = fs::read_to_string(&path).unwrap_or_else(|error| cannot("the profile", error));
    let profile: serde_json::Value = serde_json::from_str(&text).expect("the profile is JSON");
    assert_eq!(profile["defaultAction"], "SCMP_ACT_ALLOW");
    for group in profile["syscalls"].as_array().expect("groups of calls") {
        assert_eq!(group["action"], "SCMP_ACT_ERRNO");
        let errno = group["errnoRet"].as_i64().expect("an error number") as i32;
        let names = group["names"].as_array().expect("names");
        let number = |name: &serde_json::Value| {
            let known = DENIED.iter().find(|(known, _)| name == known);
            (known.unwrap_or_else(|| panic!("{name} is not in the table of this test")).1, vec![])
        };
        refuse(errno, names.iter().map(number));
    }
}
