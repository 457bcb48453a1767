//! The limit on a guest's linear memory, asked by Wasmtime before every growth.
//!
//! It tells apart the two ways growth can fail: the limit says no, which the guest sees as -1 on
//! every machine, or the machine says no, which must end the call because another machine would
//! have said yes.

use wasmtime::ResourceLimiter;

use super::HostCallError;

const PAGE_BYTES: usize = 65_536;

/// How Wasmtime words the failure of a growth beyond what 32 bits can address. It is the one
/// deterministic failure that reaches `memory_grow_failed`; a test holds the wording in place.
const BEYOND_ADDRESSES: &str = "memory growth exceeds memory type's limits";

/// Allows linear memory up to a number of pages.
pub(crate) struct MemoryLimit {
    pages_max: u32,
}

impl MemoryLimit {
    pub(crate) fn new(pages_max: u32) -> Self {
        Self { pages_max }
    }

    pub(crate) fn pages_max(&self) -> u32 {
        self.pages_max
    }
}

impl ResourceLimiter for MemoryLimit {
    fn memory_growing(
        &mut self,
        _current: usize,
        desired: usize,
        maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        let limit = (self.pages_max as usize).saturating_mul(PAGE_BYTES);
        Ok(desired <= limit && maximum.is_none_or(|maximum| desired <= maximum))
    }

    fn memory_grow_failed(&mut self, error: wasmtime::Error) -> wasmtime::Result<()> {
        if error.to_string() == BEYOND_ADDRESSES {
            return Ok(());
        }
        Err(wasmtime::Error::new(HostCallError::MachineMemory { text: format!("{error:#}") }))
    }

    fn table_growing(
        &mut self,
        _current: usize,
        _desired: usize,
        _maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        // A table is as large as the module says and cannot grow: `table.grow` belongs to the
        // reference types, which are off. Its size is limited when the module is validated.
        Ok(true)
    }
}
