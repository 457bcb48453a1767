//! `lazaret doctor --json` on machines that refuse this and that.
//!
//! Run by `cargo test`. The harness is this file: each case starts this program again in a role that
//! makes the situation (`situations`) and then becomes lazaret. Says loudly what cannot be made.

mod cases;
mod situations;

use std::process::ExitCode;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if let [role, name, command @ ..] = &arguments[..]
        && role == "--role"
    {
        situations::become_lazaret(name, command);
    }
    let filter = arguments.iter().find(|argument| !argument.starts_with('-'));
    let chosen = cases::CASES
        .iter()
        .filter(|case| filter.is_none_or(|filter| case.name.contains(filter.as_str())));
    if arguments.iter().any(|argument| argument == "--list") {
        chosen.for_each(|case| println!("{}: test", case.name));
        return ExitCode::SUCCESS;
    }

    let stage = cases::Stage::set();
    let (mut held, mut skipped, mut failed) = (0, 0, 0);
    for case in chosen {
        let name = case.name;
        match stage.play(case) {
            Ok(()) => {
                held += 1;
                println!("test {name} ... ok");
            }
            Err(cases::Miss::Skipped(why)) => {
                skipped += 1;
                println!("test {name} ... SKIPPED: {why}");
            }
            Err(cases::Miss::Failed(why)) => {
                failed += 1;
                println!("test {name} ... FAILED: {why}");
            }
        }
    }
    println!("\n{held} held, {failed} failed, {skipped} SKIPPED");
    if skipped > 0 {
        println!("!!! {skipped} CASES WERE SKIPPED: their situation cannot be made here !!!");
    }
    if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
