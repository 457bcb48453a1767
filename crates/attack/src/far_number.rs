//! A number for the host that no process of a job's pid namespace has: in a young pid namespace (a
//! container, say) the two count through the same small numbers, and an attack on the host by its
//! number would find the job itself.

use std::{
    env,
    error::Error,
    process::{Command, ExitCode},
    thread,
};

/// More processes than any worker makes while the battery runs.
const FAR: u32 = 8192;

/// Runs this program once more under a far number, unless it has one. Its exit code, if so.
pub(crate) fn run_again() -> Result<Option<ExitCode>, Box<dyn Error>> {
    if std::process::id() > FAR {
        return Ok(None);
    }
    // Threads are numbered like processes, and are cheaper.
    while last_number()? <= FAR {}
    let ended = Command::new(env::current_exe()?).args(env::args_os().skip(1)).status()?;
    let code = ended.code().and_then(|code| u8::try_from(code).ok());
    Ok(Some(code.map_or(ExitCode::from(2), ExitCode::from)))
}

/// The number that the next thread gets.
fn last_number() -> Result<u32, Box<dyn Error>> {
    let thread = thread::Builder::new().spawn(|| rustix::thread::gettid().as_raw_nonzero())?;
    let number = thread.join().map_err(|_| "a thread that says its number panicked")?;
    Ok(number.get().unsigned_abs())
}
