//! What a function's frame is worth on the counted stack. `survey` counts it, the pass writes it down.

use wasmparser::Operator;

/// What every frame is worth: return address, saved registers, alignment.
const FRAME_VALUES: u32 = 8;

/// So many instructions are worth a value.
const INSTRUCTIONS_PER_VALUE: u32 = 8;

/// What an instruction seems to take. It is counted once for each time that its function is entered, so
/// this stands for the loops that it may be in.
const NS_PER_INSTRUCTION: u32 = 8;

/// A function that calls nothing and is worth no more is not counted: only one such frame can be on
/// the stack at a time.
const LEAF_VALUES_MAX: u32 = 64;

/// What one function takes of the stack.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Frame {
    locals: u32,
    operands: u32,
    instructions: u32,
    calls: bool,
}

impl Frame {
    /// A function of so many locals, parameters included.
    pub(crate) fn of_locals(locals: u32) -> Self {
        Self { locals, operands: 0, instructions: 0, calls: false }
    }

    /// Counts an instruction and the operands that lie on the stack after it.
    pub(crate) fn count(&mut self, operator: &Operator<'_>, operands: u32) {
        self.instructions = self.instructions.saturating_add(1);
        self.operands = self.operands.max(operands);
        self.calls |= matches!(
            operator,
            Operator::Call { .. }
                | Operator::CallIndirect { .. }
                | Operator::CallRef { .. }
                | Operator::ReturnCall { .. }
                | Operator::ReturnCallIndirect { .. }
                | Operator::ReturnCallRef { .. }
        );
    }

    /// What it is worth. No module that is acceptable otherwise comes near the end of the range.
    pub(super) fn values(&self) -> u32 {
        FRAME_VALUES
            .saturating_add(self.locals)
            .saturating_add(self.operands)
            .saturating_add(self.instructions / INSTRUCTIONS_PER_VALUE)
            .min(1 << 30)
    }

    /// Nanoseconds that entering it adds to the time that a program seems to take.
    pub(super) fn ticks(&self) -> u32 {
        self.instructions.saturating_mul(NS_PER_INSTRUCTION).clamp(1, 1 << 30)
    }

    pub(super) fn is_counted(&self) -> bool {
        self.calls || self.values() > LEAF_VALUES_MAX
    }
}
