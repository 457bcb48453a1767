//! Attacks in C as flat binaries: compiled when the battery starts, never kept.

use std::{
    collections::BTreeMap,
    fs, io,
    path::{Path, PathBuf},
    process::Command,
};

/// Where the sources are.
pub(crate) const SOURCES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/blobs");

const FLAGS: &[&str] = &[
    "-ffreestanding",
    "-fno-builtin",
    "-fno-stack-protector",
    "-fno-jump-tables",
    "-fno-asynchronous-unwind-tables",
    "-fcf-protection=none",
    "-fPIC",
    "-fvisibility=hidden",
    "-O1",
    "-mno-sse",
    "-nostdlib",
    "-static",
    "-Wl,--build-id=none",
    "-Wl,--oformat=binary",
];

/// The families, by the names of their files.
pub(crate) fn compile_all() -> io::Result<BTreeMap<char, Vec<u8>>> {
    let folder = tempfile::tempdir()?;
    "abcdefghp".chars().map(|family| Ok((family, compile(family, folder.path())?))).collect()
}

fn compile(family: char, folder: &Path) -> io::Result<Vec<u8>> {
    let source = PathBuf::from(SOURCES).join(format!("{family}.c"));
    let blob = folder.join(format!("{family}.bin"));
    let compiled = Command::new("cc")
        .args(FLAGS)
        .arg(format!("-Wl,-T,{SOURCES}/flat.ld"))
        .arg("-o")
        .arg(&blob)
        .arg(&source)
        .output()?;
    if !compiled.status.success() {
        let words = String::from_utf8_lossy(&compiled.stderr).into_owned();
        return Err(io::Error::other(format!("cc {}: {words}", source.display())));
    }
    fs::read(blob)
}

/// The part of the arena that tells an attack what to do, as `struct order` in `attack.h`.
pub(crate) struct Order<'a> {
    pub(crate) attempt: u32,
    pub(crate) argument: u32,
    /// A file that must not be reached.
    pub(crate) canary: &'a str,
    /// Words that must not be found.
    pub(crate) needles: &'a [String],
}

const NAME_BYTES: usize = 128;
const NEEDLES_MAX: usize = 4;
/// Over every byte of a text: the job holds its input more than once, and that is no find.
const MASK: u8 = 0x80;

impl Order<'_> {
    pub(crate) fn encode(&self) -> Vec<u8> {
        let needles = &self.needles[..self.needles.len().min(NEEDLES_MAX)];
        let numbers = [self.attempt, self.argument, std::process::id(), 0, 0, needles.len() as u32];
        let mut bytes: Vec<u8> = numbers.iter().flat_map(|number| number.to_le_bytes()).collect();
        for text in [self.canary].into_iter().chain(needles.iter().map(String::as_str)) {
            let kept = text.as_bytes().iter().take(NAME_BYTES - 1);
            let padded = kept.copied().chain(std::iter::repeat(0)).take(NAME_BYTES);
            bytes.extend(padded.map(|byte| byte ^ MASK));
        }
        bytes
    }
}
