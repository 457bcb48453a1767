//! What a job with standard streams may do with them, and that it may do nothing else.
//!
//! Cases for `play`, beside those of `attacks`.

use lazaret_sandbox::job::{STDERR, STDIN, STDOUT, TimeOfDay, stopwatch, time_of_day};
use libc as c;

use crate::attacks::{Case, KILLED, PLAIN, got, raw, refused_unless};

/// What the worker puts into standard input.
pub(crate) const INPUT: &[u8] = b"input";

const fn hidden(name: &'static str, attack: fn(&'static [u8]) -> i32, ends: &'static str) -> Case {
    Case { name, attack, ends, streams: Some(TimeOfDay::Hidden), ..PLAIN }
}

const fn told(name: &'static str, attack: fn(&'static [u8]) -> i32, ends: &'static str) -> Case {
    Case { streams: Some(TimeOfDay::Told), ..hidden(name, attack, ends) }
}

pub(crate) const CASES: &[Case] = &[
    hidden("streams_are_read_and_written", |_| use_them(), "exited 0"),
    hidden("with_streams_the_channel_is_not_read", |_| got(read(0)), KILLED),
    hidden("with_streams_an_output_is_not_read", |_| got(read(STDOUT.into())), KILLED),
    hidden("with_streams_the_input_is_not_written", |_| got(write(STDIN.into())), KILLED),
    hidden("with_streams_another_descriptor_is_not_written", |_| got(write(13)), KILLED),
    hidden("with_streams_a_number_with_high_bits_is_stopped", |_| got(read(1 << 32 | 10)), KILLED),
    hidden("with_streams_no_descriptor_is_moved", |_| got(move_to(10)), KILLED),
    hidden("with_streams_waiting_for_many_is_stopped", |_| got(raw(c::SYS_poll, [0; 6])), KILLED),
    hidden("with_streams_the_time_is_hidden", |_| got(clock(c::CLOCK_REALTIME)), KILLED),
    hidden("with_streams_sleeping_is_stopped", |_| got(raw(c::SYS_nanosleep, [0; 6])), KILLED),
    told("the_time_is_told_where_it_was_asked_for", |_| ask_the_time(), "exited 0"),
    told("where_the_time_is_told_other_clocks_are_not", |_| got(clock(c::CLOCK_BOOTTIME)), KILLED),
    told("where_the_time_is_told_nobody_sleeps", |_| got(raw(c::SYS_nanosleep, [0; 6])), KILLED),
    Case {
        name: "without_streams_nothing_is_read",
        attack: |_| got(read(10)),
        ends: KILLED,
        ..PLAIN
    },
];

fn read(descriptor: i64) -> i64 {
    let mut room = [0_u8; 64];
    raw(c::SYS_read, [descriptor, room.as_mut_ptr() as i64, 64, 0, 0, 0])
}

fn write(descriptor: i64) -> i64 {
    raw(c::SYS_write, [descriptor, INPUT.as_ptr() as i64, INPUT.len() as i64, 0, 0, 0])
}

fn move_to(descriptor: i64) -> i64 {
    raw(c::SYS_dup2, [0, descriptor, 0, 0, 0, 0])
}

fn clock(clock: c::clockid_t) -> i64 {
    let mut time = [0_u64; 2];
    raw(c::SYS_clock_gettime, [clock.into(), time.as_mut_ptr() as i64, 0, 0, 0, 0])
}

/// The worker's end of standard input is closed, so behind what it wrote is the end.
fn use_them() -> i32 {
    let length = INPUT.len() as i64;
    let reads = [read(STDIN.into()), read(STDIN.into())] == [length, 0];
    let writes = [write(STDOUT.into()), write(STDERR.into())] == [length; 2];
    refused_unless(reads && writes)
}

fn ask_the_time() -> i32 {
    refused_unless(time_of_day().as_secs() > 1_700_000_000 && stopwatch().as_nanos() > 0)
}
