//! The one thread that starts worker processes, the one that reaps them, and one that copies their program to memory and ends.
//!
//! Workers ask the kernel to be killed when their parent dies (`PR_SET_PDEATHSIG`), and to the kernel
//! the parent is the *thread* that started them. A thread of an async runtime may end while the host
//! lives on, so workers are started by a thread that lives exactly as long as the host. Starting is
//! by `posix_spawn`, never by a fork that runs code of ours: the host has many threads.

use std::{
    io,
    os::{fd::OwnedFd, unix::process::CommandExt},
    path::Path,
    process::{self, Command, ExitStatus, Stdio},
    sync::{Arc, OnceLock, mpsc},
    thread,
};

use lazaret_wire::greeting::Role;
use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    process::{Pid, PidfdFlags, pidfd_open},
};
use tokio::{sync::oneshot, task::spawn_blocking};

use crate::{cgroup::WorkerGroup, worker::program::Program};

/// Tells a program that it is to be a worker; `lazaret_worker::run_if_worker` looks for it.
const WORKER_ARGUMENT: &str = "--lazaret-worker";

/// How long a worker that has closed its socket is waited for, to say how it ended.
const LINGER_MAX: Timespec = Timespec { tv_sec: 1, tv_nsec: 0 };

/// A handle to the thread; the thread ends when the last handle is gone.
#[derive(Clone)]
pub(crate) struct Spawner {
    orders: mpsc::Sender<Order>,
    /// What the first worker said of its engine.
    engine: Arc<OnceLock<[u8; 32]>>,
}

/// A worker process. Dropping it kills it, wherever it is dropped: also on its way to one who asked
/// for it and has gone.
pub(crate) struct Child {
    /// Always there until drop.
    process: Option<process::Child>,
    /// The control groups of it and its jobs, if they have any.
    group: Option<WorkerGroup>,
    dead: mpsc::Sender<Dead>,
}

/// A process that was killed, and what goes with it.
type Dead = (process::Child, Option<WorkerGroup>);

struct Order {
    role: Role,
    socket: OwnedFd,
    log_pipe: OwnedFd,
    group: Option<WorkerGroup>,
    started: oneshot::Sender<io::Result<Child>>,
}

impl Spawner {
    /// Opens the worker's program and starts the threads. The program is started from this open
    /// file for as long as the host lives, so an upgrade of the file on disk changes nothing.
    pub(crate) fn new(program: Option<&Path>) -> io::Result<Self> {
        let (program, copying) = Program::open(program)?;
        let (orders, received) = mpsc::channel();
        let (dead, to_reap) = mpsc::channel();
        thread::Builder::new()
            .name("lazaret-spawner".into())
            .spawn(move || serve(&program, received, dead))?;
        thread::Builder::new().name("lazaret-reaper".into()).spawn(move || reap(to_reap))?;
        if let Some(copying) = copying {
            thread::Builder::new().name("lazaret-copier".into()).spawn(|| copying.finish())?;
        }
        Ok(Self { orders, engine: Arc::default() })
    }

    /// Starts one worker process with `socket` as descriptor 0 and `log_pipe` as descriptor 2. It
    /// is not in its control group yet, which ends with it all the same.
    pub(crate) async fn start(
        &self,
        role: Role,
        socket: OwnedFd,
        log_pipe: OwnedFd,
        group: Option<WorkerGroup>,
    ) -> io::Result<Child> {
        let (started, result) = oneshot::channel();
        let gone = || io::Error::other("the spawner thread is gone");
        self.orders.send(Order { role, socket, log_pipe, group, started }).map_err(|_| gone())?;
        result.await.map_err(|_| gone())?
    }

    /// Whether a worker's engine is the one that all workers have. The first to ask sets it.
    /// Artifacts are named by it, so a worker with another would be handed what it did not make.
    pub(crate) fn is_the_engine(&self, fingerprint: &[u8; 32]) -> bool {
        self.engine.get_or_init(|| *fingerprint) == fingerprint
    }
}

impl Child {
    /// Its process id.
    pub(crate) fn id(&self) -> u32 {
        self.process.as_ref().map_or(0, process::Child::id)
    }

    /// Its control groups, if it has any.
    pub(crate) fn group(&self) -> Option<&WorkerGroup> {
        self.group.as_ref()
    }

    /// How a process ended that has closed its socket; nothing if it lingers.
    pub(crate) async fn ending(&mut self) -> Option<ExitStatus> {
        let pid = Pid::from_raw(self.id() as i32)?;
        // Not yet waited for by anybody, so the number is still this process's.
        let pidfd = pidfd_open(pid, PidfdFlags::empty()).ok()?;
        let ended = move || poll(&mut [PollFd::new(&pidfd, PollFlags::IN)], Some(&LINGER_MAX));
        // Of no interest but for its length: what is asked next is the process itself.
        let _ = spawn_blocking(ended).await;
        self.process.as_mut()?.try_wait().ok()?
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        let Some(mut process) = self.process.take() else { return };
        // Already ended is as good as killed; the reaper only fails to receive when it is gone,
        // and then this process is ending and the kernel reaps.
        let _ = process.kill();
        let group = self.group.take();
        // Its job too, at once and whatever the job made of its own death signal.
        group.iter().for_each(WorkerGroup::kill);
        let _ = self.dead.send((process, group));
    }
}

fn serve(program: &Program, orders: mpsc::Receiver<Order>, dead: mpsc::Sender<Dead>) {
    let path = program.path();
    for order in orders {
        let title = match order.role {
            Role::Prepare => "lazaret-prepare-worker",
            Role::Execute => "lazaret-execute-worker",
        };
        let child = Command::new(&path)
            .arg0(title)
            .arg(WORKER_ARGUMENT)
            .env_clear()
            .stdin(Stdio::from(order.socket))
            .stdout(program.text())
            .stderr(Stdio::from(order.log_pipe))
            .spawn();
        let group = order.group;
        let child =
            child.map(|process| Child { process: Some(process), group, dead: dead.clone() });
        // Whoever asked may have gone; then nobody holds the child, and this ends it.
        let _ = order.started.send(child);
    }
}

fn reap(dead: mpsc::Receiver<Dead>) {
    for (mut child, group) in dead {
        let _ = child.wait();
        if let Some(group) = group {
            group.remove();
        }
    }
}
