//! What a store holds for WASI: the world of one program, as it is by now.

use rand_chacha::ChaCha12Rng;
use rand_chacha::rand_core::{RngCore as _, SeedableRng as _};

use super::abi::Errno;
use super::descriptors::{Descriptors, Place};
use super::volume::Volume;
use super::world::{Clock, ClockId, Contents, Nowhere, Outside, Random, World};

/// The world of one program.
pub(crate) struct Context {
    pub(crate) args: Vec<Vec<u8>>,
    /// `name=value`.
    pub(crate) env: Vec<Vec<u8>>,
    pub(crate) descriptors: Descriptors,
    pub(crate) volumes: Vec<Volume>,
    pub(crate) outside: Box<dyn Outside>,
    clock: Clock,
    /// What readings and sleeps have added to the clock.
    advanced_ns: u64,
    random: Generator,
}

enum Generator {
    /// Made when it is first asked.
    Seed(u64),
    Seeded(Box<ChaCha12Rng>),
    Outside,
}

impl Context {
    /// Streams that lead nowhere, and nothing else.
    pub(crate) fn empty() -> Self {
        Self::new(World::new(Box::new(Nowhere)))
    }

    pub(crate) fn new(world: World) -> Self {
        let mut env = Vec::with_capacity(world.env.len());
        for (name, value) in world.env {
            env.push([&name[..], b"=", &value].concat());
        }
        let mut this = Self {
            args: world.args,
            env,
            descriptors: Descriptors::standard(),
            volumes: Vec::with_capacity(world.mounts.len()),
            outside: world.outside,
            clock: world.clock,
            advanced_ns: 0,
            random: match world.random {
                Random::Seeded(seed) => Generator::Seed(seed),
                Random::Outside => Generator::Outside,
            },
        };
        for mount in world.mounts {
            let mut volume = match mount.contents {
                Contents::Image(tree) => tree.into_volume(),
                Contents::Private { bytes_max } => Volume::private(bytes_max, this.stamp(0)),
            };
            this.descriptors.mount(this.volumes.len(), &mut volume, mount.path);
            this.volumes.push(volume);
        }
        this
    }

    /// Reads a clock, which advances it where it is a counted one. What the program worked counts too.
    pub(crate) fn read_clock(&mut self, clock: ClockId, worked_ns: u64) -> u64 {
        if let Clock::Counted { step_ns, .. } = self.clock {
            self.sleep(step_ns);
        }
        self.show_clock(clock, worked_ns)
    }

    /// What a clock shows, without a reading counted.
    fn show_clock(&mut self, clock: ClockId, worked_ns: u64) -> u64 {
        let since = match self.clock {
            Clock::Outside => self.outside.now(clock),
            Clock::Counted { start_ns, .. } if clock == ClockId::RealTime => {
                start_ns.saturating_add(worked_ns)
            }
            Clock::Counted { .. } => worked_ns,
        };
        since.saturating_add(self.advanced_ns)
    }

    /// The time that a change of a file is stamped with.
    pub(crate) fn stamp(&mut self, worked_ns: u64) -> u64 {
        self.show_clock(ClockId::RealTime, worked_ns)
    }

    /// The clock jumps ahead; nobody waits.
    pub(crate) fn sleep(&mut self, ns: u64) {
        self.advanced_ns = self.advanced_ns.saturating_add(ns);
    }

    /// Nanoseconds between what a clock can show.
    pub(crate) fn clock_resolution(&self) -> u64 {
        match self.clock {
            Clock::Counted { step_ns, .. } => step_ns.max(1),
            Clock::Outside => 1,
        }
    }

    pub(crate) fn fill_random(&mut self, buffer: &mut [u8]) {
        if let Generator::Seed(seed) = self.random {
            self.random = Generator::Seeded(Box::new(ChaCha12Rng::seed_from_u64(seed)));
        }
        match &mut self.random {
            Generator::Seeded(generator) => generator.fill_bytes(buffer),
            Generator::Outside | Generator::Seed(_) => self.outside.random(buffer),
        }
    }

    pub(crate) fn volume(&mut self, place: Place) -> Result<&mut Volume, Errno> {
        self.volumes.get_mut(place.volume).ok_or(Errno::BadDescriptor)
    }

    /// Closes what a descriptor held.
    pub(crate) fn let_go(&mut self, place: Option<Place>) {
        if let Some(place) = place
            && let Ok(volume) = self.volume(place)
        {
            volume.let_go(place.node);
        }
    }
}

/// Runs the generator once, so that it looks at the CPU before a job is confined.
pub(crate) fn warm_up() {
    std::hint::black_box(ChaCha12Rng::seed_from_u64(0).next_u32());
}
