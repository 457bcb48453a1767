//! Lazaret's engine in this process, without host, worker or jail: what a call costs at the least.
//!
//! It calls the very artifacts that Lazaret's host made, so that nothing is compiled twice and the
//! machine code is the same.

use std::{
    collections::HashMap,
    fs::{self, File},
    io::{self, Write},
    path::Path,
    sync::Mutex,
    time::{Duration, Instant},
};

use lazaret::{Cache, CacheFile};
use lazaret_engine::{
    Artifact, Engine, Params,
    pvf::{Input, validate_block},
};
use rustix::fs::{MemfdFlags, memfd_create};

use crate::work::{Ended, Guest, Work};

/// The engine, and the artifacts that it holds.
pub(crate) struct InProcess {
    engine: Engine,
    artifacts: Mutex<HashMap<[u8; 32], Artifact>>,
}

impl InProcess {
    /// An error unless this engine is that of the host's workers.
    pub(crate) fn new(fingerprint: [u8; 32]) -> Result<Self, String> {
        let engine = Engine::new(&Params::default()).map_err(|error| error.to_string())?;
        match engine.fingerprint() == fingerprint {
            true => Ok(Self { engine, artifacts: Mutex::default() }),
            false => Err("the worker program has another engine; build all programs".to_owned()),
        }
    }

    /// Maps the artifact that a host left in its cache; what that took.
    pub(crate) fn load(&self, guest: &Guest, cache: &Path) -> Result<Duration, String> {
        let file = memfd_of(guest, cache)?;
        let begin = Instant::now();
        let artifact = load(&self.engine, file)?;
        let took = begin.elapsed();
        let mut artifacts = self.artifacts.lock().expect("no panic while locked");
        artifacts.insert(*guest.code.digest(), artifact);
        Ok(took)
    }

    /// Makes an instance and calls it, up to the moment when the output lies there.
    pub(crate) fn call(&self, work: &Work) -> Result<(Duration, Ended), String> {
        let artifacts = self.artifacts.lock().expect("no panic while locked");
        let artifact = artifacts.get(work.guest.code.digest()).ok_or("not loaded")?;
        let input = Input::Parts {
            parent_head: &work.params.parent_head,
            block_data: &work.params.block_data,
            relay_parent_number: work.params.relay_parent_number,
            relay_parent_storage_root: work.params.relay_parent_storage_root,
            extension: &[],
            block_data_bytes_max: lazaret::pvf::BLOCK_DATA_BYTES_MAX,
        };
        let params = Params::default();
        let begin = Instant::now();
        let reply = validate_block(&self.engine, artifact, &params, input, Box::new(|_| ()));
        let took = begin.elapsed();
        let ended = match reply {
            Ok(reply) => Ended::Returned(reply.output().to_vec()),
            Err(error) => Ended::Otherwise(error.to_string()),
        };
        Ok((took, ended))
    }
}

#[allow(unsafe_code)]
fn load(engine: &Engine, file: File) -> Result<Artifact, String> {
    // SAFETY: `Engine::load` asks for what `prepare` returned, unchanged. The file is a copy, which
    // only this process has, of what a host of this program made in a directory of its own.
    unsafe { engine.load(file) }.map_err(|error| error.to_string())
}

/// A copy of the artifact without the header that the host puts before it.
fn memfd_of(guest: &Guest, cache: &Path) -> Result<File, String> {
    let files = Cache::open(cache).and_then(|cache| Ok(cache.files()?.collect::<Vec<_>>()));
    let is_it = |file: &CacheFile| {
        file.header.as_ref().is_ok_and(|header| header.code_digest == *guest.code.digest())
    };
    let file = files
        .map_err(|fault| fault.to_string())?
        .into_iter()
        .find(is_it)
        .ok_or_else(|| format!("{} is not in the cache", guest.name))?;
    let copy = || {
        let bytes = fs::read(cache.join(file.name))?;
        let mut memfd = File::from(memfd_create("artifact", MemfdFlags::CLOEXEC)?);
        memfd.write_all(&bytes[CacheFile::HEADER_BYTES as usize..])?;
        Ok::<_, io::Error>(memfd)
    };
    copy().map_err(|error| error.to_string())
}
