//! Headers of artifact files. The host's own source files are compiled in, so that the library needs
//! no way in for a fuzzer. The last 32 bytes of a header prove the rest; a fuzzer cannot guess them,
//! so every header is tried as it came and with a proof that fits.
#![no_main]
#![allow(dead_code, unreachable_pub, reason = "files of another crate, of which a part is used")]

use libfuzzer_sys::fuzz_target;

#[path = "../../crates/host/src/artifacts/file.rs"]
mod file;
#[path = "../../crates/host/src/artifacts/key.rs"]
mod key;

use file::{HEADER_BYTES, Header};

const PROVEN_BYTES: usize = HEADER_BYTES - 32;

fuzz_target!(|bytes: &[u8]| {
    let Some(header) = bytes.first_chunk::<HEADER_BYTES>() else { return };
    let key = key::Key::new(&[1; 32], &Default::default(), &[2; 32]);
    let mut proven = *header;
    proven[16..48].copy_from_slice(key.as_bytes());
    let proof = blake3::hash(&proven[..PROVEN_BYTES]);
    proven[PROVEN_BYTES..].copy_from_slice(proof.as_bytes());
    for bytes in [header, &proven] {
        if let Some(header) = Header::read(bytes) {
            assert_eq!(header.encode(), *bytes, "a header that is not what it was read from");
        }
    }
});
