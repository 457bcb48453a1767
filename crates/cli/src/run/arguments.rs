//! What `lazaret run` can be asked.

use std::{ffi::OsString, path::PathBuf, time::Duration};

use clap::{Args, ValueEnum};

use crate::{
    arguments::{parse_bytes, parse_time},
    bundle::Places,
};

/// Bytes of a page of linear memory.
const PAGE_BYTES: u64 = 64 * 1024;

#[derive(Debug, Args)]
#[command(
    after_help = "Exit codes: that of the program where it returned (0 of a function), else 124 refused, \
                  125 usage, 126 inconclusive, 127 fault of this machine; 141 when nobody reads its \
                  output any more. --json tells them apart from a program's own."
)]
pub(crate) struct Run {
    /// The program: WebAssembly, plain or zstd-compressed, or behind a `#!` line; text if the name ends in
    /// .wat
    #[arg(value_name = "FILE")]
    pub(crate) file: PathBuf,
    /// What the program is given; those that begin with a hyphen after --
    #[arg(value_name = "ARG", allow_negative_numbers = true)]
    pub(crate) arguments: Vec<OsString>,
    /// Call this export and not the command; its arguments are numbers
    #[arg(long, value_name = "NAME")]
    pub(crate) invoke: Option<String>,
    /// Give the export standard input as bytes, and print the bytes that it returns
    #[arg(long, requires = "invoke")]
    pub(crate) bytes: bool,
    /// What kind of program it is [default: plain with --invoke, else wasi]
    #[arg(long, value_enum, value_name = "PROFILE")]
    pub(crate) profile: Option<ProfileChoice>,
    #[command(flatten)]
    pub(crate) sees: Sees,
    #[command(flatten)]
    pub(crate) limits: LimitArguments,
    #[command(flatten)]
    pub(crate) many: Many,
    #[command(flatten)]
    pub(crate) bundles: BundleArguments,
}

/// What a WASI program sees of the world.
#[derive(Debug, Args)]
pub(crate) struct Sees {
    /// A variable of its environment, which is empty otherwise
    #[arg(long, value_name = "NAME=VALUE")]
    pub(crate) env: Vec<OsString>,
    /// Pack a directory as it is now, for the program to read at this path
    #[arg(long, value_name = "HOST::GUEST")]
    pub(crate) dir: Vec<OsString>,
    /// Give it a writable area of its own at /tmp, of so many bytes; it vanishes with the run
    #[arg(long, value_name = "BYTES", value_parser = parse_bytes)]
    pub(crate) tmp: Option<u64>,
    /// What its random numbers are made of
    #[arg(long, value_name = "N", default_value_t = 0, conflicts_with = "random")]
    pub(crate) seed: u64,
    /// What its clocks show
    #[arg(long, value_enum, value_name = "WHICH", default_value = "fixed")]
    pub(crate) clock: ClockChoice,
    /// Where its random numbers come from
    #[arg(long, value_enum, value_name = "WHICH", default_value = "seeded")]
    pub(crate) random: RandomChoice,
}

/// How far a program may go.
#[derive(Debug, Args)]
pub(crate) struct LimitArguments {
    /// CPU time, as in 2s, 500ms or 1m
    #[arg(long, value_name = "TIME", value_parser = parse_time, default_value = "60s")]
    pub(crate) cpu_limit: Duration,
    /// Wall time [default: a day of a WASI program, which may wait for its input; 4 times the CPU time of a
    /// function]
    #[arg(long, value_name = "TIME", value_parser = parse_time)]
    pub(crate) wall_limit: Option<Duration>,
    /// Linear memory, as in 64M or 4G
    #[arg(long, value_name = "BYTES", value_parser = parse_memory, default_value = "1G")]
    pub(crate) memory: u32,
    /// Fuel, about one unit per instruction: it ends at the same instruction on every machine
    #[arg(long, value_name = "N")]
    pub(crate) fuel: Option<u64>,
    /// Count fuel without limiting it
    #[arg(long)]
    pub(crate) meter: bool,
    /// Bytes on standard output, and bytes on standard error
    #[arg(long, value_name = "BYTES", value_parser = parse_bytes, default_value = "64M")]
    pub(crate) output_max: u64,
    /// Elements of all tables together
    #[arg(long, value_name = "N", default_value_t = 1_000_000)]
    pub(crate) table_elements: u32,
    /// Values on the logical stack
    #[arg(long, value_name = "N", default_value_t = 2_000_000)]
    pub(crate) stack_values: u32,
    /// Refuse code that uses this feature: mutable-globals, sign-extension, saturating-float-to-int, multi-value,
    /// bulk-memory, reference-types, simd, extended-const, tail-calls. Threads and what differs between
    /// machines are always refused
    #[arg(long, value_name = "FEATURE")]
    pub(crate) without: Vec<String>,
    /// Let unknown imports trap when they are called, in place of refusing the program
    #[arg(long)]
    pub(crate) stub_imports: bool,
}

/// Many runs.
#[derive(Debug, Args)]
pub(crate) struct Many {
    /// Run it so many times with the same input, and say whether all runs agree and how CPU time spreads
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(2..=100_000))]
    pub(crate) repeat: Option<u32>,
    /// Run it once for each file, which is its standard input (or its bytes); without a file once for
    /// each line of standard input. Prints a JSON object per run, in order
    #[arg(long, value_name = "FILE", num_args = 0.., conflicts_with_all = ["repeat", "bundle"])]
    pub(crate) each: Option<Vec<PathBuf>>,
    /// Runs at once [default: as many as there are processors]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub(crate) workers: Option<u16>,
}

/// Where bundles go.
#[derive(Debug, Args)]
pub(crate) struct BundleArguments {
    /// Write a bundle of the run, which `lazaret replay` runs again
    #[arg(long, value_name = "FILE")]
    pub(crate) bundle: Option<PathBuf>,
    /// Write a bundle of every run that does not return into this folder
    #[arg(long, value_name = "DIR")]
    pub(crate) bundles: Option<PathBuf>,
    /// Leave the code out of bundles: only its digest is there
    #[arg(long)]
    pub(crate) bundle_without_code: bool,
}

impl BundleArguments {
    pub(crate) fn places(&self) -> Places {
        Places {
            file: self.bundle.clone(),
            folder: self.bundles.clone(),
            without_code: self.bundle_without_code,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum ProfileChoice {
    /// A module without imports, whose exports are called
    Plain,
    /// A command or reactor of WASI preview 1
    Wasi,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum ClockChoice {
    /// The same at every run
    Fixed,
    /// The time of this machine
    Real,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum RandomChoice {
    /// Made of --seed: the same at every run
    Seeded,
    /// This machine's
    Real,
}

/// Bytes, as pages.
fn parse_memory(text: &str) -> Result<u32, String> {
    const ACCEPTED: &str = "64K to 4G is accepted";
    let pages = parse_bytes(text)? / PAGE_BYTES;
    match u32::try_from(pages) {
        Ok(pages @ 1..=65536) => Ok(pages),
        _ => Err(ACCEPTED.into()),
    }
}

impl Run {
    pub(crate) fn profile(&self) -> ProfileChoice {
        self.profile.unwrap_or(match self.invoke {
            Some(_) => ProfileChoice::Plain,
            None => ProfileChoice::Wasi,
        })
    }
}
