//! What host, worker and job say to each other.
//!
//! Two links exist. Host and worker exchange *frames* over a `SOCK_SEQPACKET` socket pair: one frame
//! is one datagram, descriptors ride along (see [`frame`]). A job sends its worker a stream of
//! *records* and closes (see [`reply`]). Everything here is plain data and pure functions: no
//! descriptor, no clock, no I/O, no unsafe.
//!
//! Every length is checked against a named maximum before memory is taken, no `usize` is encoded,
//! and no input makes a decoder panic. What comes from a job is a [`claim::Claim`] and nothing more;
//! what the kernel and the worker know of that job is [`evidence::Evidence`].
#![forbid(unsafe_code)]

pub mod claim;
pub mod evidence;
pub mod frame;
pub mod greeting;
pub mod image;
pub mod params;
pub mod program;
pub mod reply;
pub mod sequence;
pub mod text;
pub mod work;
