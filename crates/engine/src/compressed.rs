//! Blobs that may be compressed: zstd behind an eight-byte prefix.
//!
//! Used for code, for block data and for the blobs a guest hands to `runtime_version`. Output is
//! produced piece by piece and never beyond the limit, so a bomb costs no more than the limit.

use std::borrow::Cow;
use std::cell::RefCell;
use std::io::{BufReader, Read};

use zstd::zstd_safe::{
    DCtx, ErrorCode, InBuffer, OutBuffer, ResetDirective, SafeResult, get_error_name,
};

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
    static CONTEXT: RefCell<Option<Context>> = const { RefCell::new(None) };
}

/// Makes the context, so that a job finds it made.
pub(crate) fn warm_up() {
    CONTEXT.with_borrow_mut(|context| {
        context.get_or_insert_with(Context::new);
    });
}

fn decompress_stream(stream: &[u8], bytes_max: u64) -> Result<Vec<u8>, DecompressError> {
    CONTEXT
        .with_borrow_mut(|context| context.get_or_insert_with(Context::new).read(stream, bytes_max))
}

/// A zstd context that gives for each stream what a new one would.
///
/// A context keeps the buffers of its last stream, and how large they are decides about a frame
/// that lies about the size of its content: zstd checks that size when a frame's last block is not
/// empty, and else only by what its buffer holds. So a verdict could depend on what was
/// decompressed before.
struct Context {
    zstd: DCtx<'static>,
    /// Bytes it takes with no buffers.
    bytes_new: usize,
    used: bool,
}

impl Context {
    fn new() -> Self {
        let zstd = DCtx::create();
        Self { bytes_new: zstd.sizeof(), zstd, used: false }
    }

    fn read(&mut self, stream: &[u8], bytes_max: u64) -> Result<Vec<u8>, DecompressError> {
        if std::mem::replace(&mut self.used, true) {
            self.give_up_buffers().map_err(of_zstd)?;
        }
        // In pieces as the network's decoder reads them, which the same frames can tell.
        let pieces = BufReader::with_capacity(DCtx::in_size(), stream);
        let mut decoder = zstd::stream::read::Decoder::with_context(pieces, &mut self.zstd);
        decoder.window_log_max(WINDOW_LOG_MAX).map_err(DecompressError::Invalid)?;
        // The vector starts at the compressed size, which is already in memory, and then grows with
        // what was really produced: nothing is reserved on the word of the frame header.
        let mut plain = Vec::with_capacity(stream.len().min(usize_from(bytes_max)));
        let read = decoder.take(bytes_max.saturating_add(1)).read_to_end(&mut plain);
        match read.map_err(DecompressError::Invalid)? as u64 {
            read if read <= bytes_max => Ok(plain),
            _ => Err(DecompressError::TooLarge { bytes_max }),
        }
    }

    /// Has zstd exchange its buffers for the smallest there are, as it does when they were three
    /// times too large for 128 frames in a row: a frame that makes sure that they are, and then
    /// frames without content. There is no call for it but to make a new context.
    fn give_up_buffers(&mut self) -> SafeResult {
        self.start_frame(&FRAME_OF_A_WINDOW)?;
        for _ in 0..FRAMES_UNTIL_GIVEN_UP {
            self.start_frame(&FRAME_OF_NOTHING)?;
        }
        debug_assert_eq!(self.zstd.sizeof(), self.bytes_new + BUFFERS_BYTES_MIN);
        self.zstd.reset(ResetDirective::SessionAndParameters)
    }

    /// Buffers are made when a frame's header has been read.
    fn start_frame(&mut self, header: &[u8]) -> SafeResult {
        self.zstd.reset(ResetDirective::SessionAndParameters)?;
        let mut output = OutBuffer::around(&mut [] as &mut [u8]);
        self.zstd.decompress_stream(&mut output, &mut InBuffer::around(header))
    }
}

/// The header of a frame (RFC 8878, section 3.1.1) whose window is 1 KiB, its content of any size.
const FRAME_OF_A_WINDOW: [u8; 6] = [0x28, 0xb5, 0x2f, 0xfd, 0, 0];

/// The header of a frame in one segment of no bytes.
const FRAME_OF_NOTHING: [u8; 6] = [0x28, 0xb5, 0x2f, 0xfd, 0x20, 0];

/// `ZSTD_WORKSPACETOOLARGE_MAXDURATION`.
const FRAMES_UNTIL_GIVEN_UP: usize = 128;

/// What zstd keeps for a frame of nothing: room for a checksum.
const BUFFERS_BYTES_MIN: usize = 4;

fn of_zstd(code: ErrorCode) -> DecompressError {
    DecompressError::Invalid(std::io::Error::other(get_error_name(code)))
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

    /// What the network's decoder makes of a stream (`sp-maybe-compressed-blob`), each time anew.
    fn anew(stream: &[u8], bytes_max: u64) -> Option<Vec<u8>> {
        let mut plain = Vec::with_capacity(stream.len());
        let decoder = zstd::Decoder::new(stream).unwrap();
        decoder.take(bytes_max + 1).read_to_end(&mut plain).ok()?;
        (plain.len() as u64 <= bytes_max).then_some(plain)
    }

    /// A frame whose header promises 506 bytes, and which has 3,388 and an empty last block.
    const LIAR: [u8; 21] = [
        0x28, 0xb5, 0x2f, 0xfd, 0x80, 0x50, 0xfa, 1, 0,
        0, // magic, window of 1 MiB, 506 bytes
        0x0a, 0x69, 0, 0xfd, 0xda, 0, 0, 0x50, // 3,361 times one byte, 27 times another
        1, 0, 0, // the last block, of nothing
    ];

    #[test]
    fn what_was_decompressed_before_does_not_show() {
        let liar = [&COMPRESSED_PREFIX[..], &LIAR].concat();
        assert_eq!(anew(&LIAR, 10_000), None, "the buffer of 506 bytes is too small");
        for before in [0, 1, 500, 5000, 1 << 20] {
            let before = compressed(&vec![7; before]);
            decompress(&before, 1 << 20).unwrap();
            assert!(matches!(decompress(&liar, 10_000), Err(DecompressError::Invalid(_))));
        }
    }

    #[test]
    fn a_context_without_its_buffers_is_as_small_as_a_new_one() {
        let mut context = Context::new();
        for before in [0, 1, 2, 3, 10, 500, 5000, 1 << 20] {
            let stream = zstd::stream::encode_all(&*vec![7; before], 3).unwrap();
            context.read(&stream, 1 << 20).unwrap();
            context.give_up_buffers().unwrap();
            assert_eq!(context.zstd.sizeof(), context.bytes_new + BUFFERS_BYTES_MIN, "{before}");
        }
    }

    proptest! {
        #[test]
        fn every_stream_gives_what_a_new_decoder_gives(
            random in prop::collection::vec(any::<u8>(), 0..512),
            at in any::<prop::sample::Index>(),
            with in any::<u8>(),
        ) {
            let mut changed = compressed(&[1, 2, 3, 4].repeat(5000));
            let at = at.index(changed.len() - COMPRESSED_PREFIX.len());
            changed[COMPRESSED_PREFIX.len() + at] = with;
            for blob in [[&COMPRESSED_PREFIX, &*random].concat(), changed] {
                let plain = decompress(&blob, 10_000).ok().map(Cow::into_owned);
                prop_assert_eq!(plain, anew(&blob[COMPRESSED_PREFIX.len()..], 10_000));
                // The context is as good as new, whatever it just read.
                let next = compressed(b"next");
                prop_assert_eq!(&*decompress(&next, 4).unwrap(), b"next");
            }
        }
    }
}
