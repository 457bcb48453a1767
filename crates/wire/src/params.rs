//! Settings that change what code means, as host and worker exchange them.

use serde::{Deserialize, Serialize};

/// Linear memory that a chain runtime asks for by itself, in pages of 64 KiB; Polkadot adds it to
/// the executor parameter `MaxMemoryPages`.
pub const HEAP_PAGES_ESTIMATE: u32 = 32;
/// Polkadot's default for the executor parameter `MaxMemoryPages`.
pub const MAX_MEMORY_PAGES_DEFAULT: u32 = 2048;
/// Polkadot's default for the executor parameter `StackLogicalMax`, in stack values.
pub const STACK_LOGICAL_DEFAULT: u32 = 65_536;
/// Polkadot's default for the executor parameter `StackNativeMax`, in bytes.
pub const STACK_NATIVE_BYTES_DEFAULT: u32 = 256 * 1024 * 1024;

/// How the bytes of code are to be read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum CodeFormat {
    /// A WebAssembly binary, plain or zstd-compressed behind Substrate's 8-byte prefix.
    #[default]
    Binary,
    /// The WebAssembly text format. Only where a person asks for it: a chain never stores text.
    Text,
}

/// What a module may be and how far it may go. The default is Polkadot's.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Params {
    /// Pages of 64 KiB that linear memory may reach. Polkadot's `MaxMemoryPages(n)` is
    /// `n + 32` here.
    pub memory_pages_max: u32,
    /// Values on the logical stack before the guest traps (`StackLogicalMax`).
    pub stack_logical_max: u32,
    /// Bytes of native stack; far more than the logical limit can use (`StackNativeMax`).
    pub stack_native_bytes_max: u32,
    /// Whether the bulk memory instructions are allowed (`WasmExtBulkMemory`).
    pub bulk_memory: bool,
    /// Whether the sign extension instructions are allowed.
    pub sign_extension: bool,
    /// How the code's bytes are to be read.
    pub code_format: CodeFormat,
}

impl Default for Params {
    fn default() -> Self {
        Self {
            memory_pages_max: HEAP_PAGES_ESTIMATE + MAX_MEMORY_PAGES_DEFAULT,
            stack_logical_max: STACK_LOGICAL_DEFAULT,
            stack_native_bytes_max: STACK_NATIVE_BYTES_DEFAULT,
            bulk_memory: false,
            sign_extension: true,
            code_format: CodeFormat::Binary,
        }
    }
}

impl Params {
    /// A stable encoding of the params that reach the artifact: all but the memory limit, which is
    /// enforced on each call. Part of an artifact's key, so a change of it is a change of format.
    pub fn artifact_bytes(&self) -> [u8; 11] {
        let mut bytes = [0; 11];
        bytes[..4].copy_from_slice(&self.stack_logical_max.to_le_bytes());
        bytes[4..8].copy_from_slice(&self.stack_native_bytes_max.to_le_bytes());
        bytes[8] = self.bulk_memory.into();
        bytes[9] = self.sign_extension.into();
        bytes[10] = match self.code_format {
            CodeFormat::Binary => 0,
            CodeFormat::Text => 1,
        };
        bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_memory_limit_stays_out_of_the_artifact() {
        let default = Params::default();
        let more_memory = Params { memory_pages_max: 1, ..default.clone() };
        assert_eq!(default.artifact_bytes(), more_memory.artifact_bytes());
        for changed in [
            Params { stack_logical_max: 1, ..default.clone() },
            Params { stack_native_bytes_max: 1, ..default.clone() },
            Params { bulk_memory: true, ..default.clone() },
            Params { sign_extension: false, ..default.clone() },
            Params { code_format: CodeFormat::Text, ..default.clone() },
        ] {
            assert_ne!(default.artifact_bytes(), changed.artifact_bytes());
        }
    }
}
