//! System calls without the C library.
//!
//! For those on the way of a copy: each function of the library's that it would go through lies on another page
//! of its text, and each such page is a page fault, which takes longer than the call. And for those that
//! carry a pass, which the library has no place for.

use std::arch::asm;
use std::io;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// How a call is made.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Way {
    /// As any.
    Open,
    /// With a pass in the place of a sixth argument, which the kernel does not look at; a filter does.
    Pass(Pass),
}

/// A random number, in a place where it can be forgotten: nowhere else in the process is it written down, nor is it in a
/// register between two calls.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pass(&'static AtomicU64);

impl Pass {
    /// Draws one, whose two halves `show` sees.
    pub(crate) fn draw(place: &'static AtomicU64) -> io::Result<Self> {
        let address = place.as_ptr().expose_provenance();
        // SAFETY: getrandom(2) writes eight bytes, for which there is room.
        match unsafe { call(Way::Open, libc::SYS_getrandom, [address, size_of::<u64>(), 0]) }? {
            8 => Ok(Self(place)),
            _ => Err(io::ErrorKind::UnexpectedEof.into()),
        }
    }

    /// Where its halves are, the lower first.
    pub(super) fn halves(self) -> [*const u32; 2] {
        let lower = self.0.as_ptr().cast_const().cast::<u32>();
        [lower, lower.wrapping_add(1)]
    }

    /// From now on no call of this process has it.
    pub(crate) fn forget(self) {
        self.0.store(0, Relaxed);
    }
}

/// Makes a system call, with zeros for the arguments that are not given.
///
/// # Safety
/// As the call with these arguments.
pub(crate) unsafe fn call<const N: usize>(
    way: Way,
    number: i64,
    given: [usize; N],
) -> io::Result<usize> {
    const { assert!(N <= 5) };
    let mut arguments = [0; 5];
    arguments[..N].copy_from_slice(&given);
    let [first, second, third, fourth, fifth] = arguments;
    let none = 0;
    let pass = match way {
        Way::Open => &raw const none,
        Way::Pass(Pass(place)) => place.as_ptr().cast_const(),
    };
    let result: isize;
    // SAFETY: the kernel changes `rax`, `rcx` and `r11`, and what the caller answers for (syscall(2)). The pass is read
    // from where it is and stays in no register.
    unsafe {
        asm!(
            "mov r9, [r9]",
            "syscall",
            "xor r9d, r9d",
            inlateout("rax") number as isize => result,
            in("rdi") first,
            in("rsi") second,
            in("rdx") third,
            in("r10") fourth,
            in("r8") fifth,
            inlateout("r9") pass => _,
            lateout("rcx") _,
            lateout("r11") _,
            options(nostack),
        );
    }
    match result {
        -4095..=-1 => Err(io::Error::from_raw_os_error(-result as i32)),
        done => Ok(done as usize),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pass_is_drawn_carried_and_forgotten() {
        static PLACE: AtomicU64 = AtomicU64::new(0);
        let pass = Pass::draw(&PLACE).unwrap();
        assert_ne!(PLACE.load(Relaxed), 0);
        for way in [Way::Open, Way::Pass(pass)] {
            // SAFETY: getpid(2) has no requirement.
            let pid = unsafe { call(way, libc::SYS_getpid, []) }.unwrap();
            assert_eq!(pid, std::process::id() as usize);
        }
        pass.forget();
        assert_eq!(PLACE.load(Relaxed), 0);
        // SAFETY: close(2) of no descriptor touches nothing.
        let refused = unsafe { call(Way::Open, libc::SYS_close, [usize::MAX]) }.unwrap_err();
        assert_eq!(refused.raw_os_error(), Some(libc::EBADF));
    }
}
