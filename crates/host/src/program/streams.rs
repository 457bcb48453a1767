//! The standard streams of a program: pipes between its job and whoever is outside.
//!
//! A job never holds a descriptor of the caller's. The host copies between the caller's ends and pipes of
//! its own, a bounded buffer at a time, and counts what is written: it is the host's count that ends a
//! job which passes its limit, whatever the job says.

use std::{
    fmt, io,
    os::fd::OwnedFd,
    pin::pin,
    sync::{Arc, Mutex},
};

use rustix::pipe::{PipeFlags, pipe_with};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::unix::pipe,
    sync::oneshot,
};

use crate::{Fault, request::Written};

/// Bytes that are copied at a time: what a pipe holds.
const PIECE_BYTES: usize = 64 * 1024;

type Reader = Box<dyn AsyncRead + Send + Unpin>;
type Writer = Box<dyn AsyncWrite + Send + Unpin>;

/// Streams of the caller's. Standard input that is not given is at its end, or has the bytes of the command;
/// what is written to an output that is not given is kept.
#[derive(Default)]
#[must_use]
pub struct Streams {
    stdin: Option<Reader>,
    stdout: Option<Writer>,
    stderr: Option<Writer>,
}

impl Streams {
    /// What the program reads.
    pub fn stdin(mut self, from: impl AsyncRead + Send + Unpin + 'static) -> Self {
        self.stdin = Some(Box::new(from));
        self
    }

    /// Where its standard output goes.
    pub fn stdout(mut self, to: impl AsyncWrite + Send + Unpin + 'static) -> Self {
        self.stdout = Some(Box::new(to));
        self
    }

    /// Where its standard error goes.
    pub fn stderr(mut self, to: impl AsyncWrite + Send + Unpin + 'static) -> Self {
        self.stderr = Some(Box::new(to));
        self
    }

    pub(super) fn has_stdin(&self) -> bool {
        self.stdin.is_some()
    }
}

impl fmt::Debug for Streams {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let given = [&self.stdin.is_some(), &self.stdout.is_some(), &self.stderr.is_some()];
        f.debug_tuple("Streams").field(&given).finish()
    }
}

/// What a program reads.
pub(crate) enum Source {
    Absent,
    Bytes(Arc<[u8]>),
    Live(Reader),
}

impl Source {
    pub(super) fn bytes(bytes: Vec<u8>) -> Self {
        Self::Bytes(bytes.into())
    }
}

/// The outer ends of a program's streams, from its first job to its last.
pub(crate) struct Outside {
    stdin: Source,
    stdout: Option<Writer>,
    stderr: Option<Writer>,
    bytes_max: u64,
    /// Whether anything went through an end of the caller's, so that it cannot begin anew.
    is_touched: bool,
}

impl fmt::Debug for Outside {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Outside").field("bytes_max", &self.bytes_max).finish_non_exhaustive()
    }
}

/// What came of the streams of one job.
#[derive(Debug)]
pub(crate) struct Relayed {
    pub(crate) written: Written,
    /// The limit, if it was passed.
    pub(crate) over_bytes: Option<u64>,
    /// An end of the caller's failed.
    pub(crate) failed: Option<Fault>,
    /// Whether another job may have the same streams.
    pub(crate) can_begin_anew: bool,
}

impl Default for Relayed {
    fn default() -> Self {
        Self { written: Written::default(), over_bytes: None, failed: None, can_begin_anew: true }
    }
}

/// Makes the pipes of one job, when there is a worker for it.
pub(crate) struct Pipes {
    feeds: bool,
    ours: oneshot::Sender<Ours>,
}

/// The host's ends.
struct Ours {
    stdin: Option<pipe::Sender>,
    stdout: pipe::Receiver,
    stderr: pipe::Receiver,
}

impl Pipes {
    /// The job's ends: standard input if it has one, standard output, standard error.
    pub(crate) fn open(self) -> io::Result<Vec<OwnedFd>> {
        let mut theirs = Vec::new();
        let pipe = || pipe_with(PipeFlags::CLOEXEC);
        let stdin = match self.feeds {
            true => {
                let (reads, writes) = pipe()?;
                theirs.push(reads);
                Some(pipe::Sender::from_owned_fd(writes)?)
            }
            false => None,
        };
        let (out, out_end) = pipe()?;
        let (err, err_end) = pipe()?;
        theirs.extend([out_end, err_end]);
        let stdout = pipe::Receiver::from_owned_fd(out)?;
        let stderr = pipe::Receiver::from_owned_fd(err)?;
        // Whoever relays is polled beside whoever asks; both are gone, or none.
        let _ = self.ours.send(Ours { stdin, stdout, stderr });
        Ok(theirs)
    }
}

impl Outside {
    pub(super) fn new(streams: Streams, stdin: Source, bytes_max: u64) -> Self {
        Self {
            stdin: streams.stdin.map_or(stdin, Source::Live),
            stdout: streams.stdout,
            stderr: streams.stderr,
            bytes_max,
            is_touched: false,
        }
    }

    /// Whether somebody is at the other end for whom a program may wait.
    pub(crate) fn is_live(&self) -> bool {
        matches!(self.stdin, Source::Live(_)) || self.stdout.is_some() || self.stderr.is_some()
    }

    /// The streams of one job: what relays them until the job has ended, what makes their pipes, and
    /// what says that the job must be ended before.
    pub(crate) fn relay(
        &mut self,
    ) -> (impl Future<Output = Relayed>, Pipes, oneshot::Receiver<()>) {
        let (ours, opened) = oneshot::channel();
        let (cut, must_end) = oneshot::channel();
        let pipes = Pipes { feeds: !matches!(self.stdin, Source::Absent), ours };
        let relay = async move {
            match opened.await {
                Ok(ours) => self.copy(ours, cut).await,
                // There was no job.
                Err(_) => Relayed { can_begin_anew: !self.is_touched, ..Relayed::default() },
            }
        };
        (relay, pipes, must_end)
    }

    async fn copy(&mut self, ours: Ours, cut: oneshot::Sender<()>) -> Relayed {
        let mut written = Written::default();
        let Self { stdin, stdout, stderr, bytes_max, .. } = self;
        let is_fed_by_caller = matches!(stdin, Source::Live(_));
        let cut = Mutex::new(Some(cut));
        let outputs = async {
            tokio::join!(
                telling(&cut, drain(ours.stdout, stdout.as_mut(), &mut written.stdout, *bytes_max)),
                telling(&cut, drain(ours.stderr, stderr.as_mut(), &mut written.stderr, *bytes_max)),
            )
        };
        // What is left to be read when the job has ended nobody reads.
        let mut fed = Ok(());
        let (out, err) = {
            let (mut outputs, mut feeding) = (pin!(outputs), pin!(feed(stdin, ours.stdin)));
            tokio::select! {
                outputs = &mut outputs => outputs,
                ended = &mut feeding => {
                    fed = ended;
                    outputs.await
                }
            }
        };
        self.is_touched |= is_fed_by_caller || out.passed_on || err.passed_on;
        let mut relayed =
            Relayed { can_begin_anew: !self.is_touched, written, ..Relayed::default() };
        let fault = |stream, source: io::Error| Fault::Stream { stream, source: source.into() };
        relayed.failed = fed.err().map(|error| fault("standard input", error));
        for (stream, drained) in [("standard output", out), ("standard error", err)] {
            match drained.end {
                End::Job => {}
                End::OverLimit => relayed.over_bytes = Some(self.bytes_max),
                End::Failed(error) => relayed.failed = Some(fault(stream, error)),
            }
        }
        relayed
    }
}

/// How copying an output went.
struct Drained {
    /// Whether any of it went to the caller.
    passed_on: bool,
    end: End,
}

/// How it ended.
enum End {
    /// With the job.
    Job,
    /// With a byte too many.
    OverLimit,
    /// The caller's end failed.
    Failed(io::Error),
}

/// Has the job ended if its output is no longer read.
async fn telling(
    cut: &Mutex<Option<oneshot::Sender<()>>>,
    drained: impl Future<Output = Drained>,
) -> Drained {
    let drained = drained.await;
    if !matches!(drained.end, End::Job) {
        // A job that has ended meanwhile hears nothing.
        let _ = cut.lock().expect("no panic while locked").take().map(|cut| cut.send(()));
    }
    drained
}

/// Copies what a job writes until it has ended.
async fn drain(
    mut from: pipe::Receiver,
    mut to: Option<&mut Writer>,
    kept: &mut Vec<u8>,
    bytes_max: u64,
) -> Drained {
    let (mut piece, mut left, mut passed_on) = (vec![0; PIECE_BYTES], bytes_max, false);
    loop {
        let taken = match from.read(&mut piece).await {
            // Reading a pipe of ours does not fail but for want of memory in the kernel.
            Ok(0) | Err(_) => return Drained { passed_on, end: End::Job },
            Ok(taken) => taken,
        };
        let allowed = taken.min(usize::try_from(left).unwrap_or(usize::MAX));
        match &mut to {
            None => kept.extend_from_slice(&piece[..allowed]),
            Some(to) => {
                passed_on |= allowed > 0;
                let hand_on = async {
                    to.write_all(&piece[..allowed]).await?;
                    to.flush().await
                };
                if let Err(error) = hand_on.await {
                    return Drained { passed_on, end: End::Failed(error) };
                }
            }
        }
        if allowed < taken {
            return Drained { passed_on, end: End::OverLimit };
        }
        left -= allowed as u64;
    }
}

/// Copies what a job reads until there is no more of it, or the job reads no more. The error is one of the
/// caller's end.
async fn feed(from: &mut Source, to: Option<pipe::Sender>) -> io::Result<()> {
    let Some(mut to) = to else { return Ok(()) };
    match from {
        Source::Absent => {}
        // A job need not read it all.
        Source::Bytes(bytes) => drop(to.write_all(bytes).await),
        Source::Live(from) => {
            let mut piece = vec![0; PIECE_BYTES];
            loop {
                let read = from.read(&mut piece).await?;
                if read == 0 || to.write_all(&piece[..read]).await.is_err() {
                    break;
                }
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};

    use super::*;

    /// Plays the job: what it does with its ends, and what the host says of them.
    async fn relayed(
        outside: &mut Outside,
        job: impl FnOnce(Vec<std::fs::File>) + Send + 'static,
    ) -> (Relayed, bool) {
        let (relay, pipes, mut must_end) = outside.relay();
        let ends = pipes.open().unwrap().into_iter().map(std::fs::File::from).collect();
        let job = tokio::task::spawn_blocking(move || job(ends));
        let (relayed, job) = tokio::join!(relay, job);
        job.unwrap();
        (relayed, must_end.try_recv().is_ok())
    }

    #[tokio::test]
    async fn bytes_go_in_and_come_out_and_can_do_so_again() {
        let stdin = Source::bytes(vec![7; 300_000]);
        let mut outside = Outside::new(Streams::default(), stdin, 1 << 20);
        for _ in 0..2 {
            let (relayed, must_end) = relayed(&mut outside, |mut ends| {
                let mut read = Vec::new();
                ends[0].read_to_end(&mut read).unwrap();
                ends[1].write_all(&read).unwrap();
                ends[2].write_all(b"error").unwrap();
            })
            .await;
            assert_eq!((relayed.written.stdout.len(), must_end), (300_000, false));
            assert_eq!(relayed.written.stderr, b"error");
            assert!(relayed.can_begin_anew && relayed.over_bytes.is_none());
        }
    }

    /// A job that was taken over counts nothing.
    #[tokio::test]
    async fn a_job_that_writes_a_byte_too_many_is_cut_short_by_the_hosts_own_count() {
        let mut outside = Outside::new(Streams::default(), Source::Absent, 100_000);
        let (relayed, must_end) =
            relayed(&mut outside, |mut ends| while ends[0].write_all(&[1; 1000]).is_ok() {}).await;
        assert_eq!((relayed.over_bytes, must_end), (Some(100_000), true));
        assert_eq!(relayed.written.stdout.len(), 100_000);
        let (relayed, must_end) =
            self::relayed(&mut outside, |mut ends| ends[1].write_all(&[1; 100_000]).unwrap()).await;
        assert_eq!((relayed.over_bytes, must_end), (None, false));
    }

    #[tokio::test]
    async fn what_went_through_an_end_of_the_callers_cannot_begin_anew() {
        let streams = Streams::default().stdout(tokio::io::sink());
        let mut outside = Outside::new(streams, Source::Absent, 10);
        assert!(outside.is_live());
        let (relayed, _) = relayed(&mut outside, drop).await;
        assert!(relayed.can_begin_anew, "nothing was written");
        let (relayed, _) =
            self::relayed(&mut outside, |mut ends| ends[0].write_all(b"x").unwrap()).await;
        assert!(!relayed.can_begin_anew);
    }

    #[tokio::test]
    async fn an_end_of_the_callers_that_fails_is_a_fault_and_ends_the_job() {
        let (ours, theirs) = tokio::io::duplex(1);
        drop(theirs);
        let mut outside = Outside::new(Streams::default().stdout(ours), Source::Absent, 1 << 20);
        let (relayed, must_end) =
            relayed(&mut outside, |mut ends| while ends[0].write_all(&[1; 1000]).is_ok() {}).await;
        assert!(must_end);
        assert!(matches!(relayed.failed, Some(Fault::Stream { stream: "standard output", .. })));
    }

    #[tokio::test]
    async fn a_job_that_reads_nothing_keeps_nobody_waiting() {
        let (ours, _theirs) = tokio::io::duplex(1);
        let mut outside = Outside::new(Streams::default().stdin(ours), Source::Absent, 10);
        let (relayed, must_end) = relayed(&mut outside, drop).await;
        assert!(!must_end && relayed.failed.is_none());
    }
}
