//! Executor params and validation params, as they come from a relay chain or a peer.
#![no_main]

use lazaret::pvf::{ExecutorParams, PrepareKind, ValidationParams};
use libfuzzer_sys::fuzz_target;
use parity_scale_codec::{Decode, Encode};

fuzz_target!(|bytes: &[u8]| {
    if let Ok(params) = ValidationParams::decode(&mut &*bytes) {
        assert_eq!(ValidationParams::decode(&mut &*params.encode()), Ok(params));
    }
    let Ok(params) = ExecutorParams::from_scale(bytes) else { return };
    assert_eq!(params.encode(), bytes);
    assert!(ExecutorParams::decode(&mut &*bytes).is_ok());
    let consistent = params.check_consistency().is_ok();
    if let Ok(params) = params.code_params() {
        assert!(consistent);
        assert!((33..=65_536).contains(&params.memory_pages_max));
    }
    params.prepare_limits(PrepareKind::Precheck);
});
