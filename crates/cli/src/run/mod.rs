//! `lazaret run`: a stranger's program, as if it were run.
//!
//! ```text
//! arguments  what can be asked
//! asked      the same in the library's words
//! once       one run, its streams passed through
//! outcome    what came of a run, as text, as JSON, as an exit code
//! ```

pub(crate) mod arguments;
mod asked;
mod once;
mod outcome;

use std::process::ExitCode;

use lazaret::{Lanes, PrepareLimits};

use crate::{arguments::Global, errors::Failure, hosting};

use arguments::Run;
use asked::Asked;

pub(crate) async fn run(global: &Global, verb: &Run) -> Result<ExitCode, Failure> {
    let asked = Asked::read(verb)?;
    let workers = 1;
    let builder = hosting::builder(global).lanes(Lanes::generic()).execute_workers(workers);
    let host = hosting::started(global, builder.prepare_limits(PrepareLimits::default())).await?;
    once::run(global, &asked, &host).await
}
