//! What an artifact is called: a digest of everything that it depends on.

use std::fmt;

use lazaret_wire::params::Params;

/// Separates these digests from all others, and from those of another file format.
const DOMAIN: &str = "lazaret 2026-11-21 artifact key v2";

/// Code, the params that reach the artifact, and the engine (version, settings, target, CPU
/// features) as one BLAKE3 digest.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Key([u8; 32]);

impl Key {
    pub(crate) fn new(
        code_digest: &[u8; 32],
        params: &Params,
        engine_fingerprint: &[u8; 32],
    ) -> Self {
        // Every part has a fixed length, so no two inputs run together.
        let digest = blake3::Hasher::new_derive_key(DOMAIN)
            .update(code_digest)
            .update(&params.artifact_bytes())
            .update(engine_fingerprint)
            .finalize();
        Self(*digest.as_bytes())
    }

    pub(super) fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The key that is written so, in 64 digits of lower case.
    pub(super) fn from_hex(digits: &str) -> Option<Self> {
        let is_lower = !digits.bytes().any(|byte| byte.is_ascii_uppercase());
        let hash = blake3::Hash::from_hex(digits).ok().filter(|_| is_lower)?;
        Some(Self(*hash.as_bytes()))
    }

    pub(crate) fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&blake3::Hash::from_bytes(self.0).to_hex())
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Key({self})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_read_as_it_is_written_and_in_no_other_way() {
        let key = Key::new(&[1; 32], &Params::default(), &[2; 32]);
        let digits = key.to_string();
        assert_eq!(Key::from_hex(&digits), Some(key));
        for wrong in ["", "00", &digits[1..], &digits.to_uppercase(), &format!("{digits}0")] {
            assert_eq!(Key::from_hex(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn code_params_and_engine_each_change_the_key() {
        let params = Params::default();
        let key = Key::new(&[1; 32], &params, &[2; 32]);
        assert_eq!(key, Key::new(&[1; 32], &params, &[2; 32]));
        assert_ne!(key, Key::new(&[3; 32], &params, &[2; 32]));
        assert_ne!(key, Key::new(&[1; 32], &params, &[3; 32]));
        let bulk = Params { bulk_memory: true, ..params.clone() };
        assert_ne!(key, Key::new(&[1; 32], &bulk, &[2; 32]));
        let memory = Params { memory_pages_max: 1, ..params };
        assert_eq!(key, Key::new(&[1; 32], &memory, &[2; 32]));
    }
}
