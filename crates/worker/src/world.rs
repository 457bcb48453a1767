//! What a WASI program is given: arguments, files out of its image, streams that are pipes.
//!
//! Made behind the last doors: an image may come from somebody whom nobody trusts.

use std::{os::fd::AsFd, rc::Rc};

use lazaret_engine::wasi::{
    Clock, ClockId, Contents, Mount, Outside, Random, Stream, Tree, World, WriteError,
};
use lazaret_sandbox::{
    job::{self, Streams},
    memfd::Mapped,
};
use lazaret_wire::{
    image::{Node, Reader},
    program::{self, WasiCall, WasiStart},
    text::Text,
};
use rand_chacha::{
    ChaCha12Rng,
    rand_core::{RngCore, SeedableRng},
};

/// Where a program's own writable area is.
const TMP: &[u8] = b"/tmp";

/// The world of one run, or what is wrong with what it was handed.
pub(crate) fn new(
    call: &WasiCall,
    start: &[u8],
    image: Option<Mapped>,
    streams: Streams,
) -> Result<World, Text> {
    let start = WasiStart::decode(start).ok_or("its arguments and environment do not decode")?;
    let mut mounts = mounts(start.mounts, image)?;
    if call.tmp_bytes_max > 0 {
        let contents = Contents::Private { bytes_max: call.tmp_bytes_max };
        mounts.push(Mount { path: TMP.to_vec(), contents });
    }
    let left = [call.stream_bytes_max; 2];
    let drawn = match call.random {
        program::Random::Seeded(_) => None,
        program::Random::Drawn(bytes) => Some(ChaCha12Rng::from_seed(bytes)),
    };
    let outside = Pipes { streams, bytes_max: call.stream_bytes_max, left, drawn };
    Ok(World {
        args: start.arguments,
        env: start.environment,
        mounts,
        clock: match call.clock {
            program::Clock::Fixed => Clock::DEFAULT,
            program::Clock::Real => Clock::Outside,
        },
        random: match call.random {
            program::Random::Seeded(seed) => Random::Seeded(seed),
            program::Random::Drawn(_) => Random::Outside,
        },
        outside: Box::new(outside),
    })
}

/// Bytes that trees share.
struct Shared(Mapped);

impl AsRef<[u8]> for Shared {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

/// The directories of an image, each a tree of its own.
fn mounts(paths: Vec<Vec<u8>>, image: Option<Mapped>) -> Result<Vec<Mount>, Text> {
    let Some(image) = image else { return Ok(Vec::new()) };
    let bytes: Rc<dyn AsRef<[u8]>> = Rc::new(Shared(image));
    let mut trees: Vec<_> = paths.iter().map(|_| Tree::new(bytes.clone())).collect();
    let wrong = |error: &dyn std::fmt::Display| Text::from(format!("its image: {error}"));
    for entry in Reader::new((*bytes).as_ref()).map_err(|error| wrong(&error))? {
        let entry = entry.map_err(|error| wrong(&error))?;
        let mut parts = entry.path.splitn(2, |byte| *byte == b'/');
        let root = parts.next().and_then(|name| std::str::from_utf8(name).ok()?.parse().ok());
        let tree = root.and_then(|index: usize| trees.get_mut(index));
        let tree = tree.ok_or("its image has a directory that nobody named")?;
        // The root of a tree is there already.
        let Some(path) = parts.next() else { continue };
        match entry.node {
            Node::Directory => tree.directory(path),
            Node::File(range) => tree.file(path, range),
            Node::Link(target) => tree.link(path, target),
        }
        .map_err(|error| wrong(&error))?;
    }
    let mounts = paths.into_iter().zip(trees);
    Ok(mounts.map(|(path, tree)| Mount { path, contents: Contents::Image(tree) }).collect())
}

/// The program's pipes to the host.
struct Pipes {
    streams: Streams,
    bytes_max: u64,
    /// What may still be written to each.
    left: [u64; 2],
    /// Randomness made of what was drawn, if it was.
    drawn: Option<ChaCha12Rng>,
}

impl Outside for Pipes {
    fn read(&mut self, buffer: &mut [u8]) -> usize {
        let Some(stdin) = &self.streams.stdin else { return 0 };
        rustix::io::retry_on_intr(|| rustix::io::read(stdin, &mut *buffer)).unwrap_or(0)
    }

    fn write(&mut self, stream: Stream, bytes: &[u8]) -> Result<(), WriteError> {
        let (index, pipe) = match stream {
            Stream::Out => (0, self.streams.stdout.as_fd()),
            Stream::Err => (1, self.streams.stderr.as_fd()),
        };
        let room = usize::try_from(self.left[index]).unwrap_or(usize::MAX);
        // What there is room for is written, so that where it ends is the same at every run.
        let mut rest = &bytes[..bytes.len().min(room)];
        self.left[index] -= rest.len() as u64;
        while !rest.is_empty() {
            let written = rustix::io::retry_on_intr(|| rustix::io::write(pipe, rest));
            rest = &rest[written.map_err(|_| WriteError::Closed)?..];
        }
        match bytes.len() > room {
            true => Err(WriteError::Limit { bytes_max: self.bytes_max }),
            false => Ok(()),
        }
    }

    fn now(&mut self, clock: ClockId) -> u64 {
        let time = match clock {
            ClockId::RealTime => job::time_of_day(),
            ClockId::Monotonic => job::stopwatch(),
        };
        u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
    }

    fn random(&mut self, buffer: &mut [u8]) {
        if let Some(drawn) = &mut self.drawn {
            drawn.fill_bytes(buffer);
        }
    }
}
