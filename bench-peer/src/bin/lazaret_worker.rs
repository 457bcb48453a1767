//! The worker program of Lazaret's host here: all that the shipped program does when it is started as
//! a worker, and none of the rest, so that a worker's memory is its own and not the benchmark's.
#![forbid(unsafe_code)]

#[global_allocator]
static ALLOCATOR: lazaret_worker::JobAllocator = lazaret_worker::JobAllocator;

fn main() -> std::process::ExitCode {
    lazaret_worker::run_if_worker();
    eprintln!("this program is the worker of a host and does nothing else");
    std::process::ExitCode::from(2)
}
