//! The guest's heap: the free-list allocator that the host runs for it, through the import and by
//! itself. The difference is what crossing into the host costs.
//! `cargo bench -p lazaret-engine --bench allocator`.

use divan::{Bencher, black_box, counter::ItemsCount};
use guests::{Guest, TURNS};
use sc_allocator::{FreeingBumpHeapAllocator, Memory};

mod guests;

const SIZES: [u32; 4] = [8, 100, 4_096, 1 << 20];
const PAGE_BYTES: usize = 65_536;
const PAGES_MAX: u32 = 2_080;
const HEAP_BASE: u32 = 65_536;

fn main() {
    divan::main();
}

/// A linear memory that is nobody's.
struct Pages(Vec<u8>);

impl Memory for Pages {
    fn with_access_mut<R>(&mut self, run: impl FnOnce(&mut [u8]) -> R) -> R {
        run(&mut self.0)
    }

    fn with_access<R>(&self, run: impl FnOnce(&[u8]) -> R) -> R {
        run(&self.0)
    }

    fn grow(&mut self, additional: u32) -> Result<(), ()> {
        self.0.resize(self.0.len() + additional as usize * PAGE_BYTES, 0);
        Ok(())
    }

    fn pages(&self) -> u32 {
        (self.0.len() / PAGE_BYTES) as u32
    }

    fn max_pages(&self) -> Option<u32> {
        Some(PAGES_MAX)
    }
}

#[divan::bench(args = SIZES)]
fn allocate_and_free_through_the_imports(bencher: Bencher<'_, '_>, size: u32) {
    let guest = Guest::that_repeats(
        r#"(import "env" "ext_allocator_malloc_version_1" (func $malloc (param i32) (result i32)))
           (import "env" "ext_allocator_free_version_1" (func $free (param i32)))"#,
        &format!("(call $free (call $malloc (i32.const {size})))"),
    );
    guest.bench(bencher, &[]);
}

#[divan::bench(args = SIZES)]
fn allocate_and_free_by_itself(bencher: Bencher<'_, '_>, size: u32) {
    let mut memory = Pages(vec![0; 2 * PAGE_BYTES]);
    let mut heap = FreeingBumpHeapAllocator::new(HEAP_BASE);
    bencher.counter(ItemsCount::new(TURNS)).bench_local(|| {
        for _ in 0..TURNS {
            let pointer = heap.allocate(&mut memory, black_box(size)).expect("room");
            heap.deallocate(&mut memory, pointer).expect("it was allocated");
        }
    });
}
