//! Where the worker programs are: beside this one, as a build leaves them.

use std::{env, path::PathBuf};

/// The path of a program of this workspace.
pub(crate) fn beside(name: &str) -> Result<PathBuf, String> {
    let own = env::current_exe().map_err(|error| error.to_string())?;
    let path = own.with_file_name(name);
    match path.is_file() {
        true => Ok(path),
        false => Err(format!("{} is missing; `cargo build --release` makes it", path.display())),
    }
}
