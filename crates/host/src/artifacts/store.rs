//! The cache directory: artifacts on disk, verified when read, never half written.
//!
//! A file is written without a name, synced, named, and its directory synced, so that a crash leaves
//! either the whole file or none, and nothing else. Where the file system has no files without names,
//! it is written under a temporary one and renamed. Whatever does not verify is removed and prepared
//! again. Two hosts may share a directory: names are content addresses, so both write the same file.
//! Everything here blocks; callers are on a blocking thread.

use std::{
    fs::{self, DirBuilder, File},
    io::{self, Read, Write},
    os::{
        fd::AsRawFd,
        unix::fs::{DirBuilderExt, MetadataExt},
    },
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

use rustix::{
    fs::{AtFlags, CWD, Mode, OFlags, linkat},
    io::Errno,
    rand::GetRandomFlags,
};

use super::{
    file::{HEADER_BYTES, Header, PrepareFacts},
    key::Key,
};
use crate::{
    blob::{self, Blob},
    verdict::Fault,
};

/// Bytes of all artifacts together before the least recently used go.
pub(crate) const STORE_BYTES_MAX: u64 = 10 * 1024 * 1024 * 1024;
/// How long an artifact may go unused.
pub(crate) const UNUSED_MAX: Duration = Duration::from_secs(24 * 60 * 60);
/// How often a file is named while others put what does not verify in its place.
const NAMINGS_MAX: u32 = 3;
/// How old a temporary file must be before it counts as left behind by a crash.
const ABANDONED_AFTER: Duration = Duration::from_secs(60 * 60);
const SUFFIX: &str = ".artifact";
const TEMPORARY: &str = ".writing";

/// A cache directory that belongs to us.
#[derive(Clone, Debug)]
pub(crate) struct Store {
    directory: PathBuf,
}

impl Store {
    /// Opens the directory, making it if it is not there. It must be ours (or root's) and writable
    /// by nobody else: whoever writes an artifact chooses what jobs execute.
    pub(crate) fn open(directory: &Path) -> Result<Self, Fault> {
        let failed = |action| {
            move |source: io::Error| Fault::Cache {
                action,
                path: directory.to_owned(),
                source: source.into(),
            }
        };
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(directory)
            .map_err(failed("create"))?;
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
        // A FIFO, device or link in its place is opened without waiting and without following.
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let file = match rustix::fs::open(&path, flags, Mode::empty()) {
            Ok(file) => File::from(file),
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
            Err(Unusable::File(reason)) => {
                tracing::warn!(target: "lazaret", ?path, %reason, "artifact removed");
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
    pub(crate) fn save(
        &self,
        key: &Key,
        artifact: &Blob,
        facts: PrepareFacts,
    ) -> Result<(), Fault> {
        self.write(key, artifact, facts).map_err(|error| Fault::Cache {
            action: "write",
            path: self.path(key),
            source: error.into(),
        })
    }

    fn write(&self, key: &Key, artifact: &Blob, facts: PrepareFacts) -> io::Result<()> {
        let artifact_digest = artifact.digest()?;
        let header = Header { key: *key, facts, artifact_bytes: artifact.len(), artifact_digest };
        let flags = OFlags::WRONLY | OFlags::TMPFILE | OFlags::CLOEXEC;
        match rustix::fs::open(&self.directory, flags, Mode::from(0o600)) {
            Ok(file) => {
                let file = File::from(file);
                fill(&file, &header, artifact)?;
                self.name(&file, key)?;
            }
            // What file systems and kernels say that have no files without names (open(2)).
            Err(Errno::OPNOTSUPP | Errno::ISDIR | Errno::NOENT) => {
                self.write_aside(&header, artifact)?;
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

    /// Removes what was left behind, what went unused, and the least recently used beyond
    /// `bytes_max`. Size counts the bytes of the files themselves.
    pub(crate) fn prune(&self, now: SystemTime, bytes_max: u64, unused_max: Duration) {
        let mut kept = Vec::new();
        for entry in fs::read_dir(&self.directory).into_iter().flatten().flatten() {
            let path = entry.path();
            let name = path.to_string_lossy();
            let Ok(metadata) = entry.metadata() else { continue };
            let age = metadata.modified().ok().and_then(|used| now.duration_since(used).ok());
            let age = age.unwrap_or_default();
            let is_artifact = name.ends_with(SUFFIX);
            let kept_for = if is_artifact { unused_max } else { ABANDONED_AFTER };
            if !is_artifact && !name.ends_with(TEMPORARY) {
                continue;
            }
            if age > kept_for {
                self.discard(&path);
            } else if is_artifact {
                kept.push((age, metadata.len(), path.clone()));
            }
        }
        kept.sort();
        let mut total = 0_u64;
        for (_, bytes, path) in kept {
            total = total.saturating_add(bytes);
            if total > bytes_max {
                self.discard(&path);
            }
        }
    }

    fn path(&self, key: &Key) -> PathBuf {
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

    fn discard(&self, path: &Path) {
        let removed = match fs::symlink_metadata(path) {
            Ok(found) if found.is_dir() => fs::remove_dir_all(path),
            Ok(_) => fs::remove_file(path),
            Err(_) => return,
        };
        if let Err(error) = removed {
            tracing::warn!(target: "lazaret", ?path, %error, "cannot remove an artifact");
        }
    }
}

fn fill(mut file: &File, header: &Header, artifact: &Blob) -> io::Result<()> {
    file.write_all(&header.encode())?;
    artifact.for_each_piece(|piece| file.write_all(piece))?;
    file.sync_all()
}

enum Unusable {
    /// The file does not prove itself.
    File(String),
    /// This machine has no memory for it.
    Memory(io::Error),
}

/// Copies the artifact of `file` into a sealed memfd, digesting what is copied.
fn verified(mut file: File, key: &Key) -> Result<(Blob, PrepareFacts), Unusable> {
    let unusable = |reason: &str| Unusable::File(reason.to_owned());
    let unreadable = |error: io::Error| Unusable::File(error.to_string());
    let metadata = file.metadata().map_err(unreadable)?;
    if !metadata.is_file() {
        return Err(unusable("not a regular file"));
    }
    let mut header = [0; HEADER_BYTES];
    file.read_exact(&mut header).map_err(unreadable)?;
    let header = Header::decode(&header, key).ok_or_else(|| unusable("the header is not ours"))?;
    if Some(metadata.len()) != header.artifact_bytes.checked_add(HEADER_BYTES as u64) {
        return Err(unusable("the length is not the header's"));
    }
    let mut memfd = File::from(blob::create().map_err(Unusable::Memory)?);
    let mut hasher = blake3::Hasher::new();
    let mut piece = vec![0; 256 * 1024];
    loop {
        let read = file.read(&mut piece).map_err(unreadable)?;
        if read == 0 {
            break;
        }
        hasher.update(&piece[..read]);
        memfd.write_all(&piece[..read]).map_err(Unusable::Memory)?;
    }
    if *hasher.finalize().as_bytes() != header.artifact_digest {
        return Err(unusable("the digest is not the header's"));
    }
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

    fn key(n: u8) -> Key {
        Key::new(&[n; 32], &Default::default(), &[0; 32])
    }

    fn save(store: &Store, n: u8, bytes: usize) {
        let artifact = Blob::from_parts(&[&vec![n; bytes]]).unwrap();
        store.save(&key(n), &artifact, PrepareFacts::default()).unwrap();
    }

    fn is_there(store: &Store, n: u8) -> bool {
        store.load(&key(n)).unwrap().is_some()
    }

    /// Makes a file look unused for that long.
    fn age(store: &Store, n: u8, unused: Duration) {
        let file = File::open(store.path(&key(n))).unwrap();
        file.set_modified(SystemTime::now() - unused).unwrap();
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
        let header = Header { key, facts, artifact_bytes: artifact.len(), artifact_digest };
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
    fn what_goes_unused_is_pruned_and_then_the_longest_unused() {
        let (_directory, store) = store();
        for n in 1..=4 {
            save(&store, n, 1000);
            age(&store, n, Duration::from_secs(100 * u64::from(n)));
        }
        let two_files = 2 * (1000 + HEADER_BYTES as u64);
        store.prune(SystemTime::now(), two_files, Duration::from_secs(350));
        let there = |n| store.path(&key(n)).exists();
        assert!(there(1) && there(2) && !there(3) && !there(4));
    }

    #[test]
    fn what_a_crash_left_behind_is_pruned_and_what_is_being_written_is_not() {
        let (_directory, store) = store();
        let temporary = |n| store.temporary_path(&key(n)).unwrap();
        let (fresh, old) = (temporary(1), temporary(2));
        fs::write(&fresh, "half").unwrap();
        fs::write(&old, "half").unwrap();
        let long_ago = SystemTime::now() - 2 * ABANDONED_AFTER;
        File::open(&old).unwrap().set_modified(long_ago).unwrap();
        store.prune(SystemTime::now(), STORE_BYTES_MAX, UNUSED_MAX);
        assert!(fresh.exists() && !old.exists());
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
