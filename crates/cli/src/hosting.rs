//! A host as the command line asks for it, and code as it names it.

use std::{
    env,
    fs::File,
    io::Read,
    net::SocketAddr,
    path::{Path, PathBuf},
};

use lazaret::{
    Builder, CODE_BYTES_MAX, Code, CodeFormat, Host, JailLevel, LayerState, Params, PrepareLimits,
};
use tokio::net::TcpListener;

use crate::{
    arguments::{Global, Meaning},
    errors::Failure,
};

/// Starts a host; warns about layers of the jail that are missing.
pub(crate) async fn start(global: &Global, limits: PrepareLimits) -> Result<Host, Failure> {
    started(global, builder(global).prepare_limits(limits)).await
}

/// The same with settings of a verb's own.
pub(crate) async fn started(global: &Global, builder: Builder) -> Result<Host, Failure> {
    let level = global.jail_level()?;
    let cache = cache_directory(global)?;
    let host = builder.cache_dir(cache).jail(level).start().await?;
    if level != JailLevel::Strict {
        for layer in &host.security().layers {
            if let LayerState::Off { call, errno } = &layer.state {
                tell!("lazaret: warning: {} is off: {call} failed ({errno})", layer.name);
            }
        }
    }
    Ok(host)
}

/// Serves the host's metrics at an address, if one was asked for, until the program ends.
pub(crate) async fn serve_metrics(host: &Host, at: Option<SocketAddr>) -> Result<(), Failure> {
    let Some(address) = at else { return Ok(()) };
    let failed = |source| Failure::Listen { address, source };
    let listener = TcpListener::bind(address).await.map_err(failed)?;
    // The port may have been left to the kernel.
    let bound = listener.local_addr().map_err(failed)?;
    tell!("lazaret: metrics at http://{bound}/metrics");
    tokio::spawn(host.serve_metrics(listener));
    Ok(())
}

/// A host in the control group and on the processors that were named, if any were.
pub(crate) fn builder(global: &Global) -> Builder {
    let builder = Host::builder().execute_cpus(global.cpus.iter().cloned());
    match &global.cgroup {
        Some(directory) => builder.cgroup(directory),
        None => builder,
    }
}

/// Where artifacts are kept.
pub(crate) fn cache_directory(global: &Global) -> Result<PathBuf, Failure> {
    match &global.cache {
        Some(directory) => Ok(directory.clone()),
        None => default_cache().ok_or(Failure::NoCacheDirectory),
    }
}

/// Reads code, no more of it than is accepted.
pub(crate) fn read_code(path: &Path) -> Result<Code, Failure> {
    let bytes = read_up_to(path, CODE_BYTES_MAX + 1)?;
    Code::new(&bytes).map_err(|source| Failure::Code { path: path.to_owned(), source })
}

/// Reads a file, no more than `bytes_max` of it.
pub(crate) fn read_up_to(path: &Path, bytes_max: u64) -> Result<Vec<u8>, Failure> {
    let failed = |source| Failure::Read { path: path.to_owned(), source };
    let mut bytes = Vec::new();
    File::open(path).map_err(failed)?.take(bytes_max).read_to_end(&mut bytes).map_err(failed)?;
    Ok(bytes)
}

/// Params as asked for, where `base` has them from executor params. Text is read as text only because
/// its name says so.
pub(crate) fn params(path: &Path, meaning: &Meaning, base: Params) -> Params {
    let is_text = path.extension().is_some_and(|extension| extension == "wat");
    Params {
        memory_pages_max: meaning.memory_pages.unwrap_or(base.memory_pages_max),
        stack_logical_max: meaning.stack_values.unwrap_or(base.stack_logical_max),
        bulk_memory: meaning.bulk_memory || base.bulk_memory,
        code_format: if is_text { CodeFormat::Text } else { CodeFormat::Binary },
        ..base
    }
}

/// The XDG base directory for caches (XDG Base Directory Specification).
fn default_cache() -> Option<PathBuf> {
    let absolute = |name| env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let base =
        absolute("XDG_CACHE_HOME").or_else(|| absolute("HOME").map(|home| home.join(".cache")))?;
    Some(base.join("lazaret"))
}
