//! A cache directory as a program sees it that lists, verifies or prunes it, with or without hosts at
//! work there. Nothing is executed, and of an artifact nothing is read but its header and its digest.

use std::{
    fs::{self, ReadDir},
    io,
    path::Path,
    time::{Duration, SystemTime},
};

use super::{
    file::{HEADER_BYTES, Header, PrepareFacts},
    proof::{self, Damage},
    prune::{CacheLimits, Kind, Pruned, PrunedFile, kind},
    store::Store,
};
use crate::verdict::Fault;

/// A directory of artifacts, as [`Builder::cache_dir`](crate::Builder::cache_dir) names it. All its
/// methods block.
#[derive(Clone, Debug)]
pub struct Cache {
    store: Store,
}

/// A file in a cache directory.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct CacheFile {
    /// Its name in the directory.
    pub name: String,
    /// Bytes that it has.
    pub bytes: u64,
    /// When it was last used: its modification time. `None` if the file system does not say.
    pub last_used: Option<SystemTime>,
    /// What its header says, or what is wrong with it.
    pub header: Result<CacheHeader, Damage>,
}

/// What the header of an artifact's file says.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct CacheHeader {
    /// The digest of everything that the artifact depends on, which is also its name.
    pub key: [u8; 32],
    /// BLAKE3 of the code as it was given ([`Code::digest`](crate::Code::digest)).
    pub code_digest: [u8; 32],
    /// Which engine it is for: [`Host::engine_fingerprint`](crate::Host::engine_fingerprint).
    pub engine_fingerprint: [u8; 32],
    /// When it was prepared, by the clock of its host.
    pub prepared_at: SystemTime,
    /// What preparing it took.
    pub facts: PrepareFacts,
    /// Bytes of the artifact itself.
    pub artifact_bytes: u64,
}

impl Cache {
    /// Opens a directory that is there, under the conditions of a host: it belongs to this user or to
    /// root, and nobody else may write it.
    pub fn open(directory: impl AsRef<Path>) -> Result<Self, Fault> {
        Ok(Self { store: Store::open_existing(directory.as_ref())? })
    }

    /// Its files, in no order. Reads nothing but their headers. Files with names of another form are
    /// passed over, and so are those that go meanwhile.
    pub fn files(&self) -> Result<impl Iterator<Item = CacheFile> + '_, Fault> {
        Ok(self.names()?.filter_map(|name| self.look_at(&name, |_, _| Ok(()))))
    }

    /// The same, with every artifact read to its end and digested. No file counts as used by that.
    pub fn verified(&self) -> Result<impl Iterator<Item = CacheFile> + '_, Fault> {
        let digest = |file: &fs::File, header: &Header| {
            let taken: Result<(), ()> = proof::artifact(file, header, |_| Ok(()))?;
            taken.map_err(|()| Damage::Digest)
        };
        Ok(self.names()?.filter_map(move |name| self.look_at(&name, digest)))
    }

    /// Removes what is beyond the limits, and hands each removed file to `tell`.
    pub fn prune(
        &self,
        limits: &CacheLimits,
        mut tell: impl FnMut(&PrunedFile),
    ) -> Result<Pruned, Fault> {
        let pruned = self.store.prune(SystemTime::now(), limits, &mut tell);
        pruned.map_err(|error| self.unreadable(error))
    }

    fn names(&self) -> Result<impl Iterator<Item = String> + use<>, Fault> {
        let entries: ReadDir =
            fs::read_dir(&self.store.directory).map_err(|error| self.unreadable(error))?;
        let names = entries.flatten().filter_map(|entry| entry.file_name().into_string().ok());
        Ok(names.filter(|name| matches!(kind(name), Some(Kind::Artifact(_)))))
    }

    fn look_at(
        &self,
        name: &str,
        beyond_header: impl Fn(&fs::File, &Header) -> Result<(), Damage>,
    ) -> Option<CacheFile> {
        let path = self.store.directory.join(name);
        let metadata = fs::symlink_metadata(&path).ok()?;
        let header = read(&path, name, beyond_header);
        if let Err(Damage::Unreadable(error)) = &header
            && error.kind() == io::ErrorKind::NotFound
        {
            return None;
        }
        Some(CacheFile {
            name: name.to_owned(),
            bytes: metadata.len(),
            last_used: metadata.modified().ok(),
            header: header.map(CacheHeader::from),
        })
    }

    fn unreadable(&self, error: io::Error) -> Fault {
        let path = self.store.directory.clone();
        Fault::Cache { action: "read", path, source: error.into() }
    }
}

fn read(
    path: &Path,
    name: &str,
    beyond_header: impl Fn(&fs::File, &Header) -> Result<(), Damage>,
) -> Result<Header, Damage> {
    if !fs::symlink_metadata(path)?.is_file() {
        return Err(Damage::NotAFile);
    }
    let file = proof::open(path).map_err(io::Error::from)?;
    let header = proof::header(&file)?;
    if kind(name) != Some(Kind::Artifact(header.key)) {
        return Err(Damage::OtherKey);
    }
    beyond_header(&file, &header)?;
    Ok(header)
}

impl CacheFile {
    /// Bytes of every file beyond the artifact itself.
    pub const HEADER_BYTES: u64 = HEADER_BYTES as u64;
}

impl From<Header> for CacheHeader {
    fn from(header: Header) -> Self {
        let since_epoch = Duration::from_secs(header.source.prepared_at);
        Self {
            key: *header.key.as_bytes(),
            code_digest: header.source.code_digest,
            engine_fingerprint: header.source.engine_fingerprint,
            // A header may say any number; one that no clock shows is as good as none.
            prepared_at: SystemTime::UNIX_EPOCH
                .checked_add(since_epoch)
                .unwrap_or(SystemTime::UNIX_EPOCH),
            facts: header.facts,
            artifact_bytes: header.artifact_bytes,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        artifacts::{Key, Source},
        blob::Blob,
    };

    fn filled(numbers: &[u8]) -> (tempfile::TempDir, Cache) {
        let folder = tempfile::tempdir().unwrap();
        let cache = Cache { store: Store::open(&folder.path().join("cache")).unwrap() };
        for &n in numbers {
            let source =
                Source { code_digest: [n; 32], engine_fingerprint: [9; 32], prepared_at: 1_000 };
            let artifact = Blob::from_parts(&[&[n; 100]]).unwrap();
            cache.store.save(&key(n), source, &artifact, PrepareFacts::default()).unwrap();
        }
        (folder, cache)
    }

    fn key(n: u8) -> Key {
        Key::new(&[n; 32], &Default::default(), &[0; 32])
    }

    #[test]
    fn files_say_what_their_headers_say() {
        let (_folder, cache) = filled(&[1, 2]);
        let mut files: Vec<_> = cache.files().unwrap().collect();
        files.sort_by_key(|file| file.header.as_ref().unwrap().code_digest);
        assert_eq!(files.len(), 2);
        let header = files[0].header.clone().unwrap();
        assert_eq!((header.key, header.code_digest), (*key(1).as_bytes(), [1; 32]));
        assert_eq!(header.engine_fingerprint, [9; 32]);
        assert_eq!(header.prepared_at, SystemTime::UNIX_EPOCH + Duration::from_secs(1_000));
        assert_eq!(files[0].bytes, 100 + CacheFile::HEADER_BYTES);
    }

    #[test]
    fn verifying_finds_what_listing_does_not_and_changes_nothing() {
        let (_folder, cache) = filled(&[1, 2, 3]);
        let spoilt = cache.store.path(&key(1));
        let mut bytes = fs::read(&spoilt).unwrap();
        *bytes.last_mut().unwrap() ^= 1;
        fs::write(&spoilt, &bytes).unwrap();
        fs::rename(cache.store.path(&key(2)), cache.store.path(&key(4))).unwrap();
        let long_ago = SystemTime::UNIX_EPOCH + Duration::from_secs(1);
        let whole = cache.store.path(&key(3));
        fs::File::open(&whole).unwrap().set_modified(long_ago).unwrap();
        let wrong = |files: Vec<CacheFile>| {
            let mut wrong: Vec<_> = files
                .into_iter()
                .filter_map(|file| file.header.err())
                .map(|damage| damage.to_string())
                .collect();
            wrong.sort();
            wrong
        };
        let other_key = Damage::OtherKey.to_string();
        assert_eq!(wrong(cache.files().unwrap().collect()), std::slice::from_ref(&other_key));
        let both = [Damage::Digest.to_string(), other_key];
        assert_eq!(wrong(cache.verified().unwrap().collect()), both);
        assert_eq!(cache.files().unwrap().count(), 3, "something was removed");
        assert_eq!(fs::metadata(whole).unwrap().modified().unwrap(), long_ago);
    }

    #[test]
    fn a_directory_that_is_not_there_is_not_made() {
        let folder = tempfile::tempdir().unwrap();
        let absent = folder.path().join("absent");
        assert!(Cache::open(&absent).is_err() && !absent.exists());
    }
}
