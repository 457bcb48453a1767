//! The rows of the battery as they are tried in prepare jobs. A compiler may do more than what it
//! compiled: write its artifact, make memory executable, read a clock. Read by `in_prepare` alone.

use crate::list::{
    Arguments::{These, UpTo},
    Expect::{CpuLimit, Errno, Fault, Held, NotBelieved, Own},
    ROWS, Row,
    Unfiltered::{self, Unnamed},
    ends, stopped,
};

/// Rows that are not tried, and why.
const NOT_TRIED: &[(&str, &str)] = &[
    ("D17", "it may write to every descriptor it has"),
    ("F13", "the other descriptor is its own artifact"),
    ("F14", "descriptor 2 is its own artifact"),
    ("E03", "it may make memory executable that it cannot write"),
    ("E05", "its own text is the compiler's, unsealed as that is"),
    ("E05m", "as E05"),
    ("E05r", "as E05"),
    ("F07y", "the allocator yields"),
    ("H02", "a compiler times its passes"),
    ("H06r", "hash maps have random keys"),
    ("H07", "the words to look for come with the code"),
];

const OWN_ARTIFACT: Unfiltered = Unnamed("its own artifact, sealed once it is gone");
const OWN_TEXT: Unfiltered = Unnamed("a compiler may write code; nobody else runs it");

/// Rows that come to something else.
#[rustfmt::skip]
const OTHERWISE: &[Row] = &[
    stopped("A06", "truncate the artifact, by path and descriptor", ('a', 6), 1, OWN_ARTIFACT),
    stopped("A07e", "fchown, fsetxattr its descriptors", ('a', 12), 0, OWN_ARTIFACT).with(These(&[1, 2])),
    stopped("A09", "make its text writable", ('a', 9), 1, OWN_TEXT),
    stopped("A11", "map the artifact shared and writable", ('a', 11), 1, OWN_ARTIFACT),
    stopped("E01", "memory that is writable and executable", ('e', 1), 1, OWN_TEXT),
    stopped("E03w", "make its memory executable and writable", ('e', 4), 1, OWN_TEXT),
    stopped("E03p", "by pkey_mprotect", ('e', 10), 1, OWN_TEXT),
    stopped("E05f", "move a page over its text", ('e', 11), 1, OWN_TEXT),
    stopped("E05o", "remap_file_pages over it", ('e', 12), 1, OWN_TEXT),
    stopped("E05s", "shared memory over it", ('e', 14), 1, OWN_TEXT),
    ends("G06", "forged claims, deep and huge encodings, bad text", ('g', 9), These(&[0, 1, 2, 3, 4, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15]), (NotBelieved, "judge")),
    ends("G09", "a whole forged reply to another question", ('g', 14), These(&[12]), (NotBelieved, "judge")),
    ends("G09l", "one that is longer than it may be here", ('g', 14), These(&[16 << 20]), (NotBelieved, "reply reader")),
    ends("H01", "rdpmc", ('h', 1), These(&[2]), (Fault, "the processor")),
];

/// Rows of this place only.
#[rustfmt::skip]
const MORE: &[Row] = &[
    ends("P01", "an artifact one byte longer than it may be", ('p', 1), UpTo(3), (Held, "RLIMIT_FSIZE")),
    ends("P02", "an artifact without end", ('p', 2), UpTo(1), (Held, "RLIMIT_FSIZE")),
    ends("P03", "no artifact, and a claim of one of lying lengths", ('p', 3), UpTo(2), (Own, "only its own code has it")),
    ends("P04", "an artifact of holes, as long as may be", ('p', 4), UpTo(1), (Own, "only its own code has it")),
    ends("P05", "change its code", ('p', 5), UpTo(3), (Errno, "seals")),
    stopped("P06", "seal the artifact before the worker does", ('p', 6), 1, Unnamed("costs its worker, which is replaced")),
    ends("P07", "a claim, then on and on into the artifact", ('p', 7), UpTo(1), (CpuLimit, "CPU timer")),
    ends("P08", "close every descriptor", ('p', 8), UpTo(1), (NotBelieved, "judge")),
    ends("P09", "an artifact that looks like the engine's", ('p', 9), UpTo(1), (Own, "only its own code has it")),
    ends("P10", "two claims", ('p', 10), UpTo(1), (NotBelieved, "reply reader")),
    ends("P11", "an output beside the artifact", ('p', 11), UpTo(1), (Own, "nobody reads it")),
];

/// What the short form tries beside [`OTHERWISE`] and [`MORE`]: some of each family.
const SHORT: &[&str] = &[
    "A01", "A05", "A10", "A13", "A15", "B01", "B04", "C01", "C04", "C12", "D01", "D04", "D06",
    "D08", "D15", "F01", "F05", "F06", "F10", "F12", "F14f", "F15", "F15c", "G01", "G02c", "H04",
    "H06n",
];

/// The rows whose ids begin so, family by family.
pub(crate) fn rows(only: &str, short: bool) -> Vec<Row> {
    let has = |rows: &[Row], id| rows.iter().any(|row| row.id == id);
    let shared = ROWS.iter().filter(|row| {
        let is_left_out = NOT_TRIED.iter().any(|(id, _)| *id == row.id) || has(OTHERWISE, row.id);
        !is_left_out && (!short || SHORT.contains(&row.id))
    });
    let rows = shared.chain(OTHERWISE).chain(MORE);
    let mut rows: Vec<_> = rows.filter(|row| row.id.starts_with(only)).copied().collect();
    rows.sort_by_key(|row| row.family);
    rows
}
