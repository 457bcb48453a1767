//! The program `bench-peer`: Lazaret and Polkadot's PVF host on the same work, in turns, in one run.
//!
//! ```text
//! hosts        both behind one call
//! peer           Polkadot's
//! lazaret_host   Lazaret's
//! in_process     Lazaret's engine, without a jail
//! programs       where the worker programs are
//! work         a call: code, a block, a limit, and what must come of it
//! corpus         real ones
//! made           made ones
//! stage        what the cases share
//! turns        who is called when
//! samples      times, and what is said of many
//! cases        what is measured
//! processes      memory, from /proc
//! table        what is printed
//! ```
//!
//! Exit code 0 if every promise was kept, 1 if not, 2 if it could not be tried. Never shipped.
#![deny(unsafe_code)]

mod cases;
mod corpus;
mod hosts;
mod in_process;
mod lazaret_host;
mod made;
mod peer;
mod processes;
mod programs;
mod samples;
mod stage;
mod table;
mod turns;
mod work;

use std::{path::PathBuf, process::ExitCode, time::Instant};

use clap::{Parser, ValueEnum};

use crate::{cases::Case, stage::Stage, table::Row};

/// Lazaret beside Polkadot's PVF host, on the same work, in one run.
#[derive(Parser)]
struct Arguments {
    /// The data for tests: real runtimes and blocks are in its folder `pvf`.
    #[arg(long, default_value = "../../shared/data")]
    data: PathBuf,
    /// Measure these cases only.
    #[arg(long, num_args = 1.., value_name = "CASE")]
    only: Vec<Case>,
    /// Turns of each host in every case.
    #[arg(long, default_value_t = 10)]
    rounds: usize,
    /// Print JSON and no table.
    #[arg(long)]
    json: bool,
    /// Be the process whose memory is measured, over this cache.
    #[arg(long, hide = true)]
    hold: Option<PathBuf>,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let ended = tokio::runtime::Runtime::new().map_err(|error| error.to_string()).and_then(
        // In a task, as the requests of a node are, so that no answer has to cross to this thread.
        |runtime| runtime.block_on(async { tokio::spawn(run(arguments)).await.expect("no panic") }),
    );
    match ended {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(why) => {
            eprintln!("not tried: {why}");
            ExitCode::from(2)
        }
    }
}

/// Measures and prints; whether everything held.
async fn run(arguments: Arguments) -> Result<bool, String> {
    if let Some(cache) = &arguments.hold {
        println!("{}", cases::hold(&arguments.data, cache).await?);
        return Ok(true);
    }
    let real = corpus::real_blocks(&arguments.data)?;
    let begin = Instant::now();
    let mut stage = Stage::set(arguments.data, real, arguments.rounds.max(1)).await?;
    eprintln!("peer: {}", stage.hosts.peer.security());
    eprintln!("Lazaret: {}", stage.hosts.lazaret.security());
    let cases = match arguments.only.is_empty() {
        true => Case::value_variants(),
        false => &arguments.only,
    };
    let mut rows: Vec<Row> = Vec::new();
    for case in cases {
        eprintln!("{case:?}, after {}", table::time(begin.elapsed()));
        rows.extend(case.run(&mut stage).await?);
    }
    match arguments.json {
        true => println!("{:#}", table::json(&rows)),
        false => println!("{}", table::markdown(&rows)),
    }
    let broken = rows.iter().filter(|row| row.held() == Some(false)).count();
    eprintln!("{broken} promises were not kept; {} in all", table::time(begin.elapsed()));
    Ok(broken == 0)
}
