//! `lazaret run`: a stranger's program, as if it were run.
//!
//! ```text
//! arguments  what can be asked
//! asked      the same as a case, and the bytes that belong to it
//! once       one run, its streams passed through
//! recorder   streams that remember what went through them
//! repeat     the same run many times, compared
//! batch      many inputs, a line of JSON for each
//! outcome    what came of a run, as text, as JSON, as an exit code
//! ```

pub(crate) mod arguments;
mod asked;
mod batch;
mod once;
pub(crate) mod outcome;
mod recorder;
mod repeat;

use std::{process::ExitCode, thread};

use lazaret::{Host, Lanes};

use crate::{arguments::Global, errors::Failure, hosting};

use arguments::Run;

pub(crate) use asked::{Asked, read_code};

pub(crate) async fn run(global: &Global, verb: &Run) -> Result<ExitCode, Failure> {
    let places = verb.bundles.places();
    let processors = thread::available_parallelism().map_or(1, usize::from);
    let workers = match (&verb.many.each, verb.many.workers) {
        (_, Some(workers)) => workers.into(),
        (Some(_), None) => processors,
        // Runs beside each other would spread each other's times.
        (None, None) => 1,
    };
    // The host's first worker starts while the program is read.
    let (host, asked) = tokio::join!(host(global, workers), async { Asked::read(verb) });
    // Who named a wrong file hears of that before anything of the machine.
    let (asked, host) = (asked?, host?);
    match (&verb.many.each, verb.many.repeat) {
        (Some(files), _) => batch::run((asked, &places), &host, files, workers).await,
        (None, Some(times)) => repeat::run(global, (&asked, &places), &host, times, workers).await,
        (None, None) => once::run(global, &asked, &host, &places).await,
    }
}

/// A host for programs, so many at once.
pub(crate) async fn host(global: &Global, workers: usize) -> Result<Host, Failure> {
    let builder = hosting::builder(global).lanes(Lanes::generic()).execute_workers(workers);
    hosting::started(global, builder).await
}
