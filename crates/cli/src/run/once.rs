//! One run, as if the program were run: its standard streams are those of this process.

use std::{io, process::ExitCode};

use lazaret::{Fault, Host, program::Streams};
use serde_json::Value;
use tokio::io::AsyncReadExt;

use super::{asked::Asked, outcome};
use crate::{arguments::Global, errors::Failure};

/// What a shell says of a program that was ended by SIGPIPE.
const BROKEN_PIPE: u8 = 128 + 13;

pub(crate) async fn run(global: &Global, asked: &Asked, host: &Host) -> Result<ExitCode, Failure> {
    let streams = Streams::default().stdin(tokio::io::stdin());
    let streams = match global.json {
        // They are keys of the object.
        true => streams,
        false => streams.stdout(tokio::io::stdout()).stderr(tokio::io::stderr()),
    };
    let input = match asked.takes_bytes() {
        true => read_stdin(asked.settings.limits.input_bytes_max).await?,
        false => Vec::new(),
    };
    let answer = asked.run_streaming(host, streams, input).await;
    if let Err(Fault::Stream { source, .. }) = &answer
        && source.kind() == io::ErrorKind::BrokenPipe
    {
        return Ok(ExitCode::from(BROKEN_PIPE));
    }
    let answer = answer.map_err(|fault| Failure::of(fault, host))?;
    if global.json {
        say!("{}", Value::from(outcome::object(&answer, asked, host.security())));
    } else {
        outcome::show(&answer, asked, host.security());
    }
    Ok(outcome::exit_code(&answer))
}

/// Standard input as a whole, one byte more than is accepted so that too much is told.
pub(crate) async fn read_stdin(bytes_max: u64) -> Result<Vec<u8>, Failure> {
    let mut bytes = Vec::new();
    let failed = |source| Failure::Read { path: "standard input".into(), source };
    let mut stdin = tokio::io::stdin().take(bytes_max.saturating_add(1));
    stdin.read_to_end(&mut bytes).await.map_err(failed)?;
    Ok(bytes)
}
