//! Prechecks every runtime in a folder: a line of JSON for each on standard output, progress on standard
//! error.
//!
//! ```text
//! cargo run -p lazaret --example precheck_directory -- FOLDER
//! ```
//! Ends with 1 if any was refused or could not be judged.

use std::{env, error::Error, fs, path::Path, process::ExitCode};

use lazaret::{Code, CodeFormat, Host, Params, Verdict, blocking, describe, pvf};

// Makes a preparation that needs too much memory a refusal of the code.
#[global_allocator]
static ALLOCATOR: lazaret_worker::JobAllocator = lazaret_worker::JobAllocator;

fn main() -> Result<ExitCode, Box<dyn Error>> {
    // Before anything that starts a thread: this same program is also the worker.
    lazaret_worker::run_if_worker();

    let folder = env::args().nth(1).ok_or("usage: precheck_directory FOLDER")?;
    let mut files: Vec<_> = fs::read_dir(folder)?.flatten().map(|entry| entry.path()).collect();
    files.retain(|file| file.is_file());
    files.sort();
    let host = blocking::Host::start(Host::builder())?;
    let mut all_good = true;
    for (number, file) in files.iter().enumerate() {
        eprintln!("{} of {}: {}", number + 1, files.len(), file.display());
        all_good &= precheck(&host, file);
    }
    Ok(if all_good { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Prints one line, and says whether the code is good.
fn precheck(host: &blocking::Host, file: &Path) -> bool {
    let code = match fs::read(file)
        .map_err(|e| e.to_string())
        .and_then(|bytes| Code::new(&bytes).map_err(|error| error.to_string()))
    {
        Ok(code) => code,
        Err(error) => {
            println!("{{\"file\":{},\"error\":{}}}", json(&file.display()), json(&error));
            return false;
        }
    };
    let is_text = file.extension().is_some_and(|extension| extension == "wat");
    let code_format = if is_text { CodeFormat::Text } else { CodeFormat::Binary };
    let answer = host.precheck(&code, &Params { code_format, ..Params::default() });
    let vote = pvf::precheck_vote(&answer);
    let found = match &answer {
        Err(fault) => format!("\"fault\":{}", json(fault)),
        Ok(answer) => match &answer.verdict {
            Verdict::Returned(facts) => format!(
                "\"code_bytes\":{},\"cpu_micros\":{},\"heap_bytes_peak\":{}",
                facts.code_bytes, facts.cpu_micros, facts.heap_bytes_peak
            ),
            Verdict::Refused(refusal) => format!("\"refused\":{}", json(&describe(refusal))),
            Verdict::Inconclusive(doubt) => format!("\"inconclusive\":{}", json(doubt)),
        },
    };
    println!("{{\"file\":{},\"vote\":\"{vote}\",{found}}}", json(&file.display()));
    vote == lazaret::Vote::For
}

/// A JSON string.
fn json(words: &dyn std::fmt::Display) -> String {
    let mut text = String::from('"');
    for c in words.to_string().chars() {
        match c {
            '"' | '\\' => text.extend(['\\', c]),
            c if c.is_control() => text.push_str(&format!("\\u{:04x}", u32::from(c))),
            c => text.push(c),
        }
    }
    text.push('"');
    text
}
