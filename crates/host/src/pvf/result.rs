//! What a parachain validation function returns, and how the host reads it: the one place where it
//! opens bytes of a guest. The decoder takes memory only for bytes that are there, and is fuzzed.

use parity_scale_codec::{Compact, Decode, Encode, Error, Input as Source};

use crate::{Refusal, Verdict, request::Output};

/// The most messages of one kind in a result (`MAX_UPWARD_MESSAGE_NUM`,
/// `MAX_HORIZONTAL_MESSAGE_NUM`).
pub const MESSAGES_MAX: u32 = 16 * 1024;

/// What a parachain validation function returns.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct ValidationResult {
    /// The new head.
    pub head_data: Vec<u8>,
    /// New code, if the block upgrades it.
    pub new_validation_code: Option<Vec<u8>>,
    /// Messages to the relay chain.
    pub upward_messages: Messages<Vec<u8>>,
    /// Messages to other parachains.
    pub horizontal_messages: Messages<HorizontalMessage>,
    /// How many messages from the relay chain were processed.
    pub processed_downward_messages: u32,
    /// Up to which relay chain block horizontal messages were processed.
    pub hrmp_watermark: u32,
}

/// A message to another parachain (`OutboundHrmpMessage`).
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct HorizontalMessage {
    /// The parachain it is for.
    pub recipient: u32,
    /// Its bytes.
    pub data: Vec<u8>,
}

/// At most [`MESSAGES_MAX`] messages: a longer list does not decode, as on the network.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Messages<T>(pub Vec<T>);

impl<T: Encode> Encode for Messages<T> {
    fn encode(&self) -> Vec<u8> {
        self.0.encode()
    }
}

impl<T: Decode> Decode for Messages<T> {
    fn decode<I: Source>(source: &mut I) -> Result<Self, Error> {
        let Compact(count) = Compact::<u32>::decode(source)?;
        if count > MESSAGES_MAX {
            return Err("more messages than a result may hold".into());
        }
        (0..count).map(|_| T::decode(source)).collect::<Result<_, _>>().map(Self)
    }
}

/// What a validation found: the result as the guest encoded it, and read.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Validated {
    /// The bytes that `validate_block` returned.
    pub encoded: Vec<u8>,
    /// The same, decoded. Bytes after the result are ignored, as on the network.
    pub result: ValidationResult,
    /// Pages of linear memory (64 KiB each) at the end of the call.
    pub memory_pages: u32,
}

pub(crate) fn read_result(Output { bytes, memory_pages, .. }: Output) -> Verdict<Validated> {
    match ValidationResult::decode(&mut bytes.as_slice()) {
        Ok(result) => Verdict::Returned(Validated { encoded: bytes, result, memory_pages }),
        Err(_) => {
            Verdict::Refused(Refusal::BadOutput("it does not decode as a ValidationResult".into()))
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::pvf::head_number;

    fn result() -> ValidationResult {
        ValidationResult {
            head_data: vec![1, 2],
            new_validation_code: Some(vec![3]),
            upward_messages: Messages(vec![vec![4], vec![]]),
            horizontal_messages: Messages(vec![HorizontalMessage { recipient: 5, data: vec![6] }]),
            processed_downward_messages: 7,
            hrmp_watermark: 8,
        }
    }

    fn read(bytes: Vec<u8>) -> Verdict<Validated> {
        read_result(Output { bytes, memory_pages: 1, end: None })
    }

    #[test]
    fn a_result_comes_back_as_it_went_and_ignores_what_follows() {
        for garbage in [&[][..], &[9, 9]] {
            let bytes = [result().encode(), garbage.to_vec()].concat();
            let Verdict::Returned(validated) = read(bytes) else { panic!("not read") };
            assert_eq!(validated.result, result());
        }
    }

    #[test]
    fn every_truncation_of_a_result_is_refused() {
        let bytes = result().encode();
        for length in 0..bytes.len() {
            let verdict = read(bytes[..length].to_vec());
            assert!(matches!(verdict, Verdict::Refused(Refusal::BadOutput(_))), "{length} bytes");
        }
    }

    #[test]
    fn more_messages_than_the_network_takes_are_refused() {
        let full = Messages(vec![Vec::<u8>::new(); MESSAGES_MAX as usize]);
        assert!(Messages::<Vec<u8>>::decode(&mut &*full.encode()).is_ok());
        let over = Messages(vec![Vec::<u8>::new(); MESSAGES_MAX as usize + 1]);
        assert!(Messages::<Vec<u8>>::decode(&mut &*over.encode()).is_err());
    }

    #[test]
    fn a_lying_length_is_refused_without_taking_memory() {
        let lying = [Compact(u32::MAX).encode(), vec![0; 8]].concat();
        assert!(matches!(read(lying), Verdict::Refused(Refusal::BadOutput(_))));
    }

    proptest! {
        #[test]
        fn no_bytes_make_the_decoder_panic_or_give_more_than_there_is(
            random in prop::collection::vec(any::<u8>(), 0..512),
            at in any::<prop::sample::Index>(),
            with in any::<u8>(),
        ) {
            let _ = head_number(&random);
            let mut changed = result().encode();
            let at = at.index(changed.len());
            changed[at] = with;
            for bytes in [random, changed] {
                let length = bytes.len();
                let Verdict::Returned(validated) = read(bytes) else { continue };
                let again = validated.result.encode();
                prop_assert!(again.len() <= length);
                prop_assert_eq!(ValidationResult::decode(&mut &*again), Ok(validated.result));
            }
        }
    }
}
