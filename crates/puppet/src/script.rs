//! What a puppet is to do: names of files, taken away one by one.

use std::{fs, path::PathBuf, process::exit};

/// A misbehaviour, or none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Act {
    /// It does everything right.
    Good,
    /// It greets wrongly or not at all.
    Greeting(Greeting),
    /// It answers before it is asked.
    Early,
    /// It ends when there is work, without reading it.
    DeadUnread,
    /// It takes work and ends.
    DeadWithJob,
    /// It takes work and says nothing.
    Silent,
    /// It takes work and stops itself (SIGSTOP).
    Stopped,
    /// It says nothing until the work is withdrawn, then answers it.
    Slow,
    /// It takes work, and a withdrawal, and says nothing.
    DeafToWithdrawal,
    /// Bytes that do not decode.
    Garbled,
    /// A frame longer than any frame.
    Oversized,
    /// A frame of no bytes.
    Empty,
    /// The same answer twice.
    Double,
    /// One right answer, then that answer again to the next work.
    Stale,
    /// An answer to work that it was not sent.
    WrongNumber,
    /// It could not start a job.
    NotStarted,
    /// It speaks of a memfd and sends none.
    NothingAttached,
    /// Its memfd can still be written.
    Unsealed,
    /// What it sends is no memfd.
    NotAMemfd,
    /// More descriptors than a frame may have.
    TooMany,
    /// Its memfd is not as long as it says.
    OtherLength,
    /// More output than it was to take, in a memfd of 4 GiB that takes no memory.
    HugeOutput,
    /// Nothing wrong, and its output comes in a memfd.
    LargeOutput,
    /// Megabytes of log before the answer.
    Flood,
}

/// A wrong greeting.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Greeting {
    Dead,
    Silent,
    Stopped,
    Garbled,
    Truncated,
    Oversized,
    Empty,
    WrongVersion,
    OtherEngine,
    Broken,
    JailIncomplete,
}

const NAMES: &[(&str, Act)] = &[
    ("good", Act::Good),
    ("dead-before-hello", Act::Greeting(Greeting::Dead)),
    ("silent-hello", Act::Greeting(Greeting::Silent)),
    ("stopped-hello", Act::Greeting(Greeting::Stopped)),
    ("garbled-hello", Act::Greeting(Greeting::Garbled)),
    ("truncated-hello", Act::Greeting(Greeting::Truncated)),
    ("oversized-hello", Act::Greeting(Greeting::Oversized)),
    ("empty-hello", Act::Greeting(Greeting::Empty)),
    ("wrong-version", Act::Greeting(Greeting::WrongVersion)),
    ("other-engine", Act::Greeting(Greeting::OtherEngine)),
    ("broken", Act::Greeting(Greeting::Broken)),
    ("jail-incomplete", Act::Greeting(Greeting::JailIncomplete)),
    ("early", Act::Early),
    ("dead-unread", Act::DeadUnread),
    ("dead-with-job", Act::DeadWithJob),
    ("silent", Act::Silent),
    ("stopped", Act::Stopped),
    ("slow", Act::Slow),
    ("deaf-to-withdrawal", Act::DeafToWithdrawal),
    ("garbled", Act::Garbled),
    ("oversized", Act::Oversized),
    ("empty", Act::Empty),
    ("double", Act::Double),
    ("stale", Act::Stale),
    ("wrong-number", Act::WrongNumber),
    ("not-started", Act::NotStarted),
    ("nothing-attached", Act::NothingAttached),
    ("unsealed", Act::Unsealed),
    ("not-a-memfd", Act::NotAMemfd),
    ("too-many", Act::TooMany),
    ("other-length", Act::OtherLength),
    ("huge-output", Act::HugeOutput),
    ("large-output", Act::LargeOutput),
    ("flood", Act::Flood),
];

/// Takes this puppet's act: the first file in `execute/` or `prepare/` beside the program, named as
/// in `01-silent`. Two puppets never take the same one: only one of them can remove it.
pub(crate) fn take() -> Act {
    let Some(folder) = folder() else { exit(4) };
    let mut files: Vec<_> = fs::read_dir(folder).into_iter().flatten().flatten().collect();
    files.sort_by_key(fs::DirEntry::file_name);
    let Some(file) = files.into_iter().find(|file| fs::remove_file(file.path()).is_ok()) else {
        return Act::Good;
    };
    let file = file.file_name();
    let name = file.to_str().and_then(|name| name.split_once('-')).map(|(_, name)| name);
    match NAMES.iter().find(|(known, _)| Some(*known) == name) {
        Some((_, act)) => *act,
        None => exit(4),
    }
}

/// Tells the test that work is in hand, by a file `acting` beside the program.
pub(crate) fn say_acting() {
    let told = folder().map(|folder| fs::write(folder.with_file_name("acting"), ""));
    if !matches!(told, Some(Ok(()))) {
        exit(4);
    }
}

fn folder() -> Option<PathBuf> {
    let title = std::env::args().next()?;
    let role = if title.contains("prepare") { "prepare" } else { "execute" };
    Some(std::env::current_exe().ok()?.parent()?.join(role))
}
