//! The third kind of error: a mistake of ours.

/// A [`Fault::Bug`](crate::Fault::Bug) that says where it was noticed. Panics in debug builds, fails
/// one request in release builds.
macro_rules! bug {
    ($what:literal) => {
        $crate::bug::noticed($what, file!(), line!())
    };
}

pub(crate) fn noticed(what: &'static str, file: &'static str, line: u32) -> crate::Fault {
    tracing::error!(target: "lazaret", what, file, line, "a bug in Lazaret");
    if cfg!(debug_assertions) {
        panic!("a bug in Lazaret: {what} ({file}:{line})");
    }
    crate::Fault::Bug { what, file, line }
}
