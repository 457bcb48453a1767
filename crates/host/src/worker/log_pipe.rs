//! A worker's standard error: read line by line, capped, escaped, handed to `tracing`.

use std::{io, os::fd::OwnedFd};

use lazaret_wire::text::Text;
use tokio::{io::AsyncReadExt, net::unix::pipe};

/// The most bytes that are logged of one worker in its life; the rest is read and dropped.
const LOG_BYTES_MAX: usize = 256 * 1024;
/// The most bytes of one line.
const LINE_BYTES_MAX: usize = 1024;

/// Our end of a pipe, and the end that becomes the worker's descriptor 2.
pub(crate) fn pair() -> io::Result<(pipe::Receiver, OwnedFd)> {
    let (ours, theirs) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC)?;
    rustix::io::ioctl_fionbio(&ours, true)?;
    Ok((pipe::Receiver::from_owned_fd(ours)?, theirs))
}

/// Reads until the worker and all that it forked have closed their ends.
pub(crate) async fn relay(mut pipe: pipe::Receiver, worker_pid: u32) {
    let mut left = LOG_BYTES_MAX;
    let mut line = Vec::new();
    let mut piece = [0; LINE_BYTES_MAX];
    while let Ok(read @ 1..) = pipe.read(&mut piece).await {
        let kept = &piece[..read.min(left)];
        left -= kept.len();
        for &byte in kept {
            if byte == b'\n' || line.len() == LINE_BYTES_MAX {
                log(&line, worker_pid);
                line.clear();
            }
            if byte != b'\n' {
                line.push(byte);
            }
        }
    }
    if !line.is_empty() {
        log(&line, worker_pid);
    }
}

fn log(line: &[u8], worker_pid: u32) {
    tracing::warn!(target: "lazaret::worker", worker_pid, "{}", Text::from_guest(line));
}
