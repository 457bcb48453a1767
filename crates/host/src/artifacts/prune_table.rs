//! What pruning removes and what it leaves, on directories with files of every age and kind.

use std::{fs::File, os::unix::fs::PermissionsExt, path::PathBuf};

use tempfile::TempDir;

use super::*;

const HOUR: Duration = Duration::from_secs(60 * 60);
const FILE_BYTES: u64 = 1000;

/// A store with a file per pair of number and age.
fn aged(ages: &[(u8, Duration)]) -> (TempDir, Store) {
    let folder = tempfile::tempdir().unwrap();
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o700)).unwrap();
    let store = Store::open(folder.path()).unwrap();
    for &(n, age) in ages {
        put(&path(&store, n), SystemTime::now() - age);
    }
    (folder, store)
}

fn path(store: &Store, n: u8) -> PathBuf {
    store.path(&Key::new(&[n; 32], &Default::default(), &[0; 32]))
}

fn put(path: &std::path::Path, used: SystemTime) {
    fs::write(path, vec![0; FILE_BYTES as usize]).unwrap();
    File::open(path).unwrap().set_modified(used).unwrap();
}

fn limits(bytes_max: u64, unused_max: Duration) -> CacheLimits {
    CacheLimits { bytes_max, unused_max }
}

fn prune(store: &Store, limits: &CacheLimits) -> Pruned {
    store.prune(SystemTime::now(), limits, &mut |_| {}).unwrap()
}

fn left(store: &Store) -> Vec<u8> {
    (0..=255).filter(|n| path(store, *n).exists()).collect()
}

#[test]
fn what_goes_unused_goes_and_then_the_longest_unused() {
    let (_folder, store) = aged(&[(1, HOUR), (2, 2 * HOUR), (3, 3 * HOUR), (4, 4 * HOUR)]);
    let mut told = Vec::new();
    let limits = limits(2 * FILE_BYTES, 7 * HOUR / 2);
    let pruned = store.prune(SystemTime::now(), &limits, &mut |file| told.push(file.reason));
    assert_eq!(left(&store), [1, 2]);
    assert_eq!(told, [PruneReason::Unused, PruneReason::Room]);
    let (files_removed, files_left) = (2, 2);
    let (bytes_removed, bytes_left) = (2 * FILE_BYTES, 2 * FILE_BYTES);
    let expected = Pruned { files_removed, bytes_removed, files_left, bytes_left };
    assert_eq!(pruned.unwrap(), expected);
}

#[test]
fn what_is_within_the_limits_stays() {
    let (_folder, store) = aged(&[(1, HOUR), (2, 2 * HOUR)]);
    let limits = limits(2 * FILE_BYTES, 3 * HOUR);
    let down_to_nothing = store.prune_down_to(0, SystemTime::now(), &limits, &mut |_| {});
    assert_eq!(down_to_nothing.unwrap().files_removed, 0);
    assert_eq!(left(&store), [1, 2]);
}

#[test]
fn what_is_too_much_goes_down_to_what_was_asked() {
    let (_folder, store) = aged(&[(1, HOUR), (2, 2 * HOUR), (3, 3 * HOUR)]);
    let limits = limits(2 * FILE_BYTES, 24 * HOUR);
    store.prune_down_to(FILE_BYTES, SystemTime::now(), &limits, &mut |_| {}).unwrap();
    assert_eq!(left(&store), [1]);
}

#[test]
fn only_names_of_ours_are_touched() {
    let (folder, store) = aged(&[]);
    let key = Key::new(&[1; 32], &Default::default(), &[0; 32]);
    let foreign = [
        "holiday.artifact".to_owned(),
        "notes.writing".to_owned(),
        format!("{key}.txt"),
        format!("{key}.artifact.old"),
        format!("{key}.1{TEMPORARY}"),
        format!("{}{SUFFIX}", key.to_string().to_uppercase()),
    ];
    for name in &foreign {
        put(&folder.path().join(name), SystemTime::now() - 1000 * HOUR);
    }
    assert_eq!(prune(&store, &limits(0, Duration::ZERO)), Pruned::default());
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), foreign.len());
}

#[test]
fn what_a_crash_left_behind_goes_and_what_is_being_written_stays() {
    let (folder, store) = aged(&[]);
    let key = Key::new(&[1; 32], &Default::default(), &[0; 32]);
    let temporary = |n: u64| folder.path().join(format!("{key}.{n:016x}{TEMPORARY}"));
    put(&temporary(1), SystemTime::now());
    put(&temporary(2), SystemTime::now() - 2 * ABANDONED_AFTER);
    let pruned = prune(&store, &limits(0, Duration::ZERO));
    assert!(temporary(1).exists() && !temporary(2).exists());
    assert_eq!((pruned.files_removed, pruned.files_left), (1, 0));
}

#[test]
fn a_file_dated_in_the_future_is_dated_now_and_then_ages() {
    let (_folder, store) = aged(&[(1, HOUR)]);
    put(&path(&store, 2), SystemTime::now() + 1000 * HOUR);
    let limits = limits(2 * FILE_BYTES, 2 * HOUR);
    assert_eq!(prune(&store, &limits).files_removed, 0, "not old");
    let used = fs::metadata(path(&store, 2)).unwrap().modified().unwrap();
    assert!(used <= SystemTime::now());
    let later = SystemTime::now() + 3 * HOUR;
    store.prune(later, &limits, &mut |_| {}).unwrap();
    assert!(left(&store).is_empty(), "it lives for ever");
}

#[test]
fn a_link_dated_in_the_future_cannot_be_dated_and_goes() {
    let (folder, store) = aged(&[]);
    std::os::unix::fs::symlink(folder.path(), path(&store, 1)).unwrap();
    let long_ago = SystemTime::now() - 1000 * HOUR;
    store.prune(long_ago, &limits(u64::MAX, Duration::MAX), &mut |_| {}).unwrap();
    assert!(fs::symlink_metadata(path(&store, 1)).is_err() && folder.path().exists());
}

#[test]
fn a_clock_that_was_far_ahead_costs_artifacts_and_nothing_else() {
    let (_folder, store) = aged(&[(1, HOUR), (2, Duration::ZERO)]);
    let ahead = SystemTime::now() + 100_000 * HOUR;
    let pruned = store.prune(ahead, &CacheLimits::default(), &mut |_| {}).unwrap();
    assert_eq!((pruned.files_removed, pruned.files_left), (2, 0));
}

#[test]
fn a_file_that_was_used_since_it_was_looked_at_stays() {
    let (_folder, store) = aged(&[(1, 2 * HOUR), (2, HOUR)]);
    let mut account =
        Account { now: SystemTime::now(), pruned: Pruned::default(), tell: &mut |_| {} };
    let candidates = store.look_around(24 * HOUR, &mut account).unwrap();
    File::open(path(&store, 1)).unwrap().set_modified(SystemTime::now()).unwrap();
    candidates.iter().for_each(|candidate| store.make_room(candidate, &mut account));
    assert_eq!(left(&store), [1]);
    assert_eq!(account.pruned.bytes_left, FILE_BYTES);
}

#[test]
fn more_files_than_are_remembered_go_in_several_passes_oldest_first() {
    let (_folder, store) = aged(&[]);
    let files = REMEMBERED_MAX + 100;
    let mut oldest = None;
    for n in 0..files as u32 {
        let mut digest = [0; 32];
        digest[..4].copy_from_slice(&n.to_le_bytes());
        let path = store.path(&Key::new(&digest, &Default::default(), &[0; 32]));
        fs::write(&path, [0]).unwrap();
        let used = SystemTime::now() - HOUR - Duration::from_secs((files as u32 - n).into());
        File::open(&path).unwrap().set_modified(used).unwrap();
        oldest.get_or_insert(path);
    }
    let mut account =
        Account { now: SystemTime::now(), pruned: Pruned::default(), tell: &mut |_| {} };
    let remembered = store.look_around(24 * HOUR, &mut account).unwrap();
    assert_eq!(remembered.len(), REMEMBERED_MAX);
    assert_eq!(Some(store.directory.join(&remembered[0].name)), oldest);
    let pruned = prune(&store, &limits(10, 24 * HOUR));
    assert_eq!((pruned.files_left, pruned.files_removed), (10, files as u64 - 10));
}

#[test]
fn a_directory_that_is_gone_is_an_error_and_not_an_empty_one() {
    let (folder, store) = aged(&[]);
    drop(folder);
    assert!(store.prune(SystemTime::now(), &CacheLimits::default(), &mut |_| {}).is_err());
}
