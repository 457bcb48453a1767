//! A WASI program whose every step a test decides: it exports what it imports, and a way to its memory.

#![allow(dead_code)] // Each test file uses its own part.

use lazaret_engine::program::{Input, Instance, Output, Value};
use lazaret_engine::wasi::World;
use lazaret_engine::{ExecuteError, Params, Profile};

use super::programs::{Streams, call, load, text};

/// Names, and parameters in the order of their types: `i` 32 bits, `l` 64.
pub(crate) const FUNCTIONS: [(&str, &str); 40] = [
    ("args_get", "ii"),
    ("args_sizes_get", "ii"),
    ("environ_get", "ii"),
    ("environ_sizes_get", "ii"),
    ("clock_res_get", "ii"),
    ("clock_time_get", "ili"),
    ("fd_advise", "illi"),
    ("fd_allocate", "ill"),
    ("fd_close", "i"),
    ("fd_datasync", "i"),
    ("fd_fdstat_get", "ii"),
    ("fd_fdstat_set_flags", "ii"),
    ("fd_fdstat_set_rights", "ill"),
    ("fd_filestat_get", "ii"),
    ("fd_filestat_set_size", "il"),
    ("fd_filestat_set_times", "illi"),
    ("fd_pread", "iiili"),
    ("fd_prestat_get", "ii"),
    ("fd_prestat_dir_name", "iii"),
    ("fd_pwrite", "iiili"),
    ("fd_read", "iiii"),
    ("fd_readdir", "iiili"),
    ("fd_renumber", "ii"),
    ("fd_seek", "ilii"),
    ("fd_sync", "i"),
    ("fd_tell", "ii"),
    ("fd_write", "iiii"),
    ("path_create_directory", "iii"),
    ("path_filestat_get", "iiiii"),
    ("path_link", "iiiiiii"),
    ("path_open", "iiiiillii"),
    ("path_readlink", "iiiiii"),
    ("path_remove_directory", "iii"),
    ("path_rename", "iiiiii"),
    ("path_symlink", "iiiii"),
    ("path_unlink_file", "iii"),
    ("poll_oneoff", "iiii"),
    ("random_get", "ii"),
    ("sched_yield", ""),
    ("sock_shutdown", "ii"),
];

/// Where paths lie, and a second one; where results come.
pub(crate) const PATH: i32 = 1024;
pub(crate) const OTHER: i32 = 8192;
pub(crate) const RESULT: i32 = 16_384;
pub(crate) const BUFFER: i32 = 32_768;
const IO: i32 = 512;

/// Rights of everything, as a program asks for them that does not care.
pub(crate) const ALL: i64 = (1 << 30) - 1;

/// Error codes.
pub(crate) const BADF: i32 = 8;
pub(crate) const EXIST: i32 = 20;
pub(crate) const FAULT: i32 = 21;
pub(crate) const INVAL: i32 = 28;
pub(crate) const ISDIR: i32 = 31;
pub(crate) const LOOP: i32 = 32;
pub(crate) const MFILE: i32 = 33;
pub(crate) const NAMETOOLONG: i32 = 37;
pub(crate) const NOENT: i32 = 44;
pub(crate) const NOSPC: i32 = 51;
pub(crate) const NOTDIR: i32 = 54;
pub(crate) const NOTEMPTY: i32 = 55;
pub(crate) const NOTSOCK: i32 = 57;
pub(crate) const PERM: i32 = 63;
pub(crate) const ROFS: i32 = 69;
pub(crate) const SPIPE: i32 = 70;
pub(crate) const XDEV: i32 = 75;
pub(crate) const NOTCAPABLE: i32 = 76;

/// The program.
pub(crate) struct Caller {
    pub(crate) instance: Instance,
}

/// One value of a call.
#[derive(Clone, Copy)]
pub(crate) enum Arg {
    I(i32),
    L(i64),
}

impl From<i32> for Arg {
    fn from(value: i32) -> Self {
        Self::I(value)
    }
}

impl From<i64> for Arg {
    fn from(value: i64) -> Self {
        Self::L(value)
    }
}

/// Calls by name with numbers of both widths.
macro_rules! wasi {
    ($caller:expr, $name:literal $(, $arg:expr)*) => {
        $caller.call($name, &[$($arg.into()),*])
    };
}
#[allow(unused_imports)]
pub(crate) use wasi;

impl Caller {
    pub(crate) fn new(world: World) -> Self {
        Self::of("wasi_snapshot_preview1", world, &text(Profile::Wasi))
    }

    pub(crate) fn of(module: &str, world: World, params: &Params) -> Self {
        let mut imports = String::new();
        let mut exports = String::new();
        for (name, types) in FUNCTIONS {
            let types: Vec<_> =
                types.chars().map(|ty| if ty == 'i' { "i32" } else { "i64" }).collect();
            let types = types.join(" ");
            imports += &format!(
                r#"(import "{module}" "{name}" (func ${name} (param {types}) (result i32)))"#
            );
            exports += &format!(r#"(export "{name}" (func ${name}))"#);
        }
        let code = format!(
            r#"(module {imports} {exports} (memory (export "memory") 4)
                (func (export "put") (param i32 i32)
                    (i32.store8 (local.get 0) (local.get 1))))"#
        );
        let mut instance = load(code.as_bytes(), params).instance();
        instance.provide(world);
        Self { instance }
    }

    pub(crate) fn try_call(&mut self, name: &str, args: &[Arg]) -> Result<Output, ExecuteError> {
        let values: Vec<_> = args
            .iter()
            .map(|arg| match arg {
                Arg::I(value) => Value::I32(*value),
                Arg::L(value) => Value::I64(*value),
            })
            .collect();
        call(&mut self.instance, name, Input::Values(&values))
    }

    /// Calls, and returns the error code.
    pub(crate) fn call(&mut self, name: &str, args: &[Arg]) -> i32 {
        match self.try_call(name, args) {
            Ok(Output::Values(values)) => match values[..] {
                [Value::I32(errno)] => errno,
                _ => panic!("{name}: {values:?}"),
            },
            other => panic!("{name}: {other:?}"),
        }
    }

    pub(crate) fn put(&mut self, at: i32, bytes: &[u8]) {
        for (index, byte) in bytes.iter().enumerate() {
            let args = [Arg::I(at + index as i32), Arg::I((*byte).into())];
            self.try_call("put", &args).unwrap();
        }
    }

    pub(crate) fn bytes(&self, at: i32, bytes: usize) -> Vec<u8> {
        self.instance.bytes(&(at as usize..at as usize + bytes)).to_vec()
    }

    pub(crate) fn u32(&self, at: i32) -> u32 {
        u32::from_le_bytes(self.bytes(at, 4).try_into().unwrap())
    }

    pub(crate) fn u64(&self, at: i32) -> u64 {
        u64::from_le_bytes(self.bytes(at, 8).try_into().unwrap())
    }

    /// Writes a path where calls will find it.
    pub(crate) fn path(&mut self, path: &str) -> (i32, i32) {
        self.put(PATH, path.as_bytes());
        (PATH, path.len() as i32)
    }

    pub(crate) fn other_path(&mut self, path: &str) -> (i32, i32) {
        self.put(OTHER, path.as_bytes());
        (OTHER, path.len() as i32)
    }

    /// Opens with all rights. `how` are the flags of opening.
    pub(crate) fn try_open(&mut self, fd: i32, path: &str, how: i32) -> Result<i32, i32> {
        self.open_with(fd, path, (1, how, 0), ALL)
    }

    pub(crate) fn open_with(
        &mut self,
        fd: i32,
        path: &str,
        (look_up, how, flags): (i32, i32, i32),
        rights: i64,
    ) -> Result<i32, i32> {
        let (at, bytes) = self.path(path);
        match wasi!(self, "path_open", fd, look_up, at, bytes, how, rights, ALL, flags, RESULT) {
            0 => Ok(self.u32(RESULT) as i32),
            errno => Err(errno),
        }
    }

    pub(crate) fn open(&mut self, fd: i32, path: &str, how: i32) -> i32 {
        self.try_open(fd, path, how).unwrap_or_else(|errno| panic!("{path}: {errno}"))
    }

    /// A call with one path.
    pub(crate) fn at(&mut self, name: &str, fd: i32, path: &str) -> i32 {
        let (at, bytes) = self.path(path);
        self.call(name, &[Arg::I(fd), Arg::I(at), Arg::I(bytes)])
    }

    pub(crate) fn write(&mut self, fd: i32, bytes: &[u8]) -> Result<u32, i32> {
        self.put(BUFFER, bytes);
        self.ranges(&[(BUFFER, bytes.len() as i32)]);
        match wasi!(self, "fd_write", fd, IO, 1, RESULT) {
            0 => Ok(self.u32(RESULT)),
            errno => Err(errno),
        }
    }

    pub(crate) fn read(&mut self, fd: i32, bytes: i32) -> Result<Vec<u8>, i32> {
        self.ranges(&[(BUFFER, bytes)]);
        match wasi!(self, "fd_read", fd, IO, 1, RESULT) {
            0 => Ok(self.bytes(BUFFER, self.u32(RESULT) as usize)),
            errno => Err(errno),
        }
    }

    /// Writes down ranges for a reading or writing call, and says where.
    pub(crate) fn ranges(&mut self, ranges: &[(i32, i32)]) -> i32 {
        for (index, (at, bytes)) in ranges.iter().enumerate() {
            let place = IO + 8 * index as i32;
            self.put(place, &at.to_le_bytes());
            self.put(place + 4, &bytes.to_le_bytes());
        }
        IO
    }

    /// Names in a directory, in its order.
    pub(crate) fn names(&mut self, fd: i32) -> Vec<String> {
        assert_eq!(wasi!(self, "fd_readdir", fd, BUFFER, 4096, 0_i64, RESULT), 0);
        let used = self.u32(RESULT) as i32;
        let mut names = Vec::new();
        let mut at = BUFFER;
        while at < BUFFER + used {
            let length = self.u32(at + 16) as usize;
            names.push(String::from_utf8(self.bytes(at + 24, length)).unwrap());
            at += 24 + length as i32;
        }
        names
    }
}

/// A world with an image at 3, room for files at 4, and what a test puts into it.
pub(crate) fn world(bytes_max: u64) -> (Streams, World) {
    use lazaret_engine::wasi::{Contents, Mount, Tree};
    let streams = Streams::default();
    let mut world = streams.world();
    let mut tree = Tree::new(std::rc::Rc::new(b"content".to_vec()));
    tree.directory(b"folder").unwrap();
    tree.file(b"folder/file", 0..7).unwrap();
    tree.link(b"link", b"folder/file").unwrap();
    tree.link(b"loop", b"loop").unwrap();
    tree.link(b"out", b"../tmp/secret").unwrap();
    world.mounts.push(Mount { path: b"/in".to_vec(), contents: Contents::Image(tree) });
    let contents = Contents::Private { bytes_max };
    world.mounts.push(Mount { path: b"/tmp".to_vec(), contents });
    (streams, world)
}
