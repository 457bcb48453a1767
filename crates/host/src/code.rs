//! Untrusted code as the host holds it: bytes it never opens, and their digest.

use std::{fmt, io, sync::Arc};

use crate::blob::Blob;

/// The most bytes of code as it is given, compressed or not: Polkadot's limit of 5 MiB for code on
/// chain, times the 10 that decompressed code may have.
pub const CODE_BYTES_MAX: u64 = 50 * 1024 * 1024;

/// Code to prepare, execute or inspect. Cloning shares it; keep one per program and the digest is
/// computed once.
#[derive(Clone)]
pub struct Code {
    blob: Blob,
    digest: [u8; 32],
}

/// Why bytes were not taken as code. Whether they *are* code is found out in a job.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CodeError {
    /// There are no bytes.
    #[error("the code is empty; a WebAssembly module, plain or zstd-compressed, is needed")]
    Empty,
    /// There are too many.
    #[error("the code has {bytes} bytes; at most {CODE_BYTES_MAX} are accepted")]
    TooLarge {
        /// How many there are.
        bytes: u64,
    },
    /// No memory for a copy (memfd_create(2)).
    #[error("cannot hold the code")]
    Memory(#[source] Arc<io::Error>),
}

impl Code {
    /// Copies and digests code.
    pub fn new(bytes: &[u8]) -> Result<Self, CodeError> {
        match bytes.len() as u64 {
            0 => return Err(CodeError::Empty),
            bytes @ 1..=CODE_BYTES_MAX => bytes,
            bytes => return Err(CodeError::TooLarge { bytes }),
        };
        let blob = Blob::from_parts(&[bytes]).map_err(|e| CodeError::Memory(e.into()))?;
        Ok(Self { blob, digest: *blake3::hash(bytes).as_bytes() })
    }

    /// Bytes as given.
    pub fn len(&self) -> u64 {
        self.blob.len()
    }

    /// Never: empty code is not taken.
    pub fn is_empty(&self) -> bool {
        self.blob.len() == 0
    }

    /// The BLAKE3 digest of the bytes as given.
    pub fn digest(&self) -> &[u8; 32] {
        &self.digest
    }

    /// A copy of the bytes as given.
    pub fn to_bytes(&self) -> io::Result<Vec<u8>> {
        self.blob.to_vec()
    }

    pub(crate) fn blob(&self) -> &Blob {
        &self.blob
    }
}

impl fmt::Debug for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let digest = blake3::Hash::from_bytes(self.digest).to_hex();
        write!(f, "Code({} bytes, {})", self.len(), &digest[..16])
    }
}
