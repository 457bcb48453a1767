//! What an artifact is called: a digest of everything that it depends on.

use std::fmt;

use lazaret_wire::params::Params;

/// Separates these digests from all others, and from those of another file format.
const DOMAIN: &str = "lazaret 2026-11-21 artifact key v1";

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
