//! A call of an export.

use lazaret_wire::{
    program::{Arguments, PlainCall, SequenceCall},
    sequence::{self, SEQUENCE_MAX},
    work,
};

use super::{CALL_BYTES_MAX, VALUES_MAX, Value, input};
use crate::{Refusal, request::Input};

/// A call of an export: numbers in and numbers out, or bytes in and bytes out.
///
/// Who is given bytes keeps a convention: the module exports its `memory` and a function
/// `alloc: (length: i32) -> (pointer: i32)`, and the export is `(pointer: i32, length: i32) -> (i64)`, whose result has
/// the output's pointer in its upper half and the length in its lower one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExportCall {
    call: lazaret_wire::program::ExportCall,
    bytes: Vec<u8>,
}

impl ExportCall {
    /// Gives it numbers; at most [`VALUES_MAX`].
    pub fn values(export: impl Into<String>, values: impl IntoIterator<Item = Value>) -> Self {
        Self::new(export, Arguments::Values(values.into_iter().collect()), Vec::new())
    }

    /// Gives it numbers as a person writes them, to be read by the types of its parameters. With the
    /// name no more than [`CALL_BYTES_MAX`].
    pub fn words<W: Into<String>>(
        export: impl Into<String>,
        words: impl IntoIterator<Item = W>,
    ) -> Self {
        let words = words.into_iter().map(Into::into).collect();
        Self::new(export, Arguments::Words(words), Vec::new())
    }

    /// Gives it bytes.
    pub fn bytes(export: impl Into<String>, bytes: Vec<u8>) -> Self {
        Self::new(export, Arguments::Bytes, bytes)
    }

    fn new(export: impl Into<String>, arguments: Arguments, bytes: Vec<u8>) -> Self {
        let export = export.into();
        Self { call: lazaret_wire::program::ExportCall { export, arguments }, bytes }
    }

    /// Calls one after another as an input.
    pub(super) fn into_sequence_input(
        calls: Vec<Self>,
        fuel: Option<u64>,
    ) -> Result<Input, Refusal> {
        let calls: Vec<_> = calls.into_iter().map(|call| call.call).collect();
        let Some(bytes) = sequence::encode_calls(&calls) else {
            return Err(Refusal::BadArguments(
                format!(
                    "a sequence has at most {SEQUENCE_MAX} calls, each of at most {VALUES_MAX} \
                     numbers and {CALL_BYTES_MAX} bytes of them and its name"
                )
                .into(),
            ));
        };
        Ok(input(vec![bytes], work::Input::Sequence(SequenceCall { fuel })))
    }

    /// The call and its bytes, if it is not too long.
    pub(super) fn into_parts(
        self,
    ) -> Result<(lazaret_wire::program::ExportCall, Vec<u8>), Refusal> {
        match self.call.fits() {
            true => Ok((self.call, self.bytes)),
            false => Err(Refusal::BadArguments(
                format!(
                    "a call has at most {VALUES_MAX} arguments and {CALL_BYTES_MAX} bytes of them and \
                     its name"
                )
                .into(),
            )),
        }
    }

    pub(super) fn into_plain_input(self, fuel: Option<u64>) -> Result<Input, Refusal> {
        let (call, bytes) = self.into_parts()?;
        Ok(input(vec![bytes], work::Input::Plain(PlainCall { call, fuel })))
    }
}
