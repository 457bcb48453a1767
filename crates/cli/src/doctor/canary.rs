//! A block validated end to end whose answer is known, and whether the artifact that this takes is
//! kept: one host prepares it, a second one has to find it on disk.

use std::{
    fs::{self, DirBuilder, File},
    io::{self, Write},
    os::unix::fs::DirBuilderExt,
    path::{Path, PathBuf},
    time::Duration,
};

use lazaret::{Answer, Builder, Fault, JailLevel, Origin, Usage, pvf::Validated};

use crate::errors::{Failure, with_causes};

/// What the probe writes where no host can do it.
const PROBE_BYTES: usize = 64 * 1024;

/// The cache directory, and why artifacts cannot be kept in it.
pub(crate) struct CacheSeen {
    pub(crate) directory: Option<PathBuf>,
    pub(crate) refused: Option<String>,
}

impl CacheSeen {
    pub(crate) fn is_kept(&self) -> bool {
        self.refused.is_none()
    }
}

/// What became of the canary.
pub(crate) enum CanarySeen {
    /// It gave the right answer.
    Right { usage: Usage, prepare_wall: Duration },
    /// It did not; with the reason.
    Wrong(String),
    /// There is no host that could run it.
    NotRun,
}

impl CanarySeen {
    pub(crate) fn is_right(&self) -> bool {
        matches!(self, Self::Right { .. })
    }
}

pub(crate) async fn look(
    bare: &Builder,
    level: Option<JailLevel>,
    directory: Result<PathBuf, Failure>,
) -> (CacheSeen, CanarySeen) {
    let mut cache = match directory {
        Ok(directory) => {
            let refused = refusal(bare, level, &directory).await;
            CacheSeen { directory: Some(directory), refused }
        }
        Err(failure) => CacheSeen { directory: None, refused: Some(failure.text()) },
    };
    let Some(level) = level else { return (cache, CanarySeen::NotRun) };
    // A directory of its own inside, so that the canary is prepared anew each time and leaves
    // nothing behind.
    let directory = match (&cache.directory, &cache.refused) {
        (Some(directory), None) => Some(directory.join(format!("doctor-{}", std::process::id()))),
        _ => None,
    };
    let answer = run(bare, level, directory.as_deref()).await;
    if let Some(directory) = &directory {
        // The canary's own verdict is told by the canary; here only where its artifact came from.
        let again = run(bare, level, Some(directory)).await;
        let found = again.ok().and_then(|answer| answer.artifact).map(|artifact| artifact.origin);
        if answer.is_ok() && found != Some(Origin::Disk) {
            let reason = "an artifact that one host wrote was not found by the next";
            cache.refused = Some(reason.into());
        }
        // What cannot be removed is a cache like any other, and small.
        let _ = fs::remove_dir_all(directory);
    }
    (cache, seen(answer))
}

/// Why artifacts cannot be kept in the directory, by the host's own check and by writing a file.
async fn refusal(bare: &Builder, level: Option<JailLevel>, directory: &Path) -> Option<String> {
    let host = bare.clone().cache_dir(directory).jail(level.unwrap_or(JailLevel::Weak));
    if let Err(fault @ Fault::Cache { .. }) = host.start().await {
        return Some(with_causes(&fault));
    }
    let written = write_probe(directory);
    written.err().map(|error| format!("cannot write into {}: {error}", directory.display()))
}

fn write_probe(directory: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(directory)?;
    let path = directory.join(format!("doctor-{}.writing", std::process::id()));
    let written = File::create_new(&path).and_then(|mut file| {
        file.write_all(&[0; PROBE_BYTES])?;
        file.sync_all()
    });
    fs::remove_file(&path).and(written)
}

async fn run(
    bare: &Builder,
    level: JailLevel,
    cache: Option<&Path>,
) -> Result<Answer<Validated>, String> {
    let mut host = bare.clone().jail(level);
    if let Some(directory) = cache {
        host = host.cache_dir(directory);
    }
    host.start().await.map_err(|fault| with_causes(&fault))?.canary().await
}

fn seen(ran: Result<Answer<Validated>, String>) -> CanarySeen {
    match ran {
        Ok(answer) => {
            let wall = answer.artifact.map_or(0, |artifact| artifact.facts.wall_micros);
            CanarySeen::Right { usage: answer.usage, prepare_wall: Duration::from_micros(wall) }
        }
        Err(why) => CanarySeen::Wrong(why),
    }
}
