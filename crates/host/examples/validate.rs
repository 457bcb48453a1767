//! Validates a block from a program's own `main`.
//!
//! ```text
//! cargo run -p lazaret --example validate -- CODE PARAMS
//! ```
//! CODE is a WebAssembly file, plain or zstd-compressed, or text if its name ends in .wat; PARAMS are
//! SCALE-encoded `ValidationParams`. `examples/adder` of the repository has both.

use std::{env, error::Error, fs, process::ExitCode};

use lazaret::{Code, CodeFormat, Host, Verdict, Vote, describe, pvf};

// Makes a preparation that needs too much memory a refusal of the code.
#[global_allocator]
static ALLOCATOR: lazaret_worker::JobAllocator = lazaret_worker::JobAllocator;

fn main() -> Result<ExitCode, Box<dyn Error>> {
    // The host starts this same program again as its workers. A worker has one thread for life, so
    // this comes before anything that starts another.
    lazaret_worker::run_if_worker();

    let mut arguments = env::args().skip(1);
    let (Some(code), Some(params)) = (arguments.next(), arguments.next()) else {
        return Err("usage: validate CODE PARAMS".into());
    };
    let runtime = tokio::runtime::Runtime::new()?;
    runtime.block_on(validate(&code, &params))
}

async fn validate(code: &str, params: &str) -> Result<ExitCode, Box<dyn Error>> {
    let host = Host::builder().start().await?;
    let mut settings = pvf::Settings::default();
    if code.ends_with(".wat") {
        settings.params.code_format = CodeFormat::Text;
    }
    let code = Code::new(&fs::read(code)?)?;
    let block = pvf::Block::encoded(fs::read(params)?);

    let answer = host.validate(&code, block, &settings).await;
    let vote = pvf::vote(&answer);
    match answer?.verdict {
        Verdict::Returned(validated) => {
            println!("valid; the new head has {} bytes", validated.result.head_data.len());
        }
        Verdict::Refused(refusal) => println!("invalid: {}", describe(&refusal)),
        Verdict::Inconclusive(doubt) => println!("it cannot be said: {doubt}"),
    }
    println!("vote {vote}");
    Ok(if vote == Vote::For { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
