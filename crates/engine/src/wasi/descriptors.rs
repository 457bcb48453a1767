//! The table of descriptors of a program.

use super::abi::{Errno, FileType, rights};
use super::volume::{NodeId, ROOT, Volume};
use super::world::Stream;

/// Descriptors that are open at a time.
pub(crate) const DESCRIPTORS_MAX: usize = 1024;

/// A node, and the volume that it is in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) volume: usize,
    pub(crate) node: NodeId,
}

/// An open descriptor.
#[derive(Clone, Debug)]
pub(crate) struct Descriptor {
    pub(crate) kind: Kind,
    pub(crate) rights: u64,
    pub(crate) inheriting: u64,
    pub(crate) flags: u32,
}

/// What it is a descriptor of.
#[derive(Clone, Debug)]
pub(crate) enum Kind {
    Input,
    Output(Stream),
    Directory {
        place: Place,
        /// Where the program finds it, if it was there from the start.
        mounted_at: Option<Vec<u8>>,
    },
    File {
        place: Place,
        position: u64,
    },
}

impl Descriptor {
    pub(crate) fn file_type(&self) -> FileType {
        match self.kind {
            Kind::Input | Kind::Output(_) => FileType::Unknown,
            Kind::Directory { .. } => FileType::Directory,
            Kind::File { .. } => FileType::Regular,
        }
    }

    /// The node that it holds.
    pub(crate) fn place(&self) -> Option<Place> {
        match self.kind {
            Kind::Directory { place, .. } | Kind::File { place, .. } => Some(place),
            Kind::Input | Kind::Output(_) => None,
        }
    }
}

/// Descriptors by number.
#[derive(Default)]
pub(crate) struct Descriptors(Vec<Option<Descriptor>>);

impl Descriptors {
    /// The standard streams.
    pub(crate) fn standard() -> Self {
        let stream = |kind, right| {
            let rights = rights::STREAM | right;
            Some(Descriptor { kind, rights, inheriting: 0, flags: 0 })
        };
        Self(vec![
            stream(Kind::Input, rights::FD_READ),
            stream(Kind::Output(Stream::Out), rights::FD_WRITE),
            stream(Kind::Output(Stream::Err), rights::FD_WRITE),
        ])
    }

    /// Adds a directory that is there from the start.
    pub(crate) fn mount(&mut self, number: usize, volume: &mut Volume, path: Vec<u8>) {
        let place = Place { volume: number, node: ROOT };
        let (base, inheriting) = match volume.is_writable() {
            true => (rights::DIRECTORY, rights::DIRECTORY | rights::FILE),
            false => (rights::DIRECTORY_READ, rights::DIRECTORY_READ | rights::FILE_READ),
        };
        // The root is always there.
        let _ = volume.hold(ROOT);
        let kind = Kind::Directory { place, mounted_at: Some(path) };
        self.0.push(Some(Descriptor { kind, rights: base, inheriting, flags: 0 }));
    }

    pub(crate) fn get(&self, number: u32) -> Result<&Descriptor, Errno> {
        self.0.get(number as usize).and_then(Option::as_ref).ok_or(Errno::BadDescriptor)
    }

    pub(crate) fn get_mut(&mut self, number: u32) -> Result<&mut Descriptor, Errno> {
        self.0.get_mut(number as usize).and_then(Option::as_mut).ok_or(Errno::BadDescriptor)
    }

    /// The descriptor, if it has these rights.
    pub(crate) fn with(&self, number: u32, needed: u64) -> Result<&Descriptor, Errno> {
        let descriptor = self.get(number)?;
        if descriptor.rights & needed == needed { Ok(descriptor) } else { Err(Errno::NotCapable) }
    }

    /// The directory, if it has these rights.
    pub(crate) fn directory(&self, number: u32, needed: u64) -> Result<Place, Errno> {
        match self.get(number)?.kind {
            Kind::Directory { .. } => {}
            _ => return Err(Errno::NotDirectory),
        }
        self.with(number, needed)?.place().ok_or(Errno::NotDirectory)
    }

    /// The file, if it has these rights.
    pub(crate) fn file(&self, number: u32, needed: u64) -> Result<(Place, u64), Errno> {
        match self.with(number, needed)?.kind {
            Kind::File { place, position } => Ok((place, position)),
            Kind::Directory { .. } => Err(Errno::IsDirectory),
            Kind::Input | Kind::Output(_) => Err(Errno::Seek),
        }
    }

    pub(crate) fn set_position(&mut self, number: u32, to: u64) {
        if let Ok(Descriptor { kind: Kind::File { position, .. }, .. }) = self.get_mut(number) {
            *position = to;
        }
    }

    /// Adds a descriptor under the lowest free number.
    pub(crate) fn add(&mut self, descriptor: Descriptor) -> Result<u32, Errno> {
        let number = match self.0.iter().position(Option::is_none) {
            Some(free) => free,
            None if self.0.len() < DESCRIPTORS_MAX => {
                self.0.push(None);
                self.0.len() - 1
            }
            None => return Err(Errno::TooManyDescriptors),
        };
        self.0[number] = Some(descriptor);
        Ok(number as u32)
    }

    /// Takes a descriptor out.
    pub(crate) fn remove(&mut self, number: u32) -> Result<Descriptor, Errno> {
        self.0.get_mut(number as usize).and_then(Option::take).ok_or(Errno::BadDescriptor)
    }

    /// Puts a descriptor in another's place, which is returned.
    pub(crate) fn replace(&mut self, from: u32, to: u32) -> Result<Option<Descriptor>, Errno> {
        self.get(to)?;
        if from == to {
            self.get(from)?;
            return Ok(None);
        }
        let moved = self.remove(from)?;
        Ok(self.0[to as usize].replace(moved))
    }
}
