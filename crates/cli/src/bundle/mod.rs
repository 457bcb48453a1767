//! Bundles: a run in one file, to be run again elsewhere.
//!
//! ```text
//! case     what was asked: params, limits, arguments; enough to ask again
//! ended    what came of it, and in what two endings differ
//! machine  where that was
//! file     the file: a header that describes all, then bytes
//! ```
//!
//! A bundle may come from a stranger. Its header is read by a bounded decoder and decides nothing about
//! this machine; its code, image and input are bytes that are handed to jobs as those of a run are.

pub(crate) mod case;
pub(crate) mod ended;
mod file;
mod machine;

use std::{
    path::{Path, PathBuf},
    sync::atomic::{AtomicU32, Ordering},
    time::{SystemTime, UNIX_EPOCH},
};

use lazaret::{Code, program::Image};
use serde::{Deserialize, Serialize};

use crate::errors::Failure;

pub(crate) use case::Case;
pub(crate) use ended::Ended;
pub(crate) use file::{Blob, Bundle, read, write};
pub(crate) use machine::Machine;

/// Goes up whenever the file or its header changes.
pub(crate) const VERSION: u32 = 1;

/// Names of the bytes that a bundle has beside its header.
pub(crate) const CODE: &str = "code";
pub(crate) const IMAGE: &str = "image";
pub(crate) const INPUT: &str = "input";

/// What a bundle says of itself, as JSON.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Header {
    /// Seconds since 1970.
    pub(crate) written_at: u64,
    pub(crate) machine: Machine,
    pub(crate) case: Case,
    pub(crate) ended: Ended,
    /// Whether the input is all that there was of it. One that is cut off cannot be replayed.
    pub(crate) input_is_whole: bool,
}

/// What differs between two: its name, the first, the second.
pub(crate) type Differences = Vec<(&'static str, String, String)>;

/// What one run was given beside its case.
pub(crate) struct Given<'a> {
    pub(crate) case: &'a Case,
    pub(crate) code: &'a Code,
    pub(crate) image: Option<&'a Image>,
    pub(crate) input: &'a [u8],
    pub(crate) input_is_whole: bool,
}

/// Where bundles go.
#[derive(Clone, Debug, Default)]
pub(crate) struct Places {
    /// A bundle of the run, whatever came of it.
    pub(crate) file: Option<PathBuf>,
    /// A folder for bundles of what did not return.
    pub(crate) folder: Option<PathBuf>,
    /// Whether code is left out, and only its digest is there.
    pub(crate) without_code: bool,
}

impl Places {
    /// Whether a run has to be recorded.
    pub(crate) fn want_any(&self) -> bool {
        self.file.is_some() || self.folder.is_some()
    }

    /// Writes a bundle to where it was asked for.
    pub(crate) fn keep(
        &self,
        given: &Given<'_>,
        ended: &Ended,
        machine: &Machine,
    ) -> Result<(), Failure> {
        let folder = self.folder.as_ref().filter(|_| !ended.has_returned());
        if self.file.is_none() && folder.is_none() {
            return Ok(());
        }
        let memory = |source| Failure::Write { path: "the bundle".into(), source };
        let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let written_at = since_1970.as_secs();
        let code = given.code.to_bytes().map_err(memory)?;
        let mut blobs = vec![match self.without_code {
            true => Blob::named_only(CODE, &code),
            false => Blob::held(CODE, code),
        }];
        if let Some(image) = given.image {
            blobs.push(Blob::held(IMAGE, image.to_bytes().map_err(memory)?));
        }
        blobs.push(Blob::held(INPUT, given.input.to_vec()));
        let header = Header {
            written_at,
            machine: machine.clone(),
            case: given.case.clone(),
            ended: ended.clone(),
            input_is_whole: given.input_is_whole,
        };
        let bundle = Bundle { header, blobs };
        if let Some(path) = &self.file {
            write(path, &bundle)?;
        }
        if let Some(folder) = folder {
            std::fs::create_dir_all(folder)
                .map_err(|source| Failure::Write { path: folder.clone(), source })?;
            write(&folder.join(name(written_at, ended, given.code)), &bundle)?;
        }
        Ok(())
    }
}

/// A name that no other bundle of this machine has.
fn name(written_at: u64, ended: &Ended, code: &Code) -> String {
    static WRITTEN: AtomicU32 = AtomicU32::new(0);
    let number = WRITTEN.fetch_add(1, Ordering::Relaxed);
    let word = ended.kind.as_deref().unwrap_or(&ended.verdict);
    let code = &hex::encode(code.digest())[..8];
    format!("{written_at}-{word}-{code}-{}-{number}.lazaret", std::process::id())
}

/// Code out of a bundle, or, where it was left out, out of a file that must be that code.
pub(crate) fn code(bundle: &Bundle, file: Option<&Path>) -> Result<Code, String> {
    let entry = bundle.blob(CODE).ok_or("it has no code")?;
    let code = match (&entry.bytes, file) {
        (_, Some(file)) => crate::run::read_code(file).map_err(|failure| failure.text())?,
        (Some(bytes), None) => Code::new(bytes).map_err(|error| error.to_string())?,
        (None, None) => {
            return Err(format!("its code was left out; name a file with BLAKE3 {}", entry.blake3));
        }
    };
    match hex::encode(code.digest()) == entry.blake3 {
        true => Ok(code),
        false => Err(format!("the file is other code: this one's BLAKE3 is {}", entry.blake3)),
    }
}
