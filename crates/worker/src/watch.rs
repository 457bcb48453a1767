//! A job seen from its worker: its reply, its limits, its death, and the evidence of all three.

use std::{
    io,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    time::{Duration, Instant},
};

use lazaret_sandbox::{
    ends::{Asking, Ends},
    fork::Child,
    home::Home,
    watch::{self, CpuLimit, Ended},
};
use lazaret_wire::{
    evidence::{End, Evidence, Malformation, MemoryUsage, Output, Reply, Stop, Usage},
    reply::{Received, ReplyReader},
    work::Limits,
};
use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    net::{RecvFlags, recv},
};

use crate::placing::Spot;

/// Bytes taken from a job's channel at a time.
const PIECE_BYTES: usize = 64 * 1024;
/// How long what a job writes is left where it is. A short job has then ended, and one look finds both. One
/// that writes more than a socket holds waits as long.
pub(crate) const QUIET: Duration = Duration::from_millis(1);

/// A forked job and the worker's end of its channel.
pub(crate) struct Job {
    pub(crate) child: Child,
    pub(crate) channel: OwnedFd,
    /// Bytes that it said before it had its work, and that are still in the channel.
    pub(crate) announced: usize,
    /// Where it may run.
    pub(crate) spot: Spot,
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

/// A job that has ended but for what the kernel does at the end, and is to be let.
pub(crate) struct Leaving {
    pub(crate) child: Child,
    pub(crate) asking: Asking,
    /// What it used since it had its work.
    pub(crate) cpu: Duration,
    /// All that it said has been taken. To close it is for when nobody waits: the kernel looks for descriptors that nobody can
    /// receive any more whenever a socket is closed while one is under way, and wakes one of its workers for that.
    pub(crate) _channel: OwnedFd,
}

/// Watches a job that was just handed its work until it is reaped or, where `ends` are heard, asks to end. `host` is
/// asked whenever the host's socket becomes readable; its error means that the host is gone. A job that has not
/// ended soon `runs_long`, once, and meanwhile there is time for other things.
pub(crate) fn until_ended(
    job: Job,
    limits: &Limits,
    begin: Begin,
    host: (BorrowedFd<'_>, &mut dyn FnMut() -> io::Result<HostSays>),
    (ends, home): (Option<&Ends>, &Home),
    runs_long: &mut dyn FnMut(&Child) -> io::Result<()>,
) -> io::Result<(Seen, Option<Leaving>)> {
    let wall_limit = Duration::from_micros(limits.wall_micros);
    let cpu_limit = Duration::from_micros(limits.cpu_micros);
    let mut cpu_limit = CpuLimit::new(begin.wall, begin.cpu, cpu_limit);
    let mut stream = Stream::new(job.channel, job.announced, limits.output_bytes);
    let mut stop = None;
    let (host_socket, ask_host) = host;
    let asking = loop {
        let elapsed = begin.wall.elapsed();
        let left = wall_limit.saturating_sub(elapsed);
        let quiet = QUIET.saturating_sub(elapsed);
        if quiet.is_zero() && !stream.is_heard {
            stream.is_heard = true;
            runs_long(&job.child)?;
        }
        // One that is being killed is waited for as long as it takes.
        let until_limit = stop.is_none().then(|| left.min(cpu_limit.patience()));
        let until_heard = (!quiet.is_zero()).then_some(quiet);
        let patience = until_limit.into_iter().chain(until_heard).min();
        let ready = wait((&job.child, host_socket, ends), &stream, patience)?;
        if ready.stream {
            stream.read();
        }
        if ready.ended {
            break None;
        }
        if let Some(ends) = ends.filter(|_| ready.asked)
            && let Some(asking) = ends.next()?
        {
            match stop.is_none() && asking.is(&job.child) {
                true => break Some(asking),
                // Of a job that is being killed, or that was let already and interrupted.
                false => ends.let_go(asking),
            }
        }
        let must_stop = if let Err(what) = stream.reader {
            let too_long = what == Malformation::OutputTooLong;
            Some(if too_long { Stop::OutputLimit } else { Stop::Malformed })
        } else if stop.is_none() && cpu_limit.is_reached(&job.child, home)? {
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
    };
    // What the job wrote before it died is still in the socket.
    while stream.is_open {
        stream.read();
    }
    let wall_micros = micros(begin.wall.elapsed());
    let received = stream.reader.map(ReplyReader::finish);
    let Some(asking) = asking else {
        let ended = watch::reap(job.child)?;
        let cpu_micros = micros((ended.user + ended.system).saturating_sub(begin.cpu));
        let usage = Usage { cpu_micros, wall_micros, memory: Some(memory(&ended)) };
        return Ok((seen(ended.end, stop, received, usage), None));
    };
    let cpu = watch::cpu_time(&job.child)?.saturating_sub(begin.cpu);
    let usage = Usage { cpu_micros: micros(cpu), wall_micros, memory: None };
    let end = watch::End::Exited(asking.status());
    let leaving = Leaving { child: job.child, asking, cpu, _channel: stream.channel };
    Ok((seen(end, stop, received, usage), Some(leaving)))
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
pub(crate) fn has_ended(job: &Child) -> bool {
    is_readable(job.as_fd())
}

/// Whether something can be read there now, of a pidfd that its process has ended.
pub(crate) fn is_readable(source: BorrowedFd<'_>) -> bool {
    is_readable_within(source, &Timespec::default())
}

/// Whether something can be read in one of these places.
pub(crate) fn is_any_readable<'a>(sources: impl Iterator<Item = BorrowedFd<'a>>) -> bool {
    let watched = |source| PollFd::from_borrowed_fd(source, PollFlags::IN);
    let mut sources: Vec<_> = sources.map(watched).collect();
    poll(&mut sources, Some(&Timespec::default())).is_ok_and(|readable| readable > 0)
}

/// Whether something can be read there after this time, or as soon as it can be.
pub(crate) fn is_readable_within(source: BorrowedFd<'_>, time: &Timespec) -> bool {
    poll(&mut [PollFd::new(&source, PollFlags::IN)], Some(time)) == Ok(1)
}

/// Ends a job that holds no work.
pub(crate) fn put_down(job: Job) -> io::Result<()> {
    watch::kill(&job.child)?;
    watch::reap(job.child).map(drop)
}

/// Ends several, which end at the same time.
pub(crate) fn put_down_all(jobs: Vec<Job>) -> io::Result<()> {
    jobs.iter().try_for_each(|job| watch::kill(&job.child))?;
    jobs.into_iter().try_for_each(|job| watch::reap(job.child).map(drop))
}

struct Ready {
    stream: bool,
    ended: bool,
    asked: bool,
    host: bool,
}

/// Sleeps until something is to be done; with a limit, no longer than that.
fn wait(
    (child, host, ends): (&Child, BorrowedFd<'_>, Option<&Ends>),
    stream: &Stream,
    limit: Option<Duration>,
) -> io::Result<Ready> {
    let limit = limit.map(|limit| Timespec {
        tv_sec: limit.as_secs().min(i64::MAX as u64) as i64,
        tv_nsec: limit.subsec_nanos().into(),
    });
    let is_watched = stream.is_open && stream.is_heard;
    // Where nothing is watched the host stands again, of whom nothing is asked.
    let or_nothing = |source| match source {
        Some(source) => (source, PollFlags::IN),
        None => (host, PollFlags::empty()),
    };
    let mut sources = [
        (child.as_fd(), PollFlags::IN),
        (host, PollFlags::IN),
        or_nothing(ends.map(AsFd::as_fd)),
        or_nothing(is_watched.then_some(stream.channel.as_fd())),
    ]
    .map(|(source, events)| PollFd::from_borrowed_fd(source, events));
    match poll(&mut sources, limit.as_ref()) {
        Ok(_) | Err(rustix::io::Errno::INTR) => {}
        Err(errno) => return Err(errno.into()),
    }
    let [ended, host, asked, stream] = sources.map(|source| !source.revents().is_empty());
    Ok(Ready { ended, asked: asked && ends.is_some(), host, stream: stream && is_watched })
}

fn memory(ended: &Ended) -> MemoryUsage {
    MemoryUsage {
        resident_bytes_peak: ended.resident_bytes_max,
        faults_minor: ended.minor_faults,
        faults_major: ended.major_faults,
    }
}

fn seen(
    end: watch::End,
    stop: Option<Stop>,
    received: Result<Received, Malformation>,
    usage: Usage,
) -> Seen {
    let end = match end {
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
