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

/// What kind of program code is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Profile {
    /// A parachain validation function.
    #[default]
    Pvf,
    /// A module without imports whose exports are called.
    Plain,
    /// A command or reactor of WASI preview 1.
    Wasi,
}

impl Profile {
    /// In lower case.
    pub fn word(self) -> &'static str {
        match self {
            Self::Pvf => "pvf",
            Self::Plain => "plain",
            Self::Wasi => "wasi",
        }
    }
}

/// What plain and WASI programs may use beyond the first WebAssembly. A parachain validation function has
/// [`Params::bulk_memory`] and [`Params::sign_extension`] only. Threads, relaxed SIMD and whatever else
/// could differ between machines are never allowed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Features {
    /// Globals that change and are imported or exported.
    pub mutable_globals: bool,
    /// Sign extension.
    pub sign_extension: bool,
    /// Conversions to integers that do not trap.
    pub saturating_float_to_int: bool,
    /// Several results, and blocks with parameters.
    pub multi_value: bool,
    /// `memory.copy`, `memory.fill` and the instructions like them.
    pub bulk_memory: bool,
    /// References to functions, and tables that grow.
    pub reference_types: bool,
    /// 128-bit SIMD.
    pub simd: bool,
    /// Arithmetic in constant expressions.
    pub extended_const: bool,
    /// `return_call` and its kin.
    pub tail_calls: bool,
}

impl Default for Features {
    /// All of them: what compilers use of their own accord by now.
    fn default() -> Self {
        Self::ALL
    }
}

impl Features {
    /// All of them.
    pub const ALL: Self = Self {
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
    /// The first WebAssembly only.
    pub const NONE: Self = Self {
        mutable_globals: false,
        sign_extension: false,
        saturating_float_to_int: false,
        multi_value: false,
        bulk_memory: false,
        reference_types: false,
        simd: false,
        extended_const: false,
        tail_calls: false,
    };

    /// Each with its name in kebab case.
    pub fn each(&self) -> [(&'static str, bool); 9] {
        [
            ("mutable-globals", self.mutable_globals),
            ("sign-extension", self.sign_extension),
            ("saturating-float-to-int", self.saturating_float_to_int),
            ("multi-value", self.multi_value),
            ("bulk-memory", self.bulk_memory),
            ("reference-types", self.reference_types),
            ("simd", self.simd),
            ("extended-const", self.extended_const),
            ("tail-calls", self.tail_calls),
        ]
    }

    /// The one of this name, to be changed; none if there is no such.
    pub fn named(&mut self, name: &str) -> Option<&mut bool> {
        Some(match name {
            "mutable-globals" => &mut self.mutable_globals,
            "sign-extension" => &mut self.sign_extension,
            "saturating-float-to-int" => &mut self.saturating_float_to_int,
            "multi-value" => &mut self.multi_value,
            "bulk-memory" => &mut self.bulk_memory,
            "reference-types" => &mut self.reference_types,
            "simd" => &mut self.simd,
            "extended-const" => &mut self.extended_const,
            "tail-calls" => &mut self.tail_calls,
            _ => return None,
        })
    }

    fn bits(&self) -> u16 {
        self.each().iter().rev().fold(0, |bits, (_, on)| bits << 1 | u16::from(*on))
    }
}

/// Whether a plain or WASI program counts what it does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Metering {
    /// No.
    #[default]
    Off,
    /// In fuel, the same on every machine, so that a call can have a limit of it.
    Fuel,
}

/// What becomes of imports that the profile does not provide.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum UnknownImports {
    /// The code is refused.
    Refused,
    /// A function links, and traps when it is called; anything else is refused. Always so for a parachain
    /// validation function.
    #[default]
    TrapWhenCalled,
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
    /// What kind of program it is. What follows is for plain and WASI programs alone.
    pub profile: Profile,
    /// What it may be made of.
    pub features: Features,
    /// Whether it counts what it does.
    pub metering: Metering,
    /// Elements that its tables may have together.
    pub table_elements_max: u32,
    /// What becomes of imports that its profile does not provide.
    pub unknown_imports: UnknownImports,
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
            profile: Profile::Pvf,
            features: Features::default(),
            metering: Metering::Off,
            table_elements_max: 0,
            unknown_imports: UnknownImports::TrapWhenCalled,
        }
    }
}

impl Params {
    /// What a profile uses when nobody asks for anything else. A plain or WASI program has 1 GiB of
    /// memory, a million table elements, a stack of two million values and all features.
    pub fn of(profile: Profile) -> Self {
        let pvf = Self::default();
        match profile {
            Profile::Pvf => pvf,
            Profile::Plain | Profile::Wasi => Self {
                profile,
                memory_pages_max: 16_384,
                table_elements_max: 1_000_000,
                stack_logical_max: 2_000_000,
                unknown_imports: UnknownImports::Refused,
                ..pvf
            },
        }
    }

    /// A stable encoding of the params that reach the artifact, or decide whether there can be one: all but
    /// the limits of memory and tables, which are enforced on each call. Part of an artifact's key, so a
    /// change of it is a change of format. Those of a parachain validation function have 11 bytes, all
    /// others 16.
    pub fn artifact_bytes(&self) -> Vec<u8> {
        let mut bytes = self.pvf_bytes().to_vec();
        let profile = match self.profile {
            Profile::Pvf => return bytes,
            Profile::Plain => 1,
            Profile::Wasi => 2,
        };
        let metering = match self.metering {
            Metering::Off => 0,
            Metering::Fuel => 1,
        };
        let unknown_imports = match self.unknown_imports {
            UnknownImports::Refused => 0,
            UnknownImports::TrapWhenCalled => 1,
        };
        bytes.extend([profile, metering, unknown_imports]);
        bytes.extend(self.features.bits().to_le_bytes());
        bytes
    }

    fn pvf_bytes(&self) -> [u8; 11] {
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
        let wasi = Params::of(Profile::Wasi);
        let more_table = Params { table_elements_max: 1, ..wasi.clone() };
        assert_eq!(wasi.artifact_bytes(), more_table.artifact_bytes());
        for changed in [
            Params { stack_logical_max: 1, ..default.clone() },
            Params { stack_native_bytes_max: 1, ..default.clone() },
            Params { bulk_memory: true, ..default.clone() },
            Params { sign_extension: false, ..default.clone() },
            Params { code_format: CodeFormat::Text, ..default.clone() },
        ] {
            assert_ne!(default.artifact_bytes(), changed.artifact_bytes());
        }
        let without_simd = Features { simd: false, ..Features::default() };
        for changed in [
            Params { profile: Profile::Pvf, ..wasi.clone() },
            Params { profile: Profile::Plain, ..wasi.clone() },
            Params { features: without_simd, ..wasi.clone() },
            Params { metering: Metering::Fuel, ..wasi.clone() },
            Params { unknown_imports: UnknownImports::TrapWhenCalled, ..wasi.clone() },
        ] {
            assert_ne!(wasi.artifact_bytes(), changed.artifact_bytes());
        }
    }

    #[test]
    fn artifacts_of_parachain_functions_are_called_as_before_there_were_profiles() {
        let bytes = Params::default().artifact_bytes();
        assert_eq!(bytes, [0, 0, 1, 0, 0, 0, 0, 16, 0, 1, 0]);
        let features = Params { features: Features::NONE, ..Params::default() };
        assert_eq!(features.artifact_bytes(), bytes, "they are not looked at");
    }

    #[test]
    fn every_feature_has_a_bit_and_a_name() {
        let mut seen = std::collections::BTreeSet::from([Features::NONE.bits()]);
        for (name, _) in Features::NONE.each() {
            let mut one = Features::NONE;
            *one.named(name).unwrap() = true;
            assert!(seen.insert(one.bits()), "{name}");
        }
        assert_eq!(Features::default().named("threads"), None);
    }
}
