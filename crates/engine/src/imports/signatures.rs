//! The list of host functions with their types, for everyone who looks at imports without linking.
//!
//! Validation and inspection compare a module's imports against it; a test holds it equal to what
//! is really linked.

use wasmparser::ValType;
use wasmparser::ValType::{I32, I64};

/// One function a guest may import by this name.
pub(crate) struct Signature {
    #[cfg_attr(not(test), expect(dead_code, reason = "the test of linkage reads it"))]
    pub(crate) name: &'static str,
    pub(crate) params: &'static [ValType],
    pub(crate) results: &'static [ValType],
    pub(crate) provision: Provision,
}

/// What happens when the function is called.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Provision {
    /// It works.
    Works,
    /// It has a type to be checked, and traps.
    Traps,
}

type Row = (&'static str, &'static [ValType], &'static [ValType]);

const WORKING: &[Row] = &[
    ("ext_allocator_free_version_1", &[I32], &[]),
    ("ext_allocator_malloc_version_1", &[I32], &[I32]),
    ("ext_crypto_ecdsa_batch_verify_version_1", &[I32, I64, I32], &[I32]),
    ("ext_crypto_ecdsa_verify_prehashed_version_1", &[I32, I32, I32], &[I32]),
    ("ext_crypto_ecdsa_verify_version_1", &[I32, I64, I32], &[I32]),
    ("ext_crypto_ecdsa_verify_version_2", &[I32, I64, I32], &[I32]),
    ("ext_crypto_ed25519_batch_verify_version_1", &[I32, I64, I32], &[I32]),
    ("ext_crypto_ed25519_verify_version_1", &[I32, I64, I32], &[I32]),
    ("ext_crypto_finish_batch_verify_version_1", &[], &[I32]),
    ("ext_crypto_secp256k1_ecdsa_recover_compressed_version_1", &[I32, I32], &[I64]),
    ("ext_crypto_secp256k1_ecdsa_recover_compressed_version_2", &[I32, I32], &[I64]),
    ("ext_crypto_secp256k1_ecdsa_recover_version_1", &[I32, I32], &[I64]),
    ("ext_crypto_secp256k1_ecdsa_recover_version_2", &[I32, I32], &[I64]),
    ("ext_crypto_sr25519_batch_verify_version_1", &[I32, I64, I32], &[I32]),
    ("ext_crypto_sr25519_verify_version_1", &[I32, I64, I32], &[I32]),
    ("ext_crypto_sr25519_verify_version_2", &[I32, I64, I32], &[I32]),
    ("ext_crypto_start_batch_verify_version_1", &[], &[]),
    ("ext_hashing_blake2_128_version_1", &[I64], &[I32]),
    ("ext_hashing_blake2_256_version_1", &[I64], &[I32]),
    ("ext_hashing_keccak_256_version_1", &[I64], &[I32]),
    ("ext_hashing_keccak_512_version_1", &[I64], &[I32]),
    ("ext_hashing_sha2_256_version_1", &[I64], &[I32]),
    ("ext_hashing_twox_128_version_1", &[I64], &[I32]),
    ("ext_hashing_twox_256_version_1", &[I64], &[I32]),
    ("ext_hashing_twox_64_version_1", &[I64], &[I32]),
    ("ext_logging_log_version_1", &[I32, I64, I64], &[]),
    ("ext_logging_max_level_version_1", &[], &[I32]),
    ("ext_misc_print_hex_version_1", &[I64], &[]),
    ("ext_misc_print_num_version_1", &[I64], &[]),
    ("ext_misc_print_utf8_version_1", &[I64], &[]),
    ("ext_misc_runtime_version_version_1", &[I64], &[I64]),
    ("ext_trie_blake2_256_ordered_root_version_1", &[I64], &[I32]),
    ("ext_trie_blake2_256_ordered_root_version_2", &[I64, I32], &[I32]),
    ("ext_trie_blake2_256_root_version_1", &[I64], &[I32]),
    ("ext_trie_blake2_256_root_version_2", &[I64, I32], &[I32]),
    ("ext_trie_blake2_256_verify_proof_version_1", &[I32, I64, I64, I64], &[I32]),
    ("ext_trie_blake2_256_verify_proof_version_2", &[I32, I64, I64, I64, I32], &[I32]),
    ("ext_trie_keccak_256_ordered_root_version_1", &[I64], &[I32]),
    ("ext_trie_keccak_256_ordered_root_version_2", &[I64, I32], &[I32]),
    ("ext_trie_keccak_256_root_version_1", &[I64], &[I32]),
    ("ext_trie_keccak_256_root_version_2", &[I64, I32], &[I32]),
    ("ext_trie_keccak_256_verify_proof_version_1", &[I32, I64, I64, I64], &[I32]),
    ("ext_trie_keccak_256_verify_proof_version_2", &[I32, I64, I64, I64, I32], &[I32]),
];

const TRAPPING: &[Row] = &[
    ("ext_crypto_ecdsa_generate_version_1", &[I32, I64], &[I32]),
    ("ext_crypto_ecdsa_public_keys_version_1", &[I32], &[I64]),
    ("ext_crypto_ecdsa_sign_prehashed_version_1", &[I32, I32, I32], &[I64]),
    ("ext_crypto_ecdsa_sign_version_1", &[I32, I32, I64], &[I64]),
    ("ext_crypto_ed25519_generate_version_1", &[I32, I64], &[I32]),
    ("ext_crypto_ed25519_public_keys_version_1", &[I32], &[I64]),
    ("ext_crypto_ed25519_sign_version_1", &[I32, I32, I64], &[I64]),
    ("ext_crypto_sr25519_generate_version_1", &[I32, I64], &[I32]),
    ("ext_crypto_sr25519_public_keys_version_1", &[I32], &[I64]),
    ("ext_crypto_sr25519_sign_version_1", &[I32, I32, I64], &[I64]),
];

/// The type this name must be imported with, when the name is known.
pub(crate) fn signature_of(name: &str) -> Option<Signature> {
    find(WORKING, Provision::Works, name).or_else(|| find(TRAPPING, Provision::Traps, name))
}

fn find(rows: &'static [Row], provision: Provision, name: &str) -> Option<Signature> {
    let row = rows.binary_search_by_key(&name, |row| row.0).ok()?;
    Some(signature(&rows[row], provision))
}

fn signature(row: &Row, provision: Provision) -> Signature {
    Signature { name: row.0, params: row.1, results: row.2, provision }
}

#[cfg(test)]
pub(crate) fn all() -> impl Iterator<Item = Signature> {
    let working = WORKING.iter().map(|row| signature(row, Provision::Works));
    working.chain(TRAPPING.iter().map(|row| signature(row, Provision::Traps)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_lists_are_sorted_so_that_they_can_be_searched() {
        for rows in [WORKING, TRAPPING] {
            assert!(rows.is_sorted_by_key(|row| row.0));
        }
    }
}
