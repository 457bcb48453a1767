//! One preparation or one call in this process, for `strace` and for a look at times and memory.
//!
//! `trace prepare CODE` prints what became of the code; `trace execute CODE PARAMS` prepares, loads
//! and calls. A line on standard error marks each step, so that the system calls of a step can be
//! told from a trace.

use std::fs::File;
use std::io::Write as _;
use std::time::Instant;

use lazaret_engine::pvf::{Input, validate_block};
use lazaret_engine::{CodeLimits, Engine, Features, Params};

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    let arguments: Vec<&str> = arguments.iter().skip(1).map(String::as_str).collect();
    let step = |name: &str, began: Instant| eprintln!("done {name} after {:.2?}", began.elapsed());
    let began = Instant::now();
    let bulk_memory = std::env::var_os("BULK").is_some();
    let params =
        Params { features: Features { bulk_memory, ..Features::PVF }, ..Params::default() };
    let engine = Engine::new(&params).expect("the engine starts");
    step("engine", began);
    match arguments[..] {
        ["prepare", code] => {
            let code = std::fs::read(code).expect("the code is readable");
            let began = Instant::now();
            let prepared = engine.prepare(&code, &params, &CodeLimits::default());
            step("prepare", began);
            match prepared {
                Ok(prepared) => println!("ok, artifact of {} bytes", prepared.artifact.len()),
                Err(error) => println!("refused: {:.200}", error.to_string()),
            }
        }
        ["execute", code, input] => {
            let code = std::fs::read(code).expect("the code is readable");
            let input = std::fs::read(input).expect("the input is readable");
            let prepared =
                engine.prepare(&code, &params, &CodeLimits::default()).expect("prepares");
            let fd = rustix::fs::memfd_create("artifact", rustix::fs::MemfdFlags::CLOEXEC);
            let mut file = File::from(fd.expect("a memfd"));
            file.write_all(&prepared.artifact).expect("a memfd takes bytes");
            drop(prepared);
            let began = Instant::now();
            // SAFETY: the file holds what `prepare` just returned, and only this process has it.
            let artifact = unsafe { engine.load(file) }.expect("loads");
            step("load", began);
            for _ in 0..3 {
                let began = Instant::now();
                let input = Input::Encoded(&input);
                let reply = validate_block(&engine, &artifact, &params, input, Box::new(|_| ()));
                step("call", began);
                match reply {
                    Ok(reply) => {
                        println!("{} bytes, {} pages", reply.output().len(), reply.memory_pages())
                    }
                    Err(error) => println!("{error}"),
                }
            }
        }
        _ => eprintln!("usage: trace prepare CODE | trace execute CODE PARAMS"),
    }
}
