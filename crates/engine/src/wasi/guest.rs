//! A program as a WASI function sees it: its memory, checked at every access, and its world.

use std::ops::Range;

use wasmtime::Caller;

use super::abi::{Errno, Generation};
use super::context::Context;
use crate::program::{State, Stop};

/// Ranges that one call may read into or write from.
const IO_RANGES_MAX: u32 = 1024;

/// What a call to a WASI function works on.
pub(crate) struct Guest<'a> {
    pub(crate) memory: &'a mut [u8],
    pub(crate) context: &'a mut Context,
    /// How long the program seems to have worked: by fuel, or else by the counter of ticks.
    pub(crate) worked_ns: u64,
    pub(crate) generation: Generation,
}

/// Why a WASI function did not do what it was asked.
pub(crate) enum Refusal {
    Errno(Errno),
    Stop(Stop),
}

impl From<Errno> for Refusal {
    fn from(errno: Errno) -> Self {
        Self::Errno(errno)
    }
}

/// What a WASI function returns.
pub(crate) type Answer = Result<(), Refusal>;

/// Runs a WASI function, and makes the number of its answer.
pub(crate) fn enter(
    mut caller: Caller<'_, State>,
    generation: Generation,
    body: impl FnOnce(&mut Guest<'_>) -> Answer,
) -> wasmtime::Result<i32> {
    let worked_ns = match (caller.data().fuel, caller.data().ticks) {
        (Some(given), _) => given.saturating_sub(caller.get_fuel()?),
        (None, Some(ticks)) => ticks.get(&mut caller).i64().unwrap_or(0) as u64,
        (None, None) => 0,
    };
    let memory = caller.data().memory;
    let (memory, state) = match memory {
        Some(memory) => memory.data_and_store_mut(&mut caller),
        None => (&mut [][..], caller.data_mut()),
    };
    let mut guest = Guest { memory, context: &mut state.wasi, worked_ns, generation };
    match body(&mut guest) {
        Ok(()) => Ok(0),
        Err(Refusal::Errno(errno)) => Ok(errno as i32),
        Err(Refusal::Stop(stop)) => Err(wasmtime::Error::new(stop)),
    }
}

impl Guest<'_> {
    /// The time that changes of files are stamped with.
    pub(crate) fn stamp(&mut self) -> u64 {
        self.context.stamp(self.worked_ns)
    }

    /// A range of memory, if it is there.
    pub(crate) fn range(&self, pointer: u32, bytes: u32) -> Result<Range<usize>, Errno> {
        let start = pointer as usize;
        let end = start + bytes as usize;
        if end > self.memory.len() { Err(Errno::Fault) } else { Ok(start..end) }
    }

    pub(crate) fn bytes(&self, pointer: u32, bytes: u32) -> Result<&[u8], Errno> {
        let range = self.range(pointer, bytes)?;
        Ok(&self.memory[range])
    }

    pub(crate) fn write(&mut self, pointer: u32, bytes: &[u8]) -> Result<(), Errno> {
        let length = u32::try_from(bytes.len()).map_err(|_| Errno::Fault)?;
        let range = self.range(pointer, length)?;
        self.memory[range].copy_from_slice(bytes);
        Ok(())
    }

    pub(crate) fn read_u32(&self, pointer: u32) -> Result<u32, Errno> {
        let bytes = self.bytes(pointer, 4)?;
        Ok(bytes.iter().rev().fold(0, |number, byte| number << 8 | u32::from(*byte)))
    }

    pub(crate) fn read_u64(&self, pointer: u32) -> Result<u64, Errno> {
        let bytes = self.bytes(pointer, 8)?;
        Ok(bytes.iter().rev().fold(0, |number, byte| number << 8 | u64::from(*byte)))
    }

    pub(crate) fn write_u32(&mut self, pointer: u32, number: u32) -> Result<(), Errno> {
        self.write(pointer, &number.to_le_bytes())
    }

    pub(crate) fn write_u64(&mut self, pointer: u32, number: u64) -> Result<(), Errno> {
        self.write(pointer, &number.to_le_bytes())
    }

    /// A path, copied, since walking it needs the world.
    pub(crate) fn path(&self, pointer: u32, bytes: u32) -> Result<Vec<u8>, Errno> {
        let range = self.range(pointer, bytes)?;
        if range.len() > super::paths::PATH_BYTES_MAX {
            return Err(Errno::NameTooLong);
        }
        Ok(self.memory[range].to_vec())
    }

    /// The ranges of a reading or writing call, all of them in memory.
    pub(crate) fn io_ranges(&self, pointer: u32, count: u32) -> Result<Vec<Range<usize>>, Errno> {
        if count > IO_RANGES_MAX {
            return Err(Errno::Invalid);
        }
        let mut ranges = Vec::with_capacity(count as usize);
        let mut total = 0_u32;
        for index in 0..count {
            let at = pointer.checked_add(index * 8).ok_or(Errno::Fault)?;
            let start = self.read_u32(at)?;
            let bytes = self.read_u32(at.checked_add(4).ok_or(Errno::Fault)?)?;
            total = total.checked_add(bytes).ok_or(Errno::Invalid)?;
            ranges.push(self.range(start, bytes)?);
        }
        Ok(ranges)
    }
}
