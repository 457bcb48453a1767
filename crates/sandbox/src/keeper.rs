//! The first process of the pid namespace in which all jobs of a worker live.
//!
//! Made once, when the worker confines itself, because such a namespace lasts as long as its first
//! process: when that one ends, the kernel kills all others in it, and none can be made any more
//! (`pid_namespaces(7)`). It does nothing but wait for the worker's end.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};
use rustix::process::{Signal, set_parent_process_death_signal};

use crate::filter::{self, Program};
use crate::fork::Child;
use crate::layer::{During, Refusal, check};
use crate::probe::{ProbeFailure, ProbeKilled};
use crate::steps::descriptors;
use crate::sys::{self, Cloned};

/// The keeper, seen from its worker.
#[derive(Debug)]
pub(crate) struct Keeper {
    child: Child,
    /// It reads this to its end.
    _alive: OwnedFd,
}

impl AsFd for Keeper {
    /// Its pidfd: readable when it has ended, and with it every job there was.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.child.as_fd()
    }
}

/// Puts every process that this one makes from now on into a namespace of their own, whose first is the
/// keeper. Asks for CAP_SYS_ADMIN in the worker's user namespace, which nothing needs after this.
pub(crate) fn keep_pid_namespace() -> Result<Keeper, ProbeFailure> {
    sys::unshare(libc::CLONE_NEWPID).during("unshare CLONE_NEWPID")?;
    let filter = filter::compile_keeper()?;
    let pair = socketpair(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None);
    let (ours, theirs) = pair.during("socketpair")?;
    let child = match sys::clone_process(sys::JOB_CLONE_FLAGS).during("clone")? {
        Cloned::Child => be_keeper(theirs, &filter),
        Cloned::Parent { pid, pidfd } => Child { pid, pidfd },
    };
    drop(theirs);
    let mut word = [0];
    match rustix::io::retry_on_intr(|| rustix::io::read(&ours, &mut word)).during("read")? {
        // The namespace is gone with it, and there can be no other.
        0 => Err(ProbeFailure::Killed(ProbeKilled { signal: libc::SIGKILL, times: 1 })),
        _ => {
            check(word == [FIRST], "the first process of a pid namespace is pid 1")?;
            Ok(Keeper { child, _alive: ours })
        }
    }
}

/// What a keeper says if it is pid 1, and if not.
const FIRST: u8 = 1;
const NOT_FIRST: u8 = 0;

fn be_keeper(worker: OwnedFd, filter: &Program) -> ! {
    let confined = || -> Result<OwnedFd, Refusal> {
        set_parent_process_death_signal(Some(Signal::KILL)).during("prctl PR_SET_PDEATHSIG")?;
        sys::ignore_children().during("sigaction SIGCHLD")?;
        descriptors::keep_channel(worker)
    };
    let Ok(worker) = confined() else { sys::exit_group(1) };
    // For whoever looks at the machine; the name of the program is the worker's.
    let _ = rustix::thread::set_name(c"keeper");
    // Where there are no filters the worker's own, which comes later, says so.
    let _ = filter::install(filter);
    let word = if rustix::process::getpid().is_init() { FIRST } else { NOT_FIRST };
    let said = rustix::io::write(&worker, &[word]);
    let mut rest = [0];
    while said.is_ok() && !ended(rustix::io::read(&worker, &mut rest).map_err(io::Error::from)) {}
    sys::exit_group(0)
}

fn ended(read: io::Result<usize>) -> bool {
    match read {
        Ok(bytes) => bytes == 0,
        Err(error) => error.kind() != io::ErrorKind::Interrupted,
    }
}
