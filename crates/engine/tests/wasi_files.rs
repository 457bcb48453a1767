//! Files of WASI programs: images, room for files, paths, directories, and what cannot be done.

mod shared;

use shared::caller::*;

const IN: i32 = 3;
const TMP: i32 = 4;
const CREATE: i32 = 1;
const DIRECTORY: i32 = 2;
const EXCLUSIVE: i32 = 4;
const TRUNCATE: i32 = 8;

fn caller() -> Caller {
    Caller::new(world(1 << 20).1)
}

#[test]
fn mounts_are_found_from_descriptor_3_on() {
    let mut caller = caller();
    for (fd, name) in [(IN, "/in"), (TMP, "/tmp")] {
        assert_eq!(wasi!(caller, "fd_prestat_get", fd, RESULT), 0);
        assert_eq!((caller.u32(RESULT), caller.u32(RESULT + 4)), (0, name.len() as u32));
        let bytes = name.len() as i32;
        assert_eq!(wasi!(caller, "fd_prestat_dir_name", fd, RESULT, bytes), 0);
        assert_eq!(caller.bytes(RESULT, name.len()), name.as_bytes());
        assert_eq!(wasi!(caller, "fd_prestat_dir_name", fd, RESULT, bytes - 1), NAMETOOLONG);
    }
    for fd in [0, 5, 4000, -1] {
        assert_eq!(wasi!(caller, "fd_prestat_get", fd, RESULT), BADF);
    }
}

#[test]
fn mounts_can_be_closed() {
    let mut caller = caller();
    for fd in [IN, TMP] {
        assert_eq!(wasi!(caller, "fd_close", fd), 0);
        assert_eq!(wasi!(caller, "fd_prestat_get", fd, RESULT), BADF);
        assert_eq!(caller.try_open(fd, "a", CREATE), Err(BADF));
    }
}

#[test]
fn an_image_is_read_and_never_written() {
    let mut caller = caller();
    let file = caller.open_with(IN, "folder/file", (1, 0, 0), 1 << 1 | 1 << 2).unwrap();
    assert_eq!(caller.read(file, 4).unwrap(), b"cont");
    assert_eq!(caller.read(file, 100).unwrap(), b"ent");
    assert_eq!(caller.read(file, 100).unwrap(), b"");
    let io = caller.ranges(&[(BUFFER, 2), (BUFFER + 2, 3)]);
    assert_eq!(wasi!(caller, "fd_pread", file, io, 2, 1_i64, RESULT), 0);
    assert_eq!(caller.bytes(BUFFER, 5), b"onten");
    assert_eq!(caller.write(file, b"x"), Err(NOTCAPABLE));
    assert_eq!(caller.try_open(IN, "folder/file", 0), Err(ROFS));
    let read = 1 << 1;
    for how in [CREATE, CREATE | EXCLUSIVE] {
        assert_eq!(caller.open_with(IN, "new", (0, how, 0), read), Err(ROFS));
    }
    assert_eq!(caller.open_with(IN, "folder/file", (0, TRUNCATE, 0), read), Err(ROFS));
    for name in ["path_create_directory", "path_remove_directory", "path_unlink_file"] {
        assert_eq!(caller.at(name, IN, "folder/file"), ROFS, "{name}");
    }
    let (at, bytes) = caller.path("folder/file");
    let (to, to_bytes) = caller.other_path("moved");
    assert_eq!(wasi!(caller, "path_rename", IN, at, bytes, IN, to, to_bytes), ROFS);
    assert_eq!(wasi!(caller, "path_link", IN, 0, at, bytes, TMP, to, to_bytes), NOTCAPABLE);
    assert_eq!(wasi!(caller, "path_symlink", at, bytes, IN, to, to_bytes), ROFS);
}

#[test]
fn paths_do_not_leave_the_directory_they_start_from() {
    let mut caller = caller();
    let read = 1 << 1;
    let cases = [
        ("/in/folder/file", NOTCAPABLE),
        ("../tmp", NOTCAPABLE),
        ("folder/../../tmp", NOTCAPABLE),
        ("folder/../..", NOTCAPABLE),
        ("out", NOTCAPABLE),
        ("loop", LOOP),
        ("loop/x", LOOP),
        ("", NOENT),
        ("none", NOENT),
        ("none/file", NOENT),
        ("folder/file/", NOTDIR),
        ("folder/file/x", NOTDIR),
        ("folder/file/..", NOTDIR),
        ("fol\0der", INVAL),
    ];
    for (path, errno) in cases {
        assert_eq!(caller.open_with(IN, path, (1, 0, 0), read), Err(errno), "{path}");
    }
    for path in ["folder/file", "./folder//file", "folder/../folder/./file", "link"] {
        let file = caller.open_with(IN, path, (1, 0, 0), read).unwrap();
        assert_eq!(caller.read(file, 9).unwrap(), b"content", "{path}");
    }
    // A directory that was opened is a start of its own.
    let folder = caller.open_with(IN, "folder", (0, DIRECTORY, 0), ALL).unwrap();
    assert_eq!(caller.open_with(folder, "../link", (1, 0, 0), read), Err(NOTCAPABLE));
    caller.open_with(folder, "file", (0, 0, 0), read).unwrap();
    assert_eq!(caller.open_with(IN, "link", (0, 0, 0), read), Err(LOOP), "not followed");
    let long = "a".repeat(256);
    assert_eq!(caller.open_with(IN, &long, (0, 0, 0), read), Err(NAMETOOLONG));
    let longer = "a/".repeat(2049);
    assert_eq!(caller.open_with(IN, &longer, (0, 0, 0), read), Err(NAMETOOLONG));
}

#[test]
fn files_are_made_written_moved_and_removed() {
    let mut caller = caller();
    let file = caller.open(TMP, "a", CREATE | EXCLUSIVE);
    assert_eq!(caller.try_open(TMP, "a", CREATE | EXCLUSIVE), Err(EXIST));
    assert_eq!(caller.write(file, b"hello world"), Ok(11));
    assert_eq!(wasi!(caller, "fd_tell", file, RESULT), 0);
    assert_eq!(caller.u64(RESULT), 11);
    assert_eq!(wasi!(caller, "fd_seek", file, -5_i64, 2, RESULT), 0);
    assert_eq!(caller.read(file, 100).unwrap(), b"world");
    assert_eq!(wasi!(caller, "fd_seek", file, -1_i64, 0, RESULT), INVAL);
    assert_eq!(wasi!(caller, "fd_seek", file, 0_i64, 3, RESULT), INVAL);
    caller.put(BUFFER, b"J");
    let io = caller.ranges(&[(BUFFER, 1)]);
    assert_eq!(wasi!(caller, "fd_pwrite", file, io, 1, 0_i64, RESULT), 0);
    assert_eq!(wasi!(caller, "fd_filestat_set_size", file, 5_i64), 0);
    assert_eq!(wasi!(caller, "fd_allocate", file, 6_i64, 2_i64), 0);
    assert_eq!(wasi!(caller, "fd_filestat_get", file, RESULT), 0);
    assert_eq!((caller.bytes(RESULT + 16, 1)[0], caller.u64(RESULT + 32)), (4, 8));
    assert_eq!(wasi!(caller, "fd_seek", file, 0_i64, 0, RESULT), 0);
    assert_eq!(caller.read(file, 100).unwrap(), b"Jello\0\0\0");
    for name in ["fd_sync", "fd_datasync"] {
        assert_eq!(caller.call(name, &[Arg::I(file)]), 0);
    }
    assert_eq!(wasi!(caller, "fd_advise", file, 0_i64, 0_i64, 4), 0);
    assert_eq!(wasi!(caller, "fd_advise", file, 0_i64, 0_i64, 9), INVAL);

    assert_eq!(caller.at("path_create_directory", TMP, "d/"), 0);
    let (at, bytes) = caller.path("a");
    let (to, to_bytes) = caller.other_path("d/b");
    assert_eq!(wasi!(caller, "path_rename", TMP, at, bytes, TMP, to, to_bytes), 0);
    assert_eq!(caller.try_open(TMP, "a", 0), Err(NOENT));
    assert_eq!(caller.at("path_remove_directory", TMP, "d"), NOTEMPTY);
    assert_eq!(caller.at("path_unlink_file", TMP, "d"), ISDIR);
    assert_eq!(caller.at("path_remove_directory", TMP, "d/b"), NOTDIR);
    assert_eq!(caller.at("path_unlink_file", TMP, "d/b"), 0);
    // The descriptor holds what has no name any more.
    assert_eq!(wasi!(caller, "fd_seek", file, 0_i64, 0, RESULT), 0);
    assert_eq!(caller.read(file, 2).unwrap(), b"Je");
    assert_eq!(wasi!(caller, "fd_close", file), 0);
    assert_eq!(wasi!(caller, "fd_close", file), BADF);
    assert_eq!(caller.at("path_remove_directory", TMP, "d"), 0);
    assert_eq!(caller.names(TMP), [".", ".."]);
}

#[test]
fn directories_move_but_not_into_themselves() {
    let mut caller = caller();
    for path in ["a", "a/b", "c"] {
        assert_eq!(caller.at("path_create_directory", TMP, path), 0);
    }
    let inside = caller.open_with(TMP, "a/b", (0, DIRECTORY, 0), ALL).unwrap();
    let mut rename = |from: &str, fd: i32, to: &str| {
        let (at, bytes) = caller.path(from);
        let (to, to_bytes) = caller.other_path(to);
        wasi!(caller, "path_rename", TMP, at, bytes, fd, to, to_bytes)
    };
    assert_eq!(rename("a", TMP, "a/b/x"), INVAL);
    assert_eq!(rename("a", inside, "x"), INVAL);
    assert_eq!(rename("a", IN, "x"), ROFS);
    assert_eq!(rename("c", TMP, "a"), NOTEMPTY);
    assert_eq!(rename("c", TMP, "a/b"), 0, "an empty directory is replaced");
    assert_eq!(rename("a/b", TMP, "c"), 0);
    assert_eq!(rename(".", TMP, "x"), INVAL);
    assert_eq!(caller.names(TMP), [".", "..", "a", "c"]);
    // `inside` was replaced: it is empty, and nothing can be put into it.
    assert_eq!(caller.names(inside).len(), 2);
    assert_eq!(caller.at("path_create_directory", inside, "x"), NOENT);
}

#[test]
fn links_name_the_same_file_and_symbolic_ones_a_path() {
    let mut caller = caller();
    let file = caller.open(TMP, "a", CREATE);
    caller.write(file, b"one").unwrap();
    let (at, bytes) = caller.path("a");
    let (to, to_bytes) = caller.other_path("b");
    assert_eq!(wasi!(caller, "path_link", TMP, 0, at, bytes, TMP, to, to_bytes), 0);
    assert_eq!(wasi!(caller, "path_link", TMP, 0, at, bytes, TMP, to, to_bytes), EXIST);
    assert_eq!(caller.at("path_unlink_file", TMP, "a"), 0);
    let again = caller.open(TMP, "b", 0);
    assert_eq!(caller.read(again, 9).unwrap(), b"one");
    let (target, target_bytes) = caller.path("b");
    let (to, to_bytes) = caller.other_path("s");
    assert_eq!(wasi!(caller, "path_symlink", target, target_bytes, TMP, to, to_bytes), 0);
    let followed = caller.open(TMP, "s", 0);
    assert_eq!(caller.read(followed, 9).unwrap(), b"one");
    let (at, bytes) = caller.path("s");
    assert_eq!(wasi!(caller, "path_readlink", TMP, at, bytes, BUFFER, 9, RESULT), 0);
    assert_eq!((caller.u32(RESULT), caller.bytes(BUFFER, 1)), (1, b"b".to_vec()));
    assert_eq!(wasi!(caller, "path_filestat_get", TMP, 0, at, bytes, RESULT), 0);
    assert_eq!(caller.bytes(RESULT + 16, 1)[0], 7);
    assert_eq!(wasi!(caller, "path_filestat_get", TMP, 1, at, bytes, RESULT), 0);
    assert_eq!(caller.bytes(RESULT + 16, 1)[0], 4);
    let (target, target_bytes) = caller.path("/etc");
    let (to, to_bytes) = caller.other_path("t");
    assert_eq!(wasi!(caller, "path_symlink", target, target_bytes, TMP, to, to_bytes), PERM);
    let (directory, directory_bytes) = caller.path("d");
    assert_eq!(wasi!(caller, "path_create_directory", TMP, directory, directory_bytes), 0);
    let link = wasi!(caller, "path_link", TMP, 0, directory, directory_bytes, TMP, to, to_bytes);
    assert_eq!(link, PERM, "not of directories");
}

#[test]
fn a_directory_that_changes_while_it_is_read_shows_all_that_stays() {
    let mut caller = caller();
    for name in ["a", "b", "c", "d"] {
        let file = caller.open(TMP, name, CREATE);
        assert_eq!(wasi!(caller, "fd_close", file), 0);
    }
    assert_eq!(caller.names(TMP), [".", "..", "a", "b", "c", "d"]);
    // Room for `.`, `..` and `a`.
    assert_eq!(wasi!(caller, "fd_readdir", TMP, BUFFER, 76, 0_i64, RESULT), 0);
    let cookie = caller.u64(BUFFER + 25 + 26) as i64;
    assert_eq!(caller.at("path_unlink_file", TMP, "a"), 0);
    assert_eq!(wasi!(caller, "fd_readdir", TMP, BUFFER, 25, cookie, RESULT), 0);
    assert_eq!(caller.bytes(BUFFER + 24, 1), b"b");
    assert_eq!(wasi!(caller, "fd_readdir", TMP, BUFFER, 25, i64::MAX, RESULT), 0);
    assert_eq!(caller.u32(RESULT), 0);
    assert_eq!(wasi!(caller, "fd_readdir", IN, -8, 100, 0_i64, RESULT), FAULT);
}

#[test]
fn room_for_files_is_limited_with_their_names_and_comes_back() {
    let mut caller = Caller::new(world(2000).1);
    let file = caller.open(TMP, "a", CREATE);
    assert_eq!(wasi!(caller, "fd_filestat_set_size", file, 1743_i64), 0);
    assert_eq!(wasi!(caller, "fd_filestat_set_size", file, 1744_i64), NOSPC);
    assert_eq!(wasi!(caller, "fd_filestat_set_size", file, i64::MAX), NOSPC);
    assert_eq!(wasi!(caller, "fd_filestat_set_size", file, -1_i64), NOSPC);
    assert_eq!(wasi!(caller, "fd_seek", file, 0_i64, 2, RESULT), 0);
    assert_eq!(caller.write(file, b"x"), Err(NOSPC));
    assert_eq!(caller.try_open(TMP, "b", CREATE), Err(NOSPC));
    assert_eq!(caller.at("path_unlink_file", TMP, "a"), 0);
    assert_eq!(caller.try_open(TMP, "bb", CREATE), Err(NOSPC), "the file is open still");
    assert_eq!(wasi!(caller, "fd_close", file), 0);
    for _ in 0..20 {
        let file = caller.open(TMP, "bb", CREATE | TRUNCATE);
        assert_eq!(wasi!(caller, "fd_filestat_set_size", file, 1742_i64), 0);
        assert_eq!(wasi!(caller, "fd_close", file), 0);
        assert_eq!(caller.at("path_unlink_file", TMP, "bb"), 0);
    }
    let far = caller.open(TMP, "a", CREATE);
    let io = caller.ranges(&[(BUFFER, 1)]);
    assert_eq!(wasi!(caller, "fd_pwrite", far, io, 1, i64::MAX, RESULT), NOSPC);
    assert_eq!(wasi!(caller, "fd_pwrite", far, io, 1, -1_i64, RESULT), 22);
}

#[test]
fn rights_are_handed_on_given_up_and_never_taken() {
    let mut caller = caller();
    let read_seek: i64 = 1 << 1 | 1 << 2 | 1 << 5;
    let file = caller.open(TMP, "a", CREATE);
    assert_eq!(wasi!(caller, "fd_fdstat_set_rights", file, read_seek, 0_i64), 0);
    assert_eq!(caller.write(file, b"x"), Err(NOTCAPABLE));
    assert_eq!(wasi!(caller, "fd_fdstat_set_rights", file, ALL, 0_i64), NOTCAPABLE);
    assert_eq!(wasi!(caller, "fd_fdstat_get", file, RESULT), 0);
    assert_eq!(caller.u64(RESULT + 8) as i64, read_seek);
    // A directory that hands on nothing but reading.
    let only_open: i64 = 1 << 13;
    assert_eq!(wasi!(caller, "fd_fdstat_set_rights", TMP, only_open, read_seek), 0);
    let file = caller.open(TMP, "a", 0);
    assert_eq!(caller.write(file, b"x"), Err(NOTCAPABLE));
    assert_eq!(caller.try_open(TMP, "b", CREATE), Err(NOTCAPABLE));
    assert_eq!(caller.at("path_create_directory", TMP, "d"), NOTCAPABLE);
}

#[test]
fn descriptors_append_are_renumbered_and_run_out() {
    let mut caller = caller();
    let file = caller.open_with(TMP, "a", (0, CREATE, 1), ALL).unwrap();
    caller.write(file, b"one").unwrap();
    assert_eq!(wasi!(caller, "fd_seek", file, 0_i64, 0, RESULT), 0);
    caller.write(file, b"two").unwrap();
    assert_eq!(wasi!(caller, "fd_fdstat_set_flags", file, 0), 0);
    assert_eq!(wasi!(caller, "fd_fdstat_set_flags", file, 64), INVAL);
    assert_eq!(wasi!(caller, "fd_seek", file, 0_i64, 0, RESULT), 0);
    assert_eq!(caller.read(file, 9).unwrap(), b"onetwo");
    let other = caller.open(TMP, "b", CREATE);
    assert_eq!(wasi!(caller, "fd_renumber", file, other), 0);
    assert_eq!(wasi!(caller, "fd_renumber", file, other), BADF);
    assert_eq!(wasi!(caller, "fd_seek", other, 3_i64, 0, RESULT), 0);
    assert_eq!(caller.read(other, 9).unwrap(), b"two");
    let mut opened = 5;
    let refused = loop {
        match caller.try_open(TMP, "a", 0) {
            Ok(_) => opened += 1,
            Err(errno) => break errno,
        }
    };
    assert_eq!((refused, opened), (MFILE, 1023));
}

#[test]
fn times_are_those_of_the_program_s_clock_or_as_it_sets_them() {
    let mut caller = caller();
    let file = caller.open(TMP, "a", CREATE);
    assert_eq!(wasi!(caller, "fd_filestat_set_times", file, 5_i64, 6_i64, 1 | 4), 0);
    assert_eq!(wasi!(caller, "fd_filestat_get", file, RESULT), 0);
    assert_eq!((caller.u64(RESULT + 40), caller.u64(RESULT + 48)), (5, 6));
    assert_eq!(wasi!(caller, "fd_filestat_set_times", file, 5_i64, 6_i64, 2 | 8), 0);
    assert_eq!(wasi!(caller, "fd_filestat_get", file, RESULT), 0);
    assert_eq!(caller.u64(RESULT + 48), 946_684_800_000_000_000);
    assert_eq!(wasi!(caller, "fd_filestat_set_times", file, 5_i64, 6_i64, 1 | 2), INVAL);
}

#[test]
fn pointers_outside_memory_are_faults() {
    let mut caller = caller();
    assert_eq!(wasi!(caller, "path_unlink_file", TMP, -4, 100), FAULT);
    assert_eq!(wasi!(caller, "fd_filestat_get", TMP, 4 * 65_536 - 63), FAULT);
    assert_eq!(wasi!(caller, "fd_read", 0, -8, 1, RESULT), FAULT);
    let io = caller.ranges(&[(4 * 65_536 - 1, 2)]);
    assert_eq!(wasi!(caller, "fd_write", 1, io, 1, RESULT), FAULT);
    assert_eq!(wasi!(caller, "fd_write", 1, io, 1025, RESULT), INVAL);
    assert_eq!(wasi!(caller, "random_get", 0, -1), FAULT);
}
