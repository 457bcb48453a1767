//! The numbers of today. A change that adds to one of them fails here and has to say why; one that
//! takes from it lowers the bound in the same commit: run with `--nocapture`, which prints what
//! was counted.
//!
//! A bound is the number itself, but for three. A worker is woken once or twice for a reply and an end
//! that come together, or a call earlier or later; and when none comes for 2 ms it looks at what has ended and
//! at what is there, which the next call otherwise finds: 12 calls more or less while somebody waits, 19 while nobody
//! does. In one call of four it makes the channels of four copies, which is 16 calls. A host is woken once more or less.
//! An answer holds times, which are shorter or longer: 8 bytes. Where things lie in memory differs from run to run, and with it page
//! faults by a tenth. A build with debug assertions, which this is, asks after each descriptor that
//! it closes (`fcntl F_GETFD`); the shipped one does not.

use crate::{
    counts::{Counts, Share},
    role::LARGE_BYTES,
};

pub(crate) struct Case {
    pub(crate) name: &'static str,
    /// The most of each.
    most: Counts,
}

const fn share(calls: usize, bytes: u64, faults: u64) -> Share {
    Share { calls, bytes, faults }
}

/// What the host writes before the large input: its guest's heap begins so far into a page.
const BEFORE_BYTES: u64 = 1032;

/// What a call costs whose guest does nothing: the third of its kind, so that its job is the copy of a
/// template that has loaded the artifact, and waits behind its last doors. The next such copy is made while
/// this one runs. Nobody has stopped asking yet, so what the template has written to is not in a large page: from then on the job
/// of a release build takes no page fault on the way. A call that took more than a third of a millisecond, as one may under a
/// tracer, has the next copy touch some eleven pages more. The job's page faults were 9 or 10, the same in all tries of one run and not
/// from one run to the next, presumably by where things lie.
const TRIVIAL: Counts = Counts {
    host: share(7, 97, 6),
    worker: share(36, 194, 6),
    job: share(7, 99, 11),
    worker_meanwhile: share(36, 2, 3),
    standby: share(11, 1, 48),
    begun: 1,
};

pub(crate) const CASES: &[Case] = &[
    Case { name: "a_trivial_call", most: TRIVIAL },
    // Half a megabyte more of artifact: not a byte more is copied. The next copy finds what it maps ahead of it, and what the
    // template has written to lies on a few pages more.
    Case {
        name: "a_large_artifact",
        most: Counts { job: share(7, 99, 12), standby: share(11, 1, 55), ..TRIVIAL },
    },
    // The host writes the input to the worker's input file, behind what makes it lie there as it does in the guest's
    // memory; the job maps it into the guest's memory. To copy it would be 256 faults more. What a copy waits for has
    // descriptors, so it has its last doors to close when that comes.
    Case {
        name: "a_large_input",
        most: Counts {
            host: share(10, 97 + BEFORE_BYTES + LARGE_BYTES as u64, 6),
            worker: share(37, 176, 6),
            job: share(20, 83, 25),
            standby: share(11, 1, 27),
            ..TRIVIAL
        },
    },
];

impl Case {
    /// What is beyond its bound.
    pub(crate) fn broken_by(&self, counts: &Counts) -> Vec<String> {
        let shares = |counts: &Counts| {
            [
                ("the host", counts.host),
                ("the worker", counts.worker),
                ("the job", counts.job),
                ("the worker meanwhile", counts.worker_meanwhile),
                ("the next copy and its template", counts.standby),
            ]
        };
        let mut broken = Vec::new();
        let mut bound = |what: String, number: u64, most: u64| {
            if number > most {
                broken.push(format!("{what}: {number}, and {most} is the most"));
            }
        };
        for ((who, one), (_, most)) in shares(counts).into_iter().zip(shares(&self.most)) {
            bound(format!("system calls of {who}"), one.calls as u64, most.calls as u64);
            bound(format!("bytes copied by calls of {who}"), one.bytes, most.bytes);
            bound(format!("page faults of {who}"), one.faults, most.faults);
        }
        bound("processes and threads begun".into(), counts.begun as u64, self.most.begun as u64);
        broken
    }
}
