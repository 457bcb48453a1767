//! Trie roots and proofs (`ext_trie_*`).
//!
//! Lists of keys and values are decoded in place: a list borrows the guest's memory instead of
//! copying every item. Building a root recurses once per branch on the way to the deepest key, so
//! the stack it needs is reckoned first and taken if the current one is too small.

use parity_scale_codec::{Compact, Decode, Error as CodecError};
use sp_core::{Blake2Hasher, H256, KeccakHasher};
use sp_trie::{LayoutV0, LayoutV1, TrieConfiguration};
use wasmtime::{AsContextMut, Linker};

use super::{Guest, Refusal, State, host_functions};

/// Stack for one level of a trie under construction; about five times what was measured.
const STACK_BYTES_PER_LEVEL: usize = 4096;

/// Stack for everything below the recursion.
const STACK_BYTES_BASE: usize = 256 * 1024;

/// Which layout of nodes: version 1 hashes large values.
enum Layout {
    V0,
    V1,
}

impl Layout {
    fn from_argument(version: u32) -> Result<Self, Refusal> {
        // The argument is a byte that travels as an i32; the rest of it is ignored.
        match version as u8 {
            0 => Ok(Self::V0),
            1 => Ok(Self::V1),
            value => Err(Refusal::UnknownValue { what: "state version", value }),
        }
    }
}

pub(super) fn link(linker: &mut Linker<State>) -> wasmtime::Result<()> {
    link_roots(linker)?;
    link_ordered_roots(linker)?;
    link_proofs(linker)
}

fn link_roots(linker: &mut Linker<State>) -> wasmtime::Result<()> {
    host_functions! { linker;
        "ext_trie_blake2_256_root_version_1" = |guest, input: u64| -> u32 {
            let digest = root::<LayoutV0<Blake2Hasher>>(guest.fat(input)?)?;
            guest.give(&digest)
        }
        "ext_trie_blake2_256_root_version_2" = |guest, input: u64, version: u32| -> u32 {
            let input = guest.fat(input)?;
            let digest = match Layout::from_argument(version)? {
                Layout::V0 => root::<LayoutV0<Blake2Hasher>>(input)?,
                Layout::V1 => root::<LayoutV1<Blake2Hasher>>(input)?,
            };
            guest.give(&digest)
        }
        "ext_trie_keccak_256_root_version_1" = |guest, input: u64| -> u32 {
            let digest = root::<LayoutV0<KeccakHasher>>(guest.fat(input)?)?;
            guest.give(&digest)
        }
        "ext_trie_keccak_256_root_version_2" = |guest, input: u64, version: u32| -> u32 {
            let input = guest.fat(input)?;
            let digest = match Layout::from_argument(version)? {
                Layout::V0 => root::<LayoutV0<KeccakHasher>>(input)?,
                Layout::V1 => root::<LayoutV1<KeccakHasher>>(input)?,
            };
            guest.give(&digest)
        }
    }
    Ok(())
}

fn link_ordered_roots(linker: &mut Linker<State>) -> wasmtime::Result<()> {
    host_functions! { linker;
        "ext_trie_blake2_256_ordered_root_version_1" = |guest, input: u64| -> u32 {
            let digest = ordered_root::<LayoutV0<Blake2Hasher>>(guest.fat(input)?)?;
            guest.give(&digest)
        }
        "ext_trie_blake2_256_ordered_root_version_2" = |guest, input: u64, version: u32| -> u32 {
            let input = guest.fat(input)?;
            let digest = match Layout::from_argument(version)? {
                Layout::V0 => ordered_root::<LayoutV0<Blake2Hasher>>(input)?,
                Layout::V1 => ordered_root::<LayoutV1<Blake2Hasher>>(input)?,
            };
            guest.give(&digest)
        }
        "ext_trie_keccak_256_ordered_root_version_1" = |guest, input: u64| -> u32 {
            let digest = ordered_root::<LayoutV0<KeccakHasher>>(guest.fat(input)?)?;
            guest.give(&digest)
        }
        "ext_trie_keccak_256_ordered_root_version_2" = |guest, input: u64, version: u32| -> u32 {
            let input = guest.fat(input)?;
            let digest = match Layout::from_argument(version)? {
                Layout::V0 => ordered_root::<LayoutV0<KeccakHasher>>(input)?,
                Layout::V1 => ordered_root::<LayoutV1<KeccakHasher>>(input)?,
            };
            guest.give(&digest)
        }
    }
    Ok(())
}

fn link_proofs(linker: &mut Linker<State>) -> wasmtime::Result<()> {
    host_functions! { linker;
        "ext_trie_blake2_256_verify_proof_version_1" =
            |guest, root: u32, proof: u64, key: u64, value: u64| -> u32 {
            verify_proof::<_, LayoutV0<Blake2Hasher>>(guest, root, proof, key, value)
        }
        "ext_trie_blake2_256_verify_proof_version_2" =
            |guest, root: u32, proof: u64, key: u64, value: u64, version: u32| -> u32 {
            match Layout::from_argument(version)? {
                Layout::V0 => verify_proof::<_, LayoutV0<Blake2Hasher>>(guest, root, proof, key, value),
                Layout::V1 => verify_proof::<_, LayoutV1<Blake2Hasher>>(guest, root, proof, key, value),
            }
        }
        "ext_trie_keccak_256_verify_proof_version_1" =
            |guest, root: u32, proof: u64, key: u64, value: u64| -> u32 {
            verify_proof::<_, LayoutV0<KeccakHasher>>(guest, root, proof, key, value)
        }
        "ext_trie_keccak_256_verify_proof_version_2" =
            |guest, root: u32, proof: u64, key: u64, value: u64, version: u32| -> u32 {
            match Layout::from_argument(version)? {
                Layout::V0 => verify_proof::<_, LayoutV0<KeccakHasher>>(guest, root, proof, key, value),
                Layout::V1 => verify_proof::<_, LayoutV1<KeccakHasher>>(guest, root, proof, key, value),
            }
        }
    }
    Ok(())
}

fn root<L: TrieConfiguration>(mut encoded: &[u8]) -> Result<[u8; 32], Refusal>
where
    L::Hash: sp_core::Hasher<Out = H256>,
{
    let pairs =
        decode_list(&mut encoded, |input| Ok((decode_bytes(input)?, decode_bytes(input)?)))?;
    let stack_bytes = STACK_BYTES_BASE + levels_max(&pairs) * STACK_BYTES_PER_LEVEL;
    Ok(stacker::maybe_grow(stack_bytes, stack_bytes, || L::trie_root(pairs)).0)
}

/// A bound on the branches between the root and the deepest key. At branch number n some key
/// turns off that is at least n nibbles long, so d branches need at least d keys, one of them d
/// nibbles long, and d²/4 bytes of keys together.
fn levels_max(pairs: &[(&[u8], &[u8])]) -> usize {
    let longest = pairs.iter().map(|(key, _)| key.len()).max().unwrap_or(0);
    let total: usize = pairs.iter().map(|(key, _)| key.len()).sum();
    pairs.len().min(2 * longest).min(2 * total.isqrt() + 1) + 1
}

/// The keys are the compact indices, five bytes at most: no depth to speak of.
fn ordered_root<L: TrieConfiguration>(mut encoded: &[u8]) -> Result<[u8; 32], Refusal>
where
    L::Hash: sp_core::Hasher<Out = H256>,
{
    let values = decode_list(&mut encoded, decode_bytes)?;
    Ok(L::ordered_trie_root(values).0)
}

fn verify_proof<C, L: TrieConfiguration>(
    guest: &Guest<C>,
    root: u32,
    proof: u64,
    key: u64,
    value: u64,
) -> Result<u32, Refusal>
where
    C: AsContextMut<Data = State>,
    L::Hash: sp_core::Hasher<Out = H256>,
{
    let root = H256(guest.array(root)?);
    let proof = Vec::<Vec<u8>>::decode(&mut guest.fat(proof)?)?;
    let item = (guest.fat(key)?, Some(guest.fat(value)?));
    Ok(sp_trie::verify_trie_proof::<L, _, _, _>(&root, &proof, &[item]).is_ok().into())
}

/// A SCALE list. Nothing is reserved for the announced length: the list grows with what is there.
fn decode_list<'a, T>(
    input: &mut &'a [u8],
    mut item: impl FnMut(&mut &'a [u8]) -> Result<T, CodecError>,
) -> Result<Vec<T>, CodecError> {
    let length = Compact::<u32>::decode(input)?.0;
    let mut items = Vec::new();
    for _ in 0..length {
        items.push(item(input)?);
    }
    Ok(items)
}

/// SCALE bytes, borrowed.
fn decode_bytes<'a>(input: &mut &'a [u8]) -> Result<&'a [u8], CodecError> {
    let length = Compact::<u32>::decode(input)?.0 as usize;
    let (bytes, rest) =
        input.split_at_checked(length).ok_or("not enough bytes for the announced length")?;
    *input = rest;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use parity_scale_codec::Encode;

    #[test]
    fn a_root_over_very_deep_keys_does_not_exhaust_the_stack() {
        let key = [0x11; 1500];
        let pairs: Vec<(Vec<u8>, Vec<u8>)> =
            (0..=key.len()).map(|length| (key[..length].to_vec(), vec![1])).collect();
        let expected = LayoutV1::<Blake2Hasher>::trie_root(pairs.clone());
        let encoded = pairs.encode();
        let small_stack = stacker::grow(128 * 1024, || root::<LayoutV1<Blake2Hasher>>(&encoded));
        assert_eq!(small_stack.unwrap(), expected.0);
    }

    #[test]
    fn a_list_that_announces_more_than_it_has_does_not_decode() {
        let announced = Compact(u32::MAX).encode();
        assert!(root::<LayoutV0<Blake2Hasher>>(&announced).is_err());
        assert!(ordered_root::<LayoutV0<Blake2Hasher>>(&announced).is_err());
    }
}
