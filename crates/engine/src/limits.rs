//! Limits on the shape of a module, where the tools that process it would take memory out of
//! proportion.
//!
//! They come on top of wasmparser's own (a function body of 7.6 MB, 50000 locals, 1000 parameters,
//! 100000 segments). Each is about ten times or more what any of the 53 real runtimes of the test
//! data has; the largest real value stands beside it. They are part of what code is acceptable:
//! lowering one can refuse code that was accepted before.

/// Functions, imported and defined; real runtimes have up to 11049. A compiled function costs some
/// five kilobytes however small it is.
pub const FUNCTIONS_MAX: u64 = 100_000;

/// Imports of any kind; real runtimes have up to 53. The stack limiter looks through all of them
/// for every call it meets.
pub const IMPORTS_MAX: u64 = 2_000;

/// Function types; real runtimes have up to 132.
pub const TYPES_MAX: u64 = 10_000;

/// Exports; real runtimes have up to 95. Each exported function gets a thunk.
pub const EXPORTS_MAX: u64 = 10_000;

/// Elements of the table; real runtimes have up to 2507. Every instance allocates them.
pub const TABLE_ELEMENTS_MAX: u64 = 1_000_000;

/// Blocks within blocks in one function; real runtimes reach 1003. Compilers walk the nesting, and
/// the stack limiter keeps a frame for each level.
pub const NESTING_MAX: u64 = 10_000;

/// Blocks, branches and calls of one function; real runtimes reach 11151. Where each branch depends
/// on the one before, Cranelift takes memory in the square of their number (28000 take 1.2 GB), so
/// this limit alone does not keep a hostile function inside a job's memory limit; one that did
/// would be uncomfortably close to honest code.
pub const BRANCHES_MAX: u64 = 100_000;

/// Targets of one `br_table`; real runtimes reach 493.
pub const BRANCH_TARGETS_MAX: u64 = 50_000;

/// Instructions of the whole module once the stack limiter has added its own, which are 14 for
/// every call; real runtimes reach 7.4 million. The limiter holds all of them at 16 bytes each.
pub const INSTRUCTIONS_MAX: u64 = 80_000_000;

/// Instructions the stack limiter adds around one call.
pub(crate) const INSTRUCTIONS_PER_CALL: u64 = 14;

/// Instructions of one function once the stack limiter has added its own; real runtimes reach
/// 125752. The compiler holds one function at a time, in several forms, at up to a kilobyte for
/// each instruction.
pub const FUNCTION_INSTRUCTIONS_MAX: u64 = 1_500_000;

/// Distance from the first to the last byte that data segments write; real runtimes reach 1.9 MB.
/// The compiler builds one image of it, as a copy in the artifact.
pub const DATA_SPAN_BYTES_MAX: u64 = 256 << 20;
