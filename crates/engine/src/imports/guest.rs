//! A guest's memory and heap, as host functions and the input writer see them.
//!
//! Every pointer that comes from a guest goes through [`Guest::bytes`] or [`Guest::write`], which
//! check it against the memory as it is now. The heap is Substrate's own allocator crate, because
//! where it puts things, and when it gives up, is part of what validators must agree on.

use sc_allocator::FreeingBumpHeapAllocator;
use wasmtime::{AsContextMut, Linker, Memory};

use super::{Refusal, State, ahead::Ahead, host_functions};

/// The largest single allocation: 32 MiB, a consensus constant of Substrate's allocator.
pub(crate) const ALLOCATION_BYTES_MAX: u32 = sp_core::MAX_POSSIBLE_ALLOCATION;

/// Bytes the allocator puts in front of every allocation.
const HEADER_BYTES: u32 = 8;

/// A 4 GiB memory has one page more than the allocator's 32-bit arithmetic can address to the end.
const HEAP_PAGES_MAX: u32 = 65_535;

/// The heap of a guest, served by the host.
pub(crate) struct Heap {
    allocator: FreeingBumpHeapAllocator,
    ahead: Ahead,
}

impl Heap {
    /// A heap that starts at `__heap_base`.
    pub(crate) fn new(heap_base: u32) -> Self {
        // The allocator rounds up to 8 and, in a release build, wraps to 0 in the last 7 bytes of
        // the address space; a build with overflow checks would panic instead.
        let wraps = heap_base > u32::MAX - 7;
        let heap_base = if wraps { 0 } else { heap_base };
        let allocator = FreeingBumpHeapAllocator::new(heap_base);
        Self { allocator, ahead: Ahead::new(heap_base) }
    }

    /// Where it begins in the guest's memory.
    pub(crate) fn start(&self) -> usize {
        self.ahead.heap_base()
    }

    /// A guest that forges free-list headers can make the allocator count more than 4 GiB as in
    /// use. The count wraps in release builds, as it does in the network's; where overflow checks
    /// are on it would panic, and no guest may make a job panic.
    fn count_would_overflow(&self, size: u32) -> bool {
        let taken = size.max(HEADER_BYTES).next_power_of_two() + HEADER_BYTES;
        cfg!(debug_assertions)
            && self.allocator.stats().bytes_allocated.checked_add(taken).is_none()
    }
}

/// A guest that can be talked to: its store, or the caller of a host function, and its memory.
pub(crate) struct Guest<C> {
    context: C,
    memory: Memory,
}

impl<C: AsContextMut<Data = State>> Guest<C> {
    pub(crate) fn enter(context: C) -> Result<Self, Refusal> {
        let memory = context.as_context().data().memory.ok_or(Refusal::NotReady)?;
        Ok(Self { context, memory })
    }

    /// Bytes behind a pointer and a length.
    pub(crate) fn bytes(&self, pointer: u32, length: u32) -> Result<&[u8], Refusal> {
        let start = pointer as usize;
        self.memory
            .data(&self.context)
            .get(start..start.saturating_add(length as usize))
            .ok_or(Refusal::OutOfBounds { pointer, length })
    }

    /// Bytes behind a fat pointer: the length in the upper half, the pointer in the lower.
    pub(crate) fn fat(&self, fat: u64) -> Result<&[u8], Refusal> {
        self.bytes(fat as u32, (fat >> 32) as u32)
    }

    /// A value of fixed size.
    pub(crate) fn array<const N: usize>(&self, pointer: u32) -> Result<[u8; N], Refusal> {
        let bytes = self.bytes(pointer, N as u32)?;
        Ok(bytes.try_into().expect("the slice was taken with this length"))
    }

    pub(crate) fn write(&mut self, pointer: u32, bytes: &[u8]) -> Result<(), Refusal> {
        self.bytes_mut(pointer, bytes.len() as u32)?.copy_from_slice(bytes);
        Ok(())
    }

    pub(crate) fn bytes_mut(&mut self, pointer: u32, length: u32) -> Result<&mut [u8], Refusal> {
        let start = pointer as usize;
        self.memory
            .data_mut(&mut self.context)
            .get_mut(start..start.saturating_add(length as usize))
            .ok_or(Refusal::OutOfBounds { pointer, length })
    }

    pub(crate) fn state(&mut self) -> &mut State {
        self.memory_and_state().1
    }

    /// The guest's memory and the rest of its store's state, for a callback that needs both.
    pub(crate) fn memory_and_state(&mut self) -> (&[u8], &mut State) {
        let (memory, state) = self.memory.data_and_store_mut(&mut self.context);
        (memory, state)
    }

    /// Allocates what the guest is about to write to.
    pub(crate) fn allocate(&mut self, size: u32) -> Result<u32, Refusal> {
        let pointer = self.allocate_untouched(size)?;
        self.find_ahead(u64::from(pointer) + u64::from(size));
        Ok(pointer)
    }

    /// Allocates what is filled before anything else is allocated, by whoever sees to its pages.
    pub(crate) fn allocate_filled(&mut self, size: u32) -> Result<u32, Refusal> {
        let pointer = self.allocate_untouched(size)?;
        let end = u64::from(pointer) + u64::from(size);
        self.state().heap.iter_mut().for_each(|heap| heap.ahead.skip(end));
        Ok(pointer)
    }

    fn find_ahead(&mut self, heap_end: u64) {
        let (memory, state) = self.memory.data_and_store_mut(&mut self.context);
        if let Some(find_ahead) = state.find_ahead
            && let Some(heap) = &mut state.heap
            && let Some(piece) = heap.ahead.next(heap_end, memory.len())
        {
            find_ahead(&mut memory[piece]);
        }
    }

    fn allocate_untouched(&mut self, size: u32) -> Result<u32, Refusal> {
        self.with_heap(|heap, memory| {
            if heap.count_would_overflow(size.min(ALLOCATION_BYTES_MAX)) {
                return Err(sc_allocator::Error::Other("the count of bytes in use overflows"));
            }
            heap.allocator.allocate(memory, size).map(u32::from)
        })
    }

    fn free(&mut self, pointer: u32) -> Result<(), Refusal> {
        self.with_heap(|heap, memory| heap.allocator.deallocate(memory, pointer.into()))
    }

    /// Allocates in the guest and copies there.
    pub(crate) fn give(&mut self, bytes: &[u8]) -> Result<u32, Refusal> {
        let length = u32::try_from(bytes.len())
            .map_err(|_| Refusal::Allocator(sc_allocator::Error::RequestedAllocationTooLarge))?;
        let pointer = self.allocate(length)?;
        self.write(pointer, bytes)?;
        Ok(pointer)
    }

    /// As [`give`](Self::give), returning a fat pointer.
    pub(crate) fn give_fat(&mut self, bytes: &[u8]) -> Result<u64, Refusal> {
        let pointer = self.give(bytes)?;
        Ok((bytes.len() as u64) << 32 | u64::from(pointer))
    }

    fn with_heap<R>(
        &mut self,
        operate: impl FnOnce(&mut Heap, &mut HeapMemory<'_, C>) -> Result<R, sc_allocator::Error>,
    ) -> Result<R, Refusal> {
        // The heap leaves the store for the operation, because the memory it works on borrows the
        // store; it comes back whatever happens, since a heap that failed must stay poisoned.
        let mut heap = self.state().heap.take().ok_or(Refusal::NotReady)?;
        let mut memory =
            HeapMemory { memory: self.memory, context: &mut self.context, refused: None };
        let result = operate(&mut heap, &mut memory);
        let refused = memory.refused.take();
        self.state().heap = Some(heap);
        match refused {
            Some(text) => Err(Refusal::MachineMemory(text)),
            None => result.map_err(Refusal::Allocator),
        }
    }
}

/// A guest's memory, as the allocator crate wants to see it.
struct HeapMemory<'a, C> {
    memory: Memory,
    context: &'a mut C,
    /// Set when the operating system, and not a limit, refused growth.
    refused: Option<String>,
}

impl<C: AsContextMut<Data = State>> sc_allocator::Memory for HeapMemory<'_, C> {
    fn with_access_mut<R>(&mut self, run: impl FnOnce(&mut [u8]) -> R) -> R {
        run(self.memory.data_mut(&mut self.context))
    }

    fn with_access<R>(&self, run: impl FnOnce(&[u8]) -> R) -> R {
        run(self.memory.data(&self.context))
    }

    fn grow(&mut self, additional: u32) -> Result<(), ()> {
        match self.memory.grow(&mut self.context, u64::from(additional)) {
            Ok(_) => Ok(()),
            Err(error) => {
                if let Some(refusal) = error.downcast_ref::<super::HostCallError>() {
                    self.refused = Some(refusal.to_string());
                }
                Err(())
            }
        }
    }

    fn pages(&self) -> u32 {
        // At most 65536: a 32-bit memory.
        self.memory.size(&self.context) as u32
    }

    fn max_pages(&self) -> Option<u32> {
        Some(self.context.as_context().data().limit.pages_max().min(HEAP_PAGES_MAX))
    }
}

pub(super) fn link(linker: &mut Linker<State>) -> wasmtime::Result<()> {
    host_functions! { linker;
        "ext_allocator_malloc_version_1" = |guest, size: u32| -> u32 {
            guest.allocate(size)
        }
        "ext_allocator_free_version_1" = |guest, pointer: u32| -> () {
            guest.free(pointer)
        }
    }
    Ok(())
}
