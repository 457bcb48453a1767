//! Standard output, for results. Unlike `println!` it does not panic when nobody reads on, as in
//! `lazaret ... | head`: the exit code still says how it ended.

use std::{
    fmt,
    io::{self, Write},
    process::exit,
};

/// Prints a line of a result.
macro_rules! say {
    ($($words:tt)*) => {
        $crate::say::line(format_args!($($words)*))
    };
}

/// Says something to people on standard error, where nobody may be reading.
macro_rules! tell {
    ($($words:tt)*) => {{
        use std::io::Write as _;
        let _ = writeln!(std::io::stderr(), $($words)*);
    }};
}

/// Standard error for a log: what cannot be written is not heard, and must not stop anything.
pub(crate) struct Unheard;

impl Write for Unheard {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let _ = io::stderr().write_all(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A result that cannot be written for another reason (a full disk) is a fault of this machine.
pub(crate) fn line(words: fmt::Arguments<'_>) {
    match writeln!(io::stdout(), "{words}") {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => {}
        Err(error) => {
            eprintln!("lazaret: cannot write the result to standard output: {error}");
            exit(4)
        }
    }
}
