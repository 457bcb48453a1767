//! Attacks from inside real workers and jobs, as root and as an ordinary user.
//!
//! Run by `cargo test`. The harness is this file, because a worker must have one thread: each
//! case starts this program again in the role of a worker, which confines itself, forks a job,
//! and tells on its log what became of it. It must not wait by the clock for anything to
//! happen, only for pipes and pidfds, with a generous end.

mod attacks;
mod cgroups;
mod levels;
mod lifetimes;
mod play;
mod roles;
mod streams;
mod work;

use std::process::ExitCode;

use play::{Identity, Outcome};

#[global_allocator]
static ALLOCATOR: lazaret_sandbox::JobAllocator = lazaret_sandbox::JobAllocator;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if let [role, rest @ ..] = &arguments[..]
        && role == "--role"
    {
        roles::run(rest);
    }
    let filter = arguments.iter().find(|argument| !argument.starts_with('-'));
    let chosen = |name: &str| filter.is_none_or(|filter| name.contains(filter.as_str()));
    let cases = || {
        let attacks = attacks::CASES.iter().map(|case| case.name);
        attacks
            .chain(streams::CASES.iter().map(|case| case.name))
            .chain(levels::CASES.iter().map(|case| case.name))
            .chain(lifetimes::NAMES)
            .chain(cgroups::NAMES)
    };
    if arguments.iter().any(|argument| argument == "--list") {
        cases().for_each(|name| println!("{name}: test"));
        return ExitCode::SUCCESS;
    }

    let (mut held, mut skipped, mut failed) = (0, 0, 0);
    for identity in Identity::all() {
        for name in cases().filter(|name| chosen(name)) {
            match play::play(&identity, name) {
                Outcome::Held => {
                    held += 1;
                    println!("test {identity}: {name} ... ok");
                }
                Outcome::Skipped(why) => {
                    skipped += 1;
                    println!("test {identity}: {name} ... SKIPPED: {why}");
                }
                Outcome::Failed(why) => {
                    failed += 1;
                    println!("test {identity}: {name} ... FAILED: {why}");
                }
            }
        }
    }
    println!("\n{held} held, {failed} failed, {skipped} SKIPPED");
    if skipped > 0 {
        println!("!!! {skipped} CASES WERE SKIPPED: this machine refuses a layer they need !!!");
    }
    if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
