//! Frames between host and worker, in both directions. Whatever decodes must encode to the same
//! message again, and no text in it may be longer than its cap.
#![no_main]

use lazaret_wire::{
    claim::Inspection,
    frame::{FromWorker, ToWorker, decode, encode},
    greeting::{Hello, Start, decode_greeting, encode_greeting},
    program::WasiStart,
    sequence,
};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(message) = decode::<ToWorker>(bytes) {
        assert_eq!(decode(&encode(&message).expect("it fitted a frame")), Ok(message));
    }
    if let Ok(message) = decode::<FromWorker>(bytes)
        && let Ok(frame) = encode(&message)
    {
        // Text that is not UTF-8 or too long is mended when it is read, so only the second reading
        // must be the same.
        assert_eq!(decode(&frame), Ok(message));
    }
    if let Ok(start) = decode_greeting::<Start>(bytes) {
        let frame = encode_greeting(&start).expect("it fitted a frame");
        assert_eq!(decode_greeting(&frame), Ok(start));
    }
    if let Ok(hello) = decode_greeting::<Hello>(bytes)
        && let Ok(frame) = encode_greeting(&hello)
    {
        assert_eq!(decode_greeting(&frame), Ok(hello));
    }
    if let Some(start) = WasiStart::decode(bytes) {
        let bytes = start.encode().expect("it was encoded");
        assert_eq!(WasiStart::decode(&bytes), Some(start));
    }
    if let Some(calls) = sequence::decode_calls(bytes)
        && let Some(bytes) = sequence::encode_calls(&calls)
    {
        assert_eq!(sequence::decode_calls(&bytes), Some(calls));
    }
    let _ = sequence::decode_ends(bytes, 16);
    if let Some(inspection) = Inspection::decode(bytes) {
        let bytes = inspection.encode().expect("it was encoded");
        assert_eq!(Inspection::decode(&bytes), Some(inspection));
    }
});
