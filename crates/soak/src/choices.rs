//! Chance that a seed repeats.

/// xorshift64*: enough for choices, the same on every machine.
#[derive(Debug)]
pub(crate) struct Choices(u64);

impl Choices {
    /// Those of one who chooses, apart from all others of the run.
    pub(crate) fn of(seed: u64, round: u32, who: u64) -> Self {
        // Odd factors, so that neighbours have nothing in common; never 0, which would stay 0.
        let mixed = seed
            .wrapping_mul(0x9e37_79b9_7f4a_7c15)
            .wrapping_add(u64::from(round).wrapping_mul(0xbf58_476d_1ce4_e5b9))
            .wrapping_add(who.wrapping_mul(0x94d0_49bb_1331_11eb));
        let mut choices = Self(mixed | 1);
        choices.below(1);
        choices
    }

    /// A number below `bound`, which is not 0.
    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        // The low bits are the weak ones.
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 16) % bound
    }

    /// True once in so many times.
    pub(crate) fn one_in(&mut self, count: u64) -> bool {
        self.below(count) == 0
    }

    /// One of these.
    pub(crate) fn among<'a, T>(&mut self, all: &'a [T]) -> Option<&'a T> {
        all.get(self.below(all.len().max(1) as u64) as usize)
    }
}
