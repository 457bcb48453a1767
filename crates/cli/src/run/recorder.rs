//! Streams that remember what went through them, for bundles.

use std::{
    io,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard},
    task::{Context, Poll},
};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::bundle::ended::Digested;

/// Bytes of standard input that a bundle holds, at most.
const INPUT_BYTES_MAX: usize = 64 * 1024 * 1024;

/// What went through one stream so far.
#[derive(Clone, Debug, Default)]
pub(crate) struct Record(Arc<Mutex<Passed>>);

#[derive(Debug, Default)]
struct Passed {
    digest: blake3::Hasher,
    total: u64,
    kept: Vec<u8>,
    /// Of an input: whether its end was seen.
    ended: bool,
}

/// A stream that is recorded.
#[derive(Debug)]
pub(crate) struct Recorded<S> {
    stream: S,
    record: Record,
}

impl Record {
    /// What is read through the result is kept.
    pub(crate) fn of<S>(&self, stream: S) -> Recorded<S> {
        Recorded { stream, record: self.clone() }
    }

    /// The bytes that were read, and whether they are all that there were.
    pub(crate) fn input(&self) -> (Vec<u8>, bool) {
        let mut passed = self.passed();
        let is_whole = passed.ended && passed.total == passed.kept.len() as u64;
        (std::mem::take(&mut passed.kept), is_whole)
    }

    /// What was written, as it is compared.
    pub(crate) fn output(&self) -> Digested {
        let passed = self.passed();
        let blake3 = passed.digest.finalize().to_hex().to_string();
        Digested { bytes: passed.total, blake3 }
    }

    fn passed(&self) -> MutexGuard<'_, Passed> {
        self.0.lock().expect("no panic while locked")
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Recorded<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let polled = Pin::new(&mut self.stream).poll_read(context, buffer);
        if let Poll::Ready(Ok(())) = &polled {
            let mut passed = self.record.passed();
            let new = &buffer.filled()[before..];
            passed.total += new.len() as u64;
            passed.ended = new.is_empty();
            let room = INPUT_BYTES_MAX - passed.kept.len();
            passed.kept.extend_from_slice(&new[..new.len().min(room)]);
        }
        polled
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Recorded<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.stream).poll_write(context, bytes);
        if let Poll::Ready(Ok(written)) = &polled {
            let mut passed = self.record.passed();
            passed.digest.update(&bytes[..*written]);
            passed.total += *written as u64;
        }
        polled
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}
