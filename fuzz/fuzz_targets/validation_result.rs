//! What a guest returned, as the host decodes it: the one place where the host reads a guest's bytes.
#![no_main]

use lazaret::pvf::{MESSAGES_MAX, ValidationResult, head_number};
use libfuzzer_sys::fuzz_target;
use parity_scale_codec::{Decode, Encode};

fuzz_target!(|bytes: &[u8]| {
    let _ = head_number(bytes);
    let mut rest = bytes;
    let Ok(result) = ValidationResult::decode(&mut rest) else { return };
    assert!(result.upward_messages.0.len() <= MESSAGES_MAX as usize);
    assert!(result.horizontal_messages.0.len() <= MESSAGES_MAX as usize);
    let again = result.encode();
    assert!(again.len() <= bytes.len(), "it took more than there was");
    assert_eq!(ValidationResult::decode(&mut &*again), Ok(result));
});
