//! Directories of this machine, packed for a program.

use std::{
    fs::{self, File},
    io::{self, BufWriter, Write},
    os::unix::ffi::OsStrExt,
    path::{Path, PathBuf},
    sync::Arc,
};

use lazaret_wire::{
    image::{WriteError, Writer},
    program::{IMAGE_BYTES_MAX, MOUNTS_MAX},
};

use crate::blob::{self, Blob};

/// How deep directories may be nested.
const DEPTH_MAX: usize = 128;

/// Files for programs, as they were when the image was made. A program can read them and nothing else of
/// this machine. Cloning shares it.
#[derive(Clone, Debug)]
pub struct Image {
    pub(super) blob: Blob,
    /// Where the program finds each directory.
    pub(super) mounts: Vec<Vec<u8>>,
}

/// Why there is no image.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ImageError {
    /// Something cannot be read.
    #[error("cannot pack {}", path.display())]
    Read {
        /// What.
        path: PathBuf,
        /// Why.
        #[source]
        source: Arc<io::Error>,
    },
    /// Something has a name that no program could say, or there are too many of them.
    #[error("cannot pack {}", path.display())]
    Entry {
        /// What.
        path: PathBuf,
        /// Why.
        #[source]
        source: Arc<WriteError>,
    },
    /// There is no room for so much.
    #[error("the directories have more than {IMAGE_BYTES_MAX} bytes")]
    TooLarge,
    /// There are too many directories.
    #[error("there are more than {MOUNTS_MAX} directories")]
    TooMany,
    /// Directories are nested too deeply.
    #[error("{} is nested more than {DEPTH_MAX} directories deep", path.display())]
    TooDeep {
        /// The directory.
        path: PathBuf,
    },
    /// No memory for it (memfd_create(2)).
    #[error("cannot hold the image")]
    Memory(#[source] Arc<io::Error>),
}

impl Image {
    /// Copies directories of this machine, each to be found at a path by the program. Symbolic links are
    /// packed as they are, and lead nowhere outside; what is neither file, directory nor link is left
    /// out. Blocks while it reads.
    pub fn pack(directories: &[(PathBuf, Vec<u8>)]) -> Result<Self, ImageError> {
        if directories.len() > MOUNTS_MAX {
            return Err(ImageError::TooMany);
        }
        let memory = |error: io::Error| ImageError::Memory(error.into());
        let file = File::from(blob::create().map_err(memory)?);
        let to = Counted { to: BufWriter::new(file), left: IMAGE_BYTES_MAX };
        let mut writer = Writer::new(to).map_err(|error| failed(Path::new("/"), error))?;
        for (index, (directory, _)) in directories.iter().enumerate() {
            let name = index.to_string().into_bytes();
            writer.directory(&name).map_err(|error| failed(directory, error))?;
            pack(&mut writer, directory, &name, 0)?;
        }
        let end = writer.finish().map_err(|error| failed(Path::new("/"), error))?;
        let file = end.to.into_inner().map_err(|error| memory(error.into_error()))?;
        let blob = Blob::seal(file.into()).map_err(memory)?;
        let mounts = directories.iter().map(|(_, guest)| guest.clone()).collect();
        Ok(Self { blob, mounts })
    }

    /// Bytes of it.
    pub fn len(&self) -> u64 {
        self.blob.len()
    }

    /// Never: it has a beginning and an end.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// A copy of it, as jobs are given it: the format is that of `lazaret_wire::image`.
    pub fn to_bytes(&self) -> io::Result<Vec<u8>> {
        self.blob.to_vec()
    }

    /// From such a copy. It is not looked at here: who brings it need not be trusted.
    pub fn from_bytes(bytes: &[u8], mounts: Vec<Vec<u8>>) -> Result<Self, ImageError> {
        let blob = Blob::from_parts(&[bytes]).map_err(|error| ImageError::Memory(error.into()))?;
        Ok(Self { blob, mounts })
    }

    /// Where a program finds each of its directories.
    pub fn mounts(&self) -> &[Vec<u8>] {
        &self.mounts
    }
}

fn pack(
    writer: &mut Writer<Counted>,
    directory: &Path,
    packed_as: &[u8],
    depth: usize,
) -> Result<(), ImageError> {
    if depth > DEPTH_MAX {
        return Err(ImageError::TooDeep { path: directory.to_owned() });
    }
    let unreadable = |path: &Path, source: io::Error| ImageError::Read {
        path: path.to_owned(),
        source: source.into(),
    };
    let listed = fs::read_dir(directory).and_then(|entries| {
        entries.map(|entry| entry.map(|entry| entry.file_name())).collect::<io::Result<Vec<_>>>()
    });
    let mut names = listed.map_err(|error| unreadable(directory, error))?;
    // The order in which a file system lists is its own.
    names.sort();
    for name in names {
        let path = directory.join(&name);
        let inside = [packed_as, b"/", name.as_bytes()].concat();
        let facts = fs::symlink_metadata(&path).map_err(|error| unreadable(&path, error))?;
        if facts.is_dir() {
            writer.directory(&inside).map_err(|error| failed(&path, error))?;
            pack(writer, &path, &inside, depth + 1)?;
        } else if facts.is_symlink() {
            let target = fs::read_link(&path).map_err(|error| unreadable(&path, error))?;
            let target = target.as_os_str().as_bytes();
            writer.link(&inside, target).map_err(|error| failed(&path, error))?;
        } else if facts.is_file() {
            let file = File::open(&path).map_err(|error| unreadable(&path, error))?;
            writer.file(&inside, file, facts.len()).map_err(|error| failed(&path, error))?;
        }
    }
    Ok(())
}

fn failed(path: &Path, error: WriteError) -> ImageError {
    match error {
        WriteError::Io(error) if error.kind() == io::ErrorKind::FileTooLarge => {
            ImageError::TooLarge
        }
        error => ImageError::Entry { path: path.to_owned(), source: error.into() },
    }
}

/// Takes no more than there is room for.
struct Counted {
    to: BufWriter<File>,
    left: u64,
}

impl Write for Counted {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if bytes.len() as u64 > self.left {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        let written = self.to.write(bytes)?;
        self.left -= written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.to.flush()
    }
}
