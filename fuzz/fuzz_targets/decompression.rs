//! Code and block data behind the zstd prefix. The engine's own source file is compiled in: it needs
//! none of the engine, and without Wasmtime a run starts in seconds.
#![no_main]
#![allow(dead_code, unreachable_pub, reason = "a file of another crate, of which a part is used")]

use std::borrow::Cow;
use std::io::Read as _;

use libfuzzer_sys::fuzz_target;

#[path = "../../crates/engine/src/compressed.rs"]
mod compressed;

use compressed::{COMPRESSED_PREFIX, decompress};

/// Small enough that a bomb is found out at once, and large enough to go off.
const BYTES_MAX: u64 = 1 << 20;

fuzz_target!(|bytes: &[u8]| {
    let blob = [&COMPRESSED_PREFIX, bytes].concat();
    let plain = decompress(&blob, BYTES_MAX).ok();
    // What came before, in the same context, must not show.
    assert_eq!(plain, anew(bytes, BYTES_MAX).map(Cow::Owned));
    assert_eq!(plain, decompress(&blob, BYTES_MAX).ok());
    let less = plain.map_or(0, |plain| plain.len() as u64).saturating_sub(1);
    assert_eq!(decompress(&blob, less).ok(), anew(bytes, less).map(Cow::Owned));
});

/// What the network's decoder makes of a stream (`sp-maybe-compressed-blob`), each time anew.
fn anew(stream: &[u8], bytes_max: u64) -> Option<Vec<u8>> {
    let mut plain = Vec::with_capacity(stream.len());
    let decoder = zstd::Decoder::new(stream).expect("there is memory for a context");
    decoder.take(bytes_max + 1).read_to_end(&mut plain).ok()?;
    (plain.len() as u64 <= bytes_max).then_some(plain)
}
