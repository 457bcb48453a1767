//! Streams and frames as a hostile job or a broken worker would send them.

use lazaret_wire::{
    claim::{Claim, Ran, Refusal, RunEnd, TrapKind},
    evidence::{End, Evidence, LogLevel, LogLine, Malformation, Output, Reply, Usage},
    frame::{
        Ending, FRAME_BYTES_MAX, FrameError, FromWorker, OUTPUT_INLINE_BYTES_MAX, Readiness,
        ToWorker, decode, encode,
    },
    program::{VALUES_MAX, Value, WasiStart},
    reply::{
        CLAIM_BYTES_MAX, LOG_LINES_MAX, ReplyReader, push_claim, push_log, push_output_header,
    },
    text::{TEXT_BYTES_MAX, Text},
    work::Order,
};
use proptest::prelude::*;

const OUTPUT_BYTES_MAX: u32 = 1000;

fn reply_with(output: &[u8]) -> Vec<u8> {
    let mut stream = Vec::new();
    push_output_header(&mut stream, output.len() as u32);
    stream.extend_from_slice(output);
    push_claim(&mut stream, &Claim::Returned { memory_pages: 3, input_shift: 0 });
    stream
}

fn longest_line() -> LogLine {
    let text = Text::from("x".repeat(TEXT_BYTES_MAX));
    LogLine { level: LogLevel::Info, target: text.clone(), message: text }
}

fn read(stream: &[u8]) -> Result<lazaret_wire::reply::Received, Malformation> {
    let mut reader = ReplyReader::new(OUTPUT_BYTES_MAX);
    reader.push(stream)?;
    Ok(reader.finish())
}

#[test]
fn a_reply_is_the_same_however_it_is_cut() {
    let stream = reply_with(b"hello");
    let whole = read(&stream).unwrap();
    assert_eq!(whole.output, b"hello");
    assert_eq!(whole.claim, Some(Claim::Returned { memory_pages: 3, input_shift: 0 }));
    for cut in 0..stream.len() {
        let mut reader = ReplyReader::new(OUTPUT_BYTES_MAX);
        reader.push(&stream[..cut]).unwrap();
        reader.push(&stream[cut..]).unwrap();
        assert_eq!(reader.finish(), whole);
    }
}

#[test]
fn every_truncation_of_a_reply_is_partial_and_has_no_claim() {
    let stream = reply_with(b"hello");
    for length in 1..stream.len() {
        let received = read(&stream[..length]).unwrap();
        assert!(received.partial && received.claim.is_none(), "{length} bytes");
    }
    assert!(!read(&[]).unwrap().partial);
}

#[test]
fn an_output_of_the_limit_is_taken_and_one_byte_more_is_not() {
    assert!(read(&reply_with(&[7; OUTPUT_BYTES_MAX as usize])).unwrap().claim.is_some());
    let over = reply_with(&[7; OUTPUT_BYTES_MAX as usize + 1]);
    assert_eq!(read(&over), Err(Malformation::OutputTooLong));
}

#[test]
fn a_lying_length_takes_no_memory() {
    for length in [OUTPUT_BYTES_MAX + 1, 1 << 31, u32::MAX] {
        let mut stream = Vec::new();
        push_output_header(&mut stream, length);
        assert_eq!(read(&stream), Err(Malformation::OutputTooLong));
    }
    let mut claim = vec![3];
    claim.extend_from_slice(&(CLAIM_BYTES_MAX as u32 + 1).to_le_bytes());
    assert_eq!(read(&claim), Err(Malformation::TooLong));
}

#[test]
fn anything_after_the_claim_spoils_the_reply() {
    let mut stream = reply_with(b"");
    stream.push(0);
    assert_eq!(read(&stream), Err(Malformation::Surplus));
    let twice = [reply_with(b"a"), reply_with(b"b")].concat();
    assert_eq!(read(&twice), Err(Malformation::Surplus));
}

#[test]
fn a_second_output_spoils_the_reply() {
    let mut stream = Vec::new();
    push_output_header(&mut stream, 0);
    push_output_header(&mut stream, 0);
    assert_eq!(read(&stream), Err(Malformation::Surplus));
}

#[test]
fn unknown_tags_and_bad_bodies_are_malformed() {
    assert_eq!(read(&[9, 0, 0, 0, 0]), Err(Malformation::UnknownTag));
    assert_eq!(read(&[3, 1, 0, 0, 0, 0xff]), Err(Malformation::BadBody));
    assert_eq!(read(&[3, 0, 0, 0, 0]), Err(Malformation::BadBody));
}

#[test]
fn a_log_flood_is_counted_and_not_kept() {
    let mut stream = Vec::new();
    for _ in 0..10 * LOG_LINES_MAX {
        push_log(&mut stream, &longest_line());
    }
    push_claim(&mut stream, &Claim::Inspected);
    let received = read(&stream).unwrap();
    assert_eq!(received.log.len() + received.log_lines_dropped as usize, 10 * LOG_LINES_MAX);
    assert!(received.log.len() < LOG_LINES_MAX);
    assert!(received.claim.is_some());
}

#[test]
fn what_came_of_a_run_comes_back_as_it_went_and_fits_a_claim() {
    let values = vec![Value::F64(u64::MAX); VALUES_MAX];
    let text = Text::from("x".repeat(TEXT_BYTES_MAX));
    for end in [
        RunEnd::Values(values),
        RunEnd::Bytes,
        RunEnd::Exited(i32::MIN),
        RunEnd::Refused(Refusal::NoSuchExport { name: text.clone(), reason: text }),
    ] {
        let claim = Claim::Ran(Ran { end, memory_pages: u32::MAX, fuel_used: Some(u64::MAX) });
        let mut stream = Vec::new();
        push_claim(&mut stream, &claim);
        assert_eq!(read(&stream).unwrap().claim, Some(claim));
    }
}

/// Postcard takes memory by the bytes that are there, whatever number of values they announce.
#[test]
fn a_run_that_lies_about_its_values_is_malformed_or_small() {
    for announced in [65, 4000, 1 << 20, u64::from(u32::MAX), u64::MAX] {
        let mut body = vec![1, 0];
        let mut rest = announced;
        while rest >= 0x80 {
            body.push(rest as u8 | 0x80);
            rest >>= 7;
        }
        body.push(rest as u8);
        body.resize(CLAIM_BYTES_MAX, 0);
        let mut stream = vec![3];
        stream.extend_from_slice(&(body.len() as u32).to_le_bytes());
        stream.extend_from_slice(&body);
        assert_eq!(read(&stream), Err(Malformation::BadBody), "{announced}");
    }
}

#[test]
fn the_largest_evidence_fits_a_frame() {
    let mut stream = Vec::new();
    for _ in 0..LOG_LINES_MAX {
        push_log(&mut stream, &longest_line());
    }
    let message = Text::from("x".repeat(TEXT_BYTES_MAX));
    push_claim(&mut stream, &Claim::Refused(Refusal::Trap { kind: TrapKind::Other, message }));
    let received = read(&stream).unwrap();
    let evidence = Evidence {
        end: End::Exited(0),
        stop: None,
        reply: Reply::Whole {
            claim: received.claim.unwrap(),
            output: Output::Inline(vec![1; OUTPUT_INLINE_BYTES_MAX]),
        },
        usage: Usage { cpu_micros: u64::MAX, ..Usage::default() },
        log: received.log,
        log_lines_dropped: u32::MAX,
    };
    let answer = FromWorker {
        number: u64::MAX,
        readiness: Readiness::Loaded,
        ending: Ending::Ended(evidence),
    };
    let frame = encode(&answer).unwrap();
    assert_eq!(decode(&frame), Ok(answer));
}

#[test]
fn a_frame_with_bytes_left_over_is_refused() {
    let mut frame = encode(&ToWorker::Withdraw).unwrap();
    frame.push(0);
    assert_eq!(decode::<ToWorker>(&frame), Err(FrameError::Surplus(1)));
    let long = vec![0; FRAME_BYTES_MAX + 1];
    assert_eq!(decode::<ToWorker>(&long), Err(FrameError::TooLong(long.len())));
}

proptest! {
    #[test]
    fn no_stream_makes_the_reader_panic_or_keep_more_than_its_limits(
        pieces in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..600), 0..8),
    ) {
        let mut reader = ReplyReader::new(OUTPUT_BYTES_MAX);
        for piece in pieces {
            if reader.push(&piece).is_err() {
                return Ok(());
            }
        }
        let received = reader.finish();
        prop_assert!(received.output.len() <= OUTPUT_BYTES_MAX as usize);
    }

    #[test]
    fn no_frame_makes_a_decoder_panic(frame in prop::collection::vec(any::<u8>(), 0..2000)) {
        let _ = decode::<ToWorker>(&frame);
        let _ = decode::<FromWorker>(&frame);
        let _ = decode::<Order>(&frame);
        let _ = WasiStart::decode(&frame);
        let _ = lazaret_wire::greeting::decode_greeting::<lazaret_wire::greeting::Hello>(&frame);
    }
}
