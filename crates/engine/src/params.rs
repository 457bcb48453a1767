//! The settings that change what code means, and the sizes code may have.
//!
//! Callers build these from a request; everything in this crate reads them, nothing changes them.

/// Settings that change the meaning of code.
///
/// All of them reach the artifact but [`memory_pages_max`](Params::memory_pages_max) and those that
/// say so. They still decide whether preparation accepts code at all (a memory that starts above the
/// limit is refused), so remember refusals under the whole of `Params`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Params {
    /// What kind of program it is.
    pub profile: Profile,
    /// Total linear memory, in pages of 64 KiB: what the module asks for and what it grows by.
    pub memory_pages_max: u32,
    /// Elements of all tables together, at the start and grown. Not of [`Profile::Pvf`], whose
    /// tables cannot grow and are limited when the code is validated. Does not reach the artifact.
    pub table_elements_max: u32,
    /// Values that may lie on the logical stack before the instrumentation traps. What a frame
    /// counts differs: see [`Profile`]. For plain and WASI programs at most a 64th of
    /// [`stack_native_bytes_max`](Params::stack_native_bytes_max), or that may come first.
    pub stack_logical_max: u32,
    /// Bytes of native stack compiled code may use. Chosen so that the logical limit comes first.
    pub stack_native_bytes_max: u32,
    /// What of Wasm beyond its first version is allowed.
    pub features: Features,
    /// Whether instructions are counted, so that a call can be given fuel. Costs time. Not of
    /// [`Profile::Pvf`].
    pub metering: bool,
    /// What becomes of imports that the profile does not provide. Does not reach the artifact.
    pub unknown_imports: UnknownImports,
    /// How the code is written down.
    pub code_format: CodeFormat,
}

impl Default for Params {
    /// What Polkadot's validators use when the chain sets no executor parameter: 32 pages as an
    /// estimate of what a runtime asks for and 2048 on top, 65536 logical values, 256 MiB of
    /// native stack (`polkadot-node-core-pvf-common`, `executor_interface`).
    fn default() -> Self {
        Self {
            profile: Profile::Pvf,
            memory_pages_max: 32 + 2048,
            table_elements_max: 0,
            stack_logical_max: 65_536,
            stack_native_bytes_max: 256 * 1024 * 1024,
            features: Features::PVF,
            metering: false,
            unknown_imports: UnknownImports::TrapWhenCalled,
            code_format: CodeFormat::Binary,
        }
    }
}

impl Params {
    /// What a profile uses when nobody asks for anything else. For [`Profile::Plain`] and
    /// [`Profile::Wasi`]: 1 GiB of memory, a million table elements, a stack of two million values.
    pub fn of(profile: Profile) -> Self {
        let pvf = Self::default();
        if profile == Profile::Pvf {
            return pvf;
        }
        Self {
            profile,
            memory_pages_max: 16_384,
            table_elements_max: 1_000_000,
            stack_logical_max: 2_000_000,
            features: Features::OPEN,
            unknown_imports: UnknownImports::Refused,
            ..pvf
        }
    }
}

/// What kind of program code is: what it may import, what is called, how its stack is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Profile {
    /// A parachain validation function: `validate_block` is called ([`pvf`](crate::pvf)). Its stack
    /// is counted as the network counts it: locals and operands of each frame.
    Pvf,
    /// Exported functions of a module without imports ([`program`](crate::program)). A frame counts
    /// its locals, its operands at their most, 8, and one for every 8 instructions.
    Plain,
    /// A command or reactor of WASI preview 1 ([`wasi`](crate::wasi)), and else as `Plain`.
    Wasi,
}

/// What of Wasm beyond its first version is allowed. Threads, relaxed SIMD, 64-bit and multiple
/// memories, exceptions and garbage collection are always refused: the first two differ between
/// runs or machines, and compilers of today make programs without the others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct Features {
    pub mutable_globals: bool,
    pub sign_extension: bool,
    pub saturating_float_to_int: bool,
    pub multi_value: bool,
    /// For [`Profile::Pvf`], `memory.copy` and `memory.fill` alone.
    pub bulk_memory: bool,
    /// References to functions. References to things of the host are refused, as no host here
    /// hands out any.
    pub reference_types: bool,
    pub simd: bool,
    pub extended_const: bool,
    pub tail_calls: bool,
}

impl Features {
    /// Of parachain validation functions, where the chain says nothing else.
    pub const PVF: Self = Self {
        mutable_globals: true,
        sign_extension: true,
        saturating_float_to_int: false,
        multi_value: false,
        bulk_memory: false,
        reference_types: false,
        simd: false,
        extended_const: false,
        tail_calls: false,
    };

    /// Everything, which is what compilers use of their own accord by now.
    pub const OPEN: Self = Self {
        mutable_globals: true,
        sign_extension: true,
        saturating_float_to_int: true,
        multi_value: true,
        bulk_memory: true,
        reference_types: true,
        simd: true,
        extended_const: true,
        tail_calls: true,
    };
}

/// What becomes of an import that the profile does not provide.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UnknownImports {
    /// The code is refused.
    Refused,
    /// A function links, and traps when it is called; anything else is refused. Always so for
    /// [`Profile::Pvf`].
    TrapWhenCalled,
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
