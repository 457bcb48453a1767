//! Artifact files under attack, end to end: flipped bits, a full disk, two hosts on one directory.
//! Each form of damage by itself is in the host's own tests; writers killed at work and files swapped
//! under a reader are in `steps`.

mod support;

use std::{
    fs,
    path::Path,
    process::{Command, Stdio},
    time::Duration,
};

use lazaret::{Host, Origin, Retry, pvf::Settings};
use support::{
    EMPTY_RESULT, PROGRAM, block, builder, entries, returned, settings, skipped, started, trivial,
};

const WAT: &str = r#"(module
    (memory (export "memory") 1)
    (global (export "__heap_base") i32 (i32.const 1024))
    (func (export "validate_block") (param i32 i32) (result i64) (i64.const 0x0000_000c_0000_0200)))"#;

async fn is_served(host: &Host, salt: u32) -> Origin {
    let settings = settings(Duration::from_secs(5), Retry::Once);
    let answer = host.validate(&trivial(salt), block(), &settings).await.unwrap();
    assert_eq!(returned(&answer).encoded, EMPTY_RESULT);
    answer.artifact.unwrap().origin
}

/// A program that validates one block with this cache.
fn program(folder: &Path, cache: &Path, wat: &str) -> Command {
    let (code, params) = (folder.join("code.wat"), folder.join("params"));
    fs::write(&code, wat).unwrap();
    fs::write(&params, [0; 40]).unwrap();
    let mut program = Command::new(PROGRAM);
    program.args(["pvf", "validate", "--accept-weaker-jail", "--cache"]).arg(cache);
    program.arg("--code").arg(code).arg("--params").arg(params);
    program.stdout(Stdio::null()).stderr(Stdio::piped());
    program
}

#[tokio::test(flavor = "multi_thread")]
async fn flipped_bits_never_reach_a_job() {
    const FLIPS: usize = 200;
    let cache = tempfile::tempdir().unwrap();
    // Nothing is kept in memory, so each request reads the file.
    let host = started(builder(cache.path()).hot_bytes_max(0)).await;
    assert_eq!(is_served(&host, 1).await, Origin::Prepared);
    assert_eq!(is_served(&host, 1).await, Origin::Disk);
    let path = entries(cache.path()).remove(0);
    let good = fs::read(&path).unwrap();
    // A stride that shares no factor with the number of bits reaches header, tables and code.
    let bits = 8 * good.len();
    for flip in 0..FLIPS {
        let bit = (flip * (bits / FLIPS) + 7 * flip) % bits;
        let mut bytes = good.clone();
        bytes[bit / 8] ^= 1 << (bit % 8);
        fs::write(&path, bytes).unwrap();
        assert_eq!(is_served(&host, 1).await, Origin::Prepared, "bit {bit}");
    }
    assert_eq!(is_served(&host, 1).await, Origin::Disk);
}

#[test]
fn a_full_disk_costs_the_cache_and_not_the_answer() {
    let folder = tempfile::tempdir().unwrap();
    let cache = folder.path().join("cache");
    fs::create_dir(&cache).unwrap();
    // One page for the directory's files: the artifact is larger.
    let script = r#"mount -t tmpfs -o size=4k,mode=700 none "$0" || exit 99
        "$@" || exit
        ls -A "$0" | wc -l | grep -qx 0 || exit 98"#;
    let Some(said) = said_inside(script, &cache, &program(folder.path(), &cache, WAT)) else {
        return skipped(1, "a full disk: no file system of our own");
    };
    assert!(said.contains("artifact not kept"), "{said}");
}

#[test]
fn a_cache_that_cannot_be_written_serves_what_it_holds_and_costs_nothing_else() {
    let folder = tempfile::tempdir().unwrap();
    let cache = folder.path().join("cache");
    let made = program(folder.path(), &cache, WAT).output().unwrap();
    assert!(made.status.success(), "{made:?}");
    let before = entries(&cache);
    let script = r#"mount --bind "$0" "$0" && mount -o remount,ro,bind "$0" || exit 99
        "$@""#;
    let Some(said) = said_inside(script, &cache, &program(folder.path(), &cache, WAT)) else {
        return skipped(1, "a read-only cache: no mounts of our own");
    };
    assert!(!said.contains("artifact"), "it was not served from the cache: {said}");
    let other = WAT.replace("1024", "1025");
    let said = said_inside(script, &cache, &program(folder.path(), &cache, &other));
    let said = said.expect("it was possible before");
    assert!(said.contains("artifact not kept"), "{said}");
    assert_eq!(entries(&cache), before);
}

/// Runs a program in a shell with mounts of its own, and gives what it said on standard error; `None`
/// where that is not allowed, or where the shell ended with 99.
fn said_inside(script: &str, cache: &Path, inside: &Command) -> Option<String> {
    let mut outside = Command::new("unshare");
    outside.args(["--user", "--map-root-user", "--mount", "sh", "-c", script]).arg(cache);
    let ended = outside.arg(inside.get_program()).args(inside.get_args()).output().ok()?;
    if ended.status.code() == Some(99) || is_unshare_refused(&ended.stderr) {
        return None;
    }
    let said = String::from_utf8_lossy(&ended.stderr).into_owned();
    assert!(ended.status.success(), "{:?}: {said}", ended.status);
    Some(said)
}

#[tokio::test(flavor = "multi_thread")]
async fn the_cache_keeps_within_its_limit_while_a_host_writes_there() {
    let cache = tempfile::tempdir().unwrap();
    let host = started(builder(cache.path()).hot_bytes_max(0)).await;
    assert_eq!(is_served(&host, 0).await, Origin::Prepared);
    let file_bytes = fs::metadata(entries(cache.path()).remove(0)).unwrap().len();
    drop(host);
    let limit = 4 * file_bytes;
    let host = started(builder(cache.path()).hot_bytes_max(0).cache_bytes_max(limit)).await;
    for salt in 1..12 {
        assert_eq!(is_served(&host, salt).await, Origin::Prepared);
    }
    let bytes = |path: &std::path::PathBuf| fs::metadata(path).unwrap().len();
    let left: u64 = entries(cache.path()).iter().map(bytes).sum();
    assert!(left <= limit && left > 0, "{left} bytes of {limit}");
    assert_eq!(is_served(&host, 11).await, Origin::Disk);
}

fn is_unshare_refused(said: &[u8]) -> bool {
    said.starts_with(b"unshare: ")
}

#[tokio::test(flavor = "multi_thread")]
async fn two_hosts_on_one_directory_serve_the_same_artifacts() {
    let cache = tempfile::tempdir().unwrap();
    let one = started(builder(cache.path()).hot_bytes_max(0)).await;
    let other = started(builder(cache.path()).hot_bytes_max(0)).await;
    for salt in 0..20 {
        tokio::join!(is_served(&one, salt), is_served(&other, salt));
        let origins = tokio::join!(is_served(&one, salt), is_served(&other, salt));
        assert_eq!(origins, (Origin::Disk, Origin::Disk));
    }
    assert_eq!(entries(cache.path()).len(), 20, "temporary files were left");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cache_that_vanishes_costs_the_cache_and_not_the_answer() {
    let folder = tempfile::tempdir().unwrap();
    let cache = folder.path().join("cache");
    let host = started(builder(&cache).hot_bytes_max(0)).await;
    fs::remove_dir_all(&cache).unwrap();
    for _ in 0..2 {
        let answer = host.validate(&trivial(3), block(), &Settings::default()).await.unwrap();
        assert_eq!(answer.artifact.as_ref().unwrap().origin, Origin::Prepared);
        returned(&answer);
    }
}
