//! What a job writes to its worker. The first two bytes say where the stream is cut: however it
//! arrives, the same must be read, and never more than the limits allow.
#![no_main]

use lazaret_wire::reply::{LOG_BYTES_MAX, LOG_LINES_MAX, Received, ReplyReader};
use libfuzzer_sys::fuzz_target;

const OUTPUT_BYTES_MAX: u32 = 1000;

fn read(pieces: &[&[u8]]) -> Option<Received> {
    let mut reader = ReplyReader::new(OUTPUT_BYTES_MAX);
    for piece in pieces {
        reader.push(piece).ok()?;
    }
    Some(reader.finish())
}

fuzz_target!(|bytes: &[u8]| {
    let Some((cut, stream)) = bytes.split_first_chunk::<2>() else { return };
    let cut = usize::from(u16::from_le_bytes(*cut)) % (stream.len() + 1);
    let whole = read(&[stream]);
    assert_eq!(whole, read(&[&stream[..cut], &stream[cut..]]));
    let Some(received) = whole else { return };
    assert!(received.output.len() <= OUTPUT_BYTES_MAX as usize);
    assert!(received.log.len() <= LOG_LINES_MAX);
    let text = |line: &lazaret_wire::evidence::LogLine| {
        line.message.as_str().len() + line.target.as_str().len()
    };
    assert!(received.log.iter().map(text).sum::<usize>() <= LOG_BYTES_MAX);
});
