//! Numbers as a person writes them, read by the type that is asked for.

use wasmtime::{FuncType, ValType};

use super::call::Value;
use super::entry::capped;
use crate::execute::ExecuteError;

/// Reads one word for each parameter. Whether there are as many is checked later.
pub(super) fn read(
    name: &str,
    ty: &FuncType,
    words: &[String],
) -> Result<Vec<Value>, ExecuteError> {
    if words.len() != ty.params().len() {
        let count = ty.params().len();
        return Err(ExecuteError::Arguments {
            function: capped(name),
            expected: format!("{count} value{}", if count == 1 { "" } else { "s" }),
            found: words.len().to_string(),
        });
    }
    let pairs = words.iter().zip(ty.params());
    pairs
        .map(|(word, ty)| {
            let value = match ty {
                ValType::I32 => integer(word, 32).map(|bits| Value::I32(bits as i32)),
                ValType::I64 => integer(word, 64).map(|bits| Value::I64(bits as i64)),
                ValType::F32 => word.parse().ok().map(|float: f32| Value::F32(float.to_bits())),
                ValType::F64 => word.parse().ok().map(|float: f64| Value::F64(float.to_bits())),
                _ => {
                    let (function, found) = (capped(name), ty.to_string());
                    return Err(ExecuteError::TypeNotHandedOver { function, found });
                }
            };
            value.ok_or_else(|| ExecuteError::Arguments {
                function: capped(name),
                expected: format!("an {ty}"),
                found: format!("`{}`", capped(word)),
            })
        })
        .collect()
}

/// An integer of so many bits, signed or not.
fn integer(word: &str, bits: u32) -> Option<u64> {
    let (is_negative, digits) = match word.strip_prefix('-') {
        Some(digits) => (true, digits),
        None => (false, word),
    };
    if digits.starts_with(['+', '-']) {
        return None;
    }
    let size = match digits.strip_prefix("0x") {
        Some(hex) if hex.starts_with('+') => return None,
        Some(hex) => u64::from_str_radix(hex, 16).ok()?,
        None => digits.parse().ok()?,
    };
    let size_max = if is_negative { 1 << (bits - 1) } else { u64::MAX >> (64 - bits) };
    if size > size_max {
        return None;
    }
    Some(if is_negative { size.wrapping_neg() } else { size })
}

#[cfg(test)]
mod tests {
    use super::integer;

    #[test]
    fn integers_are_signed_or_unsigned_decimal_or_hexadecimal_and_in_range() {
        assert_eq!(integer("42", 32), Some(42));
        assert_eq!(integer("-1", 32).map(|bits| bits as i32), Some(-1));
        assert_eq!(integer("4294967295", 32).map(|bits| bits as i32), Some(-1));
        assert_eq!(integer("0xff", 64), Some(255));
        assert_eq!(integer("-9223372036854775808", 64).map(|bits| bits as i64), Some(i64::MIN));
        for word in ["", "-", "--1", "+-1", "4294967296", "-2147483649", "1.0", "x", "0x", "0x+1"] {
            assert_eq!(integer(word, 32), None, "{word}");
        }
    }
}
