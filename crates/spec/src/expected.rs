//! What a script expects, against what happened.

use wast::core::{NanPattern, V128Pattern, WastRetCore};
use wast::token::{F32, F64};

use crate::{Number, Trap};

/// One expected result, of numbers that may be spread over several.
pub(crate) enum Expected {
    I32(i32),
    I64(i64),
    F32(NanPattern<F32>),
    F64(NanPattern<F64>),
    V128(V128Pattern),
    /// Whether a reference is null, which is what the wrapper returns of it.
    Null(bool),
    Either(Vec<Expected>),
}

impl Expected {
    /// `None` for what cannot be told.
    pub(crate) fn of(result: WastRetCore<'_>) -> Option<Self> {
        Some(match result {
            WastRetCore::I32(value) => Self::I32(value),
            WastRetCore::I64(value) => Self::I64(value),
            WastRetCore::F32(pattern) => Self::F32(pattern),
            WastRetCore::F64(pattern) => Self::F64(pattern),
            WastRetCore::V128(pattern) => Self::V128(pattern),
            WastRetCore::RefNull(_) => Self::Null(true),
            WastRetCore::RefFunc(_) => Self::Null(false),
            WastRetCore::Either(cases) => {
                Self::Either(cases.into_iter().map(Self::of).collect::<Option<_>>()?)
            }
            _ => return None,
        })
    }

    /// Whether it is what the numbers begin with, and how many of them it takes.
    fn matches(&self, numbers: &[Number]) -> Option<usize> {
        let is = match (self, numbers) {
            (Self::I32(expected), [Number::I32(found), ..]) => expected == found,
            (Self::I64(expected), [Number::I64(found), ..]) => expected == found,
            (Self::F32(pattern), [Number::F32(found), ..]) => is_f32(pattern, *found),
            (Self::F64(pattern), [Number::F64(found), ..]) => is_f64(pattern, *found),
            (Self::Null(expected), [Number::I32(found), ..]) => i32::from(*expected) == *found,
            (Self::V128(pattern), [Number::I64(low), Number::I64(high), ..]) => {
                let bits = u128::from(*low as u64) | u128::from(*high as u64) << 64;
                return is_vector(pattern, bits).then_some(2);
            }
            (Self::Either(cases), numbers) => {
                return cases.iter().find_map(|case| case.matches(numbers));
            }
            _ => false,
        };
        is.then_some(1)
    }
}

/// Whether results are the expected ones.
pub(crate) fn are(expected: &[Expected], mut found: &[Number]) -> bool {
    for one in expected {
        match one.matches(found) {
            Some(count) => found = &found[count..],
            None => return false,
        }
    }
    found.is_empty()
}

fn is_f32(pattern: &NanPattern<F32>, found: u32) -> bool {
    match pattern {
        NanPattern::CanonicalNan => found & 0x7fff_ffff == 0x7fc0_0000,
        NanPattern::ArithmeticNan => found & 0x7fc0_0000 == 0x7fc0_0000,
        NanPattern::Value(value) => value.bits == found,
    }
}

fn is_f64(pattern: &NanPattern<F64>, found: u64) -> bool {
    const QUIET: u64 = 0x7ff8_0000_0000_0000;
    match pattern {
        NanPattern::CanonicalNan => found & (u64::MAX >> 1) == QUIET,
        NanPattern::ArithmeticNan => found & QUIET == QUIET,
        NanPattern::Value(value) => value.bits == found,
    }
}

fn is_vector(pattern: &V128Pattern, bits: u128) -> bool {
    let lane = |width: usize, index: usize| bits >> (width * index) & (u128::MAX >> (128 - width));
    let all = |lanes: usize, is: &dyn Fn(usize) -> bool| (0..lanes).all(is);
    match pattern {
        V128Pattern::I8x16(lanes) => all(16, &|i| lane(8, i) as i8 == lanes[i]),
        V128Pattern::I16x8(lanes) => all(8, &|i| lane(16, i) as i16 == lanes[i]),
        V128Pattern::I32x4(lanes) => all(4, &|i| lane(32, i) as i32 == lanes[i]),
        V128Pattern::I64x2(lanes) => all(2, &|i| lane(64, i) as i64 == lanes[i]),
        V128Pattern::F32x4(lanes) => all(4, &|i| is_f32(&lanes[i], lane(32, i) as u32)),
        V128Pattern::F64x2(lanes) => all(2, &|i| is_f64(&lanes[i], lane(64, i) as u64)),
    }
}

/// Whether a trap is the one that a script names, as far as it can be told.
pub(crate) fn is_trap(message: &str, found: Trap) -> bool {
    let expected = match message {
        "integer divide by zero" => Trap::IntegerDivisionByZero,
        "integer overflow" => Trap::IntegerOverflow,
        "invalid conversion to integer" => Trap::BadConversionToInteger,
        "indirect call type mismatch" => Trap::IndirectCallSignature,
        "call stack exhausted" => Trap::StackExhausted,
        message if message.starts_with("uninitialized") => Trap::IndirectCallToNull,
        "undefined" | "undefined element" => Trap::TableOutOfBounds,
        message if message.starts_with("out of bounds memory") => Trap::MemoryOutOfBounds,
        message if message.starts_with("out of bounds table") => Trap::TableOutOfBounds,
        message if message.starts_with("unreachable") => Trap::Unreachable,
        _ => return true,
    };
    expected == found
}
