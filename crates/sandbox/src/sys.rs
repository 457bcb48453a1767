//! The system calls that rustix, landlock and seccompiler do not wrap, one wrapper each.
//!
//! Called by the other modules of this crate. All of the crate's `unsafe` is here. Nothing here
//! decides anything: a wrapper makes its call and gives back what the kernel said.

use std::io;
use std::mem::MaybeUninit;
use std::ops::{Deref, Range};
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, IntoRawFd, OwnedFd, RawFd};
use std::ptr;
use std::time::Duration;

use crate::job::ATTACHED_MAX;
use crate::markers;

mod clone;
pub(crate) mod filter;
pub(crate) mod large;
pub(crate) mod listener;
mod raw;
pub(crate) mod text;
pub(crate) mod written;

pub(crate) use raw::{Pass, Way};

pub(crate) use clone::{
    COPY_CLONE_FLAGS, CloneArgs, Cloned, JOB_CLONE_FLAGS, Side, clone_copy, clone_into_cgroup,
    clone_process, let_others_run,
};

/// Which namespaces [`unshare`] leaves.
pub(crate) type CloneFlags = libc::c_int;

/// x86-64's only page size for ordinary mappings; asking for it would be a call of its own.
pub(crate) const PAGE_BYTES: usize = 4096;
/// The least of a large page of x86-64, in bytes.
pub(crate) const LARGE_PAGE_BYTES: usize = 2 * 1024 * 1024;
/// Takes the processor's `cpuid` instruction away (`arch_prctl(2)`).
pub(crate) const ARCH_SET_CPUID: u64 = 0x1012;

/// `unshare(2)` for namespaces.
pub(crate) fn unshare(namespaces: CloneFlags) -> io::Result<()> {
    debug_assert_eq!(namespaces & libc::CLONE_FILES, 0, "would separate threads' descriptors");
    // SAFETY: unshare(2) touches no memory of the caller.
    zero_or_errno(unsafe { libc::unshare(namespaces) })
}

/// Makes `fd` the descriptor of that number, whatever that was before: the worker's, to whose frames
/// the job never returns, or none.
pub(crate) fn move_to_descriptor(way: Way, fd: OwnedFd, number: RawFd) -> io::Result<OwnedFd> {
    if fd.as_raw_fd() == number {
        return Ok(fd);
    }
    // SAFETY: dup2(2) touches no memory. Nobody who owned that number still runs.
    unsafe { raw::call(way, libc::SYS_dup2, [fd.as_raw_fd() as usize, number as usize]) }?;
    close(way, fd);
    // SAFETY: the descriptor is open, and this is the only owner of it that still runs.
    Ok(unsafe { OwnedFd::from_raw_fd(number) })
}

/// The number of the processor that this runs on (`sched_getcpu(3)`), which it may have left already.
pub(crate) fn processor() -> Option<usize> {
    // SAFETY: the call touches no memory of the caller.
    usize::try_from(unsafe { libc::sched_getcpu() }).ok()
}

/// The time by the system call and not by the vdso, which a job has not (`clock_gettime(2)`). Zero if
/// the kernel refuses.
pub(crate) fn clock_time(clock: libc::clockid_t) -> Duration {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the call writes one timespec, which `time` is.
    unsafe { libc::syscall(libc::SYS_clock_gettime, clock, &raw mut time) };
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

/// `close_range(2)`, both ends included.
///
/// Values that own these descriptors must not be used or dropped afterwards: the callers are a
/// worker that has just been exec'ed and a job that never returns to the worker's frames.
pub(crate) fn close_range(way: Way, first: RawFd, last: RawFd) -> io::Result<()> {
    // SAFETY: close_range(2) touches no memory. That nobody goes on to use the descriptors is
    // the requirement above; a mistake shows as EBADF, not as memory corruption.
    unsafe { raw::call(way, libc::SYS_close_range, [first as usize, last as usize]) }.map(drop)
}

/// `keyctl(KEYCTL_JOIN_SESSION_KEYRING)` with a new, nameless keyring.
pub(crate) fn join_new_session_keyring() -> io::Result<()> {
    const KEYCTL_JOIN_SESSION_KEYRING: libc::c_int = 1;
    // SAFETY: a null name asks for a new keyring; nothing is read or written.
    let serial = unsafe { libc::syscall(libc::SYS_keyctl, KEYCTL_JOIN_SESSION_KEYRING, 0usize) };
    if serial == -1 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// Asks for Landlock's version (`landlock_create_ruleset(2)`), for the error number if there is
/// none.
pub(crate) fn landlock_version() -> io::Result<i32> {
    const LANDLOCK_CREATE_RULESET_VERSION: usize = 1;
    let arguments = [0, 0, LANDLOCK_CREATE_RULESET_VERSION];
    // SAFETY: with this flag the kernel asks for a null pointer and a size of zero.
    let version = unsafe { raw::call(Way::Open, libc::SYS_landlock_create_ruleset, arguments) }?;
    Ok(version as i32)
}

/// Makes the ruleset that confines whoever takes it to signals and abstract sockets of its own
/// (`LANDLOCK_SCOPE_SIGNAL`). By hand, because the crate makes a ruleset of several allocations, and each copy of a template
/// may take this step.
pub(crate) fn landlock_scope(way: Way) -> io::Result<OwnedFd> {
    /// `struct landlock_ruleset_attr`: file rights, network rights, scopes.
    const SCOPES_ALONE: [u64; 3] = [0, 0, SCOPE_ABSTRACT_UNIX_SOCKET | SCOPE_SIGNAL];
    const SCOPE_ABSTRACT_UNIX_SOCKET: u64 = 1;
    const SCOPE_SIGNAL: u64 = 2;
    let attributes = SCOPES_ALONE.as_ptr().expose_provenance();
    let bytes = size_of_val(&SCOPES_ALONE);
    // SAFETY: landlock_create_ruleset(2) reads three numbers, which are there.
    let made = unsafe { raw::call(way, libc::SYS_landlock_create_ruleset, [attributes, bytes]) }?;
    // SAFETY: the kernel has just made this descriptor, and nobody else knows of it.
    Ok(unsafe { OwnedFd::from_raw_fd(made as RawFd) })
}

/// Takes a ruleset: of those that were in the same Landlock domain nobody is in this process's from now on.
pub(crate) fn landlock_restrict_self(way: Way, ruleset: BorrowedFd<'_>) -> io::Result<()> {
    let ruleset = ruleset.as_raw_fd() as usize;
    // SAFETY: landlock_restrict_self(2) takes numbers only.
    unsafe { raw::call(way, libc::SYS_landlock_restrict_self, [ruleset]) }.map(drop)
}

/// `mseal(2)` of the pages that hold `region`.
pub(crate) fn seal_pages(region: &Range<usize>) -> io::Result<()> {
    if region.is_empty() {
        return Ok(());
    }
    let start = region.start & !(PAGE_BYTES - 1);
    let end = region.end.next_multiple_of(PAGE_BYTES);
    // SAFETY: mseal(2) changes no byte. It makes later munmap, mremap and mprotect of the range
    // fail, which their callers have to expect of them anyway.
    let done = unsafe { libc::syscall(libc::SYS_mseal, start, end - start, 0usize) };
    zero_or_errno(done as libc::c_int)
}

/// `madvise(MADV_HUGEPAGE)` of the pages that lie wholly in `region`.
pub(crate) fn advise_large_pages(region: &mut [u8]) -> io::Result<()> {
    let start = region.as_ptr().addr().next_multiple_of(PAGE_BYTES);
    let end = (region.as_ptr().addr() + region.len()) & !(PAGE_BYTES - 1);
    // SAFETY: this advice changes no byte.
    zero_or_errno(unsafe {
        libc::madvise(start as *mut _, end.saturating_sub(start), libc::MADV_HUGEPAGE)
    })
}

/// Maps private memory that is zero and that nobody has touched (`mmap(2)`); never unmapped. Null if there is none.
pub(crate) fn map_fresh(bytes: usize) -> *mut u8 {
    let (access, flags) =
        (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS);
    // SAFETY: a null hint makes mmap(2) choose unused addresses.
    match unsafe { libc::mmap(ptr::null_mut(), bytes, access, flags, -1, 0) } {
        libc::MAP_FAILED => ptr::null_mut(),
        start => start.cast(),
    }
}

/// Addresses that nothing is at and nothing will be put at (`mmap(2)` with PROT_NONE); null if there are not so many.
pub(crate) fn reserve(bytes: usize) -> *mut u8 {
    let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE;
    // SAFETY: a null hint makes mmap(2) choose unused addresses.
    match unsafe { libc::mmap(ptr::null_mut(), bytes, libc::PROT_NONE, flags, -1, 0) } {
        libc::MAP_FAILED => ptr::null_mut(),
        start => start.cast(),
    }
}

/// `mprotect(2)` of addresses that [`reserve`] gave, and whether there is memory for them.
pub(crate) fn make_writable(start: usize, bytes: usize) -> bool {
    let start = ptr::with_exposed_provenance_mut(start);
    // SAFETY: what nobody could touch so far holds nothing of anybody's.
    unsafe { libc::mprotect(start, bytes, libc::PROT_READ | libc::PROT_WRITE) == 0 }
}

/// `prctl(PR_SET_PDEATHSIG)`: this process is killed when the thread that made it ends.
pub(crate) fn die_with_parent(way: Way) -> io::Result<()> {
    let signal = libc::SIGKILL as usize;
    // SAFETY: this operation takes a number and touches no memory.
    unsafe { raw::call(way, libc::SYS_prctl, [libc::PR_SET_PDEATHSIG as usize, signal]) }.map(drop)
}

/// `prlimit(2)` of this process: sets a limit, soft and hard, and gives what both were.
pub(crate) fn exchange_limit(
    way: Way,
    resource: libc::__rlimit_resource_t,
    most: Option<u64>,
) -> io::Result<(u64, u64)> {
    let wanted = most.map(|most| libc::rlimit { rlim_cur: most, rlim_max: most });
    let wanted = wanted.as_ref().map_or(ptr::null(), ptr::from_ref).expose_provenance();
    let mut present = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    let place = (&raw mut present).expose_provenance();
    // SAFETY: prlimit64(2) reads one rlimit, if any, and writes one, and there are both.
    unsafe { raw::call(way, libc::SYS_prlimit64, [0, resource as usize, wanted, place]) }?;
    Ok((present.rlim_cur, present.rlim_max))
}

/// `close(2)` of a descriptor whose owner must not be dropped.
pub(crate) fn close(way: Way, fd: OwnedFd) {
    // SAFETY: the owner gives it up here.
    let _ = unsafe { raw::call(way, libc::SYS_close, [fd.into_raw_fd() as usize]) };
}

/// `recvmsg(2)`: what is in one message, and the descriptors attached to it. One with more of either is an error.
pub(crate) fn receive(
    way: Way,
    socket: BorrowedFd<'_>,
    room: &mut [u8],
) -> io::Result<(usize, [Option<OwnedFd>; ATTACHED_MAX])> {
    /// A control message with descriptors, as `cmsg(3)` lays it out.
    #[repr(C)]
    struct Attached {
        header: libc::cmsghdr,
        fds: [libc::c_int; ATTACHED_MAX],
    }
    // SAFETY: all zeros is valid for both.
    let (mut attached, mut message): (Attached, libc::msghdr) = unsafe { std::mem::zeroed() };
    let mut piece = libc::iovec { iov_base: room.as_mut_ptr().cast(), iov_len: room.len() };
    message.msg_iov = &raw mut piece;
    message.msg_iovlen = 1;
    message.msg_control = (&raw mut attached).cast();
    message.msg_controllen = size_of::<Attached>();
    let (socket, place) = (socket.as_raw_fd() as usize, (&raw mut message).expose_provenance());
    let flags = libc::MSG_CMSG_CLOEXEC as usize;
    let bytes = loop {
        // SAFETY: recvmsg(2) writes to `room` and to the control message, as far as the lengths above go.
        match unsafe { raw::call(way, libc::SYS_recvmsg, [socket, place, flags]) } {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            received => break received?,
        }
    };
    let Attached { header, fds } = attached;
    let are_some = message.msg_controllen > 0
        && header.cmsg_level == libc::SOL_SOCKET
        && header.cmsg_type == libc::SCM_RIGHTS;
    let count = if are_some {
        (header.cmsg_len - size_of::<libc::cmsghdr>()) / size_of::<libc::c_int>()
    } else {
        0
    };
    // SAFETY: the kernel has just made so many descriptors, and nobody else knows of them.
    let made = |place| unsafe { OwnedFd::from_raw_fd(fds[place]) };
    let fds = std::array::from_fn(|place| (place < count).then(|| made(place)));
    match message.msg_flags & (libc::MSG_TRUNC | libc::MSG_CTRUNC) {
        0 => Ok((bytes, fds)),
        _ => Err(io::Error::new(io::ErrorKind::InvalidData, "a message longer than any")),
    }
}

/// `prctl(PR_SET_MDWE)`: no mapping gains `PROT_EXEC` from now on.
pub(crate) fn refuse_exec_gain() -> io::Result<()> {
    let gain = libc::c_ulong::from(libc::PR_MDWE_REFUSE_EXEC_GAIN);
    // SAFETY: this operation takes numbers only; the kernel insists on zeros for the rest.
    zero_or_errno(unsafe { libc::prctl(libc::PR_SET_MDWE, gain, 0usize, 0usize, 0usize) })
}

/// `arch_prctl(ARCH_SET_CPUID, 0)`: `cpuid` raises SIGSEGV from now on.
pub(crate) fn make_cpuid_fault() -> io::Result<()> {
    // SAFETY: this operation takes a number and touches no memory.
    let done = unsafe { libc::syscall(libc::SYS_arch_prctl, ARCH_SET_CPUID, 0usize) };
    zero_or_errno(done as libc::c_int)
}

/// Puts inaccessible pages in the place of the kernel's clock pages.
///
/// In their place rather than a hole, so that nothing else is ever mapped at an address that
/// the C library still calls. A clock read through it faults from now on.
pub(crate) fn cover_pages(pages: &Range<usize>) -> io::Result<()> {
    let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_FIXED | libc::MAP_NORESERVE;
    // SAFETY: MAP_FIXED discards what was mapped there, so no reference into the range may
    // exist. The ranges come from `steps::clocks`, which names only vdso and vvar, to which
    // Rust holds no references; calls into them fault.
    let address =
        unsafe { libc::mmap(pages.start as *mut _, pages.len(), libc::PROT_NONE, flags, -1, 0) };
    if address == libc::MAP_FAILED { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// The CPU time of a whole process, ours or a child's not yet reaped (`clock_gettime(2)`).
pub(crate) fn cpu_time(pid: libc::pid_t) -> io::Result<Duration> {
    let mut now = MaybeUninit::<libc::timespec>::uninit();
    // SAFETY: clock_gettime(2) writes one timespec, for which there is room.
    zero_or_errno(unsafe { libc::clock_gettime(cpu_clock(pid), now.as_mut_ptr()) })?;
    // SAFETY: the call succeeded, so the timespec has been written.
    let now = unsafe { now.assume_init() };
    Ok(Duration::new(now.tv_sec as u64, now.tv_nsec as u32))
}

/// The kernel's id of a process's CPU clock, as `clock_getcpuclockid(3)` computes it.
fn cpu_clock(pid: libc::pid_t) -> libc::clockid_t {
    const CPUCLOCK_SCHED: libc::clockid_t = 2;
    (!pid << 3) | CPUCLOCK_SCHED
}

/// What the raw `waitid(2)` tells of a child that ended.
pub(crate) struct Reaped {
    pub(crate) code: libc::c_int,
    pub(crate) status: libc::c_int,
    pub(crate) usage: libc::rusage,
}

/// Waits for the child to end and reaps it. The raw call, because it alone takes a pidfd and
/// gives the resource usage.
pub(crate) fn reap(pidfd: BorrowedFd<'_>, options: libc::c_int) -> io::Result<Reaped> {
    // SAFETY: all zeros is a valid siginfo and a valid rusage.
    let (mut ended, mut usage): (libc::siginfo_t, libc::rusage) =
        unsafe { (std::mem::zeroed(), std::mem::zeroed()) };
    loop {
        // SAFETY: waitid(2) writes one siginfo and, as its fifth argument, one rusage.
        let done = unsafe {
            libc::syscall(
                libc::SYS_waitid,
                libc::P_PIDFD,
                pidfd.as_raw_fd(),
                &raw mut ended,
                libc::WEXITED | options,
                &raw mut usage,
            )
        };
        match zero_or_errno(done as libc::c_int) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
            Ok(()) => {
                // SAFETY: waitid fills the SIGCHLD fields, of which si_status is one.
                let status = unsafe { ended.si_status() };
                return Ok(Reaped { code: ended.si_code, status, usage });
            }
        }
    }
}

/// Reaps one child that has ended, if there is one whose pid is none of `known`.
pub(crate) fn reap_stranger(known: &[libc::pid_t]) -> io::Result<bool> {
    // SAFETY: all zeros is a valid siginfo.
    let mut ended: libc::siginfo_t = unsafe { std::mem::zeroed() };
    let wait = |kind: libc::idtype_t,
                id: libc::pid_t,
                options: libc::c_int,
                ended: &mut libc::siginfo_t| {
        let ended: *mut libc::siginfo_t = ended;
        // SAFETY: waitid(2) writes one siginfo; a null rusage is allowed.
        let done = unsafe { libc::syscall(libc::SYS_waitid, kind, id, ended, options, 0usize) };
        zero_or_errno(done as libc::c_int)
    };
    let look = libc::WEXITED | libc::WNOHANG | libc::WNOWAIT;
    match wait(libc::P_ALL, 0, look, &mut ended) {
        Err(error) if error.raw_os_error() == Some(libc::ECHILD) => return Ok(false),
        done => done?,
    }
    // SAFETY: waitid fills the SIGCHLD fields, of which si_pid is one; it is 0 if nobody has ended.
    let pid = unsafe { ended.si_pid() };
    if pid == 0 || known.contains(&pid) {
        return Ok(false);
    }
    wait(libc::P_PID, pid, libc::WEXITED, &mut ended).map(|()| true)
}

/// A private, read-only mapping of a file that stays as it is, unmapped when dropped.
#[derive(Debug)]
pub(crate) struct ReadMapping {
    start: *mut libc::c_void,
    bytes: usize,
}

/// Maps the first `bytes` of `fd`, which are there and stay as they are: the caller has found the file to be
/// sealed against writing and shrinking, or names its one writer's rule. `bytes` is not zero.
pub(crate) fn map_unchanging(fd: BorrowedFd<'_>, bytes: usize) -> io::Result<ReadMapping> {
    // SAFETY: a null hint makes mmap(2) choose unused addresses, so nothing is overwritten.
    let start = unsafe {
        libc::mmap(ptr::null_mut(), bytes, libc::PROT_READ, libc::MAP_PRIVATE, fd.as_raw_fd(), 0)
    };
    if start == libc::MAP_FAILED {
        return Err(io::Error::last_os_error());
    }
    Ok(ReadMapping { start, bytes })
}

/// Puts what lies in `fd` from `offset` on in the place of `pages`, which are whole: read there from the file, and
/// copied when they are written to. The bytes of the file are there and stay as they are, as for
/// [`map_unchanging`].
pub(crate) fn map_over(pages: &mut [u8], fd: BorrowedFd<'_>, offset: u64) -> io::Result<()> {
    debug_assert!((pages.as_ptr().addr() | pages.len()).is_multiple_of(PAGE_BYTES));
    // SAFETY: MAP_FIXED discards what was there, which is borrowed here alone and not read before it is
    // replaced by readable and writable memory of the same length, whose bytes nobody else changes.
    let start = unsafe {
        libc::mmap(
            pages.as_mut_ptr().cast(),
            pages.len(),
            libc::PROT_READ | libc::PROT_WRITE,
            libc::MAP_PRIVATE | libc::MAP_FIXED,
            fd.as_raw_fd(),
            offset as libc::off_t,
        )
    };
    if start == libc::MAP_FAILED { Err(io::Error::last_os_error()) } else { Ok(()) }
}

impl Deref for ReadMapping {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        // SAFETY: from_raw_parts needs readable bytes that do not change while borrowed. The
        // mapping lives as long as `self`, and the caller of `map_unchanging` knows that the bytes stay as
        // they are: by F_SEAL_WRITE and F_SEAL_SHRINK, or by the rule of who writes.
        unsafe { std::slice::from_raw_parts(self.start.cast(), self.bytes) }
    }
}

impl Drop for ReadMapping {
    fn drop(&mut self) {
        // SAFETY: munmap(2) of the range that mmap gave, to which no borrow exists any more.
        unsafe { libc::munmap(self.start, self.bytes) };
    }
}

/// Ends the process at once: no destructors, no `atexit`, no flushing, one system call.
pub(crate) fn exit_group(status: i32) -> ! {
    loop {
        // SAFETY: exit_group(2) does not return and has no requirement.
        let _ = unsafe { raw::call(Way::Open, libc::SYS_exit_group, [status as usize]) };
    }
}

/// Makes each of `signals` end the process with a marker status (see [`markers`]).
pub(crate) fn install_markers(signals: &[libc::c_int]) -> io::Result<()> {
    give_alternate_stack()?;
    for &signal in signals {
        // SAFETY: all zeros is a valid sigaction: no flags, empty mask.
        let mut action: libc::sigaction = unsafe { std::mem::zeroed() };
        action.sa_sigaction = end_with_marker as *const () as usize;
        action.sa_flags = libc::SA_SIGINFO | libc::SA_ONSTACK | libc::SA_NODEFER;
        // SAFETY: sigaction(2) asks for an async-signal-safe function of this signature:
        // `end_with_marker` reads its arguments and makes one system call.
        zero_or_errno(unsafe { libc::sigaction(signal, &action, ptr::null_mut()) })?;
    }
    Ok(())
}

/// The id of this process's session; 0 if its leader is outside of this pid namespace.
pub(crate) fn session() -> io::Result<libc::pid_t> {
    // SAFETY: getsid(2) touches no memory of the caller.
    match unsafe { libc::getsid(0) } {
        -1 => Err(io::Error::last_os_error()),
        session => Ok(session),
    }
}

/// Lets the kernel reap children by itself (`wait(2)`): for a process that has none of its own, and gets
/// those whom nobody else waits for.
pub(crate) fn ignore_children() -> io::Result<()> {
    // SAFETY: all zeros is a valid sigaction: no flags, empty mask.
    let mut ignore: libc::sigaction = unsafe { std::mem::zeroed() };
    ignore.sa_sigaction = libc::SIG_IGN;
    // SAFETY: to ignore a signal runs no code of this process.
    zero_or_errno(unsafe { libc::sigaction(libc::SIGCHLD, &ignore, ptr::null_mut()) })
}

/// Gives SIGCHLD back its default action. One that is ignored stays so over an exec, and the kernel
/// then reaps children by itself (`wait(2)`).
pub(crate) fn stop_ignoring_children() -> io::Result<()> {
    // SAFETY: all zeros is a valid sigaction: the default action, no flags, empty mask.
    let default: libc::sigaction = unsafe { std::mem::zeroed() };
    // SAFETY: the default action runs no code of this process.
    zero_or_errno(unsafe { libc::sigaction(libc::SIGCHLD, &default, ptr::null_mut()) })
}

/// A stack overflow leaves no room for the marker function on the stack itself.
fn give_alternate_stack() -> io::Result<()> {
    const BYTES: usize = 64 << 10;
    // SAFETY: all zeros is a valid stack_t, and sigaltstack(2) overwrites it.
    let mut present: libc::stack_t = unsafe { std::mem::zeroed() };
    // SAFETY: a null new stack only asks; the answer is written to `present`.
    zero_or_errno(unsafe { libc::sigaltstack(ptr::null(), &mut present) })?;
    if present.ss_flags & libc::SS_DISABLE == 0 {
        return Ok(());
    }
    let room = Box::leak(vec![0u8; BYTES].into_boxed_slice());
    let stack = libc::stack_t { ss_sp: room.as_mut_ptr().cast(), ss_flags: 0, ss_size: BYTES };
    // SAFETY: the memory is leaked, so it is never freed or used for anything else.
    zero_or_errno(unsafe { libc::sigaltstack(&stack, ptr::null_mut()) })
}

extern "C" fn end_with_marker(
    signal: libc::c_int,
    report: *mut libc::siginfo_t,
    context: *mut libc::c_void,
) {
    // SAFETY: with SA_SIGINFO the kernel passes a siginfo_t and a ucontext_t that are valid
    // until the function returns; Wasmtime passes on the ones it was given.
    let (address, stack_pointer) = unsafe {
        let context = &*context.cast::<libc::ucontext_t>();
        ((*report).si_addr().addr(), context.uc_mcontext.gregs[libc::REG_RSP as usize] as usize)
    };
    exit_group(markers::exit_status(signal, address, stack_pointer));
}

fn zero_or_errno(done: libc::c_int) -> io::Result<()> {
    if done == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}
