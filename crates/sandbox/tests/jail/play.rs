//! Starts this program in the role of a worker and judges what it tells.
//!
//! Called by `main`, once for each case and identity.

use std::fmt;
use std::fs;
use std::io::Read;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use crate::{attacks, cgroups, levels, lifetimes, streams};

/// Longer than any case takes on any machine; a case that takes longer has hung.
const PATIENCE: Timespec = Timespec { tv_sec: 60, tv_nsec: 0 };
const ORDINARY_USER: u32 = 1000;

/// Who starts the worker.
pub(crate) struct Identity {
    name: &'static str,
    user: Option<u32>,
    program: PathBuf,
}

impl Identity {
    /// This user, and as root also an ordinary one, who needs a copy of the program where it
    /// can be read.
    pub(crate) fn all() -> Vec<Identity> {
        let program = std::env::current_exe().expect("a process knows its program");
        if !rustix::process::geteuid().is_root() {
            return vec![Identity { name: "user", user: None, program }];
        }
        let copy = std::env::temp_dir().join(format!("lazaret-jail-{}", std::process::id()));
        fs::copy(&program, &copy).expect("the program can be copied to the temporary directory");
        fs::set_permissions(&copy, fs::Permissions::from_mode(0o755)).expect("own file");
        vec![
            Identity { name: "root", user: None, program },
            Identity { name: "user", user: Some(ORDINARY_USER), program: copy },
        ]
    }

    /// Starts a role; its log is piped.
    pub(crate) fn start(&self, role: &[&str]) -> Child {
        let mut command = Command::new(&self.program);
        command.arg("--role").args(role).env_clear();
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        if let Some(user) = self.user {
            command.uid(user).gid(user);
        }
        command.spawn().expect("the test program starts")
    }
}

impl Drop for Identity {
    fn drop(&mut self) {
        if self.user.is_some() {
            let _ = fs::remove_file(&self.program);
        }
    }
}

impl fmt::Display for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)
    }
}

/// What became of a case.
pub(crate) enum Outcome {
    Held,
    Skipped(String),
    Failed(String),
}

/// Runs one case.
pub(crate) fn play(identity: &Identity, name: &str) -> Outcome {
    if lifetimes::NAMES.contains(&name) {
        return lifetimes::play(identity, name);
    }
    if cgroups::NAMES.contains(&name) {
        return cgroups::play(identity, name);
    }
    if let Some(case) = levels::CASES.iter().find(|case| case.name == name) {
        let log = read_log(&mut identity.start(&["level", name]));
        let held = match case.refusal {
            Some(refusal) => log.starts_with(&format!("refused {refusal}")),
            None => log.contains("ended exited 0\nthe attack began\n"),
        };
        return match held {
            true => Outcome::Held,
            false => Outcome::Failed(format!("expected {:?}, the log says:\n{log}", case.refusal)),
        };
    }
    let case = attacks::CASES.iter().chain(streams::CASES).find(|case| case.name == name);
    let case = case.expect("a listed case");
    let mut worker = identity.start(&["worker", name]);
    let log = read_log(&mut worker);
    judge(&log, case.ends)
}

fn judge(log: &str, expected: &str) -> Outcome {
    if let Some(refusal) = log.lines().find(|line| line.starts_with("refused ")) {
        return Outcome::Skipped(refusal.to_owned());
    }
    match log.lines().find_map(|line| line.strip_prefix("ended ")) {
        Some(end) if end == expected && log.contains("the attack began\n") => Outcome::Held,
        _ => Outcome::Failed(format!("expected `{expected}`, the log says:\n{log}")),
    }
}

/// The whole log, or what there is of it when patience ends.
pub(crate) fn read_log(worker: &mut Child) -> String {
    let mut pipe = worker.stderr.take().expect("piped");
    let mut log = Vec::new();
    let mut buffer = [0; 4096];
    loop {
        let ready = {
            let mut polled = [PollFd::new(&pipe, PollFlags::IN)];
            poll(&mut polled, Some(&PATIENCE)).expect("poll")
        };
        match ready {
            0 => {
                log.extend_from_slice(b"\nthe case has hung\n");
                worker.kill().expect("own child");
                break;
            }
            _ => match pipe.read(&mut buffer).expect("a pipe") {
                0 => break,
                bytes => log.extend_from_slice(&buffer[..bytes]),
            },
        }
    }
    worker.wait().expect("own child");
    String::from_utf8_lossy(&log).into_owned()
}
