//! What the doctor has to say in each situation.

use std::{
    fs,
    os::unix::fs::{PermissionsExt, chown},
    path::PathBuf,
    process::{Command, Output},
};

use serde_json::Value;

use crate::situations::{CANNOT_BE_MADE, ORDINARY_USER, Situation};

/// The program under test.
const PROGRAM: &str = env!("CARGO_BIN_EXE_lazaret");

/// Who starts lazaret.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum User {
    Root,
    Ordinary,
}

/// The directory that artifacts are to be kept in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Cache {
    /// One that does not exist yet, in a folder of the user's.
    New,
    /// One that everybody may write.
    Everybodys,
}

/// A situation and what is expected in it.
pub(crate) struct Case {
    pub(crate) name: &'static str,
    user: User,
    situation: Situation,
    cache: Cache,
    expected: fn(&Seen) -> Result<(), Miss>,
}

/// Why a case did not hold.
pub(crate) enum Miss {
    Skipped(String),
    Failed(String),
}

use Cache::{Everybodys, New};
use User::{Ordinary, Root};

pub(crate) const CASES: &[Case] = &[
    case("root_has_the_strict_jail", Root, Situation::AsItIs, New, strict),
    case("an_ordinary_user_has_the_strict_jail", Ordinary, Situation::AsItIs, New, strict),
    case(
        "user_namespaces_that_are_disabled_are_told_with_their_sysctl",
        Ordinary,
        Situation::NoUserNamespaces,
        New,
        no_user_namespaces,
    ),
    case("root_in_a_pid_namespace", Root, Situation::InPidNamespace, New, strict),
    case("a_user_in_a_pid_namespace", Ordinary, Situation::InPidNamespace, New, strict),
    case("sigchld_ignored_by_root", Root, Situation::ChildrenIgnored, New, strict),
    case("sigchld_ignored_by_a_user", Ordinary, Situation::ChildrenIgnored, New, strict),
    case("a_user_who_is_root_of_one_id", Ordinary, Situation::RootOfOneId, New, strict),
    case("unshare_denied_to_root", Root, Situation::UnshareDenied, New, unshare_denied),
    case("unshare_denied_to_a_user", Ordinary, Situation::UnshareDenied, New, unshare_denied),
    case("no_seccomp_for_root", Root, Situation::NoSeccomp, New, no_seccomp),
    case("no_seccomp_for_a_user", Ordinary, Situation::NoSeccomp, New, no_seccomp),
    case("no_landlock_for_root", Root, Situation::NoLandlock, New, no_landlock),
    case("no_landlock_for_a_user", Ordinary, Situation::NoLandlock, New, no_landlock),
    case(
        "a_machine_that_can_run_nothing_is_a_fault",
        Ordinary,
        Situation::NoParentDeathSignal,
        New,
        nothing_runs,
    ),
    case(
        "a_cache_that_others_may_write_is_told",
        Ordinary,
        Situation::AsItIs,
        Everybodys,
        cache_refused,
    ),
    case(
        "the_strict_jail_holds_as_docker_is_advised_for_root",
        Root,
        Situation::OwnDockerProfile,
        New,
        strict_under_a_filter,
    ),
    case(
        "the_strict_jail_holds_as_docker_is_advised_for_a_user",
        Ordinary,
        Situation::OwnDockerProfile,
        New,
        strict_under_a_filter,
    ),
];

const fn case(
    name: &'static str,
    user: User,
    situation: Situation,
    cache: Cache,
    expected: fn(&Seen) -> Result<(), Miss>,
) -> Case {
    Case { name, user, situation, cache, expected }
}

/// A folder that an ordinary user can read, with a copy of lazaret in it.
pub(crate) struct Stage(tempfile::TempDir);

/// One run of the doctor.
struct Seen {
    user: User,
    situation: Situation,
    code: Option<i32>,
    object: Value,
}

macro_rules! holds {
    ($seen:expr, $condition:expr) => {
        if !$condition {
            let what = stringify!($condition);
            return Err(Miss::Failed(format!("not so: {what}\n{:#}", $seen.object)));
        }
    };
}

impl Stage {
    pub(crate) fn set() -> Self {
        let folder = tempfile::tempdir().expect("a temporary directory");
        let all_may_read = fs::Permissions::from_mode(0o755);
        fs::set_permissions(folder.path(), all_may_read.clone()).expect("own folder");
        let copy = folder.path().join("lazaret");
        fs::copy(PROGRAM, &copy).expect("room for a copy of the program");
        fs::set_permissions(copy, all_may_read).expect("own file");
        Self(folder)
    }

    pub(crate) fn play(&self, case: &Case) -> Result<(), Miss> {
        let is_root = rustix::process::geteuid().is_root();
        if case.user == Root && !is_root {
            return Err(Miss::Skipped("the tests are not run by root".into()));
        }
        let folder = self.folder(case, is_root);
        let cache = folder.join("cache");
        if case.cache == Everybodys {
            fs::create_dir(&cache).expect("own folder");
            fs::set_permissions(&cache, fs::Permissions::from_mode(0o777)).expect("own folder");
        }
        let output = self.run(case, &cache);
        let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
        if output.status.code() == Some(CANNOT_BE_MADE) {
            return Err(Miss::Skipped(stderr.trim().to_owned()));
        }
        let object = serde_json::from_slice(&output.stdout)
            .map_err(|error| Miss::Failed(format!("{error}; {}\n{stderr}", output.status)))?;
        let Case { user, situation, .. } = *case;
        let seen = Seen { user, situation, code: output.status.code(), object };
        consistent(&seen)?;
        let left = fs::read_dir(&cache).map_or(0, Iterator::count);
        holds!(seen, left == 0);
        (case.expected)(&seen)
    }

    fn folder(&self, case: &Case, is_root: bool) -> PathBuf {
        let folder = self.0.path().join(case.name);
        fs::create_dir(&folder).expect("a name of its own for each case");
        if is_root && case.user == Ordinary {
            let owner = Some(ORDINARY_USER);
            chown(&folder, owner, owner).expect("root may");
        }
        folder
    }

    fn run(&self, case: &Case, cache: &std::path::Path) -> Output {
        let user = match case.user {
            Root => "root",
            Ordinary => "ordinary",
        };
        Command::new(std::env::current_exe().expect("a process knows its program"))
            .arg("--role")
            .arg(format!("{user}:{}", case.situation.name()))
            .arg(self.0.path().join("lazaret"))
            .args(["doctor", "--json", "--cache"])
            .arg(cache)
            .env_clear()
            .output()
            .expect("the test program starts")
    }
}

impl Seen {
    fn layers(&self) -> impl Iterator<Item = &Value> {
        self.object["layers"].as_array().expect("layers").iter()
    }

    fn layer(&self, name: &str) -> &Value {
        self.layers().find(|layer| layer["name"] == name).expect("every layer is listed")
    }

    fn is_on(&self, name: &str) -> bool {
        self.layer(name)["state"] == "on"
    }

    fn is_off(&self, name: &str, call: &str, errno: i32, knob: &str) -> bool {
        let layer = self.layer(name);
        layer["state"] == "off"
            && layer["call"] == call
            && layer["errno"] == errno
            && layer["mend"]["knob"] == knob
    }

    /// Layers that the strict jail asks for and that are off.
    fn missing(&self) -> Vec<&str> {
        let missing = self.layers().filter(|layer| layer["required"] == true);
        let missing = missing.filter(|layer| layer["state"] != "on");
        missing.filter_map(|layer| layer["name"].as_str()).collect()
    }
}

/// What holds in every situation.
fn consistent(seen: &Seen) -> Result<(), Miss> {
    let object = &seen.object;
    holds!(seen, object["exit_code"].as_i64() == seen.code.map(i64::from));
    holds!(seen, object["strict"] == (object["level"] == "strict"));
    holds!(seen, object["strict"] == seen.missing().is_empty());
    holds!(seen, seen.layers().count() == lazaret_worker::layer_names().count());
    holds!(seen, object["hazards"].as_array().is_some_and(|hazards| hazards.len() == 6));
    let ran = if object["level"].is_null() { "not-run" } else { "right" };
    holds!(seen, object["canary"]["state"] == ran);
    let code = match (ran, &object["strict"], &object["cache"]["writable"]) {
        ("not-run", ..) => 4,
        (_, Value::Bool(true), Value::Bool(true)) => 0,
        _ => 1,
    };
    holds!(seen, seen.code == Some(code));
    let named_root = seen.user == Root || seen.situation == Situation::RootOfOneId;
    holds!(seen, named_root == (object["machine"]["user"] == 0));
    for off in seen.layers().filter(|layer| layer["state"] == "off") {
        holds!(seen, off["call"].is_string() && off["mend"]["cause"].is_string());
    }
    Ok(())
}

/// The case is only shown where the machine has the layer of its own accord.
fn unless_the_machine_refuses(seen: &Seen, layers: &[&str]) -> Result<(), Miss> {
    let lacking: Vec<_> = layers.iter().filter(|name| !seen.is_on(name)).collect();
    match lacking.is_empty() {
        true => Ok(()),
        false => Err(Miss::Skipped(format!("this machine itself refuses {lacking:?}"))),
    }
}

fn strict(seen: &Seen) -> Result<(), Miss> {
    unless_the_machine_refuses(seen, &seen.missing())?;
    holds!(seen, seen.object["strict"] == true && seen.code == Some(0));
    holds!(seen, seen.object["refused"] == Value::Array(Vec::new()));
    Ok(())
}

fn strict_under_a_filter(seen: &Seen) -> Result<(), Miss> {
    holds!(seen, seen.object["machine"]["outer_filter"] == true);
    if rustix::process::geteuid().is_root() {
        let layer = seen.layer("no-nested-namespaces");
        holds!(seen, layer["errno"] == libc::EROFS && layer["required"] == false);
        holds!(seen, layer["mend"]["knob"] == "/proc/sys");
    }
    strict(seen)
}

fn no_user_namespaces(seen: &Seen) -> Result<(), Miss> {
    let knob = "user.max_user_namespaces";
    holds!(seen, seen.is_off("user-namespace", "unshare CLONE_NEWUSER", libc::ENOSPC, knob));
    holds!(seen, seen.object["machine"]["max_user_namespaces"] == 0);
    what_follows_from_no_user_namespace(seen)
}

fn unshare_denied(seen: &Seen) -> Result<(), Miss> {
    let layer = seen.layer("user-namespace");
    holds!(seen, layer["state"] == "off" && layer["errno"] == libc::EPERM);
    holds!(seen, layer["call"] == "unshare CLONE_NEWUSER");
    holds!(seen, seen.object["machine"]["outer_filter"] == true);
    what_follows_from_no_user_namespace(seen)
}

/// The others are off because of the one, and the standard jail holds by Landlock alone.
fn what_follows_from_no_user_namespace(seen: &Seen) -> Result<(), Miss> {
    for name in ["mount-namespace", "network-namespace", "empty-root", "pid-namespace"] {
        let layer = seen.layer(name);
        holds!(seen, layer["state"] == "off" && layer["mend"]["knob"] == "user-namespace");
        holds!(seen, seen.missing().contains(&name));
    }
    unless_the_machine_refuses(seen, &["landlock", "job-filter"])?;
    holds!(seen, seen.object["level"] == "standard");
    Ok(())
}

fn no_seccomp(seen: &Seen) -> Result<(), Miss> {
    for name in ["worker-filter", "loading-filter", "job-filter"] {
        let (call, knob) = ("seccomp SECCOMP_SET_MODE_FILTER", "CONFIG_SECCOMP_FILTER, seccomp");
        holds!(seen, seen.is_off(name, call, libc::EINVAL, knob));
        holds!(seen, seen.missing().contains(&name));
    }
    holds!(seen, seen.object["level"] == "weak");
    let refused = seen.object["refused"].as_array().map_or(0, Vec::len);
    holds!(seen, refused == 2);
    unless_the_machine_refuses(seen, &["user-namespace", "empty-root", "landlock"])
}

fn no_landlock(seen: &Seen) -> Result<(), Miss> {
    let (call, knob) = ("landlock_create_ruleset", "CONFIG_SECURITY_LANDLOCK, seccomp");
    holds!(seen, seen.is_off("landlock", call, libc::ENOSYS, knob));
    holds!(seen, seen.missing().contains(&"landlock"));
    unless_the_machine_refuses(seen, &["empty-root", "job-filter"])?;
    holds!(seen, seen.object["level"] == "standard");
    holds!(seen, seen.missing() == ["landlock"]);
    Ok(())
}

fn nothing_runs(seen: &Seen) -> Result<(), Miss> {
    holds!(seen, seen.object["level"].is_null() && seen.code == Some(4));
    let layer = seen.layer("parent-death");
    holds!(seen, layer["state"] == "off" && layer["call"] == "prctl PR_SET_PDEATHSIG");
    holds!(seen, seen.layer("job-filter")["state"] == "unknown");
    let refused = seen.object["refused"].as_array().map_or(0, Vec::len);
    holds!(seen, refused == 3);
    Ok(())
}

fn cache_refused(seen: &Seen) -> Result<(), Miss> {
    let cache = &seen.object["cache"];
    holds!(seen, cache["writable"] == false);
    holds!(seen, cache["reason"].as_str().is_some_and(|text| text.contains("nobody else")));
    holds!(seen, seen.code == Some(1));
    Ok(())
}
