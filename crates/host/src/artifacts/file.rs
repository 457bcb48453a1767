//! The artifact file: a fixed header, then the artifact.
//!
//! ```text
//!    0  magic "LAZARET\0"
//!    8  format version (u32), then zero (u32)
//!   16  key (32 bytes)
//!   48  BLAKE3 of the code as it was given
//!   80  fingerprint of the engine that it is for
//!  112  when it was prepared, in seconds of Unix time (u64)
//!  120  what preparing took: CPU µs, wall µs, heap peak, code bytes (4 × u64)
//!  152  bytes of the artifact (u64)
//!  160  BLAKE3 of the artifact
//!  192  BLAKE3 of bytes 0..192
//!  224  the artifact
//! ```
//! All numbers are little endian. The header is checked before anything in it is believed, and the
//! artifact's digest before a job may map it.

use std::time::{Duration, SystemTime};

use super::key::Key;

const MAGIC: [u8; 8] = *b"LAZARET\0";
/// Goes up whenever the layout changes; another version is prepared again.
const FORMAT_VERSION: u32 = 2;
/// Bytes before the artifact.
pub(super) const HEADER_BYTES: usize = 224;

/// What preparing an artifact took, kept with it so that a later precheck can answer from it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PrepareFacts {
    /// CPU time of the job, in microseconds.
    pub cpu_micros: u64,
    /// Wall time of the job, in microseconds.
    pub wall_micros: u64,
    /// The most heap bytes that it held at once.
    pub heap_bytes_peak: u64,
    /// Bytes of the code once decompressed.
    pub code_bytes: u64,
}

/// Where an artifact comes from. Nothing is decided by it: the key is, and this explains it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Source {
    /// BLAKE3 of the code as it was given.
    pub(crate) code_digest: [u8; 32],
    pub(crate) engine_fingerprint: [u8; 32],
    /// In seconds of Unix time, by the clock of the host that prepared it.
    pub(crate) prepared_at: u64,
}

impl Source {
    /// Of what is prepared now.
    pub(crate) fn new(
        code_digest: [u8; 32],
        engine_fingerprint: [u8; 32],
        now: SystemTime,
    ) -> Self {
        let since_epoch = now.duration_since(SystemTime::UNIX_EPOCH).unwrap_or(Duration::ZERO);
        Self { code_digest, engine_fingerprint, prepared_at: since_epoch.as_secs() }
    }
}

/// Everything that the file says of its artifact.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Header {
    pub(super) key: Key,
    pub(super) source: Source,
    pub(super) facts: PrepareFacts,
    pub(super) artifact_bytes: u64,
    pub(super) artifact_digest: [u8; 32],
}

impl Header {
    pub(super) fn encode(&self) -> [u8; HEADER_BYTES] {
        let mut bytes = Vec::with_capacity(HEADER_BYTES);
        bytes.extend_from_slice(&MAGIC);
        bytes.extend_from_slice(&FORMAT_VERSION.to_le_bytes());
        bytes.extend_from_slice(&[0; 4]);
        bytes.extend_from_slice(self.key.as_bytes());
        bytes.extend_from_slice(&self.source.code_digest);
        bytes.extend_from_slice(&self.source.engine_fingerprint);
        for number in [
            self.source.prepared_at,
            self.facts.cpu_micros,
            self.facts.wall_micros,
            self.facts.heap_bytes_peak,
            self.facts.code_bytes,
            self.artifact_bytes,
        ] {
            bytes.extend_from_slice(&number.to_le_bytes());
        }
        bytes.extend_from_slice(&self.artifact_digest);
        bytes.extend_from_slice(blake3::hash(&bytes).as_bytes());
        bytes.try_into().expect("the parts add up to HEADER_BYTES")
    }

    /// The header in these bytes, for whichever key, if they are one of this format bit for bit.
    pub(super) fn read(bytes: &[u8; HEADER_BYTES]) -> Option<Self> {
        let number = |at: usize| {
            let field = bytes[at..at + 8].try_into().expect("eight bytes of a longer array");
            u64::from_le_bytes(field)
        };
        let digest = |at: usize| -> [u8; 32] {
            bytes[at..at + 32].try_into().expect("32 bytes of a longer array")
        };
        let header = Self {
            key: Key::from_bytes(digest(16)),
            source: Source {
                code_digest: digest(48),
                engine_fingerprint: digest(80),
                prepared_at: number(112),
            },
            facts: PrepareFacts {
                cpu_micros: number(120),
                wall_micros: number(128),
                heap_bytes_peak: number(136),
                code_bytes: number(144),
            },
            artifact_bytes: number(152),
            artifact_digest: digest(160),
        };
        // Encoding again compares magic, version, padding and proof at once.
        (header.encode() == *bytes).then_some(header)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const PROVEN_BYTES: usize = HEADER_BYTES - 32;

    fn header() -> Header {
        Header {
            key: Key::new(&[1; 32], &Default::default(), &[2; 32]),
            source: Source { code_digest: [7; 32], engine_fingerprint: [8; 32], prepared_at: 9 },
            facts: PrepareFacts {
                cpu_micros: 1,
                wall_micros: 2,
                heap_bytes_peak: 3,
                code_bytes: 4,
            },
            artifact_bytes: 5,
            artifact_digest: [6; 32],
        }
    }

    fn decode(bytes: &[u8; HEADER_BYTES], key: &Key) -> Option<Header> {
        Header::read(bytes).filter(|header| header.key == *key)
    }

    #[test]
    fn a_header_comes_back_as_it_went() {
        let header = header();
        assert_eq!(decode(&header.encode(), &header.key), Some(header));
    }

    #[test]
    fn every_flipped_bit_of_a_header_is_noticed() {
        let header = header();
        for bit in 0..8 * HEADER_BYTES {
            let mut bytes = header.encode();
            bytes[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(decode(&bytes, &header.key), None, "bit {bit}");
        }
    }

    #[test]
    fn a_header_for_another_key_is_not_taken() {
        let other = Key::new(&[9; 32], &Default::default(), &[2; 32]);
        assert_eq!(decode(&header().encode(), &other), None);
    }

    proptest! {
        #[test]
        fn whatever_is_read_as_a_header_is_that_header_bit_for_bit(
            random in prop::collection::vec(any::<u8>(), HEADER_BYTES),
        ) {
            let key = header().key;
            let random: [u8; HEADER_BYTES] = random.try_into().unwrap();
            prop_assert_eq!(decode(&random, &key), None);
            // With a key and a proof that fit, so that the fields are what is tried.
            let mut proven = random;
            proven[16..48].copy_from_slice(key.as_bytes());
            let proof = blake3::hash(&proven[..PROVEN_BYTES]);
            proven[PROVEN_BYTES..].copy_from_slice(proof.as_bytes());
            prop_assert_eq!(decode(&proven, &key), None, "no magic");
            proven[..16].copy_from_slice(&header().encode()[..16]);
            let proof = blake3::hash(&proven[..PROVEN_BYTES]);
            proven[PROVEN_BYTES..].copy_from_slice(proof.as_bytes());
            let read = decode(&proven, &key);
            prop_assert_eq!(read.map(|header| header.encode()), Some(proven));
        }
    }
}
