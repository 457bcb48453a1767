//! Hash functions (`ext_hashing_*`): a fat pointer in, a pointer to a fresh allocation out.

use sp_crypto_hashing as hash;
use wasmtime::Linker;

use super::{State, host_functions};

pub(super) fn link(linker: &mut Linker<State>) -> wasmtime::Result<()> {
    host_functions! { linker;
        "ext_hashing_keccak_256_version_1" = |guest, bytes: u64| -> u32 {
            let digest = hash::keccak_256(guest.fat(bytes)?);
            guest.give(&digest)
        }
        "ext_hashing_keccak_512_version_1" = |guest, bytes: u64| -> u32 {
            let digest = hash::keccak_512(guest.fat(bytes)?);
            guest.give(&digest)
        }
        "ext_hashing_sha2_256_version_1" = |guest, bytes: u64| -> u32 {
            let digest = hash::sha2_256(guest.fat(bytes)?);
            guest.give(&digest)
        }
        "ext_hashing_blake2_128_version_1" = |guest, bytes: u64| -> u32 {
            let digest = hash::blake2_128(guest.fat(bytes)?);
            guest.give(&digest)
        }
        "ext_hashing_blake2_256_version_1" = |guest, bytes: u64| -> u32 {
            let digest = hash::blake2_256(guest.fat(bytes)?);
            guest.give(&digest)
        }
        "ext_hashing_twox_256_version_1" = |guest, bytes: u64| -> u32 {
            let digest = hash::twox_256(guest.fat(bytes)?);
            guest.give(&digest)
        }
        "ext_hashing_twox_128_version_1" = |guest, bytes: u64| -> u32 {
            let digest = hash::twox_128(guest.fat(bytes)?);
            guest.give(&digest)
        }
        "ext_hashing_twox_64_version_1" = |guest, bytes: u64| -> u32 {
            let digest = hash::twox_64(guest.fat(bytes)?);
            guest.give(&digest)
        }
    }
    Ok(())
}

pub(super) fn warm_up() {
    let bytes = std::hint::black_box(b"");
    std::hint::black_box((hash::keccak_256(bytes), hash::sha2_256(bytes)));
    std::hint::black_box((hash::blake2_256(bytes), hash::twox_64(bytes)));
}
