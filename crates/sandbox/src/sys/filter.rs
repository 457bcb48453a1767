//! Steps of filters that no table can say (`seccomp(2)`, `linux/filter.h`).

use std::io;

use super::{Pass, Way, raw};

pub(super) const LOAD: u32 = libc::BPF_LD | libc::BPF_W | libc::BPF_ABS;
pub(super) const AND: u32 = libc::BPF_ALU | libc::BPF_AND | libc::BPF_K;
pub(super) const IF_EQUAL: u32 = libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K;
pub(super) const RETURN: u32 = libc::BPF_RET | libc::BPF_K;
const JUMP: u32 = libc::BPF_JMP | libc::BPF_JA;

/// Where in `struct seccomp_data` the call's number is.
pub(super) const NUMBER: u32 = 0;

/// Where in it the lower half of an argument is, counted from 0.
pub(super) const fn argument(number: u32) -> u32 {
    16 + 8 * number
}

/// `BPF_STMT` and `BPF_JUMP`.
pub(super) fn step(code: u32, k: u32, jt: u8, jf: u8) -> libc::sock_filter {
    libc::sock_filter { code: code as u16, jt, jf, k }
}

/// Installs a filter that sends calls with the pass through one program and all others through another.
pub(crate) fn install_for_pass(
    pass: Pass,
    with: &[libc::sock_filter],
    without: &[libc::sock_filter],
) -> io::Result<()> {
    /// Where the steps below compare the halves of the pass.
    const COMPARE: [usize; 2] = [1, 3];
    let beyond = u32::try_from(with.len()).map_err(io::Error::other)?;
    let mut program = vec![
        step(LOAD, argument(5), 0, 0),
        step(IF_EQUAL, 0, 0, 2),
        step(LOAD, argument(5) + 4, 0, 0),
        step(IF_EQUAL, 0, 1, 0),
        step(JUMP, beyond, 0, 0),
    ];
    program.extend(with);
    program.extend(without);
    let length = libc::c_ushort::try_from(program.len()).map_err(io::Error::other)?;
    let filter = libc::sock_fprog { len: length, filter: program.as_mut_ptr() };
    let place = (&raw const filter).expose_provenance();
    let show = |halves: [*const u32; 2]| {
        for (at, half) in COMPARE.into_iter().zip(halves) {
            // SAFETY: both places are there, aligned, and nobody else's at this moment.
            unsafe { (&raw mut (*filter.filter.add(at)).k).write_volatile(half.read_volatile()) };
        }
    };
    show(pass.halves());
    let mode = libc::SECCOMP_SET_MODE_FILTER as usize;
    // SAFETY: seccomp(2) reads the program, which is there.
    let installed = unsafe { raw::call(Way::Open, libc::SYS_seccomp, [mode, 0, place]) };
    show([&0, &0]);
    installed.map(drop)
}
