//! One run, as if the program were run: its standard streams are those of this process.

use std::{io, process::ExitCode};

use lazaret::{Answer, Fault, Host, program::Ran, program::Streams};
use serde_json::Value;
use tokio::io::AsyncReadExt;

use super::{asked::Asked, outcome, recorder::Record};
use crate::{
    arguments::Global,
    bundle::{Ended, Given, Machine, Places},
    errors::Failure,
};

/// What a shell says of a program that was ended by SIGPIPE.
const BROKEN_PIPE: u8 = 128 + 13;

pub(crate) async fn run(
    global: &Global,
    asked: &Asked,
    host: &Host,
    places: &Places,
) -> Result<ExitCode, Failure> {
    let records = [Record::default(), Record::default(), Record::default()];
    let [stdin, stdout, stderr] = &records;
    let streams = Streams::default().stdin(stdin.of(tokio::io::stdin()));
    let streams = match global.json {
        // They are keys of the object.
        true => streams,
        false => {
            streams.stdout(stdout.of(tokio::io::stdout())).stderr(stderr.of(tokio::io::stderr()))
        }
    };
    let input = match asked.takes_bytes() {
        true => read_stdin(asked.case.limits.input_bytes_max).await?,
        false => Vec::new(),
    };
    let answer = asked.run_streaming(host, streams, input.clone()).await;
    if places.want_any() {
        let mut ended = Ended::of_run(&answer);
        if asked.is_wasi() && !global.json && ended.stdout.is_some() {
            ended.stdout = Some(stdout.output());
            ended.stderr = Some(stderr.output());
        }
        let (read, is_whole) = stdin.input();
        let (input, input_is_whole) = match asked.takes_bytes() {
            true => (input, true),
            false => (read, is_whole || !asked.is_wasi() || ended.has_returned()),
        };
        keep(places, asked, (&input, input_is_whole), &ended, host)?;
    }
    conclude(global, asked, host, answer)
}

fn conclude(
    global: &Global,
    asked: &Asked,
    host: &Host,
    answer: Result<Answer<Ran>, Fault>,
) -> Result<ExitCode, Failure> {
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

/// Writes the bundles that were asked for.
pub(crate) fn keep(
    places: &Places,
    asked: &Asked,
    (input, input_is_whole): (&[u8], bool),
    ended: &Ended,
    host: &Host,
) -> Result<(), Failure> {
    let Asked { case, code, image } = asked;
    let given = Given { case, code, image: image.as_ref(), input, input_is_whole };
    places.keep(&given, ended, &Machine::of(host))
}

/// Standard input as a whole, one byte more than is accepted so that too much is told.
pub(crate) async fn read_stdin(bytes_max: u64) -> Result<Vec<u8>, Failure> {
    let mut bytes = Vec::new();
    let failed = |source| Failure::Read { path: "standard input".into(), source };
    let mut stdin = tokio::io::stdin().take(bytes_max.saturating_add(1));
    stdin.read_to_end(&mut bytes).await.map_err(failed)?;
    Ok(bytes)
}
