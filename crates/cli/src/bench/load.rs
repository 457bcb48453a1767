//! As many calls at once as there is room for, by the number of workers.

use std::time::{Duration, Instant};

use lazaret::{Code, Host};
use tokio::task::JoinSet;

use super::{
    guests,
    machine::Machine,
    stage::{Stage, made, timed, unfit},
    table::{Row, Unit},
};
use crate::errors::Failure;

const TIME: Duration = Duration::from_millis(1500);
/// Calls for each worker that are on their way at once, so that none waits for a caller.
const IN_FLIGHT: usize = 4;

pub(super) async fn measure(
    stage: &Stage,
    machine: &Machine,
    cores: usize,
) -> Result<Vec<Row>, Failure> {
    let code = made(guests::trivial(0))?;
    let forks = cores as f64 * 1e6 / machine.micros("bare_fork").max(1.0);
    let mut rows = Vec::new();
    for workers in counts(cores) {
        let host = stage.host(workers).await?;
        // Workers start when they are needed, which is not what is measured.
        load(&host, &code, workers, stage.extent.time(TIME / 3)).await?;
        let rate = load(&host, &code, workers, stage.extent.time(TIME)).await?;
        let plural = if workers == 1 { "" } else { "s" };
        let (key, title) =
            (format!("throughput_{workers}"), format!("trivial calls, {workers} worker{plural}"));
        let row = Row::of(&key, &title, Unit::PerSecond, rate);
        rows.push(row.beside("forks on all cores", forks));
    }
    Ok(rows)
}

/// 1, 2, 4 and so on, up to twice the cores.
fn counts(cores: usize) -> impl Iterator<Item = usize> {
    std::iter::successors(Some(1), |count| Some(count * 2))
        .take_while(move |count| *count <= cores * 2)
}

/// Calls per second.
async fn load(host: &Host, code: &Code, workers: usize, time: Duration) -> Result<f64, Failure> {
    let begin = Instant::now();
    let mut callers = JoinSet::new();
    for _ in 0..workers * IN_FLIGHT {
        let (host, code) = (host.clone(), code.clone());
        callers.spawn(async move {
            let mut calls = 0_u32;
            while begin.elapsed() < time {
                timed(&host, &code, &[]).await?;
                calls += 1;
            }
            Ok::<_, Failure>(calls)
        });
    }
    let mut calls = 0;
    while let Some(caller) = callers.join_next().await {
        calls += caller.map_err(|error| unfit("a caller", error.to_string()))??;
    }
    Ok(f64::from(calls) / begin.elapsed().as_secs_f64())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn workers_double_up_to_twice_the_cores() {
        assert_eq!(counts(1).collect::<Vec<_>>(), [1, 2]);
        assert_eq!(counts(2).collect::<Vec<_>>(), [1, 2, 4]);
        assert_eq!(counts(6).collect::<Vec<_>>(), [1, 2, 4, 8]);
    }
}
