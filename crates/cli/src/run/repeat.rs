//! The same run many times: whether all agree, and how CPU time spreads.

use std::{collections::VecDeque, process::ExitCode, time::Duration};

use lazaret::{Answer, Fault, Host, program::Ran};
use serde_json::{Value, json};
use tokio::task::JoinHandle;

use super::{asked::Asked, once, outcome};
use crate::{
    arguments::Global,
    bundle::{Differences, Ended, Places},
    errors::Failure,
    exit_codes::Codes,
    many,
    report::{Ending, time},
};

/// How the first run ended, how long all took, and where one first ended otherwise.
struct Runs {
    first: Answer<Ran>,
    ended: Ended,
    cpu: Vec<u64>,
    wall: Vec<u64>,
    /// Which run first ended otherwise, and in what.
    differing: Option<(u32, Differences)>,
}

pub(crate) async fn run(
    global: &Global,
    (asked, places): (&Asked, &Places),
    host: &Host,
    times: u32,
    workers: usize,
) -> Result<ExitCode, Failure> {
    let needs_input = asked.is_wasi() || asked.takes_bytes();
    let input = match needs_input {
        true => once::read_stdin(asked.case.limits.input_bytes_max).await?,
        false => Vec::new(),
    };
    let runs = all(asked, host, &input, (times, workers)).await;
    let runs = runs.map_err(|fault| Failure::of(fault, host))?;
    once::keep(places, asked, (&input, true), &runs.ended, host)?;
    let object = runs.object(times);
    if global.json {
        let mut run = outcome::object(&runs.first, asked, host.security());
        run.insert("repeat".into(), object);
        say!("{}", Value::from(run));
    } else {
        outcome::show_written(&runs.first);
        outcome::show(&runs.first, asked, host.security());
        runs.tell(times);
    }
    match runs.differing {
        Some(_) => Ok(Codes::BesideGuests.code(Ending::Inconclusive)),
        None => Ok(outcome::exit_code(&runs.first)),
    }
}

/// Runs them, so many at once, and compares each with the first.
async fn all(
    asked: &Asked,
    host: &Host,
    input: &[u8],
    (times, workers): (u32, usize),
) -> Result<Runs, Fault> {
    let bar = many::bar(u64::from(times), "runs");
    let mut running: VecDeque<JoinHandle<Result<Answer<Ran>, Fault>>> = VecDeque::new();
    let (mut begun, mut ended) = (0, 0);
    let mut runs: Option<Runs> = None;
    while ended < times {
        while begun < times && running.len() < workers {
            let (asked, host, input) = (asked.clone(), host.clone(), input.to_vec());
            running.push_back(tokio::spawn(async move { asked.run(&host, input).await }));
            begun += 1;
        }
        let Some(next) = running.pop_front() else { break };
        let answer = next.await.unwrap_or(Err(Fault::ShuttingDown));
        let this = Ended::of_run(&answer);
        let answer = answer?;
        ended += 1;
        bar.inc(1);
        let runs = runs.get_or_insert_with(|| Runs {
            first: answer,
            ended: this.clone(),
            cpu: Vec::new(),
            wall: Vec::new(),
            differing: None,
        });
        runs.cpu.push(this.cpu_micros);
        runs.wall.push(this.wall_micros);
        let differences = runs.ended.differences(&this);
        if !differences.is_empty() && runs.differing.is_none() {
            runs.differing = Some((ended, differences));
        }
    }
    bar.finish_and_clear();
    runs.ok_or(Fault::ShuttingDown)
}

impl Runs {
    fn object(&self, times: u32) -> Value {
        let differing = self.differing.as_ref().map(|(run, differences)| {
            let of = differences
                .iter()
                .map(|(name, first, this)| json!({ "what": name, "first": first, "this": this }));
            json!({ "run": run, "differences": of.collect::<Vec<_>>() })
        });
        json!({
            "runs": times,
            "agree": differing.is_none(),
            "differing": differing,
            "cpu_micros": spread(&self.cpu),
            "wall_micros": spread(&self.wall),
        })
    }

    fn tell(&self, times: u32) {
        let cpu = spread(&self.cpu);
        let shown = |key: &str| time(Duration::from_micros(cpu[key].as_u64().unwrap_or(0)));
        let agree = match &self.differing {
            None => format!("{times} runs agree"),
            Some((run, differences)) => {
                let names: Vec<_> = differences.iter().map(|(name, ..)| *name).collect();
                format!("run {run} of {times} differs from the first in {}", names.join(", "))
            }
        };
        tell!(
            "lazaret: {agree}; CPU time: {} at least, {} median, {} for nine of ten, {} at most",
            shown("min"),
            shown("median"),
            shown("p90"),
            shown("max"),
        );
    }
}

fn spread(times: &[u64]) -> Value {
    let mut sorted = times.to_vec();
    sorted.sort_unstable();
    let at = |tenths: usize| sorted.get((sorted.len() * tenths / 10).min(sorted.len() - 1));
    json!({ "min": sorted.first(), "median": at(5), "p90": at(9), "max": sorted.last() })
}
