//! One call after another on one host, from the library's function to its verdict.

use std::time::{Duration, Instant};

use lazaret::{
    Code, Host, Retry, Verdict,
    program::{self, Command, ExportCall, Returned, Value},
    pvf::{Block, Settings},
};

use super::{
    guests,
    machine::Machine,
    stage::{Stage, made, timed, unfit},
    table::Row,
};
use crate::errors::Failure;

const MB: usize = 1_000_000;
const MIB: usize = 1 << 20;
const ENDLESS_LIMIT: Duration = Duration::from_millis(100);
/// Calls before those that count: the first prepares.
const WARM_UP: u32 = 5;

pub(super) async fn measure(stage: &Stage, machine: &Machine) -> Result<Vec<Row>, Failure> {
    let host = stage.host(1).await?;
    let floor = machine.micros("bare_fork") + machine.micros("socket_round_trip");
    let fork = "fork, exit, wait and a round trip";
    let trivial = made(guests::trivial(0))?;
    let times = stage.extent.times(1000);
    let took = repeat(&host, &trivial, &[], times).await?;
    let mut rows = vec![Row::of_times("trivial_call", "trivial call", took).beside(fork, floor)];
    let took = repeat_plain(&host, times).await?;
    rows.push(Row::of_times("plain_call", "plain function", took).beside(fork, floor));
    let took = repeat_hello(&host, times).await?;
    rows.push(
        Row::of_times("wasi_hello", "WASI command that says hello", took).beside(fork, floor),
    );

    for megabytes in [1, 8, 30] {
        let code = made(guests::with_artifact_of(megabytes * MB))?;
        let took = repeat(&host, &code, &[], stage.extent.times(200)).await?;
        let key = format!("call_artifact_{megabytes}_mb");
        let title = format!("call, artifact of {megabytes} MB");
        rows.push(Row::of_times(&key, &title, took).beside(fork, floor));
    }
    for (mebibytes, copy) in [(0, None), (1, Some("copy_1_mib")), (10, Some("copy_10_mib"))] {
        let input = vec![7; mebibytes * MIB];
        let took = repeat(&host, &trivial, &input, stage.extent.times(100)).await?;
        let key = format!("call_input_{mebibytes}_mib");
        let title = format!("call, input of {mebibytes} MiB");
        let row = Row::of_times(&key, &title, took);
        rows.push(match copy {
            None => row.beside(fork, floor),
            Some(copy) => row.beside(
                "fork, exit, wait, a round trip and one copy",
                floor + machine.micros(copy),
            ),
        });
    }
    rows.push(endless(&host, stage.extent.times(10)).await?);
    Ok(rows)
}

async fn repeat(
    host: &Host,
    code: &Code,
    input: &[u8],
    times: u32,
) -> Result<Vec<Duration>, Failure> {
    for _ in 0..WARM_UP {
        timed(host, code, input).await?;
    }
    let mut taken = Vec::with_capacity(times as usize);
    for _ in 0..times {
        taken.push(timed(host, code, input).await?);
    }
    Ok(taken)
}

async fn repeat_plain(host: &Host, times: u32) -> Result<Vec<Duration>, Failure> {
    let (code, settings) = (made(guests::plain())?, program::Settings::plain());
    let expected = Returned::Values(vec![Value::I32(42)]);
    let mut taken = Vec::with_capacity(times as usize);
    for _ in 0..WARM_UP + times {
        let begin = Instant::now();
        let answer = host.call(&code, ExportCall::values("answer", []), &settings).await;
        taken.push(begin.elapsed());
        match answer.map_err(|fault| Failure::of(fault, host))?.verdict {
            Verdict::Returned(ran) if ran.returned == expected => {}
            other => return Err(unfit("a plain function", format!("{other:?}"))),
        }
    }
    Ok(taken.split_off(WARM_UP as usize))
}

async fn repeat_hello(host: &Host, times: u32) -> Result<Vec<Duration>, Failure> {
    let (code, settings) = (made(guests::hello())?, program::Settings::wasi());
    let mut taken = Vec::with_capacity(times as usize);
    for _ in 0..WARM_UP + times {
        let begin = Instant::now();
        let answer = host.run(&code, Command::new("hello"), &settings).await;
        taken.push(begin.elapsed());
        let answer = answer.map_err(|fault| Failure::of(fault, host))?;
        match answer.verdict {
            Verdict::Returned(_) if answer.written.stdout == guests::HELLO => {}
            other => return Err(unfit("a WASI command", format!("{other:?}"))),
        }
    }
    Ok(taken.split_off(WARM_UP as usize))
}

/// How long it takes until a loop without end is refused.
async fn endless(host: &Host, times: u32) -> Result<Row, Failure> {
    let code = made(guests::endless())?;
    let mut settings = Settings::default();
    settings.retry = Retry::Never;
    settings.limits.cpu = ENDLESS_LIMIT;
    // Preparing is not what is measured.
    let prepared = host.prepare(&code, &settings.params).await;
    prepared.map_err(|fault| Failure::of(fault, host))?;
    let mut taken = Vec::new();
    for _ in 0..times {
        let begin = Instant::now();
        let answer = host.validate(&code, Block::encoded(Vec::new()), &settings).await;
        taken.push(begin.elapsed());
        match answer.map_err(|fault| Failure::of(fault, host))?.verdict {
            Verdict::Refused(_) => {}
            _ => return Err(unfit("a loop without end", "it was not refused".into())),
        }
    }
    let limit = ENDLESS_LIMIT.as_secs_f64() * 1e6;
    let row = Row::of_times("endless_loop", "loop without end, 100 ms allowed", taken);
    Ok(row.beside("the limit", limit))
}
