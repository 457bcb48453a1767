//! `lazaret bench`: what this machine does with a guest, beside what it does without one. Makes its own
//! guests and a cache that it removes, so it needs nothing but the program.
//!
//! ```text
//! machine  forks, round trips, copies: what bounds everything else
//! calls    one call after another: trivial, by artifact, by input, without end
//! load     as many calls as there is room for
//! keeping  preparing, starting on a full cache, being idle
//! guests   modules of a few bytes
//! table    rows of numbers; `show` prints them and `plot` draws them
//! ```

mod calls;
mod guests;
mod keeping;
mod load;
mod machine;
mod plot;
mod show;
mod stage;
mod table;

use std::{
    fs::File,
    io::{self, Write},
    path::Path,
    time::{Duration, Instant},
};

use crate::{
    arguments::{Bench, Global},
    errors::Failure,
    report::Ending,
};

/// All that was measured.
pub(crate) struct Measured {
    extent: table::Extent,
    rows: Vec<table::Row>,
    cores: usize,
    security: lazaret::Security,
    took: Duration,
}

/// Measures this machine and shows what was found.
pub(crate) async fn run(global: &Global, verb: &Bench) -> Result<Ending, Failure> {
    let begin = Instant::now();
    // Opened before anything is measured: who gave a wrong path is told at once.
    let plot = verb.plot.as_deref().map(|path| create(path).map(|file| (path, file)));
    let plot = plot.transpose()?;
    let extent = if verb.quick { table::Extent::Quick } else { table::Extent::Whole };
    let level = global.jail_level()?;
    let cores = std::thread::available_parallelism().map_or(1, usize::from);

    let machine = machine::Machine::measure(extent, level)
        .map_err(|error| Failure::Measurement { what: "the machine", reason: error.to_string() })?;
    let stage = stage::Stage::set(global, level, extent)?;
    let mut rows = machine.rows.clone();
    rows.extend(calls::measure(&stage, &machine).await?);
    rows.extend(load::measure(&stage, &machine, cores).await?);
    rows.extend(keeping::measure(&stage, &machine).await?);
    let security = stage.host(1).await?.security().clone();
    let measured = Measured { extent, rows, cores, security, took: begin.elapsed() };

    match global.json {
        true => say!("{}", show::object(&measured)),
        false => show::text(&measured),
    }
    if let Some((path, mut file)) = plot {
        let written = file.write_all(plot::svg(&measured.rows).as_bytes());
        written.map_err(|source| unwritable(path, source))?;
    }
    Ok(Ending::Returned)
}

fn create(path: &Path) -> Result<File, Failure> {
    File::create(path).map_err(|source| unwritable(path, source))
}

fn unwritable(path: &Path, source: io::Error) -> Failure {
    Failure::Write { path: path.to_owned(), source }
}
