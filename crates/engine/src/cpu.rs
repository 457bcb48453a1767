//! Which instructions of the CPU compiled code may use.
//!
//! An engine is made for one choice. Whoever makes code to be run takes the host's own.

/// What each level adds to the one before it.
const LEVELS: [&[&str]; 3] = [
    &["has_sse3", "has_ssse3", "has_sse41", "has_sse42", "has_popcnt", "has_cmpxchg16b"],
    &["has_avx", "has_avx2", "has_bmi1", "has_bmi2", "has_fma", "has_lzcnt"],
    &["has_avx512f", "has_avx512dq", "has_avx512vl"],
];

/// Which instructions of the CPU compiled code may use. Levels are those of the [x86-64 psABI],
/// each with all that the ones before it have, as far as Cranelift has a use for it.
///
/// [x86-64 psABI]: https://gitlab.com/x86-psABIs/x86-64-ABI
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cpu {
    /// Whatever this machine has and Cranelift uses.
    Host,
    /// What every x86-64 has, which ends with SSE2.
    X86_64,
    /// SSE3, SSSE3, SSE4, `popcnt`, `cmpxchg16b`.
    X86_64V2,
    /// AVX, AVX2, BMI1, BMI2, FMA, `lzcnt`.
    X86_64V3,
    /// The F, DQ and VL parts of AVX-512.
    X86_64V4,
}

impl Cpu {
    /// Cranelift's names of the instructions; none is for what it finds itself. Its own names of the
    /// levels would not do: its third one has AVX2 and lacks AVX.
    pub(crate) fn flags(self) -> Option<Vec<&'static str>> {
        let levels = match self {
            Self::Host => return None,
            Self::X86_64 => 0,
            Self::X86_64V2 => 1,
            Self::X86_64V3 => 2,
            Self::X86_64V4 => 3,
        };
        Some(LEVELS[..levels].concat())
    }
}
