//! One program over many inputs: every input a run, every run a line of JSON, in the order of the inputs.

use std::{collections::BTreeMap, path::PathBuf, process::ExitCode, sync::Arc};

use lazaret::{Answer, Fault, Host, program::Ran, program::Returned};
use serde_json::{Map, Value};
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, BufReader},
    sync::mpsc,
    task::JoinSet,
};

use super::{asked::Asked, once, outcome};
use crate::{
    bundle::{Ended, Places},
    errors::Failure,
    exit_codes::Codes,
    hosting, many,
    report::{self, Ending, level_word},
};

/// Results that wait for an earlier one, for each worker.
const AHEAD_MAX: usize = 4;
/// What `xargs(1)` says when some run ended with an exit code other than 0.
const SOME_FAILED: u8 = 123;

/// One of them.
struct Input {
    name: Value,
    bytes: Result<Vec<u8>, Failure>,
}

/// What came of one of them.
struct Done {
    name: Value,
    ended: Result<(Ended, Result<Answer<Ran>, Fault>), Failure>,
}

/// How all ended so far.
struct Tally {
    gravest: Ending,
    some_failed: bool,
}

pub(crate) async fn run(
    (asked, places): (Asked, &Places),
    host: &Host,
    files: &[PathBuf],
    workers: usize,
) -> Result<ExitCode, Failure> {
    let bar = many::bar(files.len() as u64, "runs");
    let (found, mut inputs) = mpsc::channel(workers);
    // Ends when nobody wants more of it, or when there is no more.
    let bytes_max = asked.case.limits.input_bytes_max;
    tokio::spawn(find(files.to_vec(), bytes_max, found));
    let asked = Arc::new(asked);
    let mut running = JoinSet::new();
    let mut waiting: BTreeMap<u64, Done> = BTreeMap::new();
    let (mut begun, mut shown, mut more) = (0, 0, true);
    let mut tally = Tally { gravest: Ending::Returned, some_failed: false };
    loop {
        // The next line may not be there yet: what has ended meanwhile is shown.
        while more && running.len() < workers && begun - shown < (workers * AHEAD_MAX) as u64 {
            let next = tokio::select! {
                biased;
                next = inputs.recv() => next,
                Some(done) = running.join_next() => {
                    settle(done, &mut waiting);
                    break;
                }
            };
            let Some(input) = next else {
                more = false;
                break;
            };
            let (number, asked, host) = (begun, asked.clone(), host.clone());
            let places = places.clone();
            running.spawn(async move { (number, one(input, &asked, &host, &places).await) });
            begun += 1;
        }
        while let Some(done) = waiting.remove(&shown) {
            bar.suspend(|| tally.show(done, &asked, host));
            bar.inc(1);
            shown += 1;
        }
        if running.is_empty() && !more && waiting.is_empty() {
            break;
        }
        if (!more || running.len() >= workers || begun - shown >= (workers * AHEAD_MAX) as u64)
            && let Some(done) = running.join_next().await
        {
            settle(done, &mut waiting);
        }
    }
    bar.finish_and_clear();
    Ok(tally.code())
}

fn settle(done: Result<(u64, Done), tokio::task::JoinError>, waiting: &mut BTreeMap<u64, Done>) {
    // A task neither panics nor is aborted.
    if let Ok((number, done)) = done {
        waiting.insert(number, done);
    }
}

async fn one(input: Input, asked: &Asked, host: &Host, places: &Places) -> Done {
    let Input { name, bytes } = input;
    let bytes = match bytes {
        Ok(bytes) => bytes,
        Err(failure) => return Done { name, ended: Err(failure) },
    };
    let kept = places.want_any().then(|| bytes.clone());
    let answer = asked.run(host, bytes).await;
    let ended = Ended::of_run(&answer);
    let written = kept.map(|bytes| once::keep(places, asked, (&bytes, true), &ended, host));
    match written {
        Some(Err(failure)) => Done { name, ended: Err(failure) },
        Some(Ok(())) | None => Done { name, ended: Ok((ended, answer)) },
    }
}

/// Finds one input after another: files, or without any lines of standard input.
async fn find(files: Vec<PathBuf>, bytes_max: u64, found: mpsc::Sender<Input>) {
    if files.is_empty() {
        return find_lines(bytes_max, found).await;
    }
    for path in files {
        let name = path.display().to_string().into();
        let bytes = hosting::read_up_to(&path, bytes_max + 1);
        if found.send(Input { name, bytes }).await.is_err() {
            return;
        }
    }
}

/// Lines without their ends, each no longer than one byte more than is accepted, so that too much is told.
async fn find_lines(bytes_max: u64, found: mpsc::Sender<Input>) {
    let mut stdin = BufReader::new(tokio::io::stdin());
    for number in 1_u64.. {
        let mut line = Vec::new();
        let read = (&mut stdin).take(bytes_max + 1).read_until(b'\n', &mut line).await;
        if matches!(read, Ok(0)) {
            return;
        }
        if line.ends_with(b"\n") {
            line.pop();
        }
        let is_error = read.is_err();
        let failed = |source| Failure::Read { path: "standard input".into(), source };
        let bytes = read.map(|_| line).map_err(failed);
        if found.send(Input { name: number.into(), bytes }).await.is_err() || is_error {
            return;
        }
    }
}

impl Tally {
    fn show(&mut self, done: Done, asked: &Asked, host: &Host) {
        let mut object = Map::new();
        object.insert("input".into(), done.name);
        match done.ended {
            Err(failure) => {
                self.gravest = self.gravest.max(failure.ending());
                object.insert("verdict".into(), failure.ending().word().into());
                object.insert("reason".into(), failure.text().into());
            }
            Ok((_, Err(fault))) => {
                self.gravest = Ending::Fault;
                object.insert("verdict".into(), Ending::Fault.word().into());
                object.insert("kind".into(), fault.word().into());
                object.insert("reason".into(), fault.to_string().into());
                object.insert("stall".into(), report::stall_object(&fault));
            }
            Ok((_, Ok(answer))) => {
                self.gravest = self.gravest.max(outcome::ending(&answer));
                self.some_failed |= matches!(
                    &answer.verdict,
                    lazaret::Verdict::Returned(Ran { returned: Returned::Exited(code), .. }) if *code != 0
                );
                object.extend(outcome::object(&answer, asked, host.security()));
                // The same in every line.
                object.remove("artifact");
                object.insert("jail".into(), level_word(host.security().level).into());
            }
        }
        say!("{}", Value::from(object));
    }

    fn code(&self) -> ExitCode {
        match self.gravest {
            Ending::Returned if self.some_failed => ExitCode::from(SOME_FAILED),
            gravest => Codes::BesideGuests.code(gravest),
        }
    }
}
