//! A program that calls WASI at random: whatever it says, it is answered, and within its limits.

mod shared;

use lazaret_engine::program::Output;
use lazaret_engine::{ExecuteError, Profile};
use shared::caller::*;
use shared::programs::text;

const RUNS: u64 = 12;
const CALLS: usize = 3_000;

/// Numbers that follow from a seed (SplitMix64).
struct Numbers(u64);

impl Numbers {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn of<T: Copy>(&mut self, choices: &[T]) -> T {
        choices[self.next() as usize % choices.len()]
    }

    /// Mostly what makes sense somewhere: descriptors, pointers, lengths, flags, edges.
    fn int(&mut self) -> i32 {
        let end = 4 * 65_536;
        match self.next() % 8 {
            0..=2 => self.of(&[0, 1, 2, 3, 4, 5, 6, 7, 8]),
            3..=5 => self.of(&[PATH, OTHER, RESULT, BUFFER, 512]),
            6 => self.of(&[-1, i32::MAX, i32::MIN, end, end - 1, end - 8, end - 24, 4096, 1 << 13]),
            _ => self.next() as i32,
        }
    }

    fn long(&mut self) -> i64 {
        match self.next() % 4 {
            0 => self.of(&[ALL, -1, 0, i64::MAX, i64::MIN, u32::MAX.into()]),
            1 => self.next() as i64,
            _ => (self.next() % 3000) as i64,
        }
    }
}

#[test]
fn random_calls_are_answered() {
    let paths = ["a", "b/c", "b", "../x", "/", ".", "..", "link", "loop", "folder/file", "a/../b/"];
    for seed in 0..RUNS {
        let module = if seed % 4 == 3 { "wasi_unstable" } else { "wasi_snapshot_preview1" };
        let (streams, world) = world(10_000);
        let mut caller = Caller::of(module, world, &text(Profile::Wasi));
        let mut numbers = Numbers(seed);
        let mut answered = 0;
        for _ in 0..CALLS {
            if numbers.next().is_multiple_of(4) {
                let path = numbers.of(&paths);
                let at = numbers.of(&[PATH, OTHER, 512, BUFFER]);
                caller.put(at, path.as_bytes());
                let ranges = [(BUFFER, numbers.int()), (BUFFER + 8, 16)];
                caller.ranges(&ranges);
            }
            let (name, types) = numbers.of(&FUNCTIONS);
            let args: Vec<_> = types
                .chars()
                .map(|ty| match ty {
                    'i' => Arg::I(numbers.int()),
                    _ => Arg::L(numbers.long()),
                })
                .collect();
            match caller.try_call(name, &args) {
                Ok(Output::Values(_)) => answered += 1,
                Err(ExecuteError::OutputLimit { .. }) => {}
                other => panic!("seed {seed}, {name}: {other:?}"),
            }
            // A stream may be anything's length; keep what the test holds small.
            streams.out.borrow_mut().clear();
            streams.err.borrow_mut().clear();
        }
        assert_eq!(answered, CALLS);
    }
}
