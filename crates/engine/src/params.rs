//! The settings that change what code means, and the sizes code may have.
//!
//! Callers build these from a request; everything in this crate reads them, nothing changes them.

/// Settings that change the meaning of code.
///
/// All of them but [`memory_pages_max`](Params::memory_pages_max) reach the artifact. That one
/// still decides whether preparation accepts code at all (a memory that starts above the limit is
/// refused), so remember refusals under the whole of `Params`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Params {
    /// Total linear memory, in pages of 64 KiB: what the module asks for and what it grows by.
    pub memory_pages_max: u32,
    /// Values that may lie on the logical stack before the instrumentation traps.
    pub stack_logical_max: u32,
    /// Bytes of native stack compiled code may use. Chosen so that the logical limit comes first.
    pub stack_native_bytes_max: u32,
    /// Whether `memory.copy` and `memory.fill` are allowed.
    pub bulk_memory: bool,
    /// Whether the sign extension instructions are allowed.
    pub sign_extension: bool,
    /// How the code is written down.
    pub code_format: CodeFormat,
}

impl Default for Params {
    /// What Polkadot's validators use when the chain sets no executor parameter: 32 pages as an
    /// estimate of what a runtime asks for and 2048 on top, 65536 logical values, 256 MiB of
    /// native stack (`polkadot-node-core-pvf-common`, `executor_interface`).
    fn default() -> Self {
        Self {
            memory_pages_max: 32 + 2048,
            stack_logical_max: 65_536,
            stack_native_bytes_max: 256 * 1024 * 1024,
            bulk_memory: false,
            sign_extension: true,
            code_format: CodeFormat::Binary,
        }
    }
}

/// How code is written down.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CodeFormat {
    /// The binary format, plain or compressed.
    Binary,
    /// The text format. The parser is large and was not written for hostile input, so it only ever
    /// runs when a person asked for it, and only inside a prepare job.
    Text,
}

/// How large code may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CodeLimits {
    /// Bytes as given, before decompression.
    pub code_bytes_max: u64,
    /// Bytes after decompression (or after conversion from text).
    pub code_decompressed_bytes_max: u64,
}

impl Default for CodeLimits {
    /// 50 MiB decompressed is Polkadot's bomb limit for code (`sp-maybe-compressed-blob`).
    fn default() -> Self {
        let bytes_max = 50 * 1024 * 1024;
        Self { code_bytes_max: bytes_max, code_decompressed_bytes_max: bytes_max }
    }
}
