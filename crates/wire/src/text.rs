//! Text that a guest or a job chose: capped when it is taken, escaped when it is shown.
//!
//! Nobody may match on such text: whoever wrote it may be lying.

use std::fmt;

use serde::{Deserialize, Serialize};

/// The most bytes of one guest-chosen text that are kept; the rest is cut off.
pub const TEXT_BYTES_MAX: usize = 1024;

/// A text from inside a job: at most [`TEXT_BYTES_MAX`] bytes of valid UTF-8.
///
/// [`Display`](fmt::Display) escapes everything that could move a terminal's cursor, end a log line
/// or reorder what is read.
#[derive(Clone, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(from = "String")]
pub struct Text(String);

impl Text {
    /// Keeps the first [`TEXT_BYTES_MAX`] bytes; what is not UTF-8 becomes U+FFFD.
    pub fn from_guest(bytes: &[u8]) -> Self {
        let kept = &bytes[..bytes.len().min(TEXT_BYTES_MAX)];
        Self::from(String::from_utf8_lossy(kept).into_owned())
    }

    /// The text as it came, not escaped: for comparing in tests and for machine-readable output
    /// that escapes by itself.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl From<String> for Text {
    fn from(mut text: String) -> Self {
        text.truncate(text.floor_char_boundary(TEXT_BYTES_MAX));
        Self(text)
    }
}

impl From<&str> for Text {
    fn from(text: &str) -> Self {
        Self(text[..text.floor_char_boundary(TEXT_BYTES_MAX)].to_owned())
    }
}

impl fmt::Display for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for c in self.0.chars() {
            if is_harmless(c) { write!(f, "{c}")? } else { write!(f, "{}", c.escape_unicode())? }
        }
        Ok(())
    }
}

impl fmt::Debug for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"{self}\"")
    }
}

/// Control characters, line and paragraph separators and the bidirectional controls are not.
fn is_harmless(c: char) -> bool {
    !c.is_control()
        && !matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_text_is_cut_at_a_character() {
        let text = Text::from("é".repeat(TEXT_BYTES_MAX));
        assert_eq!(text.as_str().len(), TEXT_BYTES_MAX);
        let odd = Text::from(format!("a{}", "é".repeat(TEXT_BYTES_MAX)));
        assert_eq!(odd.as_str().len(), TEXT_BYTES_MAX - 1);
    }

    #[test]
    fn bytes_that_are_not_utf8_do_not_outgrow_the_cap() {
        let text = Text::from_guest(&[0xff; 4 * TEXT_BYTES_MAX]);
        assert!(text.as_str().len() <= TEXT_BYTES_MAX);
    }

    #[test]
    fn escapes_of_terminals_and_lines_are_shown_and_not_sent() {
        let shown = Text::from("a\x1b[2J\r\nb\u{202e}c").to_string();
        assert_eq!(shown, "a\\u{1b}[2J\\u{d}\\u{a}b\\u{202e}c");
    }
}
