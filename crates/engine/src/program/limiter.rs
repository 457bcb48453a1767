//! The limits on memory and tables of an instance, asked by Wasmtime before each grows.
//!
//! A growth beyond a limit is refused on every machine alike, which the guest sees as -1, and is
//! remembered, so that a trap that follows can be told for what it is. What the machine refuses ends
//! the call.

use wasmtime::ResourceLimiter;

use crate::imports::MemoryLimit;
use crate::params::Params;

const PAGE_BYTES: u64 = 65_536;

/// Counts and limits pages and table elements.
pub(crate) struct Limiter {
    memory: MemoryLimit,
    pages: u64,
    elements_max: u64,
    elements: u64,
    /// What was asked for in all when the limit last said no.
    pub(crate) pages_refused: Option<u64>,
    pub(crate) elements_refused: Option<u64>,
}

impl Limiter {
    pub(crate) fn new(params: &Params) -> Self {
        Self {
            memory: MemoryLimit::new(params.memory_pages_max),
            pages: 0,
            elements_max: params.table_elements_max.into(),
            elements: 0,
            pages_refused: None,
            elements_refused: None,
        }
    }

    pub(crate) fn pages(&self) -> u32 {
        self.pages as u32
    }

    pub(crate) fn pages_max(&self) -> u32 {
        self.memory.pages_max()
    }

    pub(crate) fn elements_max(&self) -> u32 {
        self.elements_max as u32
    }
}

impl ResourceLimiter for Limiter {
    fn memory_growing(
        &mut self,
        current: usize,
        desired: usize,
        maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        if maximum.is_some_and(|maximum| desired > maximum) {
            return Ok(false);
        }
        let pages = desired as u64 / PAGE_BYTES;
        let allowed = self.memory.memory_growing(current, desired, maximum)?;
        match allowed {
            true => self.pages = pages,
            false => self.pages_refused = Some(pages),
        }
        Ok(allowed)
    }

    fn memory_grow_failed(&mut self, error: wasmtime::Error) -> wasmtime::Result<()> {
        self.memory.memory_grow_failed(error)
    }

    fn table_growing(
        &mut self,
        current: usize,
        desired: usize,
        maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        if maximum.is_some_and(|maximum| desired > maximum) {
            return Ok(false);
        }
        let elements = self.elements + desired.saturating_sub(current) as u64;
        if elements > self.elements_max {
            self.elements_refused = Some(elements);
            return Ok(false);
        }
        self.elements = elements;
        Ok(true)
    }
}
