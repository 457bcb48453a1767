//! Jobs by which a starting worker tries its jail, killed by somebody else as they are born. What they
//! would have shown is not known then: a missing layer it is not.
//!
//! Here the workers are traced too. A job stands still when it is born, until the tracer has decided.

use std::{
    collections::{HashMap, HashSet},
    fs,
    io::{self, Read},
    os::unix::process::{CommandExt, ExitStatusExt},
    process::{Command, ExitStatus, Stdio},
};

use libc as c;
use rustix::process::{Pid, Signal, kill_process};

use crate::{
    staged::{Did::Started, RETURNED, Stage, is_answered, is_possible, step},
    support::skipped,
    traced::{ptrace, wait},
};

const FAULT: i32 = 4;

/// A program of which every process is traced.
#[derive(Default)]
struct Tree {
    /// How many jobs each worker has made.
    born: HashMap<i32, u32>,
    /// Those that may run when they stand.
    free: HashSet<i32>,
    /// Those that stand, and of whom nobody has said whose they are.
    early: HashSet<i32>,
}

/// Runs a program to its end. Of each worker's jobs those are killed whose number is among these,
/// counted from 1. How it ended, and what it wrote.
fn run_killing(command: &mut Command, numbers: &[u32]) -> io::Result<(ExitStatus, String, String)> {
    // SAFETY: one system call and nothing else between fork and exec.
    unsafe { command.pre_exec(|| ptrace(c::PTRACE_TRACEME, 0, 0, 0).map(drop)) };
    let mut program = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
    let pid = program.id() as i32;
    wait(pid, 0)?;
    let options = c::PTRACE_O_TRACECLONE
        | c::PTRACE_O_TRACEVFORK
        | c::PTRACE_O_TRACEFORK
        | c::PTRACE_O_TRACEEXEC
        | c::PTRACE_O_EXITKILL;
    ptrace(c::PTRACE_SETOPTIONS, pid, 0, options as usize)?;
    let mut tree = Tree { free: HashSet::from([pid]), ..Tree::default() };
    go_on(pid, 0);
    let status = loop {
        let (process, status) = wait(-1, 0)?;
        if c::WIFSTOPPED(status) {
            tree.stopped(process, status, numbers)?;
        } else if process == pid {
            break ExitStatus::from_raw(status);
        }
    };
    let (mut output, mut errors) = (String::new(), String::new());
    program.stdout.take().expect("a pipe").read_to_string(&mut output)?;
    program.stderr.take().expect("a pipe").read_to_string(&mut errors)?;
    Ok((status, output, errors))
}

impl Tree {
    fn stopped(&mut self, process: i32, status: i32, numbers: &[u32]) -> io::Result<()> {
        let (signal, event) = (c::WSTOPSIG(status), status >> 16);
        if [c::PTRACE_EVENT_CLONE, c::PTRACE_EVENT_VFORK, c::PTRACE_EVENT_FORK].contains(&event) {
            let mut made: c::c_ulong = 0;
            let place = (&raw mut made).expose_provenance();
            ptrace(c::PTRACE_GETEVENTMSG, process, 0, place)?;
            self.born(process, made as i32, event == c::PTRACE_EVENT_FORK, numbers);
        } else if signal == c::SIGSTOP && !self.free.contains(&process) {
            self.early.insert(process);
            return Ok(());
        }
        // Every traced process begins with a SIGSTOP that nobody sent.
        let is_tracing = event != 0 || signal == c::SIGSTOP;
        go_on(process, if is_tracing { 0 } else { signal });
        Ok(())
    }

    /// A thread, a worker, or a job, which alone is an ordinary fork.
    fn born(&mut self, by: i32, made: i32, is_job: bool, numbers: &[u32]) {
        let number = self.born.entry(by).or_default();
        *number += u32::from(is_job);
        if is_job && numbers.contains(number) {
            let made = Pid::from_raw(made).expect("a process id");
            kill_process(made, Signal::KILL).expect("a job that stands still");
            return;
        }
        self.free.insert(made);
        if self.early.remove(&made) {
            go_on(made, 0);
        }
    }
}

/// With a signal. One that was killed meanwhile needs no help.
fn go_on(process: i32, signal: i32) {
    let _ = ptrace(c::PTRACE_CONT, process, 0, signal as usize);
}

/// The layers that an answer names, on and off.
fn jail(output: &str) -> serde_json::Value {
    let answer: serde_json::Value = serde_json::from_str(output).expect("one object");
    answer["jail"].clone()
}

/// The first process that a worker makes is the keeper of its jobs' pid namespace, for which there is no
/// other; the next goes through the whole jail, and is made again. The level is the weak one, at which a layer that is off is no fault: not even there may a probe
/// that was killed cost a layer.
#[test]
fn a_probe_that_is_killed_is_made_again_and_is_never_a_missing_layer() {
    let cases: [(&[u32], i32); 5] = [
        (&[], RETURNED),
        (&[2], RETURNED),
        (&[2, 3], RETURNED),
        (&[2, 3, 4], FAULT),
        (&[1], FAULT),
    ];
    if !is_possible(cases.len()) {
        return;
    }
    let stage = Stage::set();
    let named = step("a worker that starts while its jobs are killed", Started, 1);
    let mut whole = None;
    for (numbers, expected) in cases {
        // So that both workers are started.
        let _ = fs::remove_dir_all(stage.file("cache"));
        let mut command = stage.command_for("quick.wat");
        let (status, output, errors) = run_killing(&mut command, numbers).expect("a host's end");
        assert_eq!(status.code(), Some(expected), "{numbers:?}: {output} {errors}");
        if expected == RETURNED {
            is_answered(&named, status, &output);
            let whole = whole.get_or_insert_with(|| jail(&output));
            assert_eq!(jail(&output), *whole, "{numbers:?}");
            if !jail(&output)["on"].to_string().contains("pid-namespace") {
                return skipped(cases.len() - 1, "kills of probe jobs: no pid namespace");
            }
        } else {
            let seen = match numbers {
                [1] => "was killed by signal 9, and not by this program",
                _ => "was killed by signal 9, 3 times in a row",
            };
            assert!(output.contains(seen) && !output.contains("jail is"), "{numbers:?}: {output}");
        }
    }
}
