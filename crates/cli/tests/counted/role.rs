//! The host that is counted: some calls of one guest, one after another, with a mark before and after
//! each. It waits on one thread, so that what it does has an order.

use std::{fmt::Write as _, path::Path, process::exit};

use lazaret::{Code, Retry, pvf::Block};
use rustix::{io::write, stdio::stdout};

use crate::{support, watched::MARK_BYTES};

/// Calls before those that count: the first prepares, and starts the workers.
pub(crate) const WARM_UP: usize = 3;
/// Calls that count.
pub(crate) const COUNTED: usize = 3;
/// Bytes of a large input.
pub(crate) const LARGE_BYTES: usize = 1 << 20;

const STARTED_ALREADY: &str = "a mark that is read";

/// Becomes the host of a case.
pub(crate) fn be_host(case: &str, cache: &Path) -> ! {
    let (code, input_bytes) = match case {
        "a_large_artifact" => (large_code(), 3),
        "a_large_input" => (support::trivial(0), LARGE_BYTES),
        _ => (support::trivial(0), 3),
    };
    // A thread that ends for want of work would be counted.
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .thread_keep_alive(10 * support::STUCK_AFTER)
        .build();
    runtime.expect("a runtime").block_on(make_calls(cache, &code, input_bytes));
    exit(0)
}

/// Without control groups, whose limits are files that the host writes only where it has been given
/// a place for them.
async fn make_calls(cache: &Path, code: &Code, input_bytes: usize) {
    let builder = support::builder(cache).execute_workers(1).prepare_workers(1).without_cgroup();
    let host = support::started(builder).await;
    let settings = support::settings(support::STUCK_AFTER, Retry::Never);
    for _ in 0..WARM_UP + COUNTED {
        let block = Block::encoded(vec![7; input_bytes]);
        write(stdout(), &[0; MARK_BYTES.begin]).expect(STARTED_ALREADY);
        let answer = host.validate(code, block, &settings).await.expect("an answer");
        write(stdout(), &[0; MARK_BYTES.end]).expect(STARTED_ALREADY);
        support::returned(&answer);
    }
}

/// A guest with half a megabyte of machine code that does what the trivial one does.
fn large_code() -> Code {
    let steps = "(local.set 0 (i32.mul (i32.add (local.get 0) (i32.const 77777)) (local.get 0)))";
    let mut functions = String::new();
    for number in 0..700 {
        let body = steps.repeat(64);
        let _ =
            writeln!(functions, "(func (param i32) (result i32) {body} (local.get 0)) ;; {number}");
    }
    support::code(&format!(
        r#"(module
            (memory (export "memory") 1)
            (global (export "__heap_base") i32 (i32.const 1024))
            {functions}
            (func (export "validate_block") (param i32 i32) (result i64)
                (i64.const {})))"#,
        (support::EMPTY_RESULT.len() as i64) << 32 | 512
    ))
}
