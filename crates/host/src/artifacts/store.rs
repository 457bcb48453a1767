//! The cache directory: artifacts on disk, verified when read, never half written.
//!
//! A file is written without a name, synced, named, and its directory synced, so that a crash leaves
//! either the whole file or none, and nothing else. Where the file system has no files without names,
//! it is written under a temporary one and renamed. Whatever does not verify is removed and prepared
//! again. Two hosts may share a directory: names are content addresses, so both write the same file.
//! Everything here blocks; callers are on a blocking thread.

use std::{
    fs::{self, DirBuilder, File},
    io::{self, Write},
    os::{
        fd::AsRawFd,
        unix::fs::{DirBuilderExt, MetadataExt},
    },
    path::{Path, PathBuf},
    time::SystemTime,
};

use rustix::{
    fs::{AtFlags, CWD, Mode, OFlags, linkat},
    io::Errno,
    rand::GetRandomFlags,
};

use super::{
    file::{HEADER_BYTES, Header, PrepareFacts, Source},
    key::Key,
    proof::{self, Damage},
};
use crate::{
    blob::{self, Blob},
    verdict::Fault,
};

/// How often a file is named while others put what does not verify in its place.
const NAMINGS_MAX: u32 = 3;
/// Ends the names of artifacts.
pub(super) const SUFFIX: &str = ".artifact";
/// Ends the names of files that are being written.
pub(super) const TEMPORARY: &str = ".writing";

/// A cache directory that belongs to us.
#[derive(Clone, Debug)]
pub(crate) struct Store {
    pub(super) directory: PathBuf,
}

impl Store {
    /// Opens the directory, making it if it is not there. It must be ours (or root's) and writable
    /// by nobody else: whoever writes an artifact chooses what jobs execute.
    pub(crate) fn open(directory: &Path) -> Result<Self, Fault> {
        let made = DirBuilder::new().recursive(true).mode(0o700).create(directory);
        made.map_err(|error| Fault::Cache {
            action: "create",
            path: directory.to_owned(),
            source: error.into(),
        })?;
        Self::open_existing(directory)
    }

    /// The same for a directory that must be there.
    pub(super) fn open_existing(directory: &Path) -> Result<Self, Fault> {
        let failed = |action| {
            move |source: io::Error| Fault::Cache {
                action,
                path: directory.to_owned(),
                source: source.into(),
            }
        };
        let metadata = fs::metadata(directory).map_err(failed("look at"))?;
        let us = rustix::process::geteuid().as_raw();
        if ![us, 0].contains(&metadata.uid()) || metadata.mode() & 0o022 != 0 {
            let text = format!(
                "it belongs to user {} with mode {:o}; it must belong to user {us} and be writable \
                 by nobody else",
                metadata.uid(),
                metadata.mode() & 0o7777,
            );
            return Err(failed("trust")(io::Error::new(io::ErrorKind::PermissionDenied, text)));
        }
        Ok(Self { directory: directory.to_owned() })
    }

    /// The artifact as a sealed memfd, if there is one that verifies. One that does not is removed.
    pub(crate) fn load(&self, key: &Key) -> Result<Option<(Blob, PrepareFacts)>, Fault> {
        let path = self.path(key);
        let file = match proof::open(&path) {
            Ok(file) => file,
            Err(Errno::NOENT) => return Ok(None),
            // A link or a socket.
            Err(Errno::LOOP | Errno::NXIO) => {
                self.discard(&path);
                return Ok(None);
            }
            // This process has no descriptors left, or no right: no reason to lose the file.
            Err(errno) => {
                let source = io::Error::from(errno).into();
                return Err(Fault::Cache { action: "open", path, source });
            }
        };
        match verified(file, key) {
            Ok(loaded) => Ok(Some(loaded)),
            Err(Unusable::Memory(error)) => Err(Fault::Memory(error.into())),
            Err(Unusable::File(damage)) => {
                tracing::warn!(target: "lazaret", ?path, %damage, "artifact removed");
                self.discard(&path);
                Ok(None)
            }
        }
    }

    /// Removes an artifact, if it is there.
    pub(crate) fn remove(&self, key: &Key) {
        self.discard(&self.path(key));
    }

    /// Writes an artifact. What stands under its name stays if it verifies, and is replaced if not.
    /// Says how many bytes the file has.
    pub(crate) fn save(
        &self,
        key: &Key,
        source: Source,
        artifact: &Blob,
        facts: PrepareFacts,
    ) -> Result<u64, Fault> {
        let written = artifact.digest().and_then(|artifact_digest| {
            let artifact_bytes = artifact.len();
            let header = Header { key: *key, source, facts, artifact_bytes, artifact_digest };
            self.write(&header, artifact)
        });
        written.map(|()| artifact.len() + HEADER_BYTES as u64).map_err(|error| Fault::Cache {
            action: "write",
            path: self.path(key),
            source: error.into(),
        })
    }

    fn write(&self, header: &Header, artifact: &Blob) -> io::Result<()> {
        let flags = OFlags::WRONLY | OFlags::TMPFILE | OFlags::CLOEXEC;
        match rustix::fs::open(&self.directory, flags, Mode::from(0o600)) {
            Ok(file) => {
                let file = File::from(file);
                fill(&file, header, artifact)?;
                self.name(&file, &header.key)?;
            }
            // What file systems and kernels say that have no files without names (open(2)).
            Err(Errno::OPNOTSUPP | Errno::ISDIR | Errno::NOENT) => {
                self.write_aside(header, artifact)?;
            }
            Err(errno) => return Err(errno.into()),
        }
        File::open(&self.directory)?.sync_all()
    }

    /// Names a file that has no name. What has the name already is as good if it verifies, and gone
    /// if it does not.
    fn name(&self, file: &File, key: &Key) -> io::Result<()> {
        let (file, path) = (format!("/proc/self/fd/{}", file.as_raw_fd()), self.path(key));
        for _ in 0..NAMINGS_MAX {
            match linkat(CWD, &file, CWD, &path, AtFlags::SYMLINK_FOLLOW) {
                Err(Errno::EXIST) => {}
                named => return Ok(named?),
            }
            if self.load(key).map_err(io::Error::other)?.is_some() {
                return Ok(());
            }
        }
        Err(io::ErrorKind::AlreadyExists.into())
    }

    /// Writes under a temporary name and renames. A crash leaves the temporary file behind.
    fn write_aside(&self, header: &Header, artifact: &Blob) -> io::Result<()> {
        let (path, temporary) = (self.path(&header.key), self.temporary_path(&header.key)?);
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
        let file = File::from(rustix::fs::open(&temporary, flags, Mode::from(0o600))?);
        let renamed = fill(&file, header, artifact).and_then(|()| {
            if fs::symlink_metadata(&path).is_ok_and(|found| found.is_dir()) {
                fs::remove_dir_all(&path)?;
            }
            fs::rename(&temporary, &path)
        });
        renamed.inspect_err(|_| {
            let _ = fs::remove_file(&temporary);
        })
    }

    /// Says that artifacts are in use, although nobody reads their files.
    pub(crate) fn touch(&self, keys: &[Key], now: SystemTime) {
        for key in keys {
            // One that was never written, or is somebody else's, is none of our concern.
            let _ = proof::open(&self.path(key)).map(|file| file.set_modified(now));
        }
    }

    pub(super) fn path(&self, key: &Key) -> PathBuf {
        self.directory.join(format!("{key}{SUFFIX}"))
    }

    /// A name that no other writer has. Process ids would not do: hosts in two containers that share
    /// a directory may have the same.
    fn temporary_path(&self, key: &Key) -> io::Result<PathBuf> {
        let mut number = [0; 8];
        let filled = rustix::rand::getrandom(&mut number, GetRandomFlags::empty())?;
        if filled < number.len() {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let number = u64::from_ne_bytes(number);
        Ok(self.directory.join(format!("{key}.{number:016x}{TEMPORARY}")))
    }

    /// Removes what stands there, whatever it is, and says whether it did.
    pub(super) fn discard(&self, path: &Path) -> bool {
        let removed = match fs::symlink_metadata(path) {
            Ok(found) if found.is_dir() => fs::remove_dir_all(path),
            Ok(_) => fs::remove_file(path),
            Err(_) => return false,
        };
        if let Err(error) = &removed
            && error.kind() != io::ErrorKind::NotFound
        {
            tracing::warn!(target: "lazaret", ?path, %error, "cannot remove an artifact");
        }
        removed.is_ok()
    }
}

fn fill(mut file: &File, header: &Header, artifact: &Blob) -> io::Result<()> {
    file.write_all(&header.encode())?;
    artifact.for_each_piece(|piece| file.write_all(piece))?;
    file.sync_all()
}

enum Unusable {
    /// The file does not prove itself.
    File(Damage),
    /// This machine has no memory for it.
    Memory(io::Error),
}

/// Copies the artifact of `file` into a sealed memfd, digesting what is copied.
fn verified(file: File, key: &Key) -> Result<(Blob, PrepareFacts), Unusable> {
    let header = proof::header(&file).map_err(Unusable::File)?;
    if header.key != *key {
        return Err(Unusable::File(Damage::OtherKey));
    }
    let mut memfd = File::from(blob::create().map_err(Unusable::Memory)?);
    proof::artifact(&file, &header, |piece| memfd.write_all(piece))
        .map_err(Unusable::File)?
        .map_err(Unusable::Memory)?;
    // What counts as use for pruning. A read-only cache still serves.
    let _ = file.set_modified(SystemTime::now());
    let blob = Blob::seal(memfd.into()).map_err(Unusable::Memory)?;
    Ok((blob, header.facts))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn store() -> (tempfile::TempDir, Store) {
        let directory = tempfile::tempdir().unwrap();
        let store = Store::open(&directory.path().join("cache")).unwrap();
        (directory, store)
    }

    const SOURCE: Source =
        Source { code_digest: [1; 32], engine_fingerprint: [0; 32], prepared_at: 1 };

    fn key(n: u8) -> Key {
        Key::new(&[n; 32], &Default::default(), &[0; 32])
    }

    fn save(store: &Store, n: u8, bytes: usize) {
        let artifact = Blob::from_parts(&[&vec![n; bytes]]).unwrap();
        store.save(&key(n), SOURCE, &artifact, PrepareFacts::default()).unwrap();
    }

    fn is_there(store: &Store, n: u8) -> bool {
        store.load(&key(n)).unwrap().is_some()
    }

    #[test]
    fn an_artifact_comes_back_as_it_went() {
        let (_directory, store) = store();
        assert!(!is_there(&store, 1));
        save(&store, 1, 1000);
        let (blob, facts) = store.load(&key(1)).unwrap().unwrap();
        assert_eq!(blob.to_vec().unwrap(), vec![1; 1000]);
        assert_eq!(facts, PrepareFacts::default());
    }

    #[test]
    fn where_files_have_names_only_an_artifact_is_written_aside_and_replaces_what_is_there() {
        let (_directory, store) = store();
        save(&store, 1, 10);
        let artifact = Blob::from_parts(&[&[9; 20]]).unwrap();
        let (key, facts) = (key(1), PrepareFacts::default());
        let artifact_digest = artifact.digest().unwrap();
        let artifact_bytes = artifact.len();
        let header = Header { key, source: SOURCE, facts, artifact_bytes, artifact_digest };
        store.write_aside(&header, &artifact).unwrap();
        let (blob, _) = store.load(&key).unwrap().unwrap();
        assert_eq!(blob.to_vec().unwrap(), vec![9; 20]);
        assert_eq!(fs::read_dir(&store.directory).unwrap().count(), 1);
    }

    #[test]
    fn every_truncation_and_any_flipped_bit_is_noticed_and_removed() {
        let (_directory, store) = store();
        save(&store, 1, 300);
        let path = store.path(&key(1));
        let good = fs::read(&path).unwrap();
        let spoiled = (0..good.len()).map(|length| good[..length].to_vec());
        let flipped = (0..8 * good.len()).map(|bit| {
            let mut bytes = good.clone();
            bytes[bit / 8] ^= 1 << (bit % 8);
            bytes
        });
        for bytes in spoiled.chain(flipped) {
            fs::write(&path, bytes).unwrap();
            assert!(!is_there(&store, 1) && !path.exists());
        }
    }

    #[test]
    fn a_file_under_anothers_name_is_not_taken() {
        let (_directory, store) = store();
        save(&store, 1, 10);
        fs::rename(store.path(&key(1)), store.path(&key(2))).unwrap();
        assert!(!is_there(&store, 2));
    }

    #[test]
    fn a_directory_that_others_may_write_is_not_trusted() {
        let directory = tempfile::tempdir().unwrap();
        fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o770)).unwrap();
        assert!(matches!(Store::open(directory.path()), Err(Fault::Cache { .. })));
    }
}
#[cfg(test)]
#[path = "damage_table.rs"]
mod damage;
