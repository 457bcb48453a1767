//! Parachain validation functions: blocks in, validation results out, votes.
//!
//! The types are those of Polkadot's `polkadot-parachain-primitives`, SCALE-encoded; the convention
//! of the call is in the Polkadot specification, "Parachain validation functions".

use std::time::Instant;

use lazaret_wire::work;
use parity_scale_codec::{Compact, Decode, Encode, Error, Input as Source};

use crate::{
    Answer, Code, Culprit, Fault, Group, Host, Lane, Limits, Params, Refusal, Retry, Verdict, Vote,
    culprit,
    host::Call,
    request::{Input, Output},
};

/// The most bytes that block data may have once decompressed (Polkadot's `POV_BOMB_LIMIT`).
pub const BLOCK_DATA_BYTES_MAX: u64 = 40 * 1024 * 1024;
/// The most messages of one kind in a result (`MAX_UPWARD_MESSAGE_NUM`,
/// `MAX_HORIZONTAL_MESSAGE_NUM`).
pub const MESSAGES_MAX: u32 = 16 * 1024;

/// What a parachain validation function is given.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct ValidationParams {
    /// The head that the block builds on.
    pub parent_head: Vec<u8>,
    /// The block with its proof.
    pub block_data: Vec<u8>,
    /// The relay chain block that it is anchored in.
    pub relay_parent_number: u32,
    /// The storage root of that block.
    pub relay_parent_storage_root: [u8; 32],
}

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

/// One block to validate.
#[derive(Clone, Debug)]
pub struct Block(Form);

#[derive(Clone, Debug)]
enum Form {
    Encoded(Vec<u8>),
    Parts(ValidationParams),
}

impl Block {
    /// From SCALE-encoded [`ValidationParams`], handed to the guest as they are.
    pub fn encoded(params: Vec<u8>) -> Self {
        Self(Form::Encoded(params))
    }

    /// From its parts. Block data may be zstd-compressed behind Substrate's 8-byte prefix, as it
    /// travels on the network; it is decompressed in the job, up to [`BLOCK_DATA_BYTES_MAX`].
    pub fn parts(params: ValidationParams) -> Self {
        Self(Form::Parts(params))
    }

    fn into_input(self) -> Input {
        match self.0 {
            Form::Encoded(bytes) => Input { pieces: [bytes].into(), form: work::Input::PvfEncoded },
            Form::Parts(params) => Input {
                form: work::Input::PvfParts(work::PvfParts {
                    // A head that is longer makes an input beyond every limit.
                    parent_head_bytes: params.parent_head.len().try_into().unwrap_or(u32::MAX),
                    relay_parent_number: params.relay_parent_number,
                    relay_parent_storage_root: params.relay_parent_storage_root,
                    block_data_bytes_max: BLOCK_DATA_BYTES_MAX,
                }),
                pieces: [params.parent_head, params.block_data].into(),
            },
        }
    }
}

/// How a block is validated.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct Settings {
    /// What the code means; the default is Polkadot's.
    pub params: Params,
    /// Limits of the call.
    pub limits: Limits,
    /// Whether to try again.
    pub retry: Retry,
    /// After this moment the answer is worthless: a request that still waits is given up.
    pub deadline: Option<Instant>,
    /// How urgent it is, beside the other calls of this host.
    pub lane: Lane,
    /// With which others it stands and falls ([`Host::withdraw`]).
    pub group: Option<Group>,
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

impl Host {
    /// Validates a block: calls `validate_block` of `code` once in a jailed job.
    ///
    /// The result is decoded here, in the host, because the caller needs it here: a decoder that
    /// takes memory only for bytes that are there, and that is fuzzed.
    pub async fn validate(
        &self,
        code: &Code,
        block: Block,
        settings: &Settings,
    ) -> Result<Answer<Validated>, Fault> {
        let call = Call {
            code: code.clone(),
            params: settings.params.clone(),
            input: block.into_input(),
            limits: settings.limits.clone(),
            retry: settings.retry,
            deadline: settings.deadline,
            lane: settings.lane,
            group: settings.group,
        };
        Ok(self.execute(call).await?.read(read_result))
    }
}

pub(crate) fn read_result(Output { bytes, memory_pages }: Output) -> Verdict<Validated> {
    match ValidationResult::decode(&mut bytes.as_slice()) {
        Ok(result) => Verdict::Returned(Validated { encoded: bytes, result, memory_pages }),
        Err(_) => {
            Verdict::Refused(Refusal::BadOutput("it does not decode as a ValidationResult".into()))
        }
    }
}

/// What a validator does with the answer to a validation.
///
/// Against: the block is invalid, or two jobs ended in a way that cannot be explained. Abstain: this
/// machine failed, or the *code* could not be prepared, which says nothing about the block.
pub fn vote<T>(answer: &Result<Answer<T>, Fault>) -> Vote {
    match answer {
        Ok(answer) => match &answer.verdict {
            Verdict::Returned(_) => Vote::For,
            Verdict::Refused(refusal) if culprit(refusal) == Culprit::Code => Vote::Abstain,
            Verdict::Inconclusive(crate::Doubt::Preparation(_)) => Vote::Abstain,
            Verdict::Refused(_) | Verdict::Inconclusive(_) => Vote::Against,
        },
        Err(_) => Vote::Abstain,
    }
}

/// What a validator does with the answer to a precheck: every refusal is against the code.
pub fn precheck_vote<T>(answer: &Result<Answer<T>, Fault>) -> Vote {
    match answer {
        Ok(Answer { verdict: Verdict::Returned(_), .. }) => Vote::For,
        Ok(_) => Vote::Against,
        Err(_) => Vote::Abstain,
    }
}

/// The hash by which the relay chain knows a head (BLAKE2b-256).
pub fn head_hash(head: &[u8]) -> [u8; 32] {
    sp_crypto_hashing::blake2_256(head)
}

/// The block number in a head, where it is of a known form. Only for showing: a parachain's head may
/// be anything.
///
/// A Substrate header is a parent hash, the number as a SCALE compact, two more hashes, a digest. The
/// test parachains of Polkadot (and the example of this project) have a number (u64) and two hashes.
pub fn head_number(head: &[u8]) -> Option<u64> {
    const HASH: usize = 32;
    if head.len() == 8 + 2 * HASH {
        return head.first_chunk().map(|number| u64::from_le_bytes(*number));
    }
    let number = head.get(HASH..).filter(|rest| rest.len() > 2 * HASH)?;
    Compact::<u64>::decode(&mut &*number).ok().map(|Compact(number)| number)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

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
        read_result(Output { bytes, memory_pages: 1 })
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

    #[test]
    fn votes_follow_the_table() {
        let answer = |verdict: Verdict<()>| {
            Ok(Answer {
                verdict,
                usage: Default::default(),
                attempts: 1,
                artifact: None,
                log: Vec::new(),
                log_lines_dropped: 0,
            })
        };
        let code = || Refusal::PrepareMemory { limit_bytes: 1 };
        assert_eq!(vote(&answer(Verdict::Returned(()))), Vote::For);
        assert_eq!(
            vote(&answer(Verdict::Refused(Refusal::CpuLimit { limit_micros: 1 }))),
            Vote::Against
        );
        assert_eq!(vote(&answer(Verdict::Inconclusive(crate::Doubt::NoReply))), Vote::Against);
        assert_eq!(vote(&answer(Verdict::Refused(code()))), Vote::Abstain);
        assert_eq!(vote::<()>(&Err(Fault::WorkerLost)), Vote::Abstain);
        assert_eq!(precheck_vote(&answer(Verdict::Refused(code()))), Vote::Against);
        assert_eq!(precheck_vote::<()>(&Err(Fault::WorkerLost)), Vote::Abstain);
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
