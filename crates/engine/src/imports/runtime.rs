//! `ext_misc_runtime_version_version_1`: the version embedded in a runtime the guest holds.
//!
//! The blob is parsed with the very parser the network uses, not merely scanned for its sections:
//! a blob that parser refuses has no version, and a guest could otherwise tell us apart.

use parity_scale_codec::Encode as _;
use wasm_instrument::parity_wasm::elements::{Module, deserialize_buffer};
use wasmtime::Linker;

use super::{State, host_functions};
use crate::compressed::decompress;
use crate::runtime_version::read_version;

/// Bytes such a blob may decompress to: the network's constant (`sp-maybe-compressed-blob`), not a
/// setting, since the guest sees the difference.
const BLOB_BYTES_MAX: u64 = 50 * 1024 * 1024;

pub(super) fn link(linker: &mut Linker<State>) -> wasmtime::Result<()> {
    host_functions! { linker;
        "ext_misc_runtime_version_version_1" = |guest, blob: u64| -> u64 {
            let version = embedded_version(guest.fat(blob)?);
            guest.give_fat(&version.encode())
        }
    }
    Ok(())
}

/// The encoded version, or nothing when there is none to be read for whatever reason.
fn embedded_version(blob: &[u8]) -> Option<Vec<u8>> {
    let code = decompress(blob, BLOB_BYTES_MAX).ok()?;
    let module: Module = deserialize_buffer(&code).ok()?;
    let section = |name: &str| {
        module.custom_sections().find(|section| section.name() == name).map(|s| s.payload())
    };
    let version = read_version(section("runtime_version"), section("runtime_apis")).ok()?;
    Some(version.encode())
}
