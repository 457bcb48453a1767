//! How large code and blocks may be on the network.

/// The most bytes of code on chain, compressed or not (`MAX_CODE_SIZE`). A chain may set less: the
/// `max_code_size` of its host configuration.
pub const CODE_ON_CHAIN_BYTES_MAX: u32 = 5 * 1024 * 1024;
/// So many times its size on chain may code have once decompressed
/// (`MAX_VALIDATION_CODE_COMPRESSION_RATIO`).
const DECOMPRESSED_PER_ON_CHAIN: u64 = 10;
/// The most bytes of decompressed code where a runtime is too old to have
/// `validation_code_bomb_limit` (`VALIDATION_CODE_BOMB_LIMIT`).
pub const CODE_DECOMPRESSED_BYTES_MAX_OF_OLD_RUNTIMES: u64 = 4 * CODE_ON_CHAIN_BYTES_MAX as u64;
/// The most bytes that block data may have once decompressed (`POV_BOMB_LIMIT`). Data that is not
/// compressed is held to [`Limits::input_bytes_max`](crate::Limits::input_bytes_max) alone, as on the
/// network.
pub const BLOCK_DATA_BYTES_MAX: u64 = 40 * 1024 * 1024;

/// The most bytes of decompressed code under a chain's `max_code_size`, as its runtime answers to
/// `validation_code_bomb_limit`. It belongs in
/// [`PrepareLimits::code_bytes_max`](crate::PrepareLimits::code_bytes_max).
pub const fn code_decompressed_bytes_max(max_code_size: u32) -> u64 {
    max_code_size as u64 * DECOMPRESSED_PER_ON_CHAIN
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{CODE_BYTES_MAX, PrepareLimits};

    #[test]
    fn a_host_takes_by_default_whatever_code_any_chain_may_have() {
        let largest = code_decompressed_bytes_max(CODE_ON_CHAIN_BYTES_MAX);
        assert_eq!(CODE_BYTES_MAX, largest);
        assert_eq!(PrepareLimits::default().code_bytes_max, largest);
        assert!(CODE_DECOMPRESSED_BYTES_MAX_OF_OLD_RUNTIMES < largest);
    }
}
