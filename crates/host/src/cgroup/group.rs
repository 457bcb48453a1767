//! One control group as a directory: the few files of it that a host reads and writes (`cgroups(7)`
//! and the kernel's `admin-guide/cgroup-v2.rst`).

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Read, Write},
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    io::Errno,
};

/// No file of the kernel that is read here is longer, but for a list of processes, of which only
/// the first few matter.
const FILE_BYTES_MAX: u64 = 4096;
/// Levels of groups that a host makes below its own: a worker's, and the two in it.
const DEPTH_MAX: u32 = 2;

/// A call on a control group that failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Refusal {
    pub(crate) call: &'static str,
    pub(crate) errno: i32,
}

impl Refusal {
    /// `ENODEV` says that it is not there to be had, which every level of the jail forgives.
    pub(crate) fn absent(call: &'static str) -> Self {
        Self { call, errno: Errno::NODEV.raw_os_error() }
    }

    pub(crate) fn is_absence(self) -> bool {
        self.errno == Errno::NODEV.raw_os_error()
    }

    pub(super) fn is_busy(&self) -> bool {
        self.errno == Errno::BUSY.raw_os_error()
    }
}

/// Names the call that failed.
pub(super) trait During<T> {
    fn during(self, call: &'static str) -> Result<T, Refusal>;
}

impl<T> During<T> for io::Result<T> {
    fn during(self, call: &'static str) -> Result<T, Refusal> {
        self.map_err(|error| Refusal { call, errno: error.raw_os_error().unwrap_or(0) })
    }
}

/// A control group. A name for it: dropping it changes nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Group(PathBuf);

impl Group {
    pub(super) fn at(directory: PathBuf) -> Self {
        Self(directory)
    }

    pub(super) fn path(&self) -> &Path {
        &self.0
    }

    pub(super) fn file(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    /// Makes a group below this one.
    pub(super) fn make(&self, name: &str) -> io::Result<Self> {
        let below = self.file(name);
        fs::create_dir(&below).map(|()| Self(below))
    }

    pub(super) fn read(&self, name: &str) -> io::Result<String> {
        let mut text = String::new();
        File::open(self.file(name))?.take(FILE_BYTES_MAX).read_to_string(&mut text)?;
        Ok(text)
    }

    /// In one `write(2)`, as the kernel wants it. Never makes a file.
    pub(super) fn write(&self, name: &str, value: &str) -> io::Result<()> {
        OpenOptions::new().write(true).open(self.file(name))?.write_all(value.as_bytes())
    }

    /// Kills whatever is in the group and below it. Before Linux 5.14 there is no such file; then the
    /// deaths of host and workers have to do.
    pub(super) fn kill(&self) {
        let _ = self.write("cgroup.kill", "1");
    }

    /// Kills what is in it, and removes it with the groups below it. What is still not empty after
    /// `patience` stays.
    pub(super) fn remove(&self, patience: Duration) -> io::Result<()> {
        self.kill();
        unless_gone(self.wait_until_empty(patience))?;
        remove_below(&self.0, DEPTH_MAX)
    }

    /// `cgroup.events` is readable as urgent whenever it changes.
    fn wait_until_empty(&self, patience: Duration) -> io::Result<()> {
        let events = File::open(self.file("cgroup.events"))?;
        let began = Instant::now();
        loop {
            let mut text = [0; 256];
            let read = events.read_at(&mut text, 0)?;
            if String::from_utf8_lossy(&text[..read]).contains("populated 0") {
                return Ok(());
            }
            let left = patience.saturating_sub(began.elapsed());
            if left.is_zero() {
                return Err(io::ErrorKind::TimedOut.into());
            }
            let left =
                Timespec { tv_sec: left.as_secs() as i64, tv_nsec: left.subsec_nanos().into() };
            match poll(&mut [PollFd::new(&events, PollFlags::PRI)], Some(&left)) {
                Ok(_) | Err(Errno::INTR) => {}
                Err(errno) => return Err(errno.into()),
            }
        }
    }
}

fn remove_below(directory: &Path, depth: u32) -> io::Result<()> {
    let entries = if depth > 0 { unless_gone(fs::read_dir(directory).map(Some))? } else { None };
    for entry in entries.into_iter().flatten().flatten() {
        if entry.file_type()?.is_dir() {
            remove_below(&entry.path(), depth - 1)?;
        }
    }
    unless_gone(fs::remove_dir(directory))
}

/// The groups of a worker are removed with the worker and with the host, whichever comes first. A
/// file of a removed group that is still open answers ENODEV.
fn unless_gone<T: Default>(done: io::Result<T>) -> io::Result<T> {
    let gone = [Errno::NOENT, Errno::NODEV].map(|errno| Some(errno.raw_os_error()));
    match done {
        Err(error) if gone.contains(&error.raw_os_error()) => Ok(T::default()),
        done => done,
    }
}
