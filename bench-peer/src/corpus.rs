//! The real blocks of the shared data: runtimes that ran, each with a block that it accepts and the
//! exact bytes that it must return.

use std::{
    fs,
    path::{Path, PathBuf},
};

use lazaret::pvf::ValidationParams;
use parity_scale_codec::Decode;

use crate::work::{Ended, Guest, Work};

/// Every runtime of `data` that comes with a block, by name.
pub(crate) fn real_blocks(data: &Path) -> Result<Vec<Work>, String> {
    folders(data)?.iter().map(|folder| block_in(folder)).collect()
}

/// Where they are.
pub(crate) fn folders(data: &Path) -> Result<Vec<PathBuf>, String> {
    let pvf = data.join("pvf");
    let entries = fs::read_dir(&pvf).map_err(|error| format!("{}: {error}", pvf.display()))?;
    let folders = entries.flatten().map(|entry| entry.path());
    let mut folders: Vec<_> = folders.filter(|path| path.join("params.scale").exists()).collect();
    folders.sort();
    Ok(folders)
}

/// The runtime of one folder, and its block.
pub(crate) fn block_in(folder: &Path) -> Result<Work, String> {
    let read = |name: &str| {
        let path = folder.join(name);
        fs::read(&path).map_err(|error| format!("{}: {error}", path.display()))
    };
    let name = folder.file_name().unwrap_or_default().to_string_lossy();
    let params = ValidationParams::decode(&mut read("params.scale")?.as_slice())
        .map_err(|error| format!("{name}: {error}"))?;
    let guest = Guest::new(name.as_ref(), read("code")?)?;
    Ok(Work::new(guest, params, Ended::Returned(read("result.scale")?)))
}
