//! A worker's standard error: read line by line, capped, escaped, handed to `tracing` with the id of the
//! request that the worker holds.
//!
//! Whose a line is the host knows and no worker says: what a worker wrote before its answer, or before it
//! died, is in the pipe when the host hears of either, and is read before the request changes.

use std::{
    io,
    os::fd::OwnedFd,
    sync::{Arc, Mutex, MutexGuard},
};

use lazaret_wire::text::Text;
use tokio::net::unix::pipe;

use crate::request::RequestId;

/// The most bytes that are logged of one worker in its life; the rest is read and dropped.
const LOG_BYTES_MAX: usize = 256 * 1024;
/// The most bytes of one line.
const LINE_BYTES_MAX: usize = 1024;
/// Pieces of a line's length that are read when the request changes: more than a pipe holds (pipe(7)),
/// so a worker that goes on writing holds nobody up.
const PIECES_MAX: usize = 128;

/// Our end of a worker's log. Cloning shares it.
#[derive(Clone)]
pub(super) struct Log {
    pipe: Arc<pipe::Receiver>,
    lines: Arc<Mutex<Lines>>,
}

/// What has come so far.
struct Lines {
    worker_pid: u32,
    /// Whose the next line is, if the worker holds work.
    request: Option<RequestId>,
    /// Bytes that may still be logged.
    left: usize,
    /// A line that has not ended.
    line: Vec<u8>,
}

/// Lines are a request's for as long as this is held.
pub(super) struct During<'a>(&'a Log);

/// Our end of a pipe, and the end that becomes the worker's descriptor 2.
pub(super) fn pair() -> io::Result<(pipe::Receiver, OwnedFd)> {
    let (ours, theirs) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC)?;
    rustix::io::ioctl_fionbio(&ours, true)?;
    Ok((pipe::Receiver::from_owned_fd(ours)?, theirs))
}

/// Reads in a task of its own, until the worker and all that it forked have closed their ends.
pub(super) fn relay(pipe: pipe::Receiver, worker_pid: u32) -> Log {
    let lines = Lines { worker_pid, request: None, left: LOG_BYTES_MAX, line: Vec::new() };
    let log = Log { pipe: Arc::new(pipe), lines: Arc::new(Mutex::new(lines)) };
    let relayed = log.clone();
    tokio::spawn(async move {
        while relayed.pipe.readable().await.is_ok() && relayed.read_ready() {}
        relayed.lines().end_line();
    });
    log
}

impl Log {
    /// Says whose the lines are from now on.
    pub(super) fn during(&self, request: Option<RequestId>) -> During<'_> {
        self.change_to(request);
        During(self)
    }

    /// Takes a piece, if one is there; false at the end.
    fn read_ready(&self) -> bool {
        let mut piece = [0; LINE_BYTES_MAX];
        // Locked first, or a piece could be read for one request and noted for the next.
        let mut lines = self.lines();
        match self.pipe.try_read(&mut piece) {
            Ok(0) => false,
            Ok(read) => {
                lines.push(&piece[..read]);
                true
            }
            Err(error) => error.kind() == io::ErrorKind::WouldBlock,
        }
    }

    fn change_to(&self, request: Option<RequestId>) {
        let mut piece = [0; LINE_BYTES_MAX];
        let mut lines = self.lines();
        for _ in 0..PIECES_MAX {
            // Not by tokio, which knows of what came only when it has looked.
            let Ok(read @ 1..) = rustix::io::read(&*self.pipe, &mut piece) else { break };
            lines.push(&piece[..read]);
        }
        lines.end_line();
        lines.request = request;
    }

    fn lines(&self) -> MutexGuard<'_, Lines> {
        self.lines.lock().expect("no panic while locked")
    }
}

impl Drop for During<'_> {
    fn drop(&mut self) {
        self.0.change_to(None);
    }
}

impl Lines {
    fn push(&mut self, bytes: &[u8]) {
        let kept = &bytes[..bytes.len().min(self.left)];
        self.left -= kept.len();
        for &byte in kept {
            if byte == b'\n' || self.line.len() == LINE_BYTES_MAX {
                self.log();
            }
            if byte != b'\n' {
                self.line.push(byte);
            }
        }
    }

    fn end_line(&mut self) {
        if !self.line.is_empty() {
            self.log();
        }
    }

    fn log(&mut self) {
        let (request, worker_pid) = (self.request, self.worker_pid);
        let text = Text::from_guest(&self.line);
        tracing::warn!(target: "lazaret::worker", request, worker_pid, "{text}");
        self.line.clear();
    }
}
