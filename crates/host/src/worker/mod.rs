//! Worker processes as the host sees them: started, greeted, leased, spoken to, retired.
//!
//! ```text
//! spawner     one thread for the host's life that starts and reaps processes
//! process     one worker: greeted, sent one frame at a time, killed when dropped
//! layers      the layers of the jail that are the host's to put on: control groups
//! link        its socket: frames with descriptors
//! input_file  where its large inputs are
//! log_pipe    its standard error: lines, capped and escaped
//! turn        what the kernel tells of a job that is late
//! pool        which worker is whose, and who gets the next one
//! backoff     when to try again to start one
//! ```

mod backoff;
mod input_file;
mod layers;
mod link;
mod log_pipe;
mod pool;
mod process;
mod program;
mod spawner;
mod turn;

pub(crate) use input_file::{INPUT_FILE_BYTES_MAX, InputFile};
pub use pool::QueueState;
pub(crate) use pool::{Lease, Pool, Urgency};
pub(crate) use process::Terms;
pub(crate) use spawner::Spawner;
pub use turn::JobTurn;
