//! `lazaret cache`: what it lists, finds damaged and removes, beside hosts that use the directory.

mod support;

use std::{
    fs,
    path::Path,
    process::{Command, Output},
    time::{Duration, SystemTime},
};

use lazaret::{Host, Origin, Verdict};
use serde_json::Value;
use support::{PROGRAM, builder, entries, started, trivial};

fn cache(verb: &[&str], directory: &Path) -> Output {
    let mut program = Command::new(PROGRAM);
    program.arg("cache").args(verb).arg("--cache").arg(directory).output().unwrap()
}

fn object(output: &Output) -> Value {
    serde_json::from_slice(&output.stdout).expect("one object")
}

async fn prepared(host: &Host, salt: u32) -> Origin {
    let answer = host.prepare(&trivial(salt), &Default::default()).await.unwrap();
    assert!(matches!(answer.verdict, Verdict::Returned(_)), "{answer:?}");
    answer.artifact.unwrap().origin
}

fn age(path: &Path, unused: Duration) {
    let used = SystemTime::now() - unused;
    fs::File::open(path).unwrap().set_modified(used).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn artifacts_are_listed_with_their_code_and_engine() {
    let directory = tempfile::tempdir().unwrap();
    let host = started(builder(directory.path())).await;
    prepared(&host, 1).await;
    prepared(&host, 2).await;
    let output = cache(&["list", "--json"], directory.path());
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let listed = object(&output);
    assert_eq!(listed["files_total"], 2);
    let mut digests: Vec<_> = listed["files"].as_array().unwrap().iter().collect();
    digests.sort_by_key(|file| file["code_digest"] != hex::encode(trivial(1).digest()));
    assert_eq!(digests[0]["code_digest"], hex::encode(trivial(1).digest()));
    assert_eq!(digests[1]["code_digest"], hex::encode(trivial(2).digest()));
    for file in digests {
        assert_eq!(file["engine_matches"], true);
        assert_eq!(file["engine_fingerprint"], hex::encode(host.engine_fingerprint()));
        assert_eq!(file["damage"], Value::Null);
        assert!(file["prepared_at"].as_u64().unwrap() > 1_700_000_000);
        assert!(file["prepare_wall_micros"].as_u64().unwrap() > 0);
        assert_eq!(file["name"], format!("{}.artifact", file["key"].as_str().unwrap()));
    }
    let shown = cache(&["list"], directory.path());
    let shown = String::from_utf8(shown.stdout).unwrap();
    assert_eq!(shown.lines().count(), 3, "{shown}");
}

#[tokio::test(flavor = "multi_thread")]
async fn verify_says_what_is_wrong_and_removes_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let host = started(builder(directory.path())).await;
    prepared(&host, 1).await;
    prepared(&host, 2).await;
    assert_eq!(cache(&["verify"], directory.path()).status.code(), Some(0));
    let spoilt = entries(directory.path()).remove(0);
    let mut bytes = fs::read(&spoilt).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    fs::write(&spoilt, bytes).unwrap();
    let output = cache(&["verify", "--json"], directory.path());
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let found = object(&output);
    assert_eq!((&found["whole"], &found["damaged"]), (&1.into(), &1.into()));
    assert_eq!(found["files"][0]["damage"], "the digest is not the header's");
    let name = spoilt.file_name().unwrap().to_str().unwrap();
    assert_eq!(found["files"][0]["name"], name);
    assert_eq!(entries(directory.path()).len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn prune_removes_by_age_and_size_while_a_host_works() {
    let directory = tempfile::tempdir().unwrap();
    let host = started(builder(directory.path()).hot_bytes_max(0)).await;
    for salt in 1..=3 {
        prepared(&host, salt).await;
    }
    let bytes = fs::metadata(entries(directory.path()).remove(0)).unwrap().len();
    age(&entries(directory.path())[0], Duration::from_secs(7_000));
    let output = cache(&["prune", "--json", "--older-than", "1h"], directory.path());
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let pruned = object(&output);
    assert_eq!((&pruned["files_removed"], &pruned["files_left"]), (&1.into(), &2.into()));
    assert_eq!(pruned["files"][0]["reason"], "unused");
    assert_eq!(pruned["bytes_removed"], bytes);
    let most = (bytes + bytes / 2).to_string();
    let pruned = object(&cache(&["prune", "--json", "--bytes-max", &most], directory.path()));
    assert_eq!((&pruned["files_removed"], &pruned["files_left"]), (&1.into(), &1.into()));
    assert_eq!(pruned["files"][0]["reason"], "room");
    let mut origins = Vec::new();
    for salt in 1..=3 {
        origins.push(prepared(&host, salt).await);
    }
    assert_eq!(origins.iter().filter(|origin| **origin == Origin::Disk).count(), 1);
    assert_eq!(origins.iter().filter(|origin| **origin == Origin::Prepared).count(), 2);
}

#[test]
fn a_directory_that_is_not_there_is_a_usage_error_and_is_not_made() {
    let folder = tempfile::tempdir().unwrap();
    let absent = folder.path().join("absent");
    for verb in ["list", "verify", "prune"] {
        let output = cache(&[verb], &absent);
        assert_eq!(output.status.code(), Some(2), "{output:?}");
        assert!(String::from_utf8_lossy(&output.stderr).contains("absent"), "{output:?}");
    }
    assert!(!absent.exists());
}

#[test]
fn a_directory_that_others_may_write_is_a_fault() {
    use std::os::unix::fs::PermissionsExt;
    let folder = tempfile::tempdir().unwrap();
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o777)).unwrap();
    assert_eq!(cache(&["list"], folder.path()).status.code(), Some(4));
}
