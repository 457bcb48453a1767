//! What a parachain validation function is given, as the network encodes it.

use parity_scale_codec::{Decode, Encode, Error, Input as Source, Output as Sink};

/// What a parachain validation function is given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ValidationParams {
    /// The head that the block builds on.
    pub parent_head: Vec<u8>,
    /// The block with its proof.
    pub block_data: Vec<u8>,
    /// The relay chain block that it is anchored in.
    pub relay_parent_number: u32,
    /// The storage root of that block.
    pub relay_parent_storage_root: [u8; 32],
    /// What candidates of descriptor version 3 add. It ends the encoding and `None` encodes to
    /// nothing, so functions that do not know it read the rest as before.
    pub extension: Option<ValidationParamsExtension>,
}

/// What a version of the candidate descriptor adds to [`ValidationParams`].
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[non_exhaustive]
pub enum ValidationParamsExtension {
    /// Version 3.
    #[codec(index = 3)]
    V3 {
        /// The hash of the relay chain block that the candidate is anchored in.
        relay_parent: [u8; 32],
        /// The hash of the relay chain block that it is scheduled by.
        scheduling_parent: [u8; 32],
    },
}

impl Encode for ValidationParams {
    fn encode_to<S: Sink + ?Sized>(&self, sink: &mut S) {
        self.parent_head.encode_to(sink);
        self.block_data.encode_to(sink);
        self.relay_parent_number.encode_to(sink);
        self.relay_parent_storage_root.encode_to(sink);
        if let Some(extension) = &self.extension {
            extension.encode_to(sink);
        }
    }
}

impl Decode for ValidationParams {
    /// Reads to the end of `source`: whatever follows the storage root must be an extension.
    fn decode<I: Source>(source: &mut I) -> Result<Self, Error> {
        Ok(Self {
            parent_head: Decode::decode(source)?,
            block_data: Decode::decode(source)?,
            relay_parent_number: Decode::decode(source)?,
            relay_parent_storage_root: Decode::decode(source)?,
            extension: match source.remaining_len()? {
                Some(0) => None,
                _ => Some(Decode::decode(source)?),
            },
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn params() -> ValidationParams {
        ValidationParams {
            parent_head: vec![1, 2, 3],
            block_data: vec![4, 5],
            relay_parent_number: 6,
            relay_parent_storage_root: [7; 32],
            extension: None,
        }
    }

    fn extended() -> ValidationParams {
        let (relay_parent, scheduling_parent) = ([8; 32], [9; 32]);
        let extension = ValidationParamsExtension::V3 { relay_parent, scheduling_parent };
        ValidationParams { extension: Some(extension), ..params() }
    }

    /// Vectors from `ValidationParams` and `TrailingOption<ValidationParamsExtension>` of
    /// polkadot-parachain-primitives 24.0.0.
    #[test]
    fn params_encode_as_on_the_network() {
        let plain = ["0c010203", "080405", "06000000", &"07".repeat(32)].concat();
        assert_eq!(hex::encode(params().encode()), plain);
        let with_extension = [&*plain, "03", &"08".repeat(32), &"09".repeat(32)].concat();
        assert_eq!(hex::encode(extended().encode()), with_extension);
    }

    #[test]
    fn params_come_back_with_and_without_an_extension() {
        for params in [params(), extended()] {
            assert_eq!(ValidationParams::decode(&mut &*params.encode()), Ok(params));
        }
    }

    #[test]
    fn what_is_no_extension_of_a_known_version_does_not_decode() {
        let plain = params().encode();
        let extended = extended().encode();
        for length in plain.len() + 1..extended.len() {
            assert!(ValidationParams::decode(&mut &extended[..length]).is_err(), "{length} bytes");
        }
        let version_4 = [&plain[..], &[4; 65]].concat();
        assert!(ValidationParams::decode(&mut &*version_4).is_err());
    }
}
