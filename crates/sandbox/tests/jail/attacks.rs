//! What the guest tries, as native code inside a job, and how each attempt has to end.
//!
//! Called by `roles`, in the job. An attack that returns was not stopped by a signal: it returns
//! `HELD` if the system refused it, and another status if it got what it wanted.

use std::arch::asm;
use std::io::Error;
use std::os::fd::{AsFd, AsRawFd};
use std::ptr::null_mut;
use std::time::Duration;

use lazaret_sandbox::job::{JobKind, TimeOfDay};
use lazaret_sandbox::layer::Layer;
use lazaret_sandbox::memfd;
use libc as c;

const HELD: i32 = 0;
const BROKEN: i32 = 42;
const PAGE: usize = 4096;

/// One attempt.
pub(crate) struct Case {
    pub(crate) name: &'static str,
    pub(crate) kind: JobKind,
    pub(crate) left_out: &'static [Layer],
    /// Runs instead of the attack, when the job is confined but neither sealed nor filtered.
    pub(crate) before_seal: Option<fn() -> i32>,
    pub(crate) attack: fn(&'static [u8]) -> i32,
    pub(crate) cpu_limit: Option<Duration>,
    /// Whether it has standard streams, and may ask for the time.
    pub(crate) streams: Option<TimeOfDay>,
    /// The line of the log that says it held.
    pub(crate) ends: &'static str,
}

pub(crate) const PLAIN: Case = Case {
    name: "",
    kind: JobKind::Execute,
    left_out: &[],
    before_seal: None,
    attack: |_| HELD,
    cpu_limit: None,
    streams: None,
    ends: "exited 0",
};

const NO_FILTERS: &[Layer] = &[Layer::WorkerFilter, Layer::LoadingFilter, Layer::JobFilter];

/// In the whole jail.
const fn jailed(name: &'static str, attack: fn(&'static [u8]) -> i32, ends: &'static str) -> Case {
    Case { name, attack, ends, ..PLAIN }
}

/// The same with no filter at all: the next layer has to hold.
const fn unfiltered(name: &'static str, attack: fn(&'static [u8]) -> i32) -> Case {
    Case { name, attack, left_out: NO_FILTERS, ..PLAIN }
}

/// With no filter and not yet sealed, so that descriptors can be had.
const fn looking(name: &'static str, look: fn() -> i32) -> Case {
    Case { name, before_seal: Some(look), left_out: NO_FILTERS, ..PLAIN }
}

pub(crate) const KILLED: &str = "killed 31";

/// All of them.
pub(crate) const CASES: &[Case] = &[
    jailed("a_job_that_does_nothing_ends_well", |_| HELD, "exited 0"),
    jailed("the_artifacts_text_runs_and_memory_can_be_had", honest_work, "exited 0"),
    jailed("a_reply_can_be_written", |_| refused_unless(write_to(0) == 1), "exited 0"),
    jailed("one_that_asks_before_it_ends_is_heard_and_ends_so", |_| ask_to_end(5), "exited 5"),
    jailed("opening_a_file_is_stopped", |_| got(open("/etc/shadow")), KILLED),
    jailed("a_socket_is_stopped", |_| got(socket(c::AF_UNIX)), KILLED),
    jailed("a_fork_is_stopped", |_| got(fork()), KILLED),
    jailed("a_fork_with_the_workers_own_flags_is_stopped", |_| got(fork_namespace()), KILLED),
    jailed("execve_is_stopped", |_| got(execve()), KILLED),
    jailed("writing_to_another_descriptor_is_stopped", |_| got(write_to(2)), KILLED),
    jailed("a_descriptor_with_high_bits_is_stopped", |_| got(write_to(1 << 32)), KILLED),
    jailed("executable_memory_by_mprotect_is_stopped", |_| got(mprotect(5)), KILLED),
    jailed("executable_memory_by_mmap_is_stopped", |_| got(mmap(7, 0x22)), KILLED),
    jailed("shared_memory_is_stopped", |_| got(mmap(3, 0x21)), KILLED),
    jailed("populated_memory_is_stopped", |_| got(mmap(3, 0x8022)), KILLED),
    jailed("an_x32_number_is_stopped", |_| got(raw(0x4000_0000 + c::SYS_write, [0; 6])), KILLED),
    jailed("a_32_bit_call_is_stopped", |_| got(call_through_int_0x80()), KILLED),
    jailed("asking_for_the_time_is_stopped", |_| got(raw(c::SYS_time, [0; 6])), KILLED),
    jailed("sleeping_is_stopped", |_| got(raw(c::SYS_pause, [0; 6])), KILLED),
    jailed("a_signal_to_itself_is_stopped", |_| got(kill(1, c::SIGSTOP)), KILLED),
    jailed("raising_a_limit_is_stopped", |_| got(raw(c::SYS_prlimit64, [0; 6])), KILLED),
    jailed("abort_under_the_final_filter_is_stopped", |_| std::process::abort(), KILLED),
    jailed("sealed_text_can_be_neither_removed_nor_replaced", replace_text, "exited 0"),
    jailed("reading_the_time_stamp_counter_faults", |_| rdtsc(), "exited 110"),
    jailed("the_clock_pages_are_gone", |_| clock(), "exited 110"),
    jailed("a_fault_ends_with_its_marker", |_| read_address(8), "exited 110"),
    jailed("a_breakpoint_ends_with_its_marker", |_| breakpoint(), "exited 110"),
    jailed("a_panic_ends_with_its_marker", |_| panic!("as asked"), "exited 112"),
    jailed("a_stack_overflow_ends_with_its_marker", |_| recurse(1), "exited 113"),
    jailed("too_much_memory_ends_with_its_marker", |_| allocate(256 << 20), "exited 114"),
    jailed("memory_by_mmap_is_bounded_too", |_| unless_enomem(map_much()), "exited 0"),
    Case {
        cpu_limit: Some(Duration::from_millis(50)),
        ..jailed("an_endless_loop_ends_at_its_cpu_limit", |_| spin(), "at its limit")
    },
    jailed("without_a_timer_the_cpu_limit_of_the_kernel_holds", |_| spin(), "killed 9"),
    Case {
        kind: JobKind::Prepare,
        ..jailed("a_prepare_job_can_load_its_output", load, "exited 0")
    },
    Case {
        kind: JobKind::Prepare,
        ..jailed("a_prepare_job_has_no_writable_code", |_| got(mprotect(7)), KILLED)
    },
    Case {
        kind: JobKind::Prepare,
        ..jailed("a_prepare_job_opens_nothing", |_| got(open("/etc/shadow")), KILLED)
    },
    Case {
        kind: JobKind::Prepare,
        before_seal: Some(|| std::process::abort()),
        ..jailed("an_abort_before_a_jobs_filter_ends_with_its_marker", |_| 0, "exited 111")
    },
    Case {
        before_seal: Some(|| got(open("/etc/shadow"))),
        ..jailed("the_workers_filter_lets_no_job_open_a_file", |_| 0, KILLED)
    },
    Case {
        before_seal: Some(|| got(thread())),
        ..jailed("the_workers_filter_lets_no_job_start_a_thread", |_| 0, KILLED)
    },
    Case {
        before_seal: Some(|| got(memory_file())),
        ..jailed("a_job_that_loads_has_less_than_its_worker", |_| 0, KILLED)
    },
    Case {
        before_seal: Some(|| got(open("/etc/shadow"))),
        left_out: &[Layer::WorkerFilter, Layer::JobFilter],
        ..jailed("a_job_that_loads_opens_nothing_by_its_own_list", |_| 0, KILLED)
    },
    Case {
        kind: JobKind::Prepare,
        before_seal: Some(run_sealed_file),
        ..jailed("a_sealed_memory_file_can_hold_code_to_run", |_| 0, "exited 0")
    },
    looking("the_root_is_empty", root_is_empty),
    looking("the_root_cannot_be_written", root_is_read_only),
    looking("there_is_no_network_but_a_loopback_that_is_down", no_network),
    looking("the_job_is_in_a_namespace_apart_and_has_no_parent", is_apart),
    looking("no_capability_is_left", no_capability),
    looking("the_one_descriptor_is_the_channel", one_descriptor),
    looking("the_host_has_no_name", no_name),
    looking("the_id_is_nobodys", || refused_unless(rustix::process::getuid().as_raw() == 65_532)),
    Case {
        left_out: &[Layer::EmptyRoot, Layer::WorkerFilter, Layer::LoadingFilter, Layer::JobFilter],
        ..looking("without_an_empty_root_landlock_hides_every_file", || {
            unless_errno(open("/etc/passwd"), &[c::EACCES])
                .max(unless_errno(open("/proc/self/maps"), &[c::EACCES]))
        })
    },
    Case {
        left_out: &[Layer::Landlock, Layer::WorkerFilter, Layer::LoadingFilter, Layer::JobFilter],
        ..looking("without_landlock_the_empty_root_has_no_file", || {
            unless_errno(open("/etc/passwd"), &[c::ENOENT])
                .max(unless_errno(open("/proc/self/maps"), &[c::ENOENT]))
                .max(unless_errno(mount(), &[c::EPERM]))
        })
    },
    Case {
        left_out: &[
            Layer::PidNamespace,
            Layer::WorkerFilter,
            Layer::LoadingFilter,
            Layer::JobFilter,
        ],
        ..looking("without_a_pid_namespace_no_stranger_can_be_signalled", || {
            unless_errno(kill(1, 0), &[c::EPERM, c::ESRCH])
        })
    },
    unfiltered("unfiltered_no_descriptor_can_be_made", no_descriptor),
    unfiltered("unfiltered_no_process_can_be_made", |_| unless_errno(fork(), &[c::EAGAIN])),
    unfiltered("unfiltered_no_thread_can_be_made", |_| unless_errno(thread(), &[c::EAGAIN])),
    unfiltered("unfiltered_nothing_can_be_mounted", |_| unless_errno(mount(), &[c::EPERM])),
    unfiltered("unfiltered_no_namespace_can_be_made", no_namespace),
    unfiltered("unfiltered_no_capability_comes_back", |_| unless_errno(setuid(), &[c::EINVAL])),
    unfiltered("unfiltered_nobody_can_be_signalled", nobody_to_signal),
    unfiltered("unfiltered_text_stays_sealed", replace_text),
    unfiltered("unfiltered_no_memory_becomes_executable", |_| {
        unless_errno(mprotect(5), &[c::EACCES])
    }),
    unfiltered("unfiltered_nothing_is_executed", |_| {
        unless_errno(execve(), &[c::ENOENT, c::EACCES])
    }),
    unfiltered("unfiltered_the_keeper_of_the_namespace_cannot_be_stopped", |_| {
        unless_errno(kill(1, c::SIGSTOP), &[c::EPERM])
    }),
];

/// One page of code that returns 7.
pub(crate) fn map_text() -> &'static [u8] {
    // SAFETY: a fresh mapping of one page, written before it becomes executable, never unmapped.
    unsafe {
        let page = c::mmap(null_mut(), PAGE, 3, c::MAP_PRIVATE | c::MAP_ANONYMOUS, -1, 0);
        assert_ne!(page, c::MAP_FAILED);
        // mov eax, 7; ret
        page.cast::<[u8; 6]>().write([0xb8, 7, 0, 0, 0, 0xc3]);
        assert_eq!(c::mprotect(page, PAGE, 5), 0);
        std::slice::from_raw_parts(page.cast(), PAGE)
    }
}

fn run_text(text: &'static [u8]) -> i32 {
    // SAFETY: the page holds the function that `map_text` wrote.
    unsafe { std::mem::transmute::<*const u8, extern "C" fn() -> i32>(text.as_ptr())() }
}

fn honest_work(text: &'static [u8]) -> i32 {
    let mut memory = vec![1u8; 20 << 20];
    memory.resize(30 << 20, 1);
    refused_unless(run_text(text) == 7 && memory.iter().all(|&byte| byte == 1))
}

fn load(_: &'static [u8]) -> i32 {
    refused_unless(run_text(map_text()) == 7)
}

fn run_sealed_file() -> i32 {
    let file = memfd::create("text").expect("a memory file");
    // mov eax, 7; ret.
    rustix::io::write(&file, &[0xb8, 7, 0, 0, 0, 0xc3]).expect("room");
    memfd::seal(file.as_fd()).expect("sealed");
    let text = raw(c::SYS_mmap, [0, PAGE as i64, 5, 2, file.as_raw_fd().into(), 0]);
    let unwritable = raw(c::SYS_ftruncate, [file.as_raw_fd().into(), 0, 0, 0, 0, 0]);
    let text = std::ptr::with_exposed_provenance::<u8>(text as usize);
    // SAFETY: one page of the sealed file, never unmapped.
    let text = unsafe { std::slice::from_raw_parts(text, PAGE) };
    refused_unless(run_text(text) == 7 && unwritable == -1)
}

fn replace_text(text: &'static [u8]) -> i32 {
    let page = text.as_ptr().addr() as i64;
    let attempts = [
        raw(c::SYS_munmap, [page, PAGE as i64, 0, 0, 0, 0]),
        raw(c::SYS_mmap, [page, PAGE as i64, 3, 0x32, -1, 0]),
        raw(c::SYS_mprotect, [page, PAGE as i64, 3, 0, 0, 0]),
        raw(c::SYS_mremap, [page, PAGE as i64, 2 * PAGE as i64, 1, 0, 0]),
    ];
    refused_unless(attempts.iter().all(|&done| done == -1) && run_text(text) == 7)
}

/// The status for a call that should never have come back.
pub(crate) fn got(done: i64) -> i32 {
    if done == -1 { BROKEN + 1 } else { BROKEN }
}

pub(crate) fn refused_unless(holds: bool) -> i32 {
    if holds { HELD } else { BROKEN }
}

fn unless_errno(done: i64, refusals: &[i32]) -> i32 {
    let errno = Error::last_os_error().raw_os_error().unwrap_or(0);
    match done == -1 && refusals.contains(&errno) {
        true => HELD,
        false => errno.max(BROKEN),
    }
}

fn unless_enomem(done: i64) -> i32 {
    unless_errno(done, &[c::ENOMEM])
}

pub(crate) fn raw(number: i64, a: [i64; 6]) -> i64 {
    // SAFETY: the whole process is made to be attacked; nothing after the call relies on it.
    unsafe { c::syscall(number, a[0], a[1], a[2], a[3], a[4], a[5]) }
}

/// As copies end: the bit is beyond what the kernel takes of a status.
fn ask_to_end(status: i32) -> i32 {
    // SAFETY: exit_group(2) does not return.
    unsafe { c::syscall(c::SYS_exit_group, 1 << 16 | status) };
    BROKEN
}

fn open(path: &str) -> i64 {
    let path = std::ffi::CString::new(path).expect("no zero");
    raw(c::SYS_openat, [c::AT_FDCWD.into(), path.as_ptr() as i64, 0, 0, 0, 0])
}

fn memory_file() -> i64 {
    raw(c::SYS_memfd_create, [c"any".as_ptr() as i64, 0, 0, 0, 0, 0])
}

fn socket(family: i32) -> i64 {
    raw(c::SYS_socket, [family.into(), c::SOCK_DGRAM.into(), 0, 0, 0, 0])
}

fn fork() -> i64 {
    raw(c::SYS_clone, [c::SIGCHLD.into(), 0, 0, 0, 0, 0])
}

fn fork_namespace() -> i64 {
    let mut pidfd = 0i32;
    let flags = c::CLONE_NEWPID | c::CLONE_PIDFD | c::SIGCHLD;
    raw(c::SYS_clone, [flags.into(), 0, (&raw mut pidfd) as i64, 0, 0, 0])
}

fn thread() -> i64 {
    let flags = c::CLONE_VM | c::CLONE_THREAD | c::CLONE_SIGHAND | c::CLONE_FS | c::CLONE_FILES;
    let stack = Box::leak(vec![0u8; 1 << 16].into_boxed_slice());
    let top = stack.as_mut_ptr().addr() + (1 << 15);
    raw(c::SYS_clone, [flags.into(), top as i64, 0, 0, 0, 0])
}

fn execve() -> i64 {
    raw(c::SYS_execve, [c"/bin/sh".as_ptr() as i64, 0, 0, 0, 0, 0])
}

fn write_to(descriptor: i64) -> i64 {
    raw(c::SYS_write, [descriptor, c"x".as_ptr() as i64, 1, 0, 0, 0])
}

fn mprotect(protection: i64) -> i64 {
    let page = raw(c::SYS_mmap, [0, PAGE as i64, 3, 0x22, -1, 0]);
    raw(c::SYS_mprotect, [page, PAGE as i64, protection, 0, 0, 0])
}

fn mmap(protection: i64, flags: i64) -> i64 {
    raw(c::SYS_mmap, [0, PAGE as i64, protection, flags, -1, 0])
}

fn map_much() -> i64 {
    raw(c::SYS_mmap, [0, 256 << 20, 3, 0x22, -1, 0])
}

fn kill(pid: i64, signal: i32) -> i64 {
    raw(c::SYS_kill, [pid, signal.into(), 0, 0, 0, 0])
}

fn mount() -> i64 {
    let (kind, target) = (c"tmpfs".as_ptr() as i64, c"/".as_ptr() as i64);
    raw(c::SYS_mount, [kind, target, kind, 0, 0, 0])
}

fn setuid() -> i64 {
    raw(c::SYS_setuid, [0; 6])
}

fn call_through_int_0x80() -> i64 {
    let done: i64;
    // SAFETY: getpid by its 32-bit number; the upper halves of r8 to r11 may be lost.
    unsafe {
        asm!("int 0x80", inlateout("rax") 20i64 => done,
            out("r8") _, out("r9") _, out("r10") _, out("r11") _);
    }
    done
}

fn rdtsc() -> i32 {
    // SAFETY: the instruction only reads a counter.
    let ticks = unsafe { std::arch::x86_64::_rdtsc() };
    BROKEN + i32::from(ticks == 0)
}

fn clock() -> i32 {
    std::hint::black_box(std::time::Instant::now());
    BROKEN
}

fn read_address(address: usize) -> i32 {
    // SAFETY: none; this is the fault that the case is about.
    unsafe { std::ptr::with_exposed_provenance::<i32>(address).read_volatile() }
}

fn breakpoint() -> i32 {
    // SAFETY: raises SIGTRAP.
    unsafe { asm!("int3") };
    BROKEN
}

#[allow(unconditional_recursion, reason = "a stack overflow is the point")]
fn recurse(depth: u64) -> i32 {
    let room = std::hint::black_box([depth; 64]);
    let below = recurse(depth + 1);
    std::hint::black_box(room);
    below
}

fn allocate(bytes: usize) -> i32 {
    std::hint::black_box(vec![1u8; bytes]);
    BROKEN
}

fn spin() -> i32 {
    loop {
        std::hint::spin_loop();
    }
}

fn root_is_empty() -> i32 {
    // Landlock refuses even the listing; that nothing is in it is checked by name.
    let listed = unless_errno(open("/"), &[c::EACCES]);
    let names = ["/proc", "/etc", "/dev", "/tmp", "/..", "/../etc", "/sys", "/root"];
    let found = names.iter().filter(|name| std::fs::metadata(name).is_ok()).count();
    // Only `/..`, which is `/`.
    refused_unless(listed == HELD && found == 1)
}

fn root_is_read_only() -> i32 {
    let path = c"/f".as_ptr() as i64;
    let (here, flags) = (c::AT_FDCWD.into(), (c::O_CREAT | c::O_WRONLY).into());
    let created =
        unless_errno(raw(c::SYS_openat, [here, path, flags, 0o600, 0, 0]), &[c::EROFS, c::EACCES]);
    let made =
        unless_errno(raw(c::SYS_mkdirat, [here, path, 0o700, 0, 0, 0]), &[c::EROFS, c::EACCES]);
    let mode =
        unless_errno(raw(c::SYS_chmod, [c"/".as_ptr() as i64, 0o777, 0, 0, 0, 0]), &[c::EROFS]);
    created.max(made).max(mode)
}

fn no_network() -> i32 {
    // SAFETY: a list that the C library allocates, ended by a null name; an ifreq of zeros.
    unsafe {
        let names = c::if_nameindex();
        let only_loopback = !names.is_null()
            && std::ffi::CStr::from_ptr((*names).if_name) == c"lo"
            && (*names.add(1)).if_name.is_null();
        let mut request: c::ifreq = std::mem::zeroed();
        request.ifr_name[..2].copy_from_slice(&[b'l' as i8, b'o' as i8]);
        let socket = socket(c::AF_INET) as i32;
        let asked = c::ioctl(socket, c::SIOCGIFFLAGS, &raw mut request);
        let is_up = request.ifr_ifru.ifru_flags & c::IFF_UP as i16 != 0;
        refused_unless(only_loopback && asked == 0 && !is_up)
    }
}

/// The keeper is 1, and numbers in a fresh namespace are small.
fn is_apart() -> i32 {
    // SAFETY: these cannot fail and touch nothing.
    unsafe { refused_unless((2..20).contains(&c::getpid()) && c::getppid() == 0) }
}

fn no_capability() -> i32 {
    let sets = rustix::thread::capabilities(None).expect("capget");
    let none =
        sets.permitted.is_empty() && sets.effective.is_empty() && sets.inheritable.is_empty();
    // SAFETY: prctl operations that only answer numbers.
    let left = (0..41).any(|number| unsafe {
        c::prctl(c::PR_CAPBSET_READ, number, 0, 0, 0) == 1
            || c::prctl(c::PR_CAP_AMBIENT, c::PR_CAP_AMBIENT_IS_SET, number, 0, 0) == 1
    });
    let no_new_privileges = rustix::thread::no_new_privs() == Ok(true);
    refused_unless(none && !left && no_new_privileges)
}

fn one_descriptor() -> i32 {
    let open =
        (0..1024i64).filter(|&fd| raw(c::SYS_fcntl, [fd, c::F_GETFD.into(), 0, 0, 0, 0]) != -1);
    refused_unless(open.eq([0]))
}

fn no_name() -> i32 {
    let names = rustix::system::uname();
    refused_unless(names.nodename().is_empty() && names.domainname().is_empty())
}

fn no_descriptor(_: &'static [u8]) -> i32 {
    unless_errno(open("/"), &[c::EMFILE])
        .max(unless_errno(socket(c::AF_INET), &[c::EMFILE]))
        .max(unless_errno(raw(c::SYS_dup, [0; 6]), &[c::EMFILE]))
        .max(unless_errno(
            raw(c::SYS_memfd_create, [c"x".as_ptr() as i64, 0, 0, 0, 0, 0]),
            &[c::EMFILE],
        ))
}

fn no_namespace(_: &'static [u8]) -> i32 {
    let unshare = |flags: i32| raw(c::SYS_unshare, [flags.into(), 0, 0, 0, 0, 0]);
    let others = c::CLONE_NEWNS | c::CLONE_NEWNET | c::CLONE_NEWPID;
    unless_errno(unshare(c::CLONE_NEWUSER), &[c::ENOSPC])
        .max(unless_errno(unshare(others), &[c::EPERM]))
}

fn nobody_to_signal(_: &'static [u8]) -> i32 {
    // SAFETY: this cannot fail and touches nothing.
    let me = unsafe { c::getpid() };
    refused_unless(!(1..5000).any(|pid| pid != me && kill(pid.into(), 0) == 0))
}
