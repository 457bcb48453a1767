//! Runs a WASI program that nobody trusts, with standard input as its input: the whole of an embedding program.
//!
//! `cargo run -p lazaret --example run_program -- FILE [ARG...]`

use std::{error::Error, io::Read};

use lazaret::{
    Code, Host, Lanes, Verdict, describe,
    program::{Command, Returned, Settings},
};

#[global_allocator]
static ALLOCATOR: lazaret_worker::JobAllocator = lazaret_worker::JobAllocator;

fn main() -> Result<(), Box<dyn Error>> {
    // This same program is also the worker; before anything that starts a thread.
    lazaret_worker::run_if_worker();
    let mut arguments = std::env::args().skip(1);
    let file = arguments.next().ok_or("a file is needed")?;
    let code = Code::new(&std::fs::read(&file)?)?;
    let mut input = Vec::new();
    std::io::stdin().read_to_end(&mut input)?;

    let command = arguments.fold(Command::new(file), Command::argument).stdin(input);
    let mut settings = Settings::wasi();
    settings.limits.fuel = Some(10_000_000_000);
    let host = lazaret::blocking::Host::start(Host::builder().lanes(Lanes::generic()))?;
    let answer = host.run(&code, command, &settings)?;
    print!("{}", String::from_utf8_lossy(&answer.written.stdout));
    match &answer.verdict {
        Verdict::Returned(ran) => match ran.returned {
            Returned::Exited(code) => eprintln!("it ended with exit code {code}"),
            _ => eprintln!("it returned"),
        },
        Verdict::Refused(refusal) => eprintln!("it is at fault: {}", describe(refusal)),
        Verdict::Inconclusive(doubt) => eprintln!("it cannot be said: {doubt}"),
    }
    eprintln!("{:?} of CPU time, {:?} of fuel", answer.usage.cpu, answer.usage.fuel);
    Ok(())
}
