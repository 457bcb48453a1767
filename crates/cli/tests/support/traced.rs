//! A program that runs from one system call to the next under ptrace(2): how a test stops a host at
//! a step of the protocol, or counts what it does, without a word of the test in the host.
//!
//! The program's own threads are traced. Its workers are only where the test wants everyone: a worker
//! begins as a vfork, a thread as a clone. That a worker cannot be dumped keeps others from attaching
//! to it; who traces the host already is its tracer from the first instruction. Every call must come
//! from the thread that started the program, because to ptrace(2) a tracer is a thread.
#![allow(dead_code, unreachable_pub, reason = "each test program uses a part of it")]

use std::{
    collections::HashMap,
    io::{self, Read},
    mem::MaybeUninit,
    os::unix::process::{CommandExt, ExitStatusExt},
    process::{Child, Command, ExitStatus, Stdio},
};

use libc as c;

/// Whom a test sees.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reach {
    /// The program that it started, all threads of it.
    Program,
    /// Every process below it as well.
    Everyone,
}

/// A system call that has returned.
#[derive(Clone, Copy, Debug)]
pub struct Call {
    pub thread: i32,
    pub number: i64,
    pub arguments: [u64; 6],
    /// A negative one is an error number.
    pub result: i64,
}

/// What the program did next. The thread that did it stands still until the next question.
#[derive(Clone, Copy, Debug)]
pub enum Event {
    Returned(Call),
    /// It has started another program.
    Started,
    Ended(ExitStatus),
    /// A process or a thread has begun; only where everyone is seen.
    Begun {
        parent: i32,
        child: i32,
        is_thread: bool,
    },
    /// A thread is about to end, inside of this call; only where everyone is seen.
    Leaves {
        thread: i32,
        within: Option<Call>,
    },
}

pub struct Traced {
    program: Child,
    reach: Reach,
    /// The call that each thread is in.
    entered: HashMap<i32, Call>,
    standing: Option<i32>,
}

impl Traced {
    /// Starts the program, which stands still before its first instruction.
    pub fn start(command: &mut Command) -> io::Result<Self> {
        Self::start_with(command, Reach::Program)
    }

    pub fn start_with(command: &mut Command, reach: Reach) -> io::Result<Self> {
        // SAFETY: one system call and nothing else between fork and exec.
        unsafe { command.pre_exec(|| ptrace(c::PTRACE_TRACEME, 0, 0, 0).map(drop)) };
        let program = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
        let pid = program.id() as i32;
        wait(pid, 0)?;
        let of_program = c::PTRACE_O_TRACESYSGOOD
            | c::PTRACE_O_TRACECLONE
            | c::PTRACE_O_TRACEVFORKDONE
            | c::PTRACE_O_EXITKILL;
        let options = match reach {
            Reach::Program => of_program,
            // Without a word for exec the kernel sends a SIGTRAP, which would end a worker.
            Reach::Everyone => {
                of_program
                    | c::PTRACE_O_TRACEFORK
                    | c::PTRACE_O_TRACEVFORK
                    | c::PTRACE_O_TRACEEXEC
                    | c::PTRACE_O_TRACEEXIT
            }
        };
        ptrace(c::PTRACE_SETOPTIONS, pid, 0, options as usize)?;
        Ok(Self { program, reach, entered: HashMap::new(), standing: Some(pid) })
    }

    pub fn pid(&self) -> i32 {
        self.program.id() as i32
    }

    /// Lets the program run until something happens.
    pub fn next(&mut self) -> io::Result<Event> {
        self.advance(0)?.ok_or_else(|| io::ErrorKind::WouldBlock.into())
    }

    /// The same without waiting: none if nothing has happened.
    pub fn next_if_any(&mut self) -> io::Result<Option<Event>> {
        self.advance(c::WNOHANG)
    }

    /// Keeps the thread that did the last thing standing while others go on.
    pub fn hold(&mut self) -> Option<i32> {
        self.standing.take()
    }

    /// Lets a thread that was held go on.
    pub fn release(&mut self, thread: i32) {
        go_on(thread, 0);
    }

    fn advance(&mut self, flags: i32) -> io::Result<Option<Event>> {
        if let Some(thread) = self.standing.take() {
            go_on(thread, 0);
        }
        loop {
            let (thread, status) = wait(-1, flags)?;
            if thread == 0 {
                return Ok(None);
            }
            if !c::WIFSTOPPED(status) {
                if thread == self.pid() {
                    return Ok(Some(Event::Ended(ExitStatus::from_raw(status))));
                }
                self.entered.remove(&thread);
                continue;
            }
            if let Some(event) = self.event(thread, status) {
                self.standing = Some(thread);
                return Ok(Some(event));
            }
        }
    }

    /// What a stop means; one that means nothing is over.
    fn event(&mut self, thread: i32, status: i32) -> Option<Event> {
        let (signal, event) = (c::WSTOPSIG(status), status >> 16);
        if signal == c::SIGTRAP | 0x80 {
            let returned = self.call(thread).map(Event::Returned);
            if returned.is_none() {
                go_on(thread, 0);
            }
            return returned;
        }
        match (event, self.reach) {
            (c::PTRACE_EVENT_VFORK_DONE, _) => return Some(Event::Started),
            (c::PTRACE_EVENT_EXIT, _) => {
                return Some(Event::Leaves { thread, within: self.entered.remove(&thread) });
            }
            (
                c::PTRACE_EVENT_CLONE | c::PTRACE_EVENT_FORK | c::PTRACE_EVENT_VFORK,
                Reach::Everyone,
            ) => {
                let mut child = 0_u64;
                let place = (&raw mut child).expose_provenance();
                ptrace(c::PTRACE_GETEVENTMSG, thread, 0, place).ok()?;
                let is_thread = event == c::PTRACE_EVENT_CLONE;
                return Some(Event::Begun { parent: thread, child: child as i32, is_thread });
            }
            _ => {}
        }
        // Every traced thread begins with a SIGSTOP that nobody sent.
        let is_tracing = event != 0 || signal == c::SIGSTOP;
        go_on(thread, if is_tracing { 0 } else { signal });
        None
    }

    /// The call from which the thread returns; none if it only begins one, or was killed.
    fn call(&mut self, thread: i32) -> Option<Call> {
        let mut seen = MaybeUninit::<c::ptrace_syscall_info>::zeroed();
        let bytes = size_of::<c::ptrace_syscall_info>();
        ptrace(c::PTRACE_GET_SYSCALL_INFO, thread, bytes, seen.as_mut_ptr().expose_provenance())
            .ok()?;
        // SAFETY: made of numbers, so what the kernel has not written is zeros.
        let seen = unsafe { seen.assume_init() };
        if seen.op == c::PTRACE_SYSCALL_INFO_ENTRY {
            // SAFETY: `op` says which part of the union the kernel wrote.
            let entry = unsafe { seen.u.entry };
            let call = Call { thread, number: entry.nr as i64, arguments: entry.args, result: 0 };
            self.entered.insert(thread, call);
            return None;
        }
        // SAFETY: as above.
        let result = unsafe { seen.u.exit.sval };
        Some(Call { result, ..self.entered.remove(&thread)? })
    }

    /// What the program, which has ended, said on standard error.
    pub fn complaints(&mut self) -> String {
        let mut words = String::new();
        if let Some(mut errors) = self.program.stderr.take() {
            // Not all of it, if it is no text.
            let _ = errors.read_to_string(&mut words);
        }
        words
    }

    /// Kills the program, all threads at once, and waits until it is gone.
    pub fn kill(mut self) -> io::Result<()> {
        self.program.kill()?;
        while !matches!(self.next()?, Event::Ended(_)) {}
        Ok(())
    }

    /// Lets the program run to its end; how it ended and what it wrote to standard output.
    pub fn finish(mut self) -> io::Result<(ExitStatus, String)> {
        let status = loop {
            if let Event::Ended(status) = self.next()? {
                break status;
            }
        };
        let mut words = String::new();
        if let Some(mut output) = self.program.stdout.take() {
            output.read_to_string(&mut words)?;
        }
        Ok((status, words))
    }
}

/// Until the next system call, with a signal. A thread that was killed meanwhile needs no help.
fn go_on(thread: i32, signal: i32) {
    let _ = ptrace(c::PTRACE_SYSCALL, thread, 0, signal as usize);
}

pub fn ptrace(request: c::c_uint, thread: i32, address: usize, data: usize) -> io::Result<i64> {
    // SAFETY: `data` is a number, or the address of a buffer of `address` bytes where the request
    // writes one.
    match unsafe { c::ptrace(request, thread, address, data) } {
        -1 => Err(io::Error::last_os_error()),
        done => Ok(done),
    }
}

/// Waits for a thread of this thread's own programs, so that tests run beside each other.
pub fn wait(pid: i32, flags: i32) -> io::Result<(i32, i32)> {
    let mut status = 0;
    // SAFETY: `status` is a place for the status.
    match unsafe { c::waitpid(pid, &mut status, flags | c::__WALL | c::__WNOTHREAD) } {
        -1 => Err(io::Error::last_os_error()),
        thread => Ok((thread, status)),
    }
}
