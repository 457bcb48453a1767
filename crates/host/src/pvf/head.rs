//! What can be said about a parachain's head from outside: its hash and, for known forms, its number.

use parity_scale_codec::{Compact, Decode};

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
