//! Blobs that may be compressed: zstd behind an eight-byte prefix.
//!
//! Used for code, for block data and for the blobs a guest hands to `runtime_version`. Output is
//! produced piece by piece and never beyond the limit, so a bomb costs no more than the limit.

use std::borrow::Cow;
use std::cell::RefCell;
use std::io::Read;

use zstd::zstd_safe::{DCtx, ResetDirective, get_error_name};

/// What a compressed blob starts with (`sp-maybe-compressed-blob`). No Wasm module starts so.
pub const COMPRESSED_PREFIX: [u8; 8] = [0x52, 0xbc, 0x53, 0x76, 0x46, 0xdb, 0x8e, 0x05];

/// The largest window a frame may ask for, as a power of two: 128 MiB. It is what zstd itself uses
/// when told nothing, and so what the network does; named here because it bounds our memory.
const WINDOW_LOG_MAX: u32 = 27;

/// Why a blob did not decompress.
#[derive(Debug, thiserror::Error)]
pub enum DecompressError {
    /// There is more than the limit allows.
    #[error("decompresses to more than {bytes_max} bytes")]
    TooLarge {
        /// The limit.
        bytes_max: u64,
    },
    /// The zstd stream is broken, or asks for a larger window than allowed.
    #[error("is not a valid compressed blob")]
    Invalid(#[source] std::io::Error),
}

/// Whether a blob says so of itself.
pub(crate) fn is_compressed(blob: &[u8]) -> bool {
    blob.starts_with(&COMPRESSED_PREFIX)
}

/// Returns the blob itself when it is plain, its content when it is compressed.
///
/// A plain blob is not measured: its size is known to whoever hands it in.
pub(crate) fn decompress(blob: &[u8], bytes_max: u64) -> Result<Cow<'_, [u8]>, DecompressError> {
    match blob.strip_prefix(&COMPRESSED_PREFIX) {
        None => Ok(Cow::Borrowed(blob)),
        Some(stream) => decompress_stream(stream, bytes_max).map(Cow::Owned),
    }
}

thread_local! {
    /// zstd asks the CPU for its features when it makes a context, which a confined job cannot do
    /// any more. So one is made before the fork and used again and again.
    static CONTEXT: RefCell<Option<DCtx<'static>>> = const { RefCell::new(None) };
}

/// Makes the context, so that a job finds it made.
pub(crate) fn warm_up() {
    CONTEXT.with_borrow_mut(|context| {
        context.get_or_insert_with(DCtx::create);
    });
}

fn decompress_stream(stream: &[u8], bytes_max: u64) -> Result<Vec<u8>, DecompressError> {
    CONTEXT.with_borrow_mut(|context| {
        decompress_in(context.get_or_insert_with(DCtx::create), stream, bytes_max)
    })
}

fn decompress_in(
    context: &mut DCtx<'static>,
    stream: &[u8],
    bytes_max: u64,
) -> Result<Vec<u8>, DecompressError> {
    // What the stream before left in the context, if it broke off.
    context
        .reset(ResetDirective::SessionAndParameters)
        .map_err(|code| DecompressError::Invalid(std::io::Error::other(get_error_name(code))))?;
    let mut decoder = zstd::stream::read::Decoder::with_context(stream, context);
    decoder.window_log_max(WINDOW_LOG_MAX).map_err(DecompressError::Invalid)?;
    // The vector starts at the compressed size, which is already in memory, and then grows with
    // what was really produced: nothing is reserved on the word of the frame header.
    let mut plain = Vec::with_capacity(stream.len().min(usize_from(bytes_max)));
    let read =
        decoder.take(bytes_max.saturating_add(1)).read_to_end(&mut plain).map(|read| read as u64);
    match read {
        Ok(read) if read <= bytes_max => Ok(plain),
        Ok(_) => Err(DecompressError::TooLarge { bytes_max }),
        Err(error) => Err(DecompressError::Invalid(error)),
    }
}

fn usize_from(bytes: u64) -> usize {
    usize::try_from(bytes).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn compressed(plain: &[u8]) -> Vec<u8> {
        let mut blob = COMPRESSED_PREFIX.to_vec();
        blob.extend(zstd::stream::encode_all(plain, 3).expect("zstd compresses in memory"));
        blob
    }

    #[test]
    fn a_plain_blob_is_returned_as_it_is() {
        assert_eq!(&*decompress(b"plain", 1).unwrap(), b"plain");
    }

    #[test]
    fn a_compressed_blob_of_exactly_the_limit_is_accepted_and_one_byte_more_is_not() {
        let blob = compressed(&[7; 1000]);
        assert_eq!(&*decompress(&blob, 1000).unwrap(), &[7; 1000]);
        assert!(matches!(
            decompress(&blob, 999),
            Err(DecompressError::TooLarge { bytes_max: 999 })
        ));
    }

    #[test]
    fn two_frames_in_a_row_are_one_blob() {
        let mut blob = compressed(b"one");
        blob.extend(zstd::stream::encode_all(&b"two"[..], 3).unwrap());
        assert_eq!(&*decompress(&blob, 100).unwrap(), b"onetwo");
    }

    #[test]
    fn a_truncated_stream_and_garbage_are_invalid() {
        let blob = compressed(&[7; 1000]);
        for bad in [&blob[..blob.len() - 1], &COMPRESSED_PREFIX[..], &[&blob[..], b"xx"].concat()] {
            assert!(matches!(decompress(bad, 2000), Err(DecompressError::Invalid(_))), "{bad:?}");
        }
    }

    proptest! {
        #[test]
        fn no_stream_panics_or_gives_more_than_its_limit(
            random in prop::collection::vec(any::<u8>(), 0..512),
            at in any::<prop::sample::Index>(),
            with in any::<u8>(),
        ) {
            let mut changed = compressed(&[1, 2, 3, 4].repeat(5000));
            let at = at.index(changed.len() - COMPRESSED_PREFIX.len());
            changed[COMPRESSED_PREFIX.len() + at] = with;
            for blob in [[&COMPRESSED_PREFIX, &*random].concat(), changed] {
                if let Ok(plain) = decompress(&blob, 10_000) {
                    prop_assert!(plain.len() <= 10_000);
                }
                // The context is as good as new, whatever it just read.
                let next = compressed(b"next");
                prop_assert_eq!(&*decompress(&next, 4).unwrap(), b"next");
            }
        }
    }
}
