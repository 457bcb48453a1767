//! The reply stream from a job to its worker: written once, read with a cap, believed not at all.
//!
//! A record is a tag (u8), a length (u32, little endian) and that many bytes. In order: any number
//! of log lines, at most one output, exactly one claim; then the stream ends. [`ReplyReader`] is fed
//! whatever arrives and keeps at most what the limits allow: a length is only ever a number to
//! compare, never an amount of memory to take.

use serde::{Serialize, de::DeserializeOwned};

use crate::{
    claim::Claim,
    evidence::{LogLine, Malformation},
};

const TAG_LOG: u8 = 1;
const TAG_OUTPUT: u8 = 2;
const TAG_CLAIM: u8 = 3;
/// Bytes of a record before its body.
pub const RECORD_HEADER_BYTES: usize = 5;
/// The most bytes of a log record: two capped texts and a level.
pub const LOG_RECORD_BYTES_MAX: usize = 2100;
/// The most bytes of a claim.
pub const CLAIM_BYTES_MAX: usize = 4096;
/// The most log lines kept of one job; more are counted and dropped. With the longest lines they
/// still fit a frame beside an inline output.
pub const LOG_LINES_MAX: usize = 64;
/// The most bytes of log lines kept of one job.
pub const LOG_BYTES_MAX: usize = 32 * 1024;

/// Appends a log line to `stream`. A line too long for a record is left out.
pub fn push_log(stream: &mut Vec<u8>, line: &LogLine) {
    push_encoded(stream, TAG_LOG, line, LOG_RECORD_BYTES_MAX);
}

/// Appends the header of an output record; its `length` bytes must follow.
pub fn push_output_header(stream: &mut Vec<u8>, length: u32) {
    stream.push(TAG_OUTPUT);
    stream.extend_from_slice(&length.to_le_bytes());
}

/// Appends the claim, the last record.
pub fn push_claim(stream: &mut Vec<u8>, claim: &Claim) {
    push_encoded(stream, TAG_CLAIM, claim, CLAIM_BYTES_MAX);
}

fn push_encoded(stream: &mut Vec<u8>, tag: u8, body: &impl Serialize, bytes_max: usize) {
    let Ok(body) = postcard::to_stdvec(body) else { return };
    if body.len() > bytes_max {
        return;
    }
    stream.push(tag);
    stream.extend_from_slice(&(body.len() as u32).to_le_bytes());
    stream.extend_from_slice(&body);
}

/// What a reply stream held once it had ended.
#[derive(Debug, PartialEq, Eq)]
pub struct Received {
    /// The job's last word, if it came.
    pub claim: Option<Claim>,
    /// The output record's bytes; empty if there was none.
    pub output: Vec<u8>,
    /// Log lines in order.
    pub log: Vec<LogLine>,
    /// Log lines that were not kept.
    pub log_lines_dropped: u32,
    /// Whether bytes came that belong to no whole log line and no whole reply.
    pub partial: bool,
}

/// Reads a reply stream piece by piece.
#[derive(Debug)]
pub struct ReplyReader {
    output_bytes_max: u32,
    record: Record,
    /// The current record's bytes so far: its header, then its body.
    pending: Vec<u8>,
    output: Option<Vec<u8>>,
    claim: Option<Claim>,
    log: Vec<LogLine>,
    log_bytes: usize,
    log_lines_dropped: u32,
}

#[derive(Clone, Copy, Debug)]
enum Record {
    Header,
    Body { tag: u8, length: usize },
}

impl ReplyReader {
    /// A reader that takes at most `output_bytes_max` bytes of output.
    pub fn new(output_bytes_max: u32) -> Self {
        Self {
            output_bytes_max,
            record: Record::Header,
            pending: Vec::new(),
            output: None,
            claim: None,
            log: Vec::new(),
            log_bytes: 0,
            log_lines_dropped: 0,
        }
    }

    /// Takes what has arrived. After an error the stream is worthless: kill the job.
    pub fn push(&mut self, mut bytes: &[u8]) -> Result<(), Malformation> {
        while !bytes.is_empty() {
            if self.claim.is_some() {
                return Err(Malformation::Surplus);
            }
            let wanted = match self.record {
                Record::Header => RECORD_HEADER_BYTES,
                Record::Body { length, .. } => length,
            };
            let (taken, rest) = bytes.split_at(bytes.len().min(wanted - self.pending.len()));
            self.pending.extend_from_slice(taken);
            bytes = rest;
            if self.pending.len() == wanted {
                self.finish_piece()?;
            }
        }
        Ok(())
    }

    /// The stream has ended.
    pub fn finish(self) -> Received {
        let partial = !self.pending.is_empty()
            || matches!(self.record, Record::Body { .. })
            || (self.output.is_some() && self.claim.is_none());
        Received {
            claim: self.claim,
            output: self.output.unwrap_or_default(),
            log: self.log,
            log_lines_dropped: self.log_lines_dropped,
            partial,
        }
    }

    /// A header or a body is whole.
    fn finish_piece(&mut self) -> Result<(), Malformation> {
        let piece = std::mem::take(&mut self.pending);
        match self.record {
            Record::Header => {
                let length = u32::from_le_bytes([piece[1], piece[2], piece[3], piece[4]]);
                self.check_header(piece[0], length)?;
                self.record = Record::Body { tag: piece[0], length: length as usize };
                if length == 0 { self.finish_piece() } else { Ok(()) }
            }
            Record::Body { tag, .. } => {
                self.record = Record::Header;
                self.take_body(tag, piece)
            }
        }
    }

    fn check_header(&self, tag: u8, length: u32) -> Result<(), Malformation> {
        match tag {
            TAG_OUTPUT if self.output.is_some() => Err(Malformation::Surplus),
            TAG_OUTPUT if length > self.output_bytes_max => Err(Malformation::OutputTooLong),
            TAG_LOG if length as usize > LOG_RECORD_BYTES_MAX => Err(Malformation::TooLong),
            TAG_CLAIM if length as usize > CLAIM_BYTES_MAX => Err(Malformation::TooLong),
            TAG_OUTPUT | TAG_LOG | TAG_CLAIM => Ok(()),
            _ => Err(Malformation::UnknownTag),
        }
    }

    fn take_body(&mut self, tag: u8, body: Vec<u8>) -> Result<(), Malformation> {
        match tag {
            TAG_OUTPUT => self.output = Some(body),
            TAG_CLAIM => self.claim = Some(decode_whole(&body)?),
            _ => {
                let line = decode_whole(&body)?;
                if self.log.len() < LOG_LINES_MAX && self.log_bytes + body.len() <= LOG_BYTES_MAX {
                    self.log_bytes += body.len();
                    self.log.push(line);
                } else {
                    self.log_lines_dropped = self.log_lines_dropped.saturating_add(1);
                }
            }
        }
        Ok(())
    }
}

fn decode_whole<T: DeserializeOwned>(body: &[u8]) -> Result<T, Malformation> {
    match postcard::take_from_bytes(body) {
        Ok((value, [])) => Ok(value),
        _ => Err(Malformation::BadBody),
    }
}
