//! A host, its workers and their jobs under ptrace(2), call for call. Between two requests everybody
//! is let come to rest, so that each begins with a standby job that waits for its work.

use std::{collections::HashMap, fs, process::Command, thread, time::Instant};

use libc as c;

use crate::{
    role::{COUNTED, WARM_UP},
    support::STUCK_AFTER,
    traced::{Call, Event, Reach, Traced},
};

/// How many bytes the host writes to standard output before and after each request.
pub(crate) const MARK_BYTES: Marks = Marks { begin: 1, end: 2 };

pub(crate) struct Marks {
    pub(crate) begin: usize,
    pub(crate) end: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Who {
    Host,
    Worker,
    Job,
}

/// When something was done, as seen from the request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Phase {
    /// Somebody waited for it.
    OnTheWay,
    /// The request was answered, or it is the next one's standby job.
    Meanwhile,
}

/// What a process did, in a phase.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Done {
    pub(crate) who: Who,
    pub(crate) phase: Phase,
    pub(crate) call: Call,
}

/// One request.
#[derive(Debug, Default)]
pub(crate) struct Request {
    /// In the order in which the calls returned.
    pub(crate) done: Vec<Done>,
    /// Processes and threads that began.
    pub(crate) begun: usize,
    /// Page faults, by whom and in which phase. Those of a worker are not told apart by phase.
    pub(crate) faults: HashMap<(Who, Phase), u64>,
}

/// Who began whom.
struct Family {
    host: i32,
    /// Parents of processes.
    parents: HashMap<i32, i32>,
    /// Processes of threads that are not the first of theirs.
    processes: HashMap<i32, i32>,
    /// Processes and threads that had not ended when last looked at.
    alive: Vec<i32>,
}

/// Plays a case; the requests that count.
pub(crate) fn calls_of(case: &str) -> Vec<Request> {
    let folder = tempfile::tempdir().expect("a folder");
    let mut host = Command::new(std::env::current_exe().expect("this program"));
    host.args(["--role", case]).arg(folder.path());
    let mut host = Traced::start_with(&mut host, Reach::Everyone).expect("a host to trace");
    let pid = host.pid();
    let mut family =
        Family { host: pid, parents: HashMap::new(), processes: HashMap::new(), alive: vec![pid] };
    let mut requests: Vec<_> =
        (0..WARM_UP + COUNTED).map(|_| request(&mut host, &mut family)).collect();
    let (status, _) = host.finish().expect("a host that ends");
    assert!(status.success(), "{case}: the host ended with {status}");
    requests.split_off(WARM_UP)
}

/// Everything from one mark of a beginning until all are at rest after its end.
fn request(host: &mut Traced, family: &mut Family) -> Request {
    run_to_mark(host, family, MARK_BYTES.begin, &mut Vec::new());
    let held = host.hold().expect("the host that made its mark");
    come_to_rest(host, family, &mut Vec::new());
    let before: HashMap<_, _> = family.alive.iter().map(|one| (*one, faults_of(*one))).collect();
    host.release(held);

    let mut events = Vec::new();
    run_to_mark(host, family, MARK_BYTES.end, &mut events);
    let held = host.hold().expect("the host that made its mark");
    let answered = events.len();
    come_to_rest(host, family, &mut events);
    let request = Request::sorted(family, &before, &events, answered);
    host.release(held);
    request
}

/// An event, and the page faults of whoever was about to end by it.
type Noted = (Event, u64);

fn run_to_mark(host: &mut Traced, family: &mut Family, bytes: usize, events: &mut Vec<Noted>) {
    loop {
        let event = host.next().expect("the next event");
        if let Event::Ended(status) = event {
            panic!("the host ended early, {status}: {}", host.complaints());
        }
        if let Event::Returned(call) = event
            && (call.number, call.arguments[0]) == (c::SYS_write, 1)
            && family.who(call.thread) == Who::Host
            && call.result == bytes as i64
        {
            return;
        }
        family.note(event, events);
    }
}

/// Lets all go on but the one that is held, until nobody does anything but wait.
fn come_to_rest(host: &mut Traced, family: &mut Family, events: &mut Vec<Noted>) {
    let begin = Instant::now();
    loop {
        match host.next_if_any().expect("the next event") {
            Some(event) => family.note(event, events),
            None if family.is_at_rest() => return,
            None => thread::yield_now(),
        }
        assert!(begin.elapsed() < STUCK_AFTER, "somebody never comes to rest: {:?}", family.alive);
    }
}

impl Request {
    /// `before` are those who were there when it began, with their page faults; a job among them is
    /// the one that waited for it, and whatever it does is on the way. So is what the host does until
    /// it has the answer, which came after so many events, and what the worker does until its last word
    /// to the host.
    fn sorted(
        family: &Family,
        before: &HashMap<i32, u64>,
        events: &[Noted],
        answered: usize,
    ) -> Self {
        let told = events.iter().rposition(|(event, _)| match event {
            Event::Returned(call) => family.is_word_to_host(call),
            _ => false,
        });
        let told = told.unwrap_or(answered);
        let phase = |at: usize, thread: i32| match family.who(thread) {
            Who::Host if at < answered => Phase::OnTheWay,
            Who::Worker if at <= told => Phase::OnTheWay,
            Who::Job if before.contains_key(&thread) => Phase::OnTheWay,
            // Nobody waited ready: the way is longer by its whole life.
            Who::Job if family.is_gone_by(answered, thread, events) => Phase::OnTheWay,
            _ => Phase::Meanwhile,
        };
        let mut request = Self::default();
        let mut last = before.clone();
        for (at, (event, faults)) in events.iter().enumerate() {
            let call = match *event {
                Event::Returned(call) => Some(call),
                Event::Leaves { thread, within } => {
                    let (who, phase) = (family.who(thread), phase(at, thread));
                    let before = last.remove(&thread).unwrap_or(0);
                    *request.faults.entry((who, phase)).or_default() += faults - before;
                    within
                }
                Event::Begun { .. } => {
                    request.begun += 1;
                    None
                }
                Event::Started | Event::Ended(_) => None,
            };
            let Some(call) = call else { continue };
            let (who, phase) = (family.who(call.thread), phase(at, call.thread));
            request.done.push(Done { who, phase, call });
        }
        for one in &family.alive {
            let since = faults_of(*one) - last.get(one).copied().unwrap_or(0);
            let phase = match family.who(*one) {
                Who::Job => Phase::Meanwhile,
                Who::Host | Who::Worker => Phase::OnTheWay,
            };
            *request.faults.entry((family.who(*one), phase)).or_default() += since;
        }
        request
    }
}

impl Family {
    /// A worker's socket to its host is its descriptor 0.
    fn is_word_to_host(&self, call: &Call) -> bool {
        let sends = [c::SYS_sendmsg, c::SYS_sendto, c::SYS_write, c::SYS_writev];
        self.who(call.thread) == Who::Worker
            && call.arguments[0] == 0
            && sends.contains(&call.number)
    }

    fn is_gone_by(&self, at: usize, job: i32, events: &[Noted]) -> bool {
        let leaves =
            |event: &Event| matches!(event, Event::Leaves { thread, .. } if *thread == job);
        events[..at].iter().any(|(event, _)| leaves(event))
    }

    fn note(&mut self, event: Event, events: &mut Vec<Noted>) {
        let mut faults = 0;
        match event {
            Event::Begun { parent, child, is_thread } => {
                let parent = self.process_of(parent);
                let of = if is_thread { &mut self.processes } else { &mut self.parents };
                of.insert(child, parent);
                self.alive.push(child);
            }
            Event::Leaves { thread, .. } => faults = faults_of(thread),
            Event::Returned(_) | Event::Started | Event::Ended(_) => {}
        }
        events.push((event, faults));
    }

    fn process_of(&self, thread: i32) -> i32 {
        self.processes.get(&thread).copied().unwrap_or(thread)
    }

    fn who(&self, thread: i32) -> Who {
        let process = self.process_of(thread);
        match self.parents.get(&process) {
            None => Who::Host,
            Some(parent) if *parent == self.host => Who::Worker,
            Some(_) => Who::Job,
        }
    }

    /// The one that is held stands still for its tracer, all others must sleep. One that has ended
    /// and is not reaped yet keeps its worker busy, and one that asks to end will.
    fn is_at_rest(&mut self) -> bool {
        let mut awake = 0;
        self.alive.retain(|one| match fields_of(*one) {
            None => false,
            Some(fields) => {
                awake += usize::from(fields[0] != "S" || asks_to_end(*one));
                true
            }
        });
        awake <= 1
    }
}

/// Whether it is stopped in `exit_group(2)` (proc_pid_syscall(5)).
fn asks_to_end(thread: i32) -> bool {
    let call = fs::read_to_string(format!("/proc/{thread}/syscall")).unwrap_or_default();
    call.split(' ').next() == Some(c::SYS_exit_group.to_string().as_str())
}

/// What `/proc/PID/stat` tells of everybody, after the name (proc_pid_stat(5)).
fn fields_of(thread: i32) -> Option<Vec<String>> {
    let stat = fs::read_to_string(format!("/proc/{thread}/stat")).ok()?;
    Some(stat.rsplit_once(") ")?.1.split(' ').map(str::to_owned).collect())
}

/// Page faults so far, those that read included.
fn faults_of(process: i32) -> u64 {
    let Some(fields) = fields_of(process) else { return 0 };
    let number =
        |at: usize| fields.get(at).and_then(|field| field.parse::<u64>().ok()).unwrap_or(0);
    number(7) + number(9)
}
