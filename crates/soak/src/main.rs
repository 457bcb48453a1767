//! The program `soak`: a real host under full load while workers and jobs are killed, requests dropped
//! and withdrawn, and artifacts damaged; to see that each request is answered once and rightly, and
//! that nothing is left.
//!
//! ```text
//! bounds   every bound and every rate, by name
//! run      rounds: load and harm, then calm, then a look at what is held
//! guests   codes and what each kind of request must come to
//! load     clients that ask and judge
//! harm     kills, stops, damage, withdrawals
//! allowed  which endings a request may have
//! tally    counts, complaints, tables
//! held     descriptors, processes, memory, files
//! choices  chance by seed
//! ```
//!
//! Exit code 0 if everything held, 1 if not, 2 if it could not be tried. Never shipped.
#![forbid(unsafe_code)]

mod allowed;
mod bounds;
mod choices;
mod guests;
mod harm;
mod held;
mod load;
mod run;
mod tally;

use std::{net::SocketAddr, process::ExitCode};

use clap::Parser;

#[global_allocator]
static ALLOCATOR: lazaret_worker::JobAllocator = lazaret_worker::JobAllocator;

/// A host under full load with everything going wrong, to see that nothing does.
#[derive(Parser)]
struct Arguments {
    /// How long, in minutes; parts of one are fine.
    #[arg(long, default_value_t = 1.0)]
    minutes: f64,
    /// Repeats the choices of another run; moments depend on the machine too.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Meanwhile serve metrics over HTTP at this address, as in 127.0.0.1:9615.
    #[arg(long)]
    metrics: Option<SocketAddr>,
}

fn main() -> ExitCode {
    // First of all, while there is one thread: this same program is also the worker.
    lazaret_worker::run_if_worker();
    let arguments = Arguments::parse();
    let time = bounds::time_of(arguments.minutes);
    let ended = tokio::runtime::Runtime::new()
        .map_err(|error| error.to_string())
        .and_then(|runtime| runtime.block_on(run::run(time, arguments.seed, arguments.metrics)));
    match ended {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(why) => {
            eprintln!("not tried: {why}");
            ExitCode::from(2)
        }
    }
}
