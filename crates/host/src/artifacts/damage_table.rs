//! Artifact files as a disk, another program or a crash may leave them: none is served, and the next
//! write mends the place.

use std::{
    os::unix::{fs::symlink, net::UnixListener},
    sync::Barrier,
    thread,
};

use lazaret_wire::params::Params;
use tempfile::TempDir;

use super::*;
use crate::artifacts::prune::{ABANDONED_AFTER, CacheLimits};

/// Some pages, none like another, and a part of one.
const ARTIFACT_BYTES: usize = 5 * 4096 + 123;
const SOURCE: Source = Source { code_digest: [1; 32], engine_fingerprint: [1; 32], prepared_at: 5 };
const FACTS: PrepareFacts =
    PrepareFacts { cpu_micros: 1, wall_micros: 2, heap_bytes_peak: 3, code_bytes: 4 };

fn key(code: u8, params: &Params, engine: u8) -> Key {
    Key::new(&[code; 32], params, &[engine; 32])
}

fn ours() -> Key {
    key(1, &Params::default(), 1)
}

fn artifact() -> Blob {
    let bytes: Vec<u8> = (0..ARTIFACT_BYTES).map(|at| (at ^ (at >> 8)) as u8).collect();
    Blob::from_parts(&[&bytes]).unwrap()
}

/// A store with one artifact in it, and the file's path and bytes.
fn filled() -> (TempDir, Store, PathBuf, Vec<u8>) {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(&folder.path().join("cache")).unwrap();
    store.save(&ours(), SOURCE, &artifact(), FACTS).unwrap();
    let path = store.path(&ours());
    let good = fs::read(&path).unwrap();
    (folder, store, path, good)
}

/// What stands there now is neither served nor left there; then the place takes an artifact again.
fn is_discarded_and_mended(store: &Store, path: &Path, what: &str) {
    assert!(store.load(&ours()).unwrap().is_none(), "{what} was served");
    assert!(fs::symlink_metadata(path).is_err(), "{what} was left in its place");
    store.save(&ours(), SOURCE, &artifact(), FACTS).unwrap();
    is_served(store);
}

/// Prunes only what was left behind.
fn pruned(store: &Store, now: SystemTime) {
    let limits = CacheLimits { bytes_max: u64::MAX, ..CacheLimits::default() };
    store.prune(now, &limits, &mut |_| {}).unwrap();
}

fn is_served(store: &Store) {
    let (blob, facts) = store.load(&ours()).unwrap().expect("the artifact");
    assert_eq!((blob.digest().unwrap(), facts), (artifact().digest().unwrap(), FACTS));
}

#[test]
fn a_file_cut_off_anywhere_is_discarded() {
    let (_folder, store, path, good) = filled();
    let pages = (0..good.len()).step_by(4096);
    let edges = [1, HEADER_BYTES - 1, HEADER_BYTES, HEADER_BYTES + 1, good.len() - 1];
    for length in pages.chain(edges) {
        fs::write(&path, &good[..length]).unwrap();
        is_discarded_and_mended(&store, &path, &format!("{length} bytes"));
    }
    fs::write(&path, [&good[..], &[0]].concat()).unwrap();
    is_discarded_and_mended(&store, &path, "one byte more");
}

#[test]
fn every_flipped_bit_of_the_header_is_noticed_in_the_file() {
    let (_folder, store, path, good) = filled();
    for bit in 0..8 * HEADER_BYTES {
        let mut bytes = good.clone();
        bytes[bit / 8] ^= 1 << (bit % 8);
        fs::write(&path, bytes).unwrap();
        assert!(store.load(&ours()).unwrap().is_none(), "bit {bit}");
    }
}

#[test]
fn ten_thousand_flipped_bits_are_noticed() {
    let (_folder, store, path, good) = filled();
    let mut choice = 0x9e37_79b9_7f4a_7c15_u64;
    for _ in 0..10_000 {
        choice ^= choice << 13;
        choice ^= choice >> 7;
        choice ^= choice << 17;
        let bit = (choice % (8 * good.len() as u64)) as usize;
        let mut bytes = good.clone();
        bytes[bit / 8] ^= 1 << (bit % 8);
        fs::write(&path, bytes).unwrap();
        assert!(store.load(&ours()).unwrap().is_none(), "bit {bit}");
    }
}

#[test]
fn an_artifact_of_other_code_params_or_engine_is_not_taken_under_this_name() {
    let (_folder, store, path, _) = filled();
    let default = Params::default;
    for other in [
        key(2, &default(), 1),
        key(1, &default(), 2),
        key(1, &Params { bulk_memory: true, ..default() }, 1),
        key(1, &Params { stack_logical_max: 1, ..default() }, 1),
    ] {
        store.save(&other, SOURCE, &artifact(), FACTS).unwrap();
        fs::rename(store.path(&other), &path).unwrap();
        is_discarded_and_mended(&store, &path, &format!("{other}"));
    }
}

#[test]
fn what_is_no_file_is_discarded_without_waiting_for_it() {
    let (folder, store, path, good) = filled();
    let elsewhere = folder.path().join("elsewhere");
    fs::write(&elsewhere, good).unwrap();
    let fifo = |path: &Path| {
        let mode = Mode::RUSR | Mode::WUSR;
        rustix::fs::mknodat(rustix::fs::CWD, path, rustix::fs::FileType::Fifo, mode, 0).unwrap();
    };
    let places: [(&str, &dyn Fn()); 6] = [
        ("a link to a good artifact", &|| symlink(&elsewhere, &path).unwrap()),
        ("a link to nowhere", &|| symlink("/nowhere", &path).unwrap()),
        ("a link to itself", &|| symlink(&path, &path).unwrap()),
        ("a directory with something in it", &|| fs::create_dir_all(path.join("a/b")).unwrap()),
        ("a FIFO", &|| fifo(&path)),
        ("a socket", &|| drop(UnixListener::bind(&path).unwrap())),
    ];
    for (what, place) in places {
        fs::remove_file(&path).unwrap();
        place();
        is_discarded_and_mended(&store, &path, what);
        // Written over, without a look before.
        fs::remove_file(&path).unwrap();
        place();
        store.save(&ours(), SOURCE, &artifact(), FACTS).unwrap();
        is_served(&store);
    }
    assert!(elsewhere.exists(), "what a link named was removed");
}

#[test]
fn a_device_is_discarded_without_being_read() {
    let (_folder, store, path, _) = filled();
    fs::remove_file(&path).unwrap();
    // /dev/zero: read to its end, it would never come to it.
    let zero = rustix::fs::makedev(1, 5);
    let kind = rustix::fs::FileType::CharacterDevice;
    let mode = Mode::RUSR | Mode::WUSR;
    if let Err(errno) = rustix::fs::mknodat(rustix::fs::CWD, &path, kind, mode, zero) {
        let line = format!("SKIPPED (1): a device in an artifact's place: mknod: {errno}\n");
        return io::stderr().write_all(line.as_bytes()).unwrap();
    }
    is_discarded_and_mended(&store, &path, "a device");
}

#[test]
fn two_stores_on_one_directory_serve_whole_artifacts_only() {
    let (_folder, store, _, _) = filled();
    let other = store.clone();
    let barrier = Barrier::new(2);
    thread::scope(|scope| {
        for store in [&store, &other] {
            scope.spawn(|| {
                barrier.wait();
                for _ in 0..200 {
                    store.save(&ours(), SOURCE, &artifact(), FACTS).unwrap();
                    is_served(store);
                    pruned(store, SystemTime::now());
                }
            });
        }
    });
    let left = fs::read_dir(&store.directory).unwrap().count();
    assert_eq!(left, 1, "temporary files were left");
}

#[test]
fn a_leftover_of_another_writer_is_not_taken_away_from_it() {
    let (_folder, store, _, _) = filled();
    let abandoned = store.directory.join(format!("{}.0000000000000001{TEMPORARY}", ours()));
    fs::write(&abandoned, "half").unwrap();
    store.save(&ours(), SOURCE, &artifact(), FACTS).unwrap();
    pruned(&store, SystemTime::now());
    assert!(abandoned.exists(), "it may be under way");
    pruned(&store, SystemTime::now() + 2 * ABANDONED_AFTER);
    assert!(!abandoned.exists(), "nobody writes for so long");
    is_served(&store);
}
