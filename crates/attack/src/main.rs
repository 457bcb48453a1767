//! The program `attack`: native code inside real jobs of a real host, to see that the jail holds.
//!
//! `attack run BLOB` runs one flat x86-64 binary; `attack all` runs the battery of `list`. Exit code
//! 0 if everything held, 1 if not, 2 if it could not be tried. Never shipped: the jump into a blob
//! and the word that leaves a layer out are in this program and in no other.
#![deny(unsafe_code)]

mod battery;
mod blob;
mod far_number;
#[allow(unsafe_code)]
mod freed_memory;
mod in_prepare;
mod invariants;
mod layers;
mod list;
#[allow(unsafe_code)]
mod native;
mod one;
#[allow(unsafe_code)]
mod polkadot;
mod prepare_list;
mod seen;
mod stage;

use std::{error::Error, process::ExitCode};

use clap::{Parser, Subcommand};

#[global_allocator]
static ALLOCATOR: lazaret_worker::JobAllocator = lazaret_worker::JobAllocator;

/// Native code inside real jobs, to see that the jail holds.
#[derive(Parser)]
struct Arguments {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    /// Run one flat binary, whose first byte is `entry(reply_fd, arena, arena_len) -> i32`.
    Run(one::Arguments),
    /// Run the battery.
    All(battery::Arguments),
    /// Count, from inside, what a job can reach.
    Reach,
}

fn main() -> ExitCode {
    // First of all, while there is one thread: this same program is also the worker.
    lazaret_worker::run_if_worker_on_trial(layers::trial);
    polkadot::run_if_worker();
    freed_memory::give_back_at_once();
    let arguments = Arguments::parse();
    run(&arguments.verb).unwrap_or_else(|error| {
        eprintln!("attack: {error}");
        ExitCode::from(2)
    })
}

fn run(verb: &Verb) -> Result<ExitCode, Box<dyn Error>> {
    if let Some(ended) = far_number::run_again()? {
        return Ok(ended);
    }
    let held = tokio::runtime::Runtime::new()?.block_on(async {
        match verb {
            Verb::Run(arguments) => one::run(arguments).await,
            Verb::All(arguments) => battery::run(arguments).await,
            Verb::Reach => one::reach().await,
        }
    })?;
    Ok(if held { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
