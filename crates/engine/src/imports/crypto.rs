//! Signatures (`ext_crypto_*`): verification and recovery.
//!
//! A signature that does not verify is an answer; only bad pointers trap. Functions that need a
//! keystore link with their types and trap when called: a validator has no keys to give a guest.

use parity_scale_codec::Encode;
use sp_core::{Pair as _, ecdsa, ed25519, sr25519};
use wasmtime::{AsContextMut, Linker};

use super::{Guest, Refusal, State, host_functions};

pub(super) fn link(linker: &mut Linker<State>) -> wasmtime::Result<()> {
    link_verification(linker)?;
    link_batches(linker)?;
    link_recovery(linker)?;
    link_keystore(linker)
}

fn link_verification(linker: &mut Linker<State>) -> wasmtime::Result<()> {
    host_functions! { linker;
        "ext_crypto_ed25519_verify_version_1" = |guest, sig: u32, msg: u64, key: u32| -> u32 {
            ed25519_verify(guest, sig, msg, key).map(u32::from)
        }
        // Version 1 also accepts signatures from before schnorrkel's audit.
        "ext_crypto_sr25519_verify_version_1" = |guest, sig: u32, msg: u64, key: u32| -> u32 {
            let (sig, key) = (guest.array::<64>(sig)?.into(), guest.array::<32>(key)?.into());
            Ok(sr25519::Pair::verify_deprecated(&sig, guest.fat(msg)?, &key).into())
        }
        "ext_crypto_sr25519_verify_version_2" = |guest, sig: u32, msg: u64, key: u32| -> u32 {
            sr25519_verify(guest, sig, msg, key).map(u32::from)
        }
        // Version 1 also accepts signatures whose numbers overflow the group order.
        "ext_crypto_ecdsa_verify_version_1" = |guest, sig: u32, msg: u64, key: u32| -> u32 {
            let (sig, key) = (guest.array::<65>(sig)?.into(), guest.array::<33>(key)?.into());
            #[allow(deprecated)] // Deprecated for new code; this version of the function means it.
            Ok(ecdsa::Pair::verify_deprecated(&sig, guest.fat(msg)?, &key).into())
        }
        "ext_crypto_ecdsa_verify_version_2" = |guest, sig: u32, msg: u64, key: u32| -> u32 {
            ecdsa_verify(guest, sig, msg, key).map(u32::from)
        }
        "ext_crypto_ecdsa_verify_prehashed_version_1" = |guest, sig: u32, msg: u32, key: u32| -> u32 {
            let (sig, key) = (guest.array::<65>(sig)?.into(), guest.array::<33>(key)?.into());
            let digest = guest.array::<32>(msg)?;
            Ok(ecdsa::Pair::verify_prehashed(&sig, &digest, &key).into())
        }
    }
    Ok(())
}

/// A batch verifies nothing later: each signature is checked at once, and the batch remembers
/// whether all of them were good. That is what the network does since batching was given up.
fn link_batches(linker: &mut Linker<State>) -> wasmtime::Result<()> {
    host_functions! { linker;
        "ext_crypto_start_batch_verify_version_1" = |guest| -> () {
            match guest.state().batch.replace(true) {
                None => Ok(()),
                Some(_) => Err(Refusal::BatchRunning),
            }
        }
        "ext_crypto_finish_batch_verify_version_1" = |guest| -> u32 {
            guest.state().batch.take().map(u32::from).ok_or(Refusal::NoBatch)
        }
        "ext_crypto_ed25519_batch_verify_version_1" = |guest, sig: u32, msg: u64, key: u32| -> u32 {
            let good = ed25519_verify(guest, sig, msg, key)?;
            Ok(note_in_batch(guest, good))
        }
        "ext_crypto_sr25519_batch_verify_version_1" = |guest, sig: u32, msg: u64, key: u32| -> u32 {
            let good = sr25519_verify(guest, sig, msg, key)?;
            Ok(note_in_batch(guest, good))
        }
        "ext_crypto_ecdsa_batch_verify_version_1" = |guest, sig: u32, msg: u64, key: u32| -> u32 {
            let good = ecdsa_verify(guest, sig, msg, key)?;
            Ok(note_in_batch(guest, good))
        }
    }
    Ok(())
}

fn ed25519_verify<C>(guest: &Guest<C>, sig: u32, msg: u64, key: u32) -> Result<bool, Refusal>
where
    C: AsContextMut<Data = State>,
{
    let (sig, key) = (guest.array::<64>(sig)?.into(), guest.array::<32>(key)?.into());
    Ok(ed25519::Pair::verify(&sig, guest.fat(msg)?, &key))
}

fn sr25519_verify<C>(guest: &Guest<C>, sig: u32, msg: u64, key: u32) -> Result<bool, Refusal>
where
    C: AsContextMut<Data = State>,
{
    let (sig, key) = (guest.array::<64>(sig)?.into(), guest.array::<32>(key)?.into());
    Ok(sr25519::Pair::verify(&sig, guest.fat(msg)?, &key))
}

fn ecdsa_verify<C>(guest: &Guest<C>, sig: u32, msg: u64, key: u32) -> Result<bool, Refusal>
where
    C: AsContextMut<Data = State>,
{
    let (sig, key) = (guest.array::<65>(sig)?.into(), guest.array::<33>(key)?.into());
    Ok(ecdsa::Pair::verify(&sig, guest.fat(msg)?, &key))
}

fn note_in_batch<C: AsContextMut<Data = State>>(guest: &mut Guest<C>, good: bool) -> u32 {
    if let Some(all_good) = &mut guest.state().batch {
        *all_good &= good;
    }
    good.into()
}

/// Why no key could be recovered; the order is the encoding.
#[derive(Encode)]
enum RecoverError {
    BadRS,
    BadV,
    BadSignature,
}

fn link_recovery(linker: &mut Linker<State>) -> wasmtime::Result<()> {
    host_functions! { linker;
        "ext_crypto_secp256k1_ecdsa_recover_version_1" = |guest, sig: u32, msg: u32| -> u64 {
            let recovered = recover_overflowing(&guest.array(sig)?, &guest.array(msg)?);
            guest.give_fat(&recovered.map(|key| without_tag(&key.serialize())).encode())
        }
        "ext_crypto_secp256k1_ecdsa_recover_version_2" = |guest, sig: u32, msg: u32| -> u64 {
            let recovered = recover(&guest.array(sig)?, &guest.array(msg)?);
            guest.give_fat(&recovered.map(|key| without_tag(&key.serialize_uncompressed())).encode())
        }
        "ext_crypto_secp256k1_ecdsa_recover_compressed_version_1" = |guest, sig: u32, msg: u32| -> u64 {
            let recovered = recover_overflowing(&guest.array(sig)?, &guest.array(msg)?);
            guest.give_fat(&recovered.map(|key| key.serialize_compressed()).encode())
        }
        "ext_crypto_secp256k1_ecdsa_recover_compressed_version_2" = |guest, sig: u32, msg: u32| -> u64 {
            let recovered = recover(&guest.array(sig)?, &guest.array(msg)?);
            guest.give_fat(&recovered.map(|key| key.serialize()).encode())
        }
    }
    Ok(())
}

/// Version 1: numbers beyond the group order are accepted and reduced.
fn recover_overflowing(
    sig: &[u8; 65],
    digest: &[u8; 32],
) -> Result<libsecp256k1::PublicKey, RecoverError> {
    let id = libsecp256k1::RecoveryId::parse(recovery_id(sig)).map_err(|_| RecoverError::BadV)?;
    let sig = libsecp256k1::Signature::parse_overflowing_slice(&sig[..64])
        .map_err(|_| RecoverError::BadRS)?;
    let message = libsecp256k1::Message::parse(digest);
    libsecp256k1::recover(&message, &sig, &id).map_err(|_| RecoverError::BadSignature)
}

/// Version 2: numbers beyond the group order are refused.
fn recover(sig: &[u8; 65], digest: &[u8; 32]) -> Result<secp256k1::PublicKey, RecoverError> {
    use secp256k1::ecdsa::{RecoverableSignature, RecoveryId};
    let id = RecoveryId::from_i32(recovery_id(sig).into()).map_err(|_| RecoverError::BadV)?;
    let sig =
        RecoverableSignature::from_compact(&sig[..64], id).map_err(|_| RecoverError::BadRS)?;
    let message = secp256k1::Message::from_digest(*digest);
    secp256k1::SECP256K1.recover_ecdsa(&message, &sig).map_err(|_| RecoverError::BadSignature)
}

/// The last byte is 0 to 3, or 27 to 30 in Ethereum's habit.
fn recovery_id(sig: &[u8; 65]) -> u8 {
    if sig[64] > 26 { sig[64] - 27 } else { sig[64] }
}

/// An uncompressed key without the byte that says so.
fn without_tag(key: &[u8; 65]) -> [u8; 64] {
    key[1..].try_into().expect("65 bytes without the first are 64")
}

fn link_keystore(linker: &mut Linker<State>) -> wasmtime::Result<()> {
    host_functions! { linker;
        "ext_crypto_ed25519_public_keys_version_1" = |_, _id: u32| -> u64 { Err(Refusal::NoKeystore) }
        "ext_crypto_ed25519_generate_version_1" = |_, _id: u32, _seed: u64| -> u32 { Err(Refusal::NoKeystore) }
        "ext_crypto_ed25519_sign_version_1" = |_, _id: u32, _key: u32, _msg: u64| -> u64 { Err(Refusal::NoKeystore) }
        "ext_crypto_sr25519_public_keys_version_1" = |_, _id: u32| -> u64 { Err(Refusal::NoKeystore) }
        "ext_crypto_sr25519_generate_version_1" = |_, _id: u32, _seed: u64| -> u32 { Err(Refusal::NoKeystore) }
        "ext_crypto_sr25519_sign_version_1" = |_, _id: u32, _key: u32, _msg: u64| -> u64 { Err(Refusal::NoKeystore) }
        "ext_crypto_ecdsa_public_keys_version_1" = |_, _id: u32| -> u64 { Err(Refusal::NoKeystore) }
        "ext_crypto_ecdsa_generate_version_1" = |_, _id: u32, _seed: u64| -> u32 { Err(Refusal::NoKeystore) }
        "ext_crypto_ecdsa_sign_version_1" = |_, _id: u32, _key: u32, _msg: u64| -> u64 { Err(Refusal::NoKeystore) }
        "ext_crypto_ecdsa_sign_prehashed_version_1" = |_, _id: u32, _key: u32, _msg: u32| -> u64 { Err(Refusal::NoKeystore) }
    }
    Ok(())
}

pub(super) fn warm_up() {
    // The basepoint tables and the CPU dispatch are reached by any well-formed key; the answers,
    // all of them no, do not matter.
    let key = ed25519::Pair::from_seed(&[1; 32]).public();
    std::hint::black_box(ed25519::Pair::verify(&[0; 64].into(), b"", &key));
    let key = sr25519::Pair::from_seed(&[1; 32]).public();
    let mut sig = [0; 64];
    sig[63] = 0x80;
    std::hint::black_box(sr25519::Pair::verify(&sig.into(), b"", &key));
    let mut sig = [1; 65];
    sig[64] = 0;
    let _ = std::hint::black_box(recover(&sig, &[1; 32]));
    let _ = std::hint::black_box(recover_overflowing(&sig, &[1; 32]));
}
