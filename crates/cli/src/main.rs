//! The program `lazaret`: arguments, streams and exit codes around the library. A file per verb.
//!
//! Results go to standard output, everything else to standard error. Exit codes: 0 returned,
//! 1 refused, 2 usage, 3 inconclusive, 4 fault; those of `lazaret run` leave room for the guest's.
#![forbid(unsafe_code)]

#[macro_use]
mod say;
mod arguments;
mod bench;
mod bundle;
mod cache;
mod doctor;
mod errors;
mod executor_params;
mod exit_codes;
mod hosting;
mod many;
mod prepare;
mod pvf;
mod replay;
mod report;
mod run;

use std::process::ExitCode;

use clap::Parser;
use tracing_subscriber::EnvFilter;

use crate::{
    arguments::{Arguments, PvfVerb, Verb},
    errors::Failure,
    exit_codes::Codes,
};

#[global_allocator]
static ALLOCATOR: lazaret_worker::JobAllocator = lazaret_worker::JobAllocator;

fn main() -> ExitCode {
    // First of all, while there is one thread: this same program is also the worker.
    lazaret_worker::run_if_worker();
    lazaret_worker::run_if_yardstick();
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(error) => return exit_codes::of_parsing(&error),
    };
    log_to_stderr(arguments.global.verbose);
    let ended = tokio::runtime::Runtime::new().map_err(Failure::Runtime).and_then(|runtime| {
        let ended = runtime.block_on(run(&arguments));
        // A thread may still wait for standard input, of which nobody wants more.
        runtime.shutdown_background();
        ended
    });
    match ended {
        Ok(code) => code,
        Err(failure) => failure.tell(arguments.global.json, Codes::of(&arguments.verb)),
    }
}

async fn run(arguments: &Arguments) -> Result<ExitCode, Failure> {
    let global = &arguments.global;
    let ending = match &arguments.verb {
        Verb::Pvf(PvfVerb::Validate(verb)) => pvf::validate::run(global, verb).await?,
        Verb::Pvf(PvfVerb::Precheck(verb)) => {
            prepare::run(global, verb, prepare::How::Precheck).await?
        }
        Verb::Pvf(PvfVerb::Inspect(verb)) => pvf::inspect::run(global, verb).await?,
        Verb::Replay(verb) => replay::run(global, verb).await?,
        Verb::Run(verb) => return run::run(global, verb).await,
        Verb::Prepare(verb) => prepare::run(global, verb, prepare::How::Prepare).await?,
        Verb::Cache(verb) => cache::run(global, verb)?,
        Verb::Bench(verb) => bench::run(global, verb).await?,
        Verb::Doctor => return Ok(doctor::run(global).await.into()),
    };
    Ok(Codes::Own.code(ending))
}

/// Warnings, and with `-v` more; `RUST_LOG` has the last word.
fn log_to_stderr(verbose: u8) {
    let level = match verbose {
        0 => "warn",
        1 => "info",
        2 => "debug",
        _ => "trace",
    };
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(level));
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(|| say::Unheard).init();
}
