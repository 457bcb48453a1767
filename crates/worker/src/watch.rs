//! A job seen from its worker: its reply, its limits, its death, and the evidence of all three.

use std::{
    io,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    time::{Duration, Instant},
};

use lazaret_sandbox::{
    fork::Child,
    watch::{self, CpuTimer, Ended},
};
use lazaret_wire::{
    evidence::{End, Evidence, Malformation, Output, Reply, Stop, Usage},
    reply::{Received, ReplyReader},
    work::Limits,
};
use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    net::{RecvFlags, recv},
};

/// Bytes taken from a job's channel at a time.
const PIECE_BYTES: usize = 64 * 1024;
/// How long what a job writes is left where it is. A short job has then ended, and one look finds both. One
/// that writes more than a socket holds waits as long.
const QUIET: Duration = Duration::from_millis(1);

/// A forked job and the worker's end of its channel.
pub(crate) struct Job {
    pub(crate) child: Child,
    pub(crate) channel: OwnedFd,
    /// Bytes that it said before it had its work, and that are still in the channel.
    pub(crate) announced: usize,
}

/// The clocks at the moment before a job is handed its work.
#[derive(Clone, Copy)]
pub(crate) struct Begin {
    wall: Instant,
    /// CPU time that the job had used by then.
    cpu: Duration,
}

impl Begin {
    pub(crate) fn now(job: &Job) -> Self {
        Self { wall: Instant::now(), cpu: watch::cpu_time(&job.child).unwrap_or_default() }
    }
}

/// What the host may do while a job runs.
pub(crate) enum HostSays {
    /// Nothing that matters.
    Nothing,
    /// It wants no answer any more.
    Withdraw,
}

/// What was seen of a job, output still apart.
pub(crate) struct Seen {
    pub(crate) evidence: Evidence,
    /// The output record, which the caller puts in the frame or in a memfd.
    pub(crate) output: Vec<u8>,
}

/// Watches a job that was just handed its work until it is reaped. `host` is asked whenever the
/// host's socket becomes readable; its error means that the host is gone.
pub(crate) fn until_reaped(
    job: Job,
    limits: &Limits,
    timer: &mut CpuTimer,
    begin: Begin,
    host: (BorrowedFd<'_>, &mut dyn FnMut() -> io::Result<HostSays>),
) -> io::Result<Seen> {
    let wall_limit = Duration::from_micros(limits.wall_micros);
    let mut stream = Stream::new(job.channel, job.announced, limits.output_bytes);
    let mut stop = None;
    let (host_socket, ask_host) = host;
    loop {
        let elapsed = begin.wall.elapsed();
        let left = wall_limit.saturating_sub(elapsed);
        let limit = match QUIET.saturating_sub(elapsed) {
            Duration::ZERO => {
                stream.is_heard = true;
                stop.is_none().then_some(left)
            }
            quiet => Some(quiet),
        };
        let ready = wait(&job.child, timer, host_socket, &stream, limit)?;
        if ready.stream {
            stream.read();
        }
        if ready.ended {
            break;
        }
        let must_stop = if let Err(what) = stream.reader {
            let too_long = what == Malformation::OutputTooLong;
            Some(if too_long { Stop::OutputLimit } else { Stop::Malformed })
        } else if ready.timer && timer.fired()? {
            Some(Stop::CpuLimit)
        } else if ready.host && matches!(ask_host()?, HostSays::Withdraw) {
            Some(Stop::Withdrawn)
        } else {
            left.is_zero().then_some(Stop::WallLimit)
        };
        if let (None, Some(reason)) = (stop, must_stop) {
            stop = Some(reason);
            watch::kill(&job.child)?;
        }
    }
    timer.disarm();
    // What the job wrote before it died is still in the socket.
    while stream.is_open {
        stream.read();
    }
    let wall = begin.wall.elapsed();
    let ended = watch::reap(job.child)?;
    Ok(seen(&ended, stop, stream.reader.map(ReplyReader::finish), begin.cpu, wall))
}

/// A job's reply, as far as it has come.
struct Stream {
    channel: OwnedFd,
    /// Bytes to come that are no part of it.
    before: usize,
    /// The piece taken last. On the heap and not cleared: the worker writes to as few pages as it
    /// can, because each is copied first as long as a job shares it.
    piece: Vec<u8>,
    /// What was wrong with it, once something was.
    reader: Result<ReplyReader, Malformation>,
    is_open: bool,
    /// Whether somebody waits for what comes.
    is_heard: bool,
}

impl Stream {
    fn new(channel: OwnedFd, before: usize, output_bytes_max: u32) -> Self {
        let piece = Vec::with_capacity(PIECE_BYTES);
        let reader = Ok(ReplyReader::new(output_bytes_max));
        Self { channel, before, piece, reader, is_open: true, is_heard: false }
    }

    /// Takes a piece of what is there. Closed at its end, when nothing is there, and at the first
    /// byte that belongs to no reply.
    fn read(&mut self) {
        self.piece.clear();
        let room = rustix::buffer::spare_capacity(&mut self.piece);
        // Nothing is there, or nothing will come any more.
        let _ = recv(&self.channel, room, RecvFlags::DONTWAIT);
        let Ok(reader) = &mut self.reader else { return self.is_open = false };
        let (before, reply) = self.piece.split_at(self.before.min(self.piece.len()));
        self.before -= before.len();
        match reader.push(reply) {
            Ok(()) => self.is_open = !self.piece.is_empty(),
            Err(what) => {
                self.reader = Err(what);
                self.is_open = false;
            }
        }
    }
}

/// Whether a job is there only to be reaped.
pub(crate) fn has_ended(job: &Job) -> bool {
    is_readable(job.child.as_fd())
}

/// Whether something can be read there now, of a pidfd that its process has ended.
pub(crate) fn is_readable(source: BorrowedFd<'_>) -> bool {
    poll(&mut [PollFd::new(&source, PollFlags::IN)], Some(&Timespec::default())) == Ok(1)
}

/// Ends a job that holds no work.
pub(crate) fn put_down(job: Job) -> io::Result<()> {
    watch::kill(&job.child)?;
    watch::reap(job.child).map(drop)
}

struct Ready {
    stream: bool,
    ended: bool,
    timer: bool,
    host: bool,
}

/// Sleeps until something is to be done; with a limit, no longer than that.
fn wait(
    child: &Child,
    timer: &CpuTimer,
    host: BorrowedFd<'_>,
    stream: &Stream,
    limit: Option<Duration>,
) -> io::Result<Ready> {
    let limit = limit.map(|limit| Timespec {
        tv_sec: limit.as_secs().min(i64::MAX as u64) as i64,
        tv_nsec: limit.subsec_nanos().into(),
    });
    let (child, timer) = (child.as_fd(), timer.as_fd());
    let mut sources = [
        PollFd::new(&child, PollFlags::IN),
        PollFd::new(&timer, PollFlags::IN),
        PollFd::new(&host, PollFlags::IN),
        PollFd::new(&stream.channel, PollFlags::IN),
    ];
    let is_watched = stream.is_open && stream.is_heard;
    let watched = if is_watched { 4 } else { 3 };
    match poll(&mut sources[..watched], limit.as_ref()) {
        Ok(_) | Err(rustix::io::Errno::INTR) => {}
        Err(errno) => return Err(errno.into()),
    }
    let is_ready = |source: &PollFd<'_>| !source.revents().is_empty();
    Ok(Ready {
        ended: is_ready(&sources[0]),
        timer: is_ready(&sources[1]),
        host: is_ready(&sources[2]),
        stream: is_watched && is_ready(&sources[3]),
    })
}

fn seen(
    ended: &Ended,
    stop: Option<Stop>,
    received: Result<Received, Malformation>,
    cpu_before: Duration,
    wall: Duration,
) -> Seen {
    let cpu = (ended.user + ended.system).saturating_sub(cpu_before);
    let usage = Usage {
        cpu_micros: micros(cpu),
        wall_micros: micros(wall),
        resident_bytes_peak: ended.resident_bytes_max,
        faults_minor: ended.minor_faults,
        faults_major: ended.major_faults,
    };
    let end = match ended.end {
        watch::End::Exited(status) => End::Exited(status),
        watch::End::Killed(signal) => End::Signaled(signal),
    };
    let mut evidence =
        Evidence { end, stop, reply: Reply::Silence, usage, log: Vec::new(), log_lines_dropped: 0 };
    let received = match received {
        Ok(received) => received,
        Err(what) => {
            evidence.reply = Reply::Malformed(what);
            return Seen { evidence, output: Vec::new() };
        }
    };
    evidence.log = received.log;
    evidence.log_lines_dropped = received.log_lines_dropped;
    match received.claim {
        Some(claim) => {
            evidence.reply = Reply::Whole { claim, output: Output::Inline(Vec::new()) };
        }
        None if received.partial => evidence.reply = Reply::Partial,
        None => {}
    }
    Seen { evidence, output: received.output }
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}
