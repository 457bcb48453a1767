//! Executor params: what a relay chain sets for a session about how its validators run code.
//!
//! The encoding and both hashes are those of `ExecutorParams` in `polkadot-primitives`. What the
//! params must keep to is in `executor_rules.rs`, what they mean to a host in `executor_limits.rs`.

use parity_scale_codec::{Compact, Decode, Encode, Error, Input as Source};

use crate::pvf::PrepareKind;

/// Goes before the params that [`ExecutorParams::prep_hash`] digests.
const PREP_HASH_DOMAIN: &[u8] = b"prep";

/// The executor params of a session, in the order of the chain.
#[derive(Clone, Debug, Default, PartialEq, Eq, Encode)]
pub struct ExecutorParams(pub Vec<ExecutorParam>);

/// One executor param.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode)]
#[non_exhaustive]
pub enum ExecutorParam {
    /// Pages of 64 KiB that linear memory may have on top of
    /// [`HEAP_PAGES_ESTIMATE`](crate::HEAP_PAGES_ESTIMATE).
    #[codec(index = 1)]
    MaxMemoryPages(u32),
    /// Values on the logical stack.
    #[codec(index = 2)]
    StackLogicalMax(u32),
    /// Bytes of native stack.
    #[codec(index = 3)]
    StackNativeMax(u32),
    /// Bytes of heap that a precheck may hold.
    #[codec(index = 4)]
    PrecheckingMaxMemory(u64),
    /// CPU time of a preparation, in milliseconds.
    #[codec(index = 5)]
    PvfPrepTimeout(PrepareKind, u64),
    /// CPU time of a call, in milliseconds.
    #[codec(index = 6)]
    PvfExecTimeout(ExecTimeoutKind, u64),
    /// The bulk memory instructions are allowed.
    #[codec(index = 7)]
    WasmExtBulkMemory,
    /// Host functions that are not there otherwise.
    #[codec(index = 8)]
    EnabledHostFunction(HostFunctions),
}

/// Which calls a [`PvfExecTimeout`](ExecutorParam::PvfExecTimeout) is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode)]
pub enum ExecTimeoutKind {
    /// Those for backing.
    #[codec(index = 0)]
    Backing,
    /// Those for approval and disputes.
    #[codec(index = 1)]
    Approval,
}

/// A set of host functions that a chain may enable.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode)]
#[non_exhaustive]
pub enum HostFunctions {
    /// Elliptic curves, by RFC 163 of the Polkadot fellowship.
    #[codec(index = 1)]
    EccRfc163,
}

/// Why bytes are no executor params.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DecodeError {
    /// They end too early, or a length is not what SCALE allows.
    #[error("the bytes end before the executor params do")]
    Truncated,
    /// A param that this version does not know. It may change what code means, so it is not skipped.
    #[error("executor param {index} is not known; 1 to 8 are accepted")]
    UnknownParam {
        /// Its index.
        index: u8,
    },
    /// A known param of a kind that this version does not know.
    #[error("executor param {param} of kind {kind} is not known; {accepted} accepted")]
    UnknownKind {
        /// The param.
        param: &'static str,
        /// The index of its kind.
        kind: u8,
        /// Which kinds there are.
        accepted: &'static str,
    },
    /// Something follows.
    #[error("{bytes} bytes follow the executor params; none are accepted")]
    Trailing {
        /// How many bytes.
        bytes: u64,
    },
}

impl ExecutorParams {
    /// Reads what a runtime encoded, all of it. Says more about what is wrong than [`Decode`] can.
    pub fn from_scale(mut bytes: &[u8]) -> Result<Self, DecodeError> {
        let params = read_params(&mut bytes)?;
        match bytes.len() as u64 {
            0 => Ok(params),
            bytes => Err(DecodeError::Trailing { bytes }),
        }
    }

    /// The hash by which a session's params are known (BLAKE2b-256 of the encoding).
    pub fn hash(&self) -> [u8; 32] {
        sp_crypto_hashing::blake2_256(&self.encode())
    }

    /// The hash of the params that the network prepares code by. Params of equal hashes share
    /// artifacts there, and here too if they give the same native stack.
    pub fn prep_hash(&self) -> [u8; 32] {
        let mut bytes = PREP_HASH_DOMAIN.to_vec();
        for param in self.0.iter().filter(|param| param.reaches_artifact()) {
            param.encode_to(&mut bytes);
        }
        sp_crypto_hashing::blake2_256(&bytes)
    }
}

impl ExecutorParam {
    /// Whether the network's hosts prepare code anew when this param changes.
    pub fn reaches_artifact(&self) -> bool {
        match self {
            Self::StackLogicalMax(_) | Self::WasmExtBulkMemory => true,
            Self::MaxMemoryPages(_)
            | Self::StackNativeMax(_)
            | Self::PrecheckingMaxMemory(_)
            | Self::PvfPrepTimeout(..)
            | Self::PvfExecTimeout(..)
            | Self::EnabledHostFunction(_) => false,
        }
    }

    /// The param as the network names it, with its kind. Equal names may stand in a set once.
    pub fn name(&self) -> &'static str {
        match self {
            Self::MaxMemoryPages(_) => "MaxMemoryPages",
            Self::StackLogicalMax(_) => "StackLogicalMax",
            Self::StackNativeMax(_) => "StackNativeMax",
            Self::PrecheckingMaxMemory(_) => "PrecheckingMaxMemory",
            Self::PvfPrepTimeout(PrepareKind::Precheck, _) => "PvfPrepTimeout(Precheck)",
            Self::PvfPrepTimeout(PrepareKind::Prepare, _) => "PvfPrepTimeout(Prepare)",
            Self::PvfExecTimeout(ExecTimeoutKind::Backing, _) => "PvfExecTimeout(Backing)",
            Self::PvfExecTimeout(ExecTimeoutKind::Approval, _) => "PvfExecTimeout(Approval)",
            Self::WasmExtBulkMemory => "WasmExtBulkMemory",
            Self::EnabledHostFunction(HostFunctions::EccRfc163) => "EnabledHostFunction(EccRfc163)",
        }
    }
}

impl Decode for ExecutorParams {
    fn decode<I: Source>(source: &mut I) -> Result<Self, Error> {
        read_params(source).map_err(|error| match error {
            DecodeError::UnknownParam { .. } => "an executor param is not known".into(),
            DecodeError::UnknownKind { .. } => "a kind of an executor param is not known".into(),
            DecodeError::Truncated | DecodeError::Trailing { .. } => {
                "the bytes end before the executor params do".into()
            }
        })
    }
}

/// Memory is taken for params that are there, never for their count.
fn read_params<I: Source>(source: &mut I) -> Result<ExecutorParams, DecodeError> {
    let Compact(count) = read::<_, Compact<u32>>(source)?;
    (0..count).map(|_| read_param(source)).collect::<Result<_, _>>().map(ExecutorParams)
}

fn read_param<I: Source>(source: &mut I) -> Result<ExecutorParam, DecodeError> {
    Ok(match read(source)? {
        1_u8 => ExecutorParam::MaxMemoryPages(read(source)?),
        2 => ExecutorParam::StackLogicalMax(read(source)?),
        3 => ExecutorParam::StackNativeMax(read(source)?),
        4 => ExecutorParam::PrecheckingMaxMemory(read(source)?),
        5 => ExecutorParam::PvfPrepTimeout(read_prepare_kind(source)?, read(source)?),
        6 => ExecutorParam::PvfExecTimeout(read_exec_kind(source)?, read(source)?),
        7 => ExecutorParam::WasmExtBulkMemory,
        8 => ExecutorParam::EnabledHostFunction(read_host_functions(source)?),
        index => return Err(DecodeError::UnknownParam { index }),
    })
}

fn read_prepare_kind<I: Source>(source: &mut I) -> Result<PrepareKind, DecodeError> {
    match read(source)? {
        0 => Ok(PrepareKind::Precheck),
        1 => Ok(PrepareKind::Prepare),
        kind => Err(unknown_kind("PvfPrepTimeout", kind, "0 (Precheck) and 1 (Prepare) are")),
    }
}

fn read_exec_kind<I: Source>(source: &mut I) -> Result<ExecTimeoutKind, DecodeError> {
    match read(source)? {
        0 => Ok(ExecTimeoutKind::Backing),
        1 => Ok(ExecTimeoutKind::Approval),
        kind => Err(unknown_kind("PvfExecTimeout", kind, "0 (Backing) and 1 (Approval) are")),
    }
}

fn read_host_functions<I: Source>(source: &mut I) -> Result<HostFunctions, DecodeError> {
    match read(source)? {
        1 => Ok(HostFunctions::EccRfc163),
        kind => Err(unknown_kind("EnabledHostFunction", kind, "1 (EccRfc163) is")),
    }
}

fn unknown_kind(param: &'static str, kind: u8, accepted: &'static str) -> DecodeError {
    DecodeError::UnknownKind { param, kind, accepted }
}

fn read<I: Source, T: Decode>(source: &mut I) -> Result<T, DecodeError> {
    T::decode(source).map_err(|_| DecodeError::Truncated)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{ExecTimeoutKind::*, ExecutorParam::*, HostFunctions::*, PrepareKind::*, *};

    /// Params, their encoding, hash and prep hash, by `ExecutorParams` of polkadot-primitives 26.0.0.
    fn vectors() -> Vec<(Vec<ExecutorParam>, &'static str, &'static str, &'static str)> {
        vec![
            (
                vec![],
                "00",
                "03170a2e7597b7b7e3d84c05391d139a62b157e78786d8c082f29dcf4c111314",
                "50b16a713c0f8774ba3a0757c722b48c6eb4c1972f6e58c54fd0851f21a08633",
            ),
            (
                vec![MaxMemoryPages(8192), PvfExecTimeout(Approval, 16_000)],
                "0801002000000601803e000000000000",
                "79995e2f641f5afbe9d9ad52a15ce8db19226fd329015b9b7dbc067490338228",
                "50b16a713c0f8774ba3a0757c722b48c6eb4c1972f6e58c54fd0851f21a08633",
            ),
            (
                vec![
                    MaxMemoryPages(8192),
                    StackLogicalMax(65_536),
                    StackNativeMax(256 << 20),
                    PrecheckingMaxMemory(2 << 30),
                    PvfPrepTimeout(Precheck, 60_000),
                    PvfPrepTimeout(Prepare, 360_000),
                    PvfExecTimeout(Backing, 2_000),
                    PvfExecTimeout(Approval, 12_000),
                    WasmExtBulkMemory,
                    EnabledHostFunction(EccRfc163),
                ],
                "28010020000002000001000300000010040000008000000000050060ea0000000000000501407e0500000000000600d0070000000000000601e02e000000000000070801",
                "0024f4506f683de13126a4a5704bf44986c469d3e0113f47ffc520bc029cf711",
                "985951772c8431a84008c65be1c3b4e59ae50a9a33ba65e3b20ea956aae138cc",
            ),
            (
                vec![MaxMemoryPages(1)],
                "040101000000",
                "1f95a6c01132a78e7d433ff34ba1d3bf027e28a45ef8ab487b9eecd2b3219f20",
                "50b16a713c0f8774ba3a0757c722b48c6eb4c1972f6e58c54fd0851f21a08633",
            ),
            (
                vec![StackLogicalMax(1024)],
                "040200040000",
                "3cdd63abb4ad6a8014e8906be5eb6409cbddba67bd0d9669b03d55a22892c9cd",
                "cc5920fc5ad0fa94cdd75ccc851633d2e604e8c7550e4cfc743ef5df4e84fd75",
            ),
            (
                vec![StackNativeMax(0x0102_0304)],
                "040304030201",
                "8eca2b4408d172f2d5eef525610e9dfcf78a946ce7d7432b6bdfdef737c85b1f",
                "50b16a713c0f8774ba3a0757c722b48c6eb4c1972f6e58c54fd0851f21a08633",
            ),
            (
                vec![PrecheckingMaxMemory(0x0102_0304_0506_0708)],
                "04040807060504030201",
                "1366ae78add615a1254a79198af05ff1a89942b3153ed7e19ed74f3ac72545dc",
                "50b16a713c0f8774ba3a0757c722b48c6eb4c1972f6e58c54fd0851f21a08633",
            ),
            (
                vec![PvfPrepTimeout(Precheck, 1)],
                "0405000100000000000000",
                "ccae40bc3fd62b0448a538ec774ca64be1d6e3ccf8f224836efd3200c952cc92",
                "50b16a713c0f8774ba3a0757c722b48c6eb4c1972f6e58c54fd0851f21a08633",
            ),
            (
                vec![PvfPrepTimeout(Prepare, 2)],
                "0405010200000000000000",
                "321ea24f0c06c5d903f4b2d11155ce342dae47683a739106959dce1403b7273c",
                "50b16a713c0f8774ba3a0757c722b48c6eb4c1972f6e58c54fd0851f21a08633",
            ),
            (
                vec![PvfExecTimeout(Backing, 3)],
                "0406000300000000000000",
                "3f33cd191892fbf302eb1c7206ce5910e8a6f8e639c67d7783ba9ec8963958b5",
                "50b16a713c0f8774ba3a0757c722b48c6eb4c1972f6e58c54fd0851f21a08633",
            ),
            (
                vec![PvfExecTimeout(Approval, 4)],
                "0406010400000000000000",
                "8f385f99d0d57eb1da351f3932d66a98686d8d8bf9339e8124105598ad1a6d48",
                "50b16a713c0f8774ba3a0757c722b48c6eb4c1972f6e58c54fd0851f21a08633",
            ),
            (
                vec![WasmExtBulkMemory],
                "0407",
                "798d94504501dc42ece60bed0537e78b151335d66b47cfac2a85c01b0851136e",
                "24ebcd227dd66f12e94581ac7194e00e9d85fe3a254cb5285af30f09f29f16e1",
            ),
            (
                vec![EnabledHostFunction(EccRfc163)],
                "040801",
                "9206eee4032c41139ba9eb0376c513efeeafeccfa1566b7598decadce7ca6759",
                "50b16a713c0f8774ba3a0757c722b48c6eb4c1972f6e58c54fd0851f21a08633",
            ),
            (
                vec![StackLogicalMax(2048), WasmExtBulkMemory],
                "08020008000007",
                "b5bc18ef7bed897032a84be0ad41d79815beecdc7f1b18aa071fdd8e67ade086",
                "a010e184740d97817975326e6ed1d1848b20750c3be82a261e262a45a173e501",
            ),
            (
                vec![WasmExtBulkMemory, StackLogicalMax(2048)],
                "08070200080000",
                "86221e9caf817d2ea579abf0327b5de31f492b7fa23a9993fd445329f62458f9",
                "f86775649bffb49d8cbfd1b64902b1b25270d40454573919eeb4f6a4cbfbc27d",
            ),
        ]
    }

    /// Every param once, as the network's defaults where it has them.
    fn every_param() -> Vec<ExecutorParam> {
        vectors().into_iter().map(|(params, ..)| params).max_by_key(Vec::len).unwrap_or_default()
    }

    #[test]
    fn params_encode_and_hash_as_on_the_network() {
        for (params, encoded, hash, prep_hash) in vectors() {
            let params = ExecutorParams(params);
            assert_eq!(hex::encode(params.encode()), encoded, "{params:?}");
            assert_eq!(hex::encode(params.hash()), hash, "{params:?}");
            assert_eq!(hex::encode(params.prep_hash()), prep_hash, "{params:?}");
            assert_eq!(ExecutorParams::from_scale(&params.encode()), Ok(params));
        }
    }

    #[test]
    fn params_decode_within_what_a_runtime_answers() {
        let answer = Some(ExecutorParams(every_param())).encode();
        let decoded = Option::<ExecutorParams>::decode(&mut &*answer).expect("as it was encoded");
        assert_eq!(decoded, Some(ExecutorParams(every_param())));
    }

    #[test]
    fn every_truncation_and_every_byte_too_many_is_an_error() {
        let mut bytes = ExecutorParams(every_param()).encode();
        for length in 0..bytes.len() {
            let error = ExecutorParams::from_scale(&bytes[..length]);
            assert_eq!(error, Err(DecodeError::Truncated), "{length} bytes");
        }
        bytes.push(0);
        assert_eq!(ExecutorParams::from_scale(&bytes), Err(DecodeError::Trailing { bytes: 1 }));
    }

    #[test]
    fn an_unknown_param_or_kind_is_named_and_never_skipped() {
        for (bytes, message) in [
            (vec![4, 0], "executor param 0 is not known; 1 to 8 are accepted"),
            (vec![4, 9], "executor param 9 is not known; 1 to 8 are accepted"),
            (vec![8, 7, 255], "executor param 255 is not known; 1 to 8 are accepted"),
            (
                vec![4, 5, 2],
                "executor param PvfPrepTimeout of kind 2 is not known; \
                 0 (Precheck) and 1 (Prepare) are accepted",
            ),
            (
                vec![4, 6, 2],
                "executor param PvfExecTimeout of kind 2 is not known; \
                 0 (Backing) and 1 (Approval) are accepted",
            ),
            (
                vec![4, 8, 0],
                "executor param EnabledHostFunction of kind 0 is not known; \
                 1 (EccRfc163) is accepted",
            ),
        ] {
            let error = ExecutorParams::from_scale(&bytes).expect_err("not known");
            assert_eq!(error.to_string(), message);
            assert!(ExecutorParams::decode(&mut &*bytes).is_err());
        }
    }

    #[test]
    fn a_lying_count_is_refused_without_taking_memory() {
        let lying = [Compact(u32::MAX).encode(), vec![7; 8]].concat();
        assert_eq!(ExecutorParams::from_scale(&lying), Err(DecodeError::Truncated));
    }

    proptest! {
        #[test]
        fn no_bytes_make_the_decoder_panic_or_give_what_does_not_encode_back(
            random in prop::collection::vec(any::<u8>(), 0..128),
            at in any::<prop::sample::Index>(),
            with in any::<u8>(),
        ) {
            let mut changed = ExecutorParams(every_param()).encode();
            let at = at.index(changed.len());
            changed[at] = with;
            for bytes in [random, changed] {
                let Ok(params) = ExecutorParams::from_scale(&bytes) else { continue };
                prop_assert_eq!(params.encode(), bytes);
                let _ = params.check_consistency();
            }
        }
    }
}
