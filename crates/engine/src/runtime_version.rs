//! The version a runtime carries in its custom sections.
//!
//! [`inspect`](crate::inspect) shows it, and the host function `ext_misc_runtime_version` hands it to a guest in
//! Substrate's encoding. The section `runtime_version` holds the fixed part with an empty list of
//! interfaces; `runtime_apis` holds the list as records of twelve bytes.

use parity_scale_codec::{Decode, DecodeAll as _, Encode};

/// Interface identifier and its version.
type Api = ([u8; 8], u32);

/// `blake2b_64("Core")`: the interface whose version says which fields follow.
const CORE_API: [u8; 8] = [0xdf, 0x6a, 0xcb, 0x68, 0x99, 0x07, 0x60, 0x9b];

/// Bytes of one record in the section `runtime_apis`.
const API_RECORD_BYTES: usize = 12;

/// The version of a runtime (the fields of `sp-version`, in the order of their encoding).
#[derive(Clone, Debug, PartialEq, Eq, Encode)]
pub struct RuntimeVersion {
    /// Which runtime, for example `statemint`.
    pub spec_name: String,
    /// Which implementation of it.
    pub impl_name: String,
    /// Version of the authorship interface.
    pub authoring_version: u32,
    /// Version of the runtime.
    pub spec_version: u32,
    /// Version of the implementation.
    pub impl_version: u32,
    /// The interfaces the runtime exports.
    pub apis: Vec<Api>,
    /// Version of the transaction format.
    pub transaction_version: u32,
    /// Version of the system implementation, once called state version.
    pub system_version: u8,
}

/// Why the sections do not say a version.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum VersionError {
    Absent,
    Undecodable,
}

/// Reads the version from the contents of the two sections.
pub(crate) fn read_version(
    version_section: Option<&[u8]>,
    apis_section: Option<&[u8]>,
) -> Result<RuntimeVersion, VersionError> {
    let section = version_section.ok_or(VersionError::Absent)?;
    let apis = apis_section.map(read_apis).transpose()?;
    let mut version =
        decode(&mut &*section, apis.as_deref()).map_err(|_| VersionError::Undecodable)?;
    if let Some(apis) = apis {
        version.apis = apis;
    }
    Ok(version)
}

fn read_apis(section: &[u8]) -> Result<Vec<Api>, VersionError> {
    section
        .chunks(API_RECORD_BYTES)
        .map(|record| Api::decode_all(&mut &*record).map_err(|_| VersionError::Undecodable))
        .collect()
}

/// Later fields exist only in later runtimes. The separate list decides, and where it is absent or
/// silent about `Core` the list inside the version does, as in `sp-version`.
fn decode(
    input: &mut &[u8],
    separate_apis: Option<&[Api]>,
) -> Result<RuntimeVersion, parity_scale_codec::Error> {
    let spec_name = String::decode(input)?;
    let impl_name = String::decode(input)?;
    let authoring_version = u32::decode(input)?;
    let spec_version = u32::decode(input)?;
    let impl_version = u32::decode(input)?;
    let apis = Vec::<Api>::decode(input)?;
    let core = separate_apis.and_then(core_version).or_else(|| core_version(&apis)).unwrap_or(0);
    let transaction_version = if core >= 3 { u32::decode(input)? } else { 1 };
    let system_version = if core >= 4 { u8::decode(input)? } else { 0 };
    Ok(RuntimeVersion {
        spec_name,
        impl_name,
        authoring_version,
        spec_version,
        impl_version,
        apis,
        transaction_version,
        system_version,
    })
}

fn core_version(apis: &[Api]) -> Option<u32> {
    apis.iter().find(|(id, _)| *id == CORE_API).map(|(_, version)| *version)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fixed_part() -> Vec<u8> {
        ("spec", "impl", 1u32, 42u32, 2u32, Vec::<Api>::new()).encode()
    }

    #[test]
    fn the_core_interface_is_named_by_its_hash() {
        assert_eq!(sp_crypto_hashing::blake2_64(b"Core"), CORE_API);
    }

    #[test]
    fn a_version_with_core_4_has_all_fields() {
        let section = [fixed_part(), (7u32, 1u8).encode()].concat();
        let version = read_version(Some(&section), Some(&(CORE_API, 4u32).encode())).unwrap();
        assert_eq!(version.spec_name, "spec");
        assert_eq!((version.spec_version, version.transaction_version), (42, 7));
        assert_eq!(version.system_version, 1);
        assert_eq!(version.apis, [(CORE_API, 4)]);
    }

    #[test]
    fn an_old_version_gets_defaults_for_later_fields() {
        let version = read_version(Some(&fixed_part()), None).unwrap();
        assert_eq!((version.transaction_version, version.system_version), (1, 0));
    }

    #[test]
    fn clipped_sections_do_not_decode() {
        let clipped = (CORE_API, 4u32).encode();
        assert_eq!(
            read_version(Some(&fixed_part()), Some(&clipped[..11])),
            Err(VersionError::Undecodable)
        );
        assert_eq!(read_version(Some(&[4]), None), Err(VersionError::Undecodable));
        assert_eq!(read_version(None, None), Err(VersionError::Absent));
    }
}
