//! Code and block data behind the zstd prefix. The engine's own source file is compiled in: it needs
//! none of the engine, and without Wasmtime a run starts in seconds.
#![no_main]
#![allow(dead_code, unreachable_pub, reason = "a file of another crate, of which a part is used")]

use libfuzzer_sys::fuzz_target;

#[path = "../../crates/engine/src/compressed.rs"]
mod compressed;

use compressed::{COMPRESSED_PREFIX, decompress};

/// Small enough that a bomb is found out at once, and large enough to go off.
const BYTES_MAX: u64 = 1 << 20;

fuzz_target!(|bytes: &[u8]| {
    let blob = [&COMPRESSED_PREFIX, bytes].concat();
    if let Ok(plain) = decompress(&blob, BYTES_MAX) {
        assert!(plain.len() as u64 <= BYTES_MAX);
        // The context is used again and again: what came before must not show.
        assert_eq!(decompress(&blob, BYTES_MAX).expect("it was one before"), plain);
        let less = (plain.len() as u64).saturating_sub(1);
        assert!(plain.is_empty() || decompress(&blob, less).is_err(), "beyond its limit");
    }
});
