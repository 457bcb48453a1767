//! `lazaret cache`: what lies in the artifact cache, whether it is whole, and less of it. Nothing is
//! executed and no host is started; hosts may use the directory meanwhile.

use std::{
    path::PathBuf,
    time::{Duration, SystemTime},
};

use lazaret::{Cache, CacheFile, CacheHeader, CacheLimits, Fault, PrunedFile};
use serde_json::{Value, json};

use crate::{
    arguments::{CacheVerb, Global, Prune},
    errors::Failure,
    hosting,
    report::{Ending, bytes, time},
};

/// Files that one object or listing names; all are counted, and all are verified.
const NAMED_MAX: usize = 10_000;

pub(crate) fn run(global: &Global, verb: &CacheVerb) -> Result<Ending, Failure> {
    let directory = hosting::cache_directory(global)?;
    let cache = Cache::open(&directory).map_err(|fault| not_opened(fault, &directory))?;
    match verb {
        CacheVerb::List => list(global, &cache, directory),
        CacheVerb::Verify => verify(global, &cache, directory),
        CacheVerb::Prune(limits) => prune(global, &cache, directory, limits),
    }
}

/// A directory that is not there is wrongly named; any other trouble is this machine's.
fn not_opened(fault: Fault, directory: &std::path::Path) -> Failure {
    match fault {
        Fault::Cache { source, .. } if source.kind() == std::io::ErrorKind::NotFound => {
            let source = std::io::ErrorKind::NotFound.into();
            Failure::Read { path: directory.to_owned(), source }
        }
        fault => fault.into(),
    }
}

fn list(global: &Global, cache: &Cache, directory: PathBuf) -> Result<Ending, Failure> {
    let engine = lazaret_worker::engine_fingerprint();
    let (mut files, mut total, mut count) = (Vec::new(), 0, 0_u64);
    for file in cache.files()? {
        total += file.bytes;
        count += 1;
        if files.len() < NAMED_MAX {
            files.push(file);
        }
    }
    // What was used last comes first.
    files.sort_by_key(|file| std::cmp::Reverse(file.last_used));
    if global.json {
        let objects: Vec<_> = files.iter().map(|file| object(file, engine)).collect();
        say!(
            "{}",
            json!({
                "directory": directory.display().to_string(),
                "files": objects,
                "files_total": count,
                "bytes_total": total,
            })
        );
        return Ok(Ending::Returned);
    }
    files.iter().for_each(|file| show(file, engine));
    if count > files.len() as u64 {
        say!("and {} more", count - files.len() as u64);
    }
    say!("{count} files, {} in {}", bytes(total), directory.display());
    Ok(Ending::Returned)
}

fn show(file: &CacheFile, engine: Option<[u8; 32]>) {
    let used = file.last_used.map_or_else(|| "at an unknown time".into(), ago);
    let words = match &file.header {
        Err(damage) => format!("DAMAGED: {damage}"),
        Ok(header) => {
            let took = time(Duration::from_micros(header.facts.wall_micros));
            let code = &hex::encode(header.code_digest)[..16];
            let prepared = ago(header.prepared_at);
            let engine = match is_of(header, engine) {
                Some(false) => ", of another engine",
                _ => "",
            };
            format!("code {code}, prepared {prepared} in {took}, used {used}{engine}")
        }
    };
    say!("{}  {:>10}  {words}", &file.name[..16], bytes(file.bytes));
}

fn object(file: &CacheFile, engine: Option<[u8; 32]>) -> Value {
    let header = file.header.as_ref().ok();
    let of_header = |value: fn(&CacheHeader) -> Value| header.map_or(Value::Null, value);
    json!({
        "name": file.name,
        "bytes": file.bytes,
        "last_used": file.last_used.map(seconds),
        "damage": file.header.as_ref().err().map(ToString::to_string),
        "key": of_header(|header| hex::encode(header.key).into()),
        "code_digest": of_header(|header| hex::encode(header.code_digest).into()),
        "engine_fingerprint": of_header(|header| hex::encode(header.engine_fingerprint).into()),
        "engine_matches": header.and_then(|header| is_of(header, engine)),
        "prepared_at": of_header(|header| seconds(header.prepared_at).into()),
        "prepare_cpu_micros": of_header(|header| header.facts.cpu_micros.into()),
        "prepare_wall_micros": of_header(|header| header.facts.wall_micros.into()),
        "prepare_heap_bytes_peak": of_header(|header| header.facts.heap_bytes_peak.into()),
        "code_bytes": of_header(|header| header.facts.code_bytes.into()),
    })
}

/// Whether this program's workers would use it; `None` if they have no engine here.
fn is_of(header: &CacheHeader, engine: Option<[u8; 32]>) -> Option<bool> {
    engine.map(|engine| engine == header.engine_fingerprint)
}

fn verify(global: &Global, cache: &Cache, directory: PathBuf) -> Result<Ending, Failure> {
    let (mut whole, mut damaged, mut objects) = (0_u64, 0_u64, Vec::new());
    for file in cache.verified()? {
        let Err(damage) = &file.header else {
            whole += 1;
            continue;
        };
        damaged += 1;
        if global.json && objects.len() < NAMED_MAX {
            objects.push(json!({ "name": file.name, "damage": damage.to_string() }));
        } else if !global.json {
            say!("{}: {damage}", file.name);
        }
    }
    if global.json {
        say!(
            "{}",
            json!({
                "directory": directory.display().to_string(),
                "whole": whole,
                "damaged": damaged,
                "files": objects,
            })
        );
    } else {
        say!("{whole} whole, {damaged} damaged in {}", directory.display());
    }
    Ok(if damaged == 0 { Ending::Returned } else { Ending::Refused })
}

fn prune(
    global: &Global,
    cache: &Cache,
    directory: PathBuf,
    asked: &Prune,
) -> Result<Ending, Failure> {
    let mut limits = CacheLimits::default();
    limits.bytes_max = asked.bytes_max.unwrap_or(limits.bytes_max);
    limits.unused_max = asked.older_than.unwrap_or(limits.unused_max);
    let mut objects = Vec::new();
    let pruned = cache.prune(&limits, |file: &PrunedFile| {
        let why = file.reason.word();
        if global.json && objects.len() < NAMED_MAX {
            objects.push(json!({ "name": file.name, "bytes": file.bytes, "reason": why }));
        } else if !global.json {
            say!("removed {} ({}, {why})", file.name, bytes(file.bytes));
        }
    })?;
    if global.json {
        say!(
            "{}",
            json!({
                "directory": directory.display().to_string(),
                "files": objects,
                "files_removed": pruned.files_removed,
                "bytes_removed": pruned.bytes_removed,
                "files_left": pruned.files_left,
                "bytes_left": pruned.bytes_left,
            })
        );
    } else {
        say!(
            "{} files removed, {} freed; {} left, {}, in {}",
            pruned.files_removed,
            bytes(pruned.bytes_removed),
            pruned.files_left,
            bytes(pruned.bytes_left),
            directory.display()
        );
    }
    Ok(Ending::Returned)
}

/// Unix time; 0 for what is before it.
fn seconds(moment: SystemTime) -> u64 {
    moment.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs()
}

fn ago(moment: SystemTime) -> String {
    let Ok(age) = SystemTime::now().duration_since(moment) else { return "in the future".into() };
    match age.as_secs() {
        seconds @ 0..120 => format!("{seconds} s ago"),
        seconds @ 120..7_200 => format!("{} min ago", seconds / 60),
        seconds @ 7_200..172_800 => format!("{} h ago", seconds / 3_600),
        seconds => format!("{} days ago", seconds / 86_400),
    }
}
