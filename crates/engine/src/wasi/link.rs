//! The functions of WASI preview 1, by name and type, as programs import them.

use wasmtime::{Caller, Linker};

use super::abi::{FileType, Generation, rights};
use super::guest::enter;
use super::path::{At, NewTimes, Open};
use super::{fd, path, process};
use crate::program::State;

/// Module names that functions are imported from.
const MODULES: [(&str, Generation); 2] =
    [("wasi_snapshot_preview1", Generation::Preview1), ("wasi_unstable", Generation::Unstable)];

/// Defines functions that return an error code, and lists their types.
macro_rules! wasi_functions {
    ($($name:literal ($guest:ident $(, $arg:ident: $ty:ident)*) $body:block)*) => {
        fn define(
            linker: &mut Linker<State>,
            module: &str,
            generation: Generation,
        ) -> wasmtime::Result<()> {
            $(define_one!(linker, module, generation, $name ($guest $(, $arg: $ty)*) $body);)*
            Ok(())
        }

        /// Names, and parameters as Rust writes them.
        const FUNCTIONS: &[(&str, &[&str])] = &[$(($name, &[$(stringify!($ty)),*])),*];
    };
}

macro_rules! define_one {
    ($linker:ident, $module:ident, $generation:ident, $name:literal
        ($guest:ident $(, $arg:ident: $ty:ident)*) $body:block) => {
        $linker.func_wrap(
            $module,
            $name,
            move |caller: Caller<'_, State> $(, $arg: $ty)*| -> wasmtime::Result<i32> {
                enter(caller, $generation, |$guest| $body)
            },
        )?;
    };
}

/// Defines everything under both module names.
pub(crate) fn link(linker: &mut Linker<State>) -> wasmtime::Result<()> {
    for (module, generation) in MODULES {
        define(linker, module, generation)?;
        // The one function that returns nothing.
        linker.func_wrap(
            module,
            EXIT,
            move |caller: Caller<'_, State>, code: u32| -> wasmtime::Result<()> {
                enter(caller, generation, |_| process::exit(code)).map(|_| ())
            },
        )?;
    }
    Ok(())
}

const EXIT: &str = "proc_exit";

/// The type of a function that is provided, in words; `None` if it is not.
pub(crate) fn type_of(module: &str, name: &str) -> Option<String> {
    MODULES.iter().find(|(known, _)| *known == module)?;
    if name == EXIT {
        return Some("(i32) -> ()".to_owned());
    }
    let (_, params) = FUNCTIONS.iter().find(|(known, _)| *known == name)?;
    let wasm = |ty: &&str| if ty.ends_with("64") { "i64" } else { "i32" };
    let params: Vec<_> = params.iter().map(wasm).collect();
    Some(format!("({}) -> (i32)", params.join(", ")))
}

wasi_functions! {
    "args_get"(guest, pointers: u32, bytes: u32) {
        let args = guest.context.args.clone();
        process::strings(guest, args, (pointers, bytes))
    }
    "args_sizes_get"(guest, count: u32, bytes: u32) {
        process::sizes(guest, |guest| lengths(&guest.context.args), (count, bytes))
    }
    "environ_get"(guest, pointers: u32, bytes: u32) {
        let env = guest.context.env.clone();
        process::strings(guest, env, (pointers, bytes))
    }
    "environ_sizes_get"(guest, count: u32, bytes: u32) {
        process::sizes(guest, |guest| lengths(&guest.context.env), (count, bytes))
    }
    "clock_res_get"(guest, id: u32, result: u32) {
        process::clock_resolution(guest, id, result)
    }
    "clock_time_get"(guest, id: u32, _precision: u64, result: u32) {
        process::clock_time(guest, id, result)
    }
    "fd_advise"(guest, fd: u32, _offset: u64, _bytes: u64, advice: u32) {
        fd::advise(guest, fd, advice)
    }
    "fd_allocate"(guest, fd: u32, offset: u64, bytes: u64) {
        fd::allocate(guest, fd, offset, bytes)
    }
    "fd_close"(guest, fd: u32) { fd::close(guest, fd) }
    "fd_datasync"(guest, fd: u32) { fd::sync(guest, fd, rights::FD_DATASYNC) }
    "fd_fdstat_get"(guest, fd: u32, result: u32) { fd::fdstat(guest, fd, result) }
    "fd_fdstat_set_flags"(guest, fd: u32, flags: u32) { fd::set_flags(guest, fd, flags) }
    "fd_fdstat_set_rights"(guest, fd: u32, base: u64, inheriting: u64) {
        fd::set_rights(guest, fd, base, inheriting)
    }
    "fd_filestat_get"(guest, fd: u32, result: u32) { fd::filestat(guest, fd, result) }
    "fd_filestat_set_size"(guest, fd: u32, bytes: u64) { fd::set_size(guest, fd, bytes) }
    "fd_filestat_set_times"(guest, fd: u32, accessed: u64, modified: u64, flags: u32) {
        path::set_times_of(guest, fd, NewTimes { accessed, modified, flags })
    }
    "fd_pread"(guest, fd: u32, io: u32, count: u32, offset: u64, read: u32) {
        fd::read(guest, fd, fd::At::Offset(offset), (io, count), read)
    }
    "fd_prestat_get"(guest, fd: u32, result: u32) { fd::prestat(guest, fd, result) }
    "fd_prestat_dir_name"(guest, fd: u32, pointer: u32, bytes: u32) {
        fd::prestat_name(guest, fd, pointer, bytes)
    }
    "fd_pwrite"(guest, fd: u32, io: u32, count: u32, offset: u64, written: u32) {
        fd::write(guest, fd, fd::At::Offset(offset), (io, count), written)
    }
    "fd_read"(guest, fd: u32, io: u32, count: u32, read: u32) {
        fd::read(guest, fd, fd::At::Position, (io, count), read)
    }
    "fd_readdir"(guest, fd: u32, pointer: u32, bytes: u32, cookie: u64, used: u32) {
        fd::read_directory(guest, fd, (pointer, bytes), cookie, used)
    }
    "fd_renumber"(guest, from: u32, to: u32) { fd::renumber(guest, from, to) }
    "fd_seek"(guest, fd: u32, by: i64, whence: u32, result: u32) {
        fd::seek(guest, fd, by, whence, result)
    }
    "fd_sync"(guest, fd: u32) { fd::sync(guest, fd, rights::FD_SYNC) }
    "fd_tell"(guest, fd: u32, result: u32) { fd::tell(guest, fd, result) }
    "fd_write"(guest, fd: u32, io: u32, count: u32, written: u32) {
        fd::write(guest, fd, fd::At::Position, (io, count), written)
    }
    "path_create_directory"(guest, fd: u32, pointer: u32, bytes: u32) {
        path::create_directory(guest, At { fd, pointer, bytes })
    }
    "path_filestat_get"(guest, fd: u32, flags: u32, pointer: u32, bytes: u32, result: u32) {
        path::filestat(guest, At { fd, pointer, bytes }, flags, result)
    }
    "path_filestat_set_times"(
        guest, fd: u32, look_up: u32, pointer: u32, bytes: u32,
        accessed: u64, modified: u64, flags: u32
    ) {
        let new = NewTimes { accessed, modified, flags };
        path::set_times(guest, At { fd, pointer, bytes }, look_up, new)
    }
    "path_link"(
        guest, fd: u32, look_up: u32, pointer: u32, bytes: u32,
        new_fd: u32, new_pointer: u32, new_bytes: u32
    ) {
        let to = At { fd: new_fd, pointer: new_pointer, bytes: new_bytes };
        path::link(guest, At { fd, pointer, bytes }, look_up, to)
    }
    "path_open"(
        guest, fd: u32, look_up: u32, pointer: u32, bytes: u32, open: u32,
        rights: u64, inheriting: u64, flags: u32, result: u32
    ) {
        let asked = Open { look_up, open, rights, inheriting, fd: flags };
        path::open(guest, At { fd, pointer, bytes }, asked, result)
    }
    "path_readlink"(
        guest, fd: u32, pointer: u32, bytes: u32, buffer: u32, buffer_bytes: u32, used: u32
    ) {
        path::read_link(guest, At { fd, pointer, bytes }, (buffer, buffer_bytes), used)
    }
    "path_remove_directory"(guest, fd: u32, pointer: u32, bytes: u32) {
        path::remove(guest, At { fd, pointer, bytes }, FileType::Directory)
    }
    "path_rename"(
        guest, fd: u32, pointer: u32, bytes: u32,
        new_fd: u32, new_pointer: u32, new_bytes: u32
    ) {
        let to = At { fd: new_fd, pointer: new_pointer, bytes: new_bytes };
        path::rename(guest, At { fd, pointer, bytes }, to)
    }
    "path_symlink"(
        guest, target: u32, target_bytes: u32, fd: u32, pointer: u32, bytes: u32
    ) {
        path::symlink(guest, (target, target_bytes), At { fd, pointer, bytes })
    }
    "path_unlink_file"(guest, fd: u32, pointer: u32, bytes: u32) {
        path::remove(guest, At { fd, pointer, bytes }, FileType::Regular)
    }
    "poll_oneoff"(guest, from: u32, to: u32, count: u32, result: u32) {
        process::poll(guest, (from, to), count, result)
    }
    "proc_raise"(_guest, signal: u32) { process::raise(signal) }
    "random_get"(guest, pointer: u32, bytes: u32) { process::random(guest, pointer, bytes) }
    "sched_yield"(_guest) { Ok(()) }
    "sock_accept"(guest, fd: u32, _flags: u32, _result: u32) { process::not_a_socket(guest, fd) }
    "sock_recv"(
        guest, fd: u32, _io: u32, _count: u32, _flags: u32, _read: u32, _out_flags: u32
    ) {
        process::not_a_socket(guest, fd)
    }
    "sock_send"(guest, fd: u32, _io: u32, _count: u32, _flags: u32, _written: u32) {
        process::not_a_socket(guest, fd)
    }
    "sock_shutdown"(guest, fd: u32, _how: u32) { process::not_a_socket(guest, fd) }
}

/// How many strings there are, and their bytes.
fn lengths(strings: &[Vec<u8>]) -> (usize, usize) {
    (strings.len(), strings.iter().map(Vec::len).sum())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_listed_function_is_linked_with_the_listed_type() {
        let engine = wasmtime::Engine::default();
        let mut linker = Linker::<State>::new(&engine);
        link(&mut linker).unwrap();
        for (module, _) in MODULES {
            let names = FUNCTIONS.iter().map(|(name, _)| *name).chain([EXIT]);
            for name in names {
                let ty = type_of(module, name).unwrap();
                let (params, results) = ty.split_once(" -> ").unwrap();
                let wat = format!(
                    r#"(module (import "{module}" "{name}" (func (param {}) (result {}))))"#,
                    params.trim_matches(['(', ')']).replace(',', ""),
                    results.trim_matches(['(', ')'])
                );
                let wasm = wat::parse_str(&wat).unwrap();
                let module = wasmtime::Module::new(&engine, wasm).unwrap();
                linker.instantiate_pre(&module).unwrap_or_else(|error| panic!("{name}: {error:#}"));
            }
        }
        assert_eq!(FUNCTIONS.len() + 1, 46);
    }
}
