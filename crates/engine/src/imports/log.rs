//! What guests print and log (`ext_logging_*`, `ext_misc_print_*`).
//!
//! A line reaches the caller's sink as it lies in the guest's memory. Capping and escaping are the
//! sink's work; nothing here copies a line.

use std::fmt;

use wasmtime::{AsContextMut, Linker};

use super::{Guest, Refusal, State, host_functions};

/// Where a guest's log lines go.
pub type LogSink = Box<dyn FnMut(LogLine<'_>)>;

/// The answer to `ext_logging_max_level_version_1`: info. It must not depend on who asks or where,
/// because a guest can see it.
const MAX_LEVEL: u32 = 3;

/// What the print functions log as.
const PRINT_TARGET: &str = "runtime";

/// One line, borrowed from the guest.
#[derive(Clone, Copy, Debug)]
pub struct LogLine<'a> {
    /// How grave the guest finds it.
    pub level: LogLevel,
    /// Which part of the guest speaks; of the guest's choosing.
    pub target: &'a str,
    /// What it says.
    pub message: LogMessage<'a>,
}

/// How grave a line is, by the guest's own account.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[allow(missing_docs)]
pub enum LogLevel {
    Error,
    Warn,
    Info,
    Debug,
    Trace,
}

/// What a line says. Its `Display` writes piece by piece, so a writer that stops at a cap stops the
/// work.
#[derive(Clone, Copy, Debug)]
pub enum LogMessage<'a> {
    /// Text, of any length and content.
    Text(&'a str),
    /// A number that was printed.
    Number(u64),
    /// Bytes that were printed as hexadecimal.
    Hex(&'a [u8]),
}

impl fmt::Display for LogMessage<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text(text) => f.write_str(text),
            Self::Number(number) => write!(f, "{number}"),
            Self::Hex(bytes) => bytes.iter().try_for_each(|byte| write!(f, "{byte:02x}")),
        }
    }
}

pub(super) fn link(linker: &mut Linker<State>) -> wasmtime::Result<()> {
    host_functions! { linker;
        "ext_logging_log_version_1" = |guest, level: u32, target: u64, message: u64| -> () {
            let level = level_from_argument(level)?;
            // Bounds and the target's encoding trap; a message that is not UTF-8 is dropped.
            std::str::from_utf8(guest.fat(target)?).map_err(|_| Refusal::NotUtf8)?;
            if std::str::from_utf8(guest.fat(message)?).is_ok() {
                emit(guest, level, Some(target), message, LogForm::Text)?;
            }
            Ok(())
        }
        "ext_logging_max_level_version_1" = |_| -> u32 {
            Ok(MAX_LEVEL)
        }
        "ext_misc_print_num_version_1" = |guest, number: u64| -> () {
            let message = LogMessage::Number(number);
            (guest.state().log)(LogLine { level: LogLevel::Debug, target: PRINT_TARGET, message });
            Ok(())
        }
        "ext_misc_print_utf8_version_1" = |guest, text: u64| -> () {
            if std::str::from_utf8(guest.fat(text)?).is_ok() {
                emit(guest, LogLevel::Debug, None, text, LogForm::Text)?;
            }
            Ok(())
        }
        "ext_misc_print_hex_version_1" = |guest, bytes: u64| -> () {
            guest.fat(bytes)?;
            emit(guest, LogLevel::Debug, None, bytes, LogForm::Hex)
        }
    }
    Ok(())
}

fn level_from_argument(level: u32) -> Result<LogLevel, Refusal> {
    // The argument is a byte that travels as an i32; the rest of it is ignored.
    match level as u8 {
        0 => Ok(LogLevel::Error),
        1 => Ok(LogLevel::Warn),
        2 => Ok(LogLevel::Info),
        3 => Ok(LogLevel::Debug),
        4 => Ok(LogLevel::Trace),
        value => Err(Refusal::UnknownValue { what: "log level", value }),
    }
}

#[derive(Clone, Copy)]
enum LogForm {
    Text,
    Hex,
}

/// Hands a line to the sink. The ranges were checked by the caller; they are looked up again here
/// because the sink and the memory must be borrowed from the store together.
fn emit<C: AsContextMut<Data = State>>(
    guest: &mut Guest<C>,
    level: LogLevel,
    target: Option<u64>,
    message: u64,
    form: LogForm,
) -> Result<(), Refusal> {
    let (memory, state) = guest.memory_and_state();
    let slice = |fat: u64| {
        let (pointer, length) = (fat as u32, (fat >> 32) as u32);
        memory
            .get(pointer as usize..pointer as usize + length as usize)
            .ok_or(Refusal::OutOfBounds { pointer, length })
    };
    let text = |fat: u64| std::str::from_utf8(slice(fat)?).map_err(|_| Refusal::NotUtf8);
    let target = target.map_or(Ok(PRINT_TARGET), text)?;
    let message = match form {
        LogForm::Text => LogMessage::Text(text(message)?),
        LogForm::Hex => LogMessage::Hex(slice(message)?),
    };
    (state.log)(LogLine { level, target, message });
    Ok(())
}
