//! Keeps some calls of one block in flight for some seconds, and says how many came through and how long
//! they took. At the end the host's metrics are printed as a Prometheus endpoint would serve them.
//!
//! ```text
//! cargo run --release -p lazaret --example under_load -- CODE PARAMS [IN_FLIGHT [SECONDS [BURST]]]
//! ```
//! CODE and PARAMS are as in `validate.rs`. With BURST each caller pauses after so many calls for 0.2 s; the first call after a
//! pause is not counted.

use std::{
    env,
    error::Error,
    fs,
    time::{Duration, Instant},
};

use lazaret::{Code, CodeFormat, Host, Vote, pvf};
use tokio::task::JoinSet;

// Makes a preparation that needs too much memory a refusal of the code.
#[global_allocator]
static ALLOCATOR: lazaret_worker::JobAllocator = lazaret_worker::JobAllocator;

/// Between two bursts.
const PAUSE: Duration = Duration::from_millis(200);

fn main() -> Result<(), Box<dyn Error>> {
    // Before anything that starts a thread: this same program is also the worker.
    lazaret_worker::run_if_worker();

    let arguments: Vec<_> = env::args().skip(1).collect();
    let [code, params, rest @ ..] = arguments.as_slice() else {
        return Err("usage: under_load CODE PARAMS [IN_FLIGHT [SECONDS [BURST]]]".into());
    };
    let in_flight: usize = rest.first().map_or(Ok(4), |word| word.parse())?;
    let seconds: u64 = rest.get(1).map_or(Ok(5), |word| word.parse())?;
    let burst: usize = rest.get(2).map_or(Ok(usize::MAX), |word| word.parse())?;
    let mut settings = pvf::Settings::default();
    if code.ends_with(".wat") {
        settings.params.code_format = CodeFormat::Text;
    }
    let (code, params) = (Code::new(&fs::read(code)?)?, fs::read(params)?);
    let runtime = tokio::runtime::Runtime::new()?;
    let load = Load { in_flight: in_flight.max(1), burst, time: Duration::from_secs(seconds) };
    runtime.block_on(put_under(load, code, params, settings))
}

#[derive(Clone, Copy)]
struct Load {
    in_flight: usize,
    burst: usize,
    time: Duration,
}

async fn put_under(
    Load { in_flight, burst, time }: Load,
    code: Code,
    params: Vec<u8>,
    settings: pvf::Settings,
) -> Result<(), Box<dyn Error>> {
    let host = Host::builder().execute_workers(in_flight).start().await?;
    // Preparing is not what is measured.
    host.prepare(&code, &settings.params).await?;
    let begin = Instant::now();
    let mut callers = JoinSet::new();
    for _ in 0..in_flight {
        let (host, code) = (host.clone(), code.clone());
        let (params, settings) = (params.clone(), settings.clone());
        callers.spawn(async move {
            let (mut times, mut others) = (Vec::new(), 0_usize);
            let mut calls = 0;
            while begin.elapsed() < time {
                if calls == burst {
                    tokio::time::sleep(PAUSE).await;
                    calls = 0;
                }
                calls += 1;
                let called = Instant::now();
                let block = pvf::Block::encoded(params.clone());
                match pvf::vote(&host.validate(&code, block, &settings).await) {
                    Vote::For if burst < usize::MAX && calls == 1 => {}
                    Vote::For => times.push(called.elapsed()),
                    _ => others += 1,
                }
            }
            (times, others)
        });
    }
    let (mut times, mut others) = (Vec::new(), 0);
    while let Some(caller) = callers.join_next().await {
        let (more, failed) = caller?;
        times.extend(more);
        others += failed;
    }
    let took = begin.elapsed();
    times.sort();
    println!("{} calls in {took:.1?}, {in_flight} at a time", times.len());
    println!("{:.1} calls per second", times.len() as f64 / took.as_secs_f64());
    for percent in [50, 90, 99, 100] {
        let at = (times.len() * percent / 100).saturating_sub(1);
        if let Some(time) = times.get(at) {
            println!("{percent:>3} % within {time:.2?}");
        }
    }
    println!("{others} others\n");
    print!("{}", host.metrics_text());
    host.shut_down(Duration::from_secs(1)).await;
    Ok(())
}
