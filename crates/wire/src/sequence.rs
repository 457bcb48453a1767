//! Calls of several exports of one instance, one after another, in one job: as the input's bytes say what
//! is called, and as the output record says what came of each.

use serde::{Deserialize, Serialize};

use crate::{
    claim::Refusal,
    program::{Arguments, ExportCall, VALUES_MAX, Value},
};

/// The most calls of one sequence.
pub const SEQUENCE_MAX: usize = 65_536;

/// What came of one call.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum CallEnd {
    /// It returned these.
    Values(Vec<Value>),
    /// It broke a rule, and the instance is as that left it.
    Refused(Refusal),
}

/// The input's bytes. None if there are too many calls, or one that is given bytes or does not fit.
pub fn encode_calls(calls: &[ExportCall]) -> Option<Vec<u8>> {
    let may_be = |call: &ExportCall| call.fits() && call.arguments != Arguments::Bytes;
    let all_may = calls.len() <= SEQUENCE_MAX && calls.iter().all(may_be);
    all_may.then(|| encode_each(calls)).flatten()
}

/// Back from the input's bytes.
pub fn decode_calls(bytes: &[u8]) -> Option<Vec<ExportCall>> {
    decode_each(bytes, SEQUENCE_MAX)
}

/// The output record.
pub fn encode_ends(ends: &[CallEnd]) -> Option<Vec<u8>> {
    encode_each(ends)
}

/// Back from an output record that must answer so many calls, none with more values than there may be.
pub fn decode_ends(bytes: &[u8], calls: usize) -> Option<Vec<CallEnd>> {
    let ends: Vec<CallEnd> = decode_each(bytes, calls)?;
    let has_too_many =
        |end: &CallEnd| matches!(end, CallEnd::Values(values) if values.len() > VALUES_MAX);
    (ends.len() == calls && !ends.iter().any(has_too_many)).then_some(ends)
}

fn encode_each<T: Serialize>(items: &[T]) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    for item in items {
        bytes = postcard::to_extend(item, bytes).ok()?;
    }
    Some(bytes)
}

/// One at a time, so that no more memory is taken than for so many.
fn decode_each<T: serde::de::DeserializeOwned>(mut bytes: &[u8], most: usize) -> Option<Vec<T>> {
    let mut items = Vec::new();
    while !bytes.is_empty() {
        if items.len() == most {
            return None;
        }
        let (item, rest) = postcard::take_from_bytes(bytes).ok()?;
        items.push(item);
        bytes = rest;
    }
    Some(items)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn call(arguments: Arguments) -> ExportCall {
        ExportCall { export: "f".into(), arguments }
    }

    #[test]
    fn a_sequence_and_its_ends_come_back_as_they_went() {
        let calls = vec![
            call(Arguments::Values(vec![Value::F32(1)])),
            call(Arguments::Words(vec!["2".into()])),
        ];
        assert_eq!(decode_calls(&encode_calls(&calls).unwrap()), Some(calls));
        let ends = vec![
            CallEnd::Values(vec![Value::I64(-1)]),
            CallEnd::Refused(Refusal::OutOfFuel { limit: 3 }),
        ];
        let bytes = encode_ends(&ends).unwrap();
        assert_eq!(decode_ends(&bytes, 2), Some(ends));
        for other in [0, 1, 3] {
            assert_eq!(decode_ends(&bytes, other), None, "{other} were asked");
        }
        assert_eq!(decode_ends(&bytes[..bytes.len() - 1], 2), None);
    }

    #[test]
    fn bytes_and_too_many_calls_make_no_sequence() {
        assert_eq!(encode_calls(&[call(Arguments::Bytes)]), None);
        let one = call(Arguments::Words(Vec::new()));
        assert!(encode_calls(&vec![one.clone(); SEQUENCE_MAX]).is_some());
        assert_eq!(encode_calls(&vec![one; SEQUENCE_MAX + 1]), None);
    }

    #[test]
    fn too_many_values_of_one_call_are_no_answer() {
        let ends = |count| vec![CallEnd::Values(vec![Value::I32(0); count])];
        let decoded = |count| decode_ends(&encode_ends(&ends(count)).unwrap(), 1);
        assert!(decoded(VALUES_MAX).is_some() && decoded(VALUES_MAX + 1).is_none());
    }

    proptest! {
        #[test]
        fn no_bytes_make_the_decoders_panic(bytes in prop::collection::vec(any::<u8>(), 0..2000)) {
            let _ = decode_calls(&bytes);
            let _ = decode_ends(&bytes, 10);
        }
    }
}
