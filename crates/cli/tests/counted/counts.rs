//! How much of everything a request took, by process and phase.

use std::fmt::{self, Display, Formatter, Write};

use libc as c;

use crate::{
    names::name,
    watched::{
        Done, Phase,
        Phase::{Meanwhile, OnTheWay},
        Request, Who,
        Who::{Host, Job, Worker},
    },
};

/// What a process did in a phase.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Share {
    /// System calls. A host's waits and wakes are not among them: how many there are is for the
    /// machine to say.
    pub(crate) calls: usize,
    /// Bytes that calls copied to or from the kernel.
    pub(crate) bytes: u64,
    /// Page faults, those of a host's or worker's meanwhile included.
    pub(crate) faults: u64,
}

/// What one request took.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    pub(crate) host: Share,
    pub(crate) worker: Share,
    pub(crate) job: Share,
    /// What the worker does for the next request.
    pub(crate) worker_meanwhile: Share,
    /// The next request's job, until it waits for its work.
    pub(crate) standby: Share,
    /// Processes and threads that began.
    pub(crate) begun: usize,
}

impl Counts {
    pub(crate) fn of(request: &Request) -> Self {
        let share = |who, phase| Share::of(request, who, phase);
        Self {
            host: share(Host, OnTheWay),
            worker: share(Worker, OnTheWay),
            job: share(Job, OnTheWay),
            worker_meanwhile: share(Worker, Meanwhile),
            standby: share(Job, Meanwhile),
            begun: request.begun,
        }
    }
}

impl Share {
    fn of(request: &Request, who: Who, phase: Phase) -> Self {
        let done: Vec<_> = request
            .done
            .iter()
            .filter(|done| (done.who, done.phase) == (who, phase) && !is_waiting(done))
            .collect();
        Self {
            calls: done.len(),
            bytes: done.iter().map(|done| bytes_of(done)).sum(),
            faults: request.faults.get(&(who, phase)).copied().unwrap_or(0),
        }
    }
}

/// A host's runtime waits and is woken as the moment has it.
fn is_waiting(done: &Done) -> bool {
    let waits = [c::SYS_futex, c::SYS_epoll_wait, c::SYS_epoll_pwait, c::SYS_sched_yield];
    let wakes = done.call.number == c::SYS_write && done.call.result == 8;
    done.who == Host && (wakes || waits.contains(&done.call.number))
}

fn bytes_of(done: &Done) -> u64 {
    let copies = [
        c::SYS_read,
        c::SYS_write,
        c::SYS_pread64,
        c::SYS_pwrite64,
        c::SYS_readv,
        c::SYS_writev,
        c::SYS_sendmsg,
        c::SYS_recvmsg,
        c::SYS_sendto,
        c::SYS_recvfrom,
        c::SYS_sendfile,
        c::SYS_splice,
        c::SYS_copy_file_range,
    ];
    match copies.contains(&done.call.number) {
        true => u64::try_from(done.call.result).unwrap_or(0),
        false => 0,
    }
}

impl Display for Counts {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        writeln!(f, "  {:<34}{:>8}{:>12}{:>10}", "", "calls", "bytes", "faults")?;
        let rows = [
            ("on the way: host", self.host),
            ("on the way: worker", self.worker),
            ("on the way: job", self.job),
            ("meanwhile: worker", self.worker_meanwhile),
            ("meanwhile: the next copy and its template", self.standby),
        ];
        for (what, Share { calls, bytes, faults }) in rows {
            writeln!(f, "  {what:<34}{calls:>8}{bytes:>12}{faults:>10}")?;
        }
        writeln!(f, "  {:<34}{:>8}", "processes and threads begun", self.begun)
    }
}

/// Every call on the way, and what goes on meanwhile, in the order in which they returned.
pub(crate) fn listing(request: &Request) -> String {
    let mut text = String::new();
    for Done { who, phase, call } in &request.done {
        let at = match phase {
            OnTheWay => "",
            Meanwhile => "  (meanwhile)",
        };
        let who = format!("{who:?}").to_lowercase();
        let [first, second, third, ..] = call.arguments.map(argument);
        let _ = writeln!(
            text,
            "  {who:<8}{:<22} {first}, {second}, {third} = {}{at}",
            name(call.number),
            argument(call.result as u64)
        );
    }
    text
}

/// Addresses are others in every run; that it is one is all that is of interest.
fn argument(value: u64) -> String {
    match value as i64 {
        small @ -0xffff_ffff..=0xffff_ffff => small.to_string(),
        _ if value < 1 << 40 => format!("{value:#x}"),
        _ => "ADDRESS".into(),
    }
}
