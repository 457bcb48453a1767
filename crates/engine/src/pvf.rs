//! The profile of parachain validation functions: one call of `validate_block`.
//!
//! Substrate's calling convention: the input is put on the guest's heap, the guest is called with
//! pointer and length, and returns pointer (lower half) and length (upper half) of its output.
//! Runs in an execute job; between making the instance and calling it come the last doors.

use std::borrow::Cow;
use std::hint::black_box;
use std::ops::Range;

use parity_scale_codec::{Compact, Encode as _};
use wasmtime::{Export, Global, Memory, ModuleExport, Store, TypedFunc};

use crate::artifact::{Artifact, start};
use crate::compressed::{decompress, is_compressed};
use crate::engine::Engine;
use crate::execute::ExecuteError;
use crate::imports::log::LogSink;
use crate::imports::{ALLOCATION_BYTES_MAX, FindAhead, Guest, Heap, Refusal, State};
use crate::params::Params;
use crate::prepare::STACK_BYTES_MARGIN;
use crate::room::Room;
use crate::trap::{Ending, classify};

/// What a block is validated with.
#[derive(Clone, Copy, Debug)]
pub enum Input<'a> {
    /// SCALE-encoded `ValidationParams`, passed as they are.
    Encoded(&'a [u8]),
    /// The parts of `ValidationParams`, to be encoded straight into the guest's memory.
    Parts {
        /// The parent's head.
        parent_head: &'a [u8],
        /// The block; decompressed first if it carries the prefix.
        block_data: &'a [u8],
        /// The relay chain block the parachain block was made for.
        relay_parent_number: u32,
        /// That block's state root.
        relay_parent_storage_root: [u8; 32],
        /// What comes after it, encoded; empty if nothing does.
        extension: &'a [u8],
        /// Bytes the block may decompress to.
        block_data_bytes_max: u64,
    },
}

/// A finished call. The output still lies in the guest's memory, which lives as long as this.
pub struct Reply {
    store: Store<State>,
    memory: Memory,
    output: Range<usize>,
    memory_pages: u32,
    /// Dropping it writes to the engine, whose pages a process that ends need not copy for that.
    _entry: Entry,
}

impl Reply {
    /// What the guest returned.
    pub fn output(&self) -> &[u8] {
        &self.memory.data(&self.store)[self.output.clone()]
    }

    /// Pages of linear memory at the end of the call, which is also the most there ever were.
    pub fn memory_pages(&self) -> u32 {
        self.memory_pages
    }
}

impl std::fmt::Debug for Reply {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (output, pages) = (&self.output, self.memory_pages);
        f.debug_struct("Reply").field("output", output).field("memory_pages", &pages).finish()
    }
}

/// A fresh instance for one call, in which no guest code has run. What a call needs of it was looked up when
/// it was made, because it may be copied for many calls.
pub struct Instance {
    store: Store<State>,
    instance: wasmtime::Instance,
    entry_export: Option<ModuleExport>,
    start: Option<TypedFunc<(), ()>>,
    memory: Option<Memory>,
    heap_base: Option<Global>,
    entry: Option<Entry>,
    stack_bytes: usize,
}

/// The smallest page that a kernel maps, at the beginning of which every memory begins.
const PAGE_BYTES: usize = 4096;

/// What is called.
const ENTRY: &str = "validate_block";

/// Functions of a table that are looked up beforehand, at most: several times as many as today's runtimes have.
const FUNCTIONS_LOOKED_UP_MAX: u64 = 64 * 1024;

/// Pages of the heap that a call writes to which runs long.
const LONG_HEAP_BYTES: usize = 32 * 1024;

/// Its type.
type Entry = TypedFunc<(u32, u32), u64>;

/// Makes memory of the guest, the first, hold what a piece of the input is, the second, which is as long. How is its
/// own affair: the engine itself makes no system call.
pub type Put<'a> = &'a mut dyn FnMut(&mut [u8], &[u8]);

/// An instance whose input lies in its memory.
pub struct Placed {
    store: Store<State>,
    memory: Memory,
    entry: Entry,
    /// Pointer and length.
    input: (u32, u32),
    stack_bytes: usize,
}

impl std::fmt::Debug for Placed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Placed").field("input", &self.input).finish_non_exhaustive()
    }
}

impl std::fmt::Debug for Instance {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Instance").finish_non_exhaustive()
    }
}

impl Instance {
    /// Makes an instance. Its memory is mapped out of the artifact's file, which is not needed
    /// afterwards.
    ///
    /// `params` must be those the artifact was prepared with; only the memory limit may differ.
    pub fn new(
        engine: &Engine,
        artifact: &Artifact,
        params: &Params,
        log: LogSink,
    ) -> Result<Self, ExecuteError> {
        if !engine.suits(params) {
            return Err(ExecuteError::WrongEngine);
        }
        let pages = artifact.memory_pages_min();
        if pages > u64::from(params.memory_pages_max) {
            return Err(ExecuteError::MemoryLimit { pages, pages_max: params.memory_pages_max });
        }
        let mut store = Store::new(engine.wasmtime(), State::new(params.memory_pages_max, log));
        store.limiter(|state| &mut state.limit);
        let instance =
            artifact.instantiate(&mut store).map_err(|error| match classify(&error) {
                Ending::Trap { text, .. } => ExecuteError::Instantiate { text },
                Ending::MachineMemory { text } => ExecuteError::MachineMemory { text },
            })?;
        // A job's own stack may be small. Compiled code checks its own depth against the limit the
        // engine was built with; the margin is for host functions called at that depth.
        let stack_bytes = engine.stack_native_bytes_max() + STACK_BYTES_MARGIN;
        let start = start(&mut store, &instance).map_err(|error| end(&error))?;
        let memory = instance.get_memory(&mut store, "memory");
        let heap_base = instance.get_global(&mut store, "__heap_base");
        if let (None, Some(memory)) = (&start, memory) {
            // Nothing can change the heap base any more. That there is none is said by the call.
            let _ = ready_heap(&mut store, memory, heap_base);
        }
        Ok(Self {
            start,
            memory,
            heap_base,
            entry: instance.get_typed_func(&mut store, ENTRY).ok(),
            instance,
            entry_export: artifact.export(ENTRY),
            store,
            stack_bytes,
        })
    }

    /// Looks up the functions in the tables that the guest exports. The engine does that otherwise when each is called through its
    /// table first, and writes down what it found: of a process that is copied for each call, in each copy. Runs nothing of
    /// the guest's.
    pub fn look_up_functions(&mut self) {
        let exported: Vec<_> =
            self.instance.exports(&mut self.store).filter_map(Export::into_table).collect();
        for table in exported {
            let functions = table.size(&self.store).min(FUNCTIONS_LOOKED_UP_MAX);
            for place in 0..functions {
                black_box(table.get(&mut self.store, place));
            }
        }
    }

    /// Writes to what each call writes to first, and changes nothing: a copy of the process that was made for a call has pages of
    /// its own there then, before anybody waits for it. Of a call that runs `long` that is more. Runs nothing of the guest's.
    pub fn rehearse(&mut self, long: bool) {
        // The engine puts down anew what it is asked for, beside the guest's globals.
        if let Some(entry) = &self.entry_export {
            black_box(self.instance.get_module_export(&mut self.store, entry));
        }
        let heap = black_box(self.store.data_mut().heap.take());
        self.store.data_mut().heap = heap;
        let Some(memory) = self.memory else { return };
        let (memory, state) = memory.data_and_store_mut(&mut self.store);
        if let (Some(heap), Some(find_ahead)) = (&state.heap, state.find_ahead) {
            let page = heap.start() - heap.start() % PAGE_BYTES;
            let bytes = if long { LONG_HEAP_BYTES } else { PAGE_BYTES };
            memory.get_mut(page..page + bytes).into_iter().for_each(find_ahead);
        }
    }

    /// Has pages of the guest's heap found before it touches them, by whoever can: the engine itself makes no system call.
    pub fn find_ahead(&mut self, find_ahead: FindAhead) {
        self.store.data_mut().find_ahead = Some(find_ahead);
    }

    /// Room on the stack for a call and for what leads to it.
    pub fn room(&self) -> Room {
        Room::of(self.stack_bytes)
    }

    /// Whether [`place`](Self::place) with this input runs nothing of the guest's and does nothing with the input but
    /// put it somewhere: there is no `start` function, and nothing is compressed.
    pub fn can_place_unseen(&self, input: &Input<'_>) -> bool {
        let is_plain = match input {
            Input::Encoded(_) => true,
            Input::Parts { block_data, .. } => !is_compressed(block_data),
        };
        is_plain && self.start.is_none() && self.store.data().heap.is_some()
    }

    /// Runs the `start` function and puts the input on the guest's heap.
    pub fn place(self, input: Input<'_>, put: Put<'_>) -> Result<Placed, ExecuteError> {
        let pieces = Pieces::encode(input)?;
        let Self { mut store, start, memory, heap_base, entry, stack_bytes, .. } = self;
        if let Some(start) = start {
            stacker::maybe_grow(stack_bytes, stack_bytes, || start.call(&mut store, ()))
                .map_err(|error| end(&error))?;
        }
        let missing = |name| ExecuteError::MissingExport { name };
        let memory = memory.ok_or(missing("memory"))?;
        if store.data().heap.is_none() {
            ready_heap(&mut store, memory, heap_base)?;
        }
        let entry = entry.ok_or(missing(ENTRY))?;
        let input = pieces.put(&mut store, put)?;
        Ok(Placed { store, memory, entry, input, stack_bytes })
    }

    /// Validates one block: [`place`](Self::place), by copying, and [`Placed::validate_block`].
    pub fn validate_block(self, input: Input<'_>) -> Result<Reply, ExecuteError> {
        self.place(input, &mut |to, from| to.copy_from_slice(from))?.validate_block()
    }
}

impl Placed {
    /// Validates the block that was placed.
    pub fn validate_block(self) -> Result<Reply, ExecuteError> {
        let Self { mut store, memory, entry, input, stack_bytes } = self;
        let returned =
            stacker::maybe_grow(stack_bytes, stack_bytes, || entry.call(&mut store, input))
                .map_err(|error| end(&error))?;
        reply(store, (memory, entry), returned)
    }
}

/// Validates one block in a fresh instance: [`Instance::new`] and [`Instance::validate_block`].
pub fn validate_block(
    engine: &Engine,
    artifact: &Artifact,
    params: &Params,
    input: Input<'_>,
    log: LogSink,
) -> Result<Reply, ExecuteError> {
    Instance::new(engine, artifact, params, log)?.validate_block(input)
}

/// Makes memory and heap available to host functions. The heap base is what the `start` function left.
fn ready_heap(
    store: &mut Store<State>,
    memory: Memory,
    heap_base: Option<Global>,
) -> Result<(), ExecuteError> {
    let heap_base = heap_base
        .and_then(|global| global.get(&mut *store).i32())
        .ok_or(ExecuteError::NoHeapBase)?;
    let state = store.data_mut();
    state.memory = Some(memory);
    state.heap = Some(Heap::new(heap_base as u32));
    Ok(())
}

fn reply(
    store: Store<State>,
    (memory, entry): (Memory, Entry),
    returned: u64,
) -> Result<Reply, ExecuteError> {
    let (pointer, length) = (returned as u32, (returned >> 32) as u32);
    let memory_bytes = memory.data_size(&store) as u64;
    let end = u64::from(pointer) + u64::from(length);
    if end > memory_bytes {
        return Err(ExecuteError::OutputOutOfBounds { pointer, length, memory_bytes });
    }
    let memory_pages = memory.size(&store) as u32;
    Ok(Reply { output: pointer as usize..end as usize, store, memory, memory_pages, _entry: entry })
}

fn end(error: &wasmtime::Error) -> ExecuteError {
    match classify(error) {
        Ending::Trap { kind, text } => ExecuteError::Trap { kind, text },
        Ending::MachineMemory { text } => ExecuteError::MachineMemory { text },
    }
}

/// The encoded input in the order it is written, borrowed wherever it already exists.
struct Pieces<'a>(Vec<Cow<'a, [u8]>>);

impl<'a> Pieces<'a> {
    fn encode(input: Input<'a>) -> Result<Self, ExecuteError> {
        match input {
            Input::Encoded(bytes) => Ok(Self(vec![bytes.into()])),
            Input::Parts {
                parent_head,
                block_data,
                relay_parent_number,
                relay_parent_storage_root,
                extension,
                block_data_bytes_max,
            } => {
                let block_data = decompress(block_data, block_data_bytes_max)
                    .map_err(ExecuteError::BlockDataDecompress)?;
                Ok(Self(vec![
                    compact(parent_head.len())?.into(),
                    parent_head.into(),
                    compact(block_data.len())?.into(),
                    block_data,
                    (relay_parent_number, relay_parent_storage_root).encode().into(),
                    extension.into(),
                ]))
            }
        }
    }

    /// Puts the input on the guest's heap: the one time it is copied, if it is. Says where, and how long it is.
    fn put(&self, store: &mut Store<State>, put: Put<'_>) -> Result<(u32, u32), ExecuteError> {
        let bytes = self.0.iter().map(|piece| piece.len() as u64).sum();
        let length = checked_length(bytes)?;
        let placed = Guest::enter(store).and_then(|mut guest| {
            let start = guest.allocate_filled(length)?;
            let mut pointer = start;
            for piece in &self.0 {
                put(guest.bytes_mut(pointer, piece.len() as u32)?, piece);
                pointer += piece.len() as u32;
            }
            Ok(start)
        });
        match placed {
            Ok(start) => Ok((start, length)),
            Err(Refusal::MachineMemory(text)) => Err(ExecuteError::MachineMemory { text }),
            Err(refusal) => Err(ExecuteError::InputMemory { text: refusal.to_string() }),
        }
    }
}

fn compact(length: usize) -> Result<Vec<u8>, ExecuteError> {
    Ok(Compact(checked_length(length as u64)?).encode())
}

fn checked_length(bytes: u64) -> Result<u32, ExecuteError> {
    match u32::try_from(bytes) {
        Ok(length) if length <= ALLOCATION_BYTES_MAX => Ok(length),
        _ => Err(ExecuteError::InputTooLarge { bytes, bytes_max: ALLOCATION_BYTES_MAX.into() }),
    }
}
