//! The battery: what is tried, what must come of it behind the whole jail, and what must hold when
//! the filter is gone. Read by `battery` and by nobody else; the attempts themselves are in `blobs/`.

/// One attempt, or several that differ in one number.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Row {
    pub(crate) id: &'static str,
    pub(crate) what: &'static str,
    /// The file in `blobs/`, and which of its attempts.
    pub(crate) family: char,
    pub(crate) attempt: u32,
    /// One case for each.
    pub(crate) arguments: Arguments,
    /// What must come of it while the filter is on, whatever else is off.
    pub(crate) expected: Expect,
    /// What must come of it with no filter.
    pub(crate) unfiltered: Unfiltered,
}

#[derive(Clone, Copy, Debug)]
pub(crate) enum Arguments {
    UpTo(u32),
    These(&'static [u32]),
}

/// What an attempt must come to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Expect {
    /// The filter kills the job.
    Sigsys,
    /// The processor refuses, and the job ends with the marker of a fault.
    Fault,
    /// The kernel says no, in words.
    Errno,
    /// The memory limit says no.
    NoMemory,
    /// The worker ends the job at its CPU limit.
    CpuLimit,
    /// The job is not believed: whatever it says, nothing is returned and nobody else is blamed.
    NotBelieved,
    /// Nothing that the attack looks for is there.
    Nothing,
    /// Well formed, so it is returned: it is its own answer that it spoils.
    Own,
    /// Anything but getting through.
    Held,
    /// A fault where the processor can be told to, and what it can be told is a layer.
    FaultIfOffered,
}

/// What must hold with no filter.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Unfiltered {
    /// These layers stop it.
    By(&'static str),
    /// It comes to the same: the filter has no part in it.
    Same(&'static str),
    /// No second layer is named. Why that is bearable.
    Unnamed(&'static str),
}

use Arguments::{These, UpTo};
use Expect::{
    CpuLimit, Errno, Fault, FaultIfOffered, Held, NoMemory, NotBelieved, Nothing, Own, Sigsys,
};
use Unfiltered::{By, Same, Unnamed};

/// Stopped by the filter, and without it by `second`.
pub(crate) const fn stopped(
    id: &'static str,
    what: &'static str,
    (family, attempt): (char, u32),
    count: u32,
    unfiltered: Unfiltered,
) -> Row {
    let arguments = UpTo(count);
    Row { id, what, family, attempt, arguments, expected: Sigsys, unfiltered }
}

/// Comes to what is expected, with a filter and without.
pub(crate) const fn ends(
    id: &'static str,
    what: &'static str,
    (family, attempt): (char, u32),
    arguments: Arguments,
    (expected, by): (Expect, &'static str),
) -> Row {
    Row { id, what, family, attempt, arguments, expected, unfiltered: Same(by) }
}

const NO_PATHS: Unfiltered = By("empty root, Landlock");
const NO_FILES: Unfiltered = By("no descriptors");
const NO_CAPS: Unfiltered = By("no capability");
const NO_PROCESS: Unfiltered = By("process limit");
const PID_NS: Unfiltered = By("pid namespace, Landlock's scope");
const NO_TIME: Unfiltered = Unnamed("the time of day hides nothing");
const OWN_LIFE: Unfiltered = Unnamed("its own affair; the worker still kills it");
const BOUNDED: Unfiltered = Unnamed("a job that waits meets the wall limit");

/// Lengths that lie: nothing, the cap of a claim and of an output, one more, and powers of two.
const LENGTHS: Arguments =
    These(&[0, 4096, 4097, 16 << 20, (16 << 20) + 1, 1 << 31, u32::MAX - 1, u32::MAX]);

#[rustfmt::skip]
pub(crate) const ROWS: &[Row] = &[
    stopped("A01", "open /etc/shadow", ('a', 1), 1, NO_PATHS),
    stopped("A02", "open through a chain of ..", ('a', 2), 1, NO_PATHS),
    stopped("A03", "fchdir and openat on descriptors 0 to 1023", ('a', 3), 1, NO_FILES),
    stopped("A04", "open_by_handle_at of a disk's root", ('a', 4), 1, By("no capability")),
    stopped("A05", "create, mkdir, unlink, rename, mknod, links in /", ('a', 5), 7, By("read-only root, Landlock")),
    stopped("A06", "truncate the artifact, by path and descriptor", ('a', 6), 1, By("sealed memfd, no path")),
    stopped("A07", "chmod, chown, utimes, setxattr it and /", ('a', 7), 6, By("no path, read-only root")),
    stopped("A07d", "fchmod its descriptor", ('a', 12), 1, Unnamed("a mode means nothing to those who hold it open")),
    Row { arguments: These(&[1, 2, 3, 4]),
      ..stopped("A07e", "fchown, fsetxattr, pwrite, fallocate its descriptor", ('a', 12), 1, By("seals, no capability")) },
    ends("A08", "write through the artifact's mapping", ('a', 8), UpTo(1), (Fault, "read-only mapping")),
    stopped("A09", "make the artifact's mapping writable", ('a', 9), 1, By("mseal")).held(),
    stopped("A10", "/proc, /sys, /dev, the root, a canary", ('a', 10), 10, NO_PATHS),
    stopped("A11", "map the artifact shared and writable", ('a', 11), 1, By("seals")),
    stopped("A12", "read where a link points", ('a', 16), 1, NO_PATHS),
    stopped("A13", "execve /bin/sh", ('a', 13), 1, NO_PATHS),
    stopped("A14", "execveat of a memory file", ('a', 14), 1, NO_FILES),
    stopped("A15", "chroot, pivot_root, every mount call, remount", ('a', 15), 11, NO_CAPS),

    stopped("B01", "sockets of 48 families", ('b', 1), 1, NO_FILES),
    stopped("B02", "socketpair", ('b', 2), 1, NO_FILES),
    stopped("B02s", "send a descriptor to the worker", ('b', 12), 1, Unnamed("the worker takes no descriptor from a job")),
    stopped("B02r", "ask the worker for one", ('b', 13), 1, By("the worker sends none")),
    stopped("B03", "abstract socket", ('b', 3), 1, NO_FILES),
    stopped("B04", "loopback", ('b', 4), 1, NO_FILES),
    stopped("B04m", "a cloud's metadata address", ('b', 5), 1, NO_FILES),
    stopped("B04n", "netlink", ('b', 14), 4, NO_FILES),
    stopped("B04c", "connect the channel elsewhere", ('b', 17), 1, By("it is connected")),
    stopped("B05", "io_uring", ('b', 6), 1, NO_FILES),
    stopped("B05e", "io_uring_enter", ('b', 18), 1, NO_FILES),
    stopped("B06", "epoll", ('b', 7), 1, NO_FILES),
    stopped("B06i", "inotify, fanotify", ('b', 8), 1, NO_FILES),
    stopped("B06f", "fanotify", ('b', 16), 1, NO_FILES),
    stopped("B06s", "signalfd", ('b', 9), 1, NO_FILES),
    stopped("B06t", "timerfd", ('b', 10), 1, NO_FILES),
    stopped("B06e", "eventfd", ('b', 11), 1, NO_FILES),
    stopped("B06p", "pipe", ('b', 15), 1, NO_FILES),

    stopped("C01", "kill(-1)", ('c', 1), 1, PID_NS),
    stopped("C02", "signal every pid there can be", ('c', 2), 1, PID_NS),
    stopped("C03", "signal the worker's process group", ('c', 3), 1, By("a session of its own")),
    stopped("C04", "ptrace", ('c', 4), 1, PID_NS),
    stopped("C05", "process_vm_readv", ('c', 5), 1, PID_NS),
    stopped("C05w", "process_vm_writev", ('c', 6), 1, PID_NS),
    stopped("C06", "pidfd_open", ('c', 7), 1, PID_NS),
    stopped("C06g", "pidfd_getfd", ('c', 8), 4, NO_FILES),
    stopped("C06s", "pidfd_send_signal, process_madvise", ('c', 20), 2, NO_FILES),
    stopped("C06m", "process_madvise", ('c', 21), 2, NO_FILES),
    stopped("C07", "push keys into a terminal", ('c', 9), 1, By("no terminal")),
    stopped("C08", "undo the parent's death signal", ('c', 10), 1, OWN_LIFE),
    stopped("C08d", "become dumpable", ('c', 11), 1, OWN_LIFE),
    stopped("C08y", "let everybody trace it", ('c', 25), 1, OWN_LIFE),
    stopped("C09", "real-time scheduling", ('c', 12), 1, By("no capability, RLIMIT_RTPRIO")),
    stopped("C09n", "a better niceness", ('c', 13), 1, By("no capability, RLIMIT_NICE")),
    stopped("C10", "ignore a signal", ('c', 14), 1, OWN_LIFE),
    Row { unfiltered: Unnamed("the CPU limit, which no mask blocks"),
      ..stopped("C10b", "block every signal and loop", ('c', 15), 1, OWN_LIFE) },
    stopped("C11", "stop itself", ('c', 16), 1, By("the wall-clock limit")),
    stopped("C12", "the host by its number", ('c', 17), 1, PID_NS),
    stopped("C12t", "tgkill", ('c', 18), 1, PID_NS),
    stopped("C12q", "rt_sigqueueinfo", ('c', 19), 1, PID_NS),
    stopped("C12k", "kcmp, prlimit, getsid, migrate_pages of the host", ('c', 22), 1, PID_NS),
    stopped("C12l", "prlimit of the host", ('c', 23), 1, PID_NS),
    stopped("C12g", "getsid of the host", ('c', 24), 1, PID_NS),
    stopped("C12m", "migrate_pages of the host", ('c', 26), 1, PID_NS),

    stopped("D01", "unshare each namespace", ('d', 1), 8, By("no capability, no nested namespaces")),
    stopped("D02", "setns", ('d', 8), 0, NO_FILES).with(These(&[28, 29, 30])),
    stopped("D03", "clone into each namespace", ('d', 2), 8, NO_PROCESS),
    stopped("D03c", "clone3", ('d', 12), 1, NO_PROCESS),
    stopped("D03v", "vfork", ('d', 13), 1, NO_PROCESS),
    stopped("D04", "fork bomb", ('d', 3), 1, NO_PROCESS),
    stopped("D05", "thread bomb", ('d', 4), 1, NO_PROCESS),
    stopped("D06", "double-fork daemon", ('d', 5), 1, NO_PROCESS),
    stopped("D06p", "copy itself as a template does, by a guess at its pass", ('d', 22), 2, NO_PROCESS),
    stopped("D07", "become uid 0 in five ways", ('d', 6), 5, By("ids unmapped")),
    stopped("D08", "take every capability", ('d', 7), 1, NO_CAPS),
    stopped("D08q", "have any capability", ('d', 14), 1, NO_CAPS),
    stopped("D09", "keys: request, join", ('d', 8), 0, Unnamed("a keyring of its own")).with(These(&[0, 1, 2])),
    stopped("D10", "bpf, perf, userfaultfd, modules, kexec", ('d', 8), 0, NO_CAPS).with(These(&[3, 4, 5, 6, 7, 8, 9])),
    stopped("D11", "personality", ('d', 8), 0, OWN_LIFE).with(These(&[10])),
    stopped("D12", "memory files, message queues", ('d', 8), 0, NO_FILES).with(These(&[11, 13, 25])),
    stopped("D12i", "System V memory, queues, semaphores", ('d', 8), 0, Unnamed("an ipc namespace of its own, gone with the worker")).with(These(&[12, 14, 15])),
    stopped("D13", "reboot, swap, clock, ports, names, quota, log", ('d', 8), 0, NO_CAPS).with(These(&[16, 17, 18, 19, 20, 21, 22, 24, 27])),
    stopped("D13l", "the kernel's log", ('d', 8), 0, By("no capability")).with(These(&[23])),
    stopped("D13a", "adjtimex", ('d', 8), 0, Unnamed("reads only")).with(These(&[26])),
    stopped("D14", "a filter or ruleset of its own", ('d', 9), 0, Unnamed("filters and rulesets only add up")).with(These(&[0, 2])),
    stopped("D14o", "seccomp off, Landlock", ('d', 9), 0, By("the kernel has no way back")).with(These(&[1, 3])),
    stopped("D15", "int 0x80", ('d', 10), 1, Unnamed("the same kernel")),
    stopped("D16", "x32 numbers", ('d', 11), 1, Unnamed("the same kernel")),
    stopped("D17", "an argument's upper half", ('d', 16), 1, By("the kernel looks at the lower half")).open(),

    stopped("E01", "memory that is writable and executable", ('e', 1), 1, By("MDWE")),
    stopped("E02", "executable memory", ('e', 2), 1, Unnamed("pages of zeros that cannot be written")),
    stopped("E03", "make its memory executable", ('e', 3), 1, By("MDWE")),
    stopped("E03w", "the same, and writable", ('e', 4), 1, By("MDWE")),
    stopped("E03p", "by pkey_mprotect", ('e', 10), 1, By("MDWE")),
    stopped("E05", "unmap its text", ('e', 5), 1, By("mseal")).errno(),
    stopped("E05m", "map over its text", ('e', 6), 1, By("mseal")).errno(),
    stopped("E05r", "grow its text", ('e', 7), 1, By("mseal")).errno(),
    stopped("E05f", "move a page over its text", ('e', 11), 1, By("mseal")),
    stopped("E05d", "discard its text", ('e', 8), 1, By("what comes back is the same")).nothing(),
    stopped("E05o", "remap_file_pages over it", ('e', 12), 1, By("mseal")),
    stopped("E05s", "shared memory over it", ('e', 14), 1, By("mseal")),
    stopped("E06", "a call through the worker's own code", ('e', 9), 1, NO_PATHS),
    ends("E07", "run its data", ('e', 13), UpTo(1), (Fault, "no-execute pages")),
    stopped("E08", "segment bases", ('e', 15), 1, OWN_LIFE),
    stopped("E09", "a segment of its own", ('e', 16), 1, OWN_LIFE),

    ends("F01", "anonymous memory bomb", ('f', 1), UpTo(1), (NoMemory, "RLIMIT_DATA")),
    ends("F01r", "the same, never touched", ('f', 22), UpTo(1), (NoMemory, "RLIMIT_DATA")),
    ends("F01b", "by brk", ('f', 6), UpTo(1), (NoMemory, "RLIMIT_DATA")),
    ends("F01m", "by mremap", ('f', 7), UpTo(1), (NoMemory, "RLIMIT_DATA")),
    stopped("F02", "shared memory bomb", ('f', 2), 1, Unnamed("shared pages count only in a delegated cgroup")),
    stopped("F02h", "huge pages", ('f', 3), 1, By("none are set aside")),
    stopped("F02l", "locked pages", ('f', 4), 1, By("RLIMIT_MEMLOCK")),
    stopped("F02a", "lock everything", ('f', 8), 1, By("RLIMIT_MEMLOCK")),
    stopped("F02p", "populated pages", ('f', 5), 1, Unnamed("counted as any")),
    ends("F04", "native deep recursion", ('f', 9), UpTo(1), (Fault, "RLIMIT_STACK")),
    ends("F05", "endless loop", ('f', 10), UpTo(1), (CpuLimit, "CPU limit")),
    ends("F06", "endless loop, deaf by a forged rt_sigreturn", ('f', 11), UpTo(1), (CpuLimit, "CPU limit")),
    stopped("F07", "sleep, pause, futex, poll, wait", ('f', 12), 0, BOUNDED).with(These(&[0, 1, 2, 3, 4, 5, 7, 8])),
    ends("F07r", "read its channel", ('f', 12), These(&[6]), (Held, "the channel's end")),
    stopped("F07y", "yield", ('f', 12), 0, OWN_LIFE).with(These(&[9])),
    stopped("F10", "raise each of 16 limits", ('f', 13), 16, By("hard limits, no capability")),
    ends("F11", "dump core", ('f', 14), UpTo(1), (Fault, "RLIMIT_CORE, not dumpable")),
    stopped("F11a", "abort", ('f', 24), 1, By("a marker, or the signal")),
    stopped("F12", "dup", ('f', 15), 1, NO_FILES),
    stopped("F13", "write to every other descriptor", ('f', 16), 1, By("seals")),
    stopped("F14", "terminal escapes to the log", ('f', 23), 1, By("no such descriptor")).open(),
    ends("F14f", "a flood of log lines with escapes", ('f', 17), UpTo(1), (NotBelieved, "caps, escapes")),
    ends("F15", "exit 0 without a reply", ('f', 18), UpTo(1), (NotBelieved, "judge")),
    ends("F15n", "a good reply, then exit 7", ('f', 19), UpTo(1), (NotBelieved, "judge")),
    ends("F15c", "a good reply, then crash", ('f', 20), UpTo(1), (Fault, "judge")),
    ends("F15a", "ask to end without a reply", ('f', 25), UpTo(1), (NotBelieved, "judge")),
    ends("F15s", "a good reply, then ask to end with 7", ('f', 26), UpTo(1), (NotBelieved, "judge")),
    ends("F15h", "half a reply, then ask to end", ('f', 27), UpTo(1), (NotBelieved, "reply reader")),
    ends("F15l", "a good reply, then loop", ('f', 21), UpTo(1), (CpuLimit, "CPU limit")),

    ends("G01", "endless reply", ('g', 1), LENGTHS, (NotBelieved, "reply reader")),
    ends("G01b", "endless, byte by byte", ('g', 15), UpTo(1), (NotBelieved, "reply reader")),
    ends("G01z", "endless empty records", ('g', 16), UpTo(1), (NotBelieved, "reply reader")),
    ends("G02", "an output of a lying length", ('g', 2), LENGTHS, (NotBelieved, "reply reader")),
    ends("G02c", "a claim of a lying length", ('g', 3), LENGTHS, (NotBelieved, "reply reader")),
    ends("G02l", "a log line of a lying length", ('g', 4), LENGTHS, (NotBelieved, "reply reader")),
    ends("G03", "half a header, then exit", ('g', 5), UpTo(1), (NotBelieved, "reply reader")),
    ends("G03h", "half a header, then hold", ('g', 6), UpTo(1), (CpuLimit, "CPU limit")),
    ends("G03b", "half a body, then exit", ('g', 7), UpTo(1), (NotBelieved, "reply reader")),
    ends("G03o", "half a body, then hold", ('g', 8), UpTo(1), (CpuLimit, "CPU limit")),
    ends("G04", "no such record", ('g', 10), UpTo(1), (NotBelieved, "reply reader")),
    ends("G05", "two outputs", ('g', 11), UpTo(1), (NotBelieved, "reply reader")),
    ends("G05c", "two claims", ('g', 12), UpTo(1), (NotBelieved, "reply reader")),
    ends("G06", "forged claims, deep and huge encodings, bad text", ('g', 9), UpTo(16), (NotBelieved, "judge")),
    ends("G08", "on and on after the last word", ('g', 13), UpTo(1), (NotBelieved, "reply reader")),
    ends("G09", "a whole forged reply", ('g', 14), These(&[12]), (Own, "its own answer")),
    ends("G09l", "one as long as may be", ('g', 14), These(&[16 << 20]), (Own, "bounded decoder")),
    ends("G09o", "one byte more", ('g', 14), These(&[(16 << 20) + 1]), (NotBelieved, "reply reader")),

    ends("H01", "rdtsc, rdtscp, rdpmc", ('h', 1), UpTo(3), (Fault, "PR_SET_TSC")),
    ends("H02", "the kernel's clock page", ('h', 2), UpTo(1), (Held, "unmapped vdso")),
    stopped("H02c", "clocks, coarse and fine", ('h', 3), 12, NO_TIME),
    stopped("H02g", "gettimeofday", ('h', 4), 1, NO_TIME),
    stopped("H02t", "time", ('h', 5), 1, NO_TIME),
    stopped("H02s", "times", ('h', 6), 1, NO_TIME),
    stopped("H02u", "getrusage", ('h', 7), 1, NO_TIME),
    stopped("H02a", "alarm", ('h', 19), 1, NO_TIME),
    stopped("H02i", "a timer", ('h', 18), 1, NO_TIME),
    stopped("H03", "a thread as a clock", ('d', 4), 1, NO_PROCESS),
    ends("H04", "cpuid", ('h', 8), UpTo(1), (FaultIfOffered, "ARCH_SET_CPUID")),
    stopped("H06", "uname", ('h', 9), 1, Unnamed("the kernel's release")),
    stopped("H06n", "the machine's name", ('h', 22), 1, By("uts namespace")),
    stopped("H06s", "sysinfo", ('h', 10), 1, Unnamed("load and memory of the machine")),
    stopped("H06c", "getcpu", ('h', 11), 1, Unnamed("the number of a processor")),
    stopped("H06a", "affinity", ('h', 12), 1, Unnamed("the number of processors")),
    stopped("H06d", "the working directory", ('h', 17), 1, Unnamed("it is /")),
    stopped("H06u", "its own number, and its user's", ('h', 16), 1, Unnamed("they are 1 and nobody's")),
    stopped("H06v", "the user's number", ('h', 21), 1, Unnamed("it is nobody's")),
    stopped("H06r", "randomness", ('h', 15), 1, Unnamed("no host fact; not deterministic")),
    stopped("H06m", "what is in memory", ('h', 20), 1, Unnamed("its own pages")),
    ends("H07", "stack, auxv, argv and what they point to, for host facts", ('h', 13), UpTo(1), (Nothing, "exec with nothing")),
];

impl Row {
    pub(crate) const fn with(self, arguments: Arguments) -> Self {
        Row { arguments, ..self }
    }

    /// The filter allows the call, with other arguments or these; the kernel refuses it.
    const fn errno(self) -> Self {
        Row { expected: Errno, ..self }
    }

    /// The filter allows it, and it comes to nothing.
    const fn nothing(self) -> Self {
        Row { expected: Nothing, ..self }
    }

    /// By the filter or by another layer before it.
    const fn held(self) -> Self {
        Row { expected: Held, ..self }
    }

    /// Stopped by the filter alone.
    const fn open(self) -> Self {
        let by = match self.unfiltered {
            By(by) | Same(by) | Unnamed(by) => by,
        };
        Row { unfiltered: Unnamed(by), ..self }
    }

    /// One number for each case; for the first alone, if it is to be short.
    pub(crate) fn cases(&self, short: bool) -> Vec<u32> {
        let mut cases: Vec<_> = match self.arguments {
            UpTo(count) => (0..count).collect(),
            These(numbers) => numbers.to_vec(),
        };
        cases.truncate(if short { 1 } else { cases.len() });
        cases
    }
}
