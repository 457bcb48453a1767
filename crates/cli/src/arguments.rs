//! What can be asked on the command line.

use std::{net::SocketAddr, path::PathBuf, time::Duration};

use clap::{ArgAction, Args, Parser, Subcommand, ValueEnum};
use lazaret::{Cpus, JailLevel, pvf::ExecKind};

use crate::{
    errors::Failure,
    replay::Replay,
    run::arguments::{BundleArguments, Run},
};

/// Run WebAssembly nobody trusts in one-off jailed processes and get a verdict others can act on.
#[derive(Debug, Parser)]
#[command(
    version,
    propagate_version = true,
    after_help = "Exit codes: 0 returned, 1 refused, 2 usage, 3 inconclusive, 4 fault of this machine."
)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    pub(crate) verb: Verb,
    #[command(flatten)]
    pub(crate) global: Global,
}

/// What every verb takes.
#[derive(Debug, Args)]
pub(crate) struct Global {
    /// Print one JSON object instead of text
    #[arg(long, global = true)]
    pub(crate) json: bool,
    /// Keep artifacts in this directory [default: $XDG_CACHE_HOME/lazaret or ~/.cache/lazaret]
    #[arg(long, global = true, value_name = "DIR")]
    pub(crate) cache: Option<PathBuf>,
    /// How much of the jail must hold before anything runs [default: strict]
    #[arg(long, global = true, value_enum, value_name = "LEVEL")]
    pub(crate) jail: Option<JailChoice>,
    /// Allow --jail weak; alone it means that level. Each layer that is off is warned about
    #[arg(long, global = true)]
    pub(crate) accept_weaker_jail: bool,
    /// Make the control groups of workers and jobs in this directory of cgroup2, which nobody else
    /// uses [default: the group delegated to this process, if one is]
    #[arg(long, global = true, value_name = "DIR")]
    pub(crate) cgroup: Option<PathBuf>,
    /// Run calls on these processors, as in 0-3,8; repeat it, and each worker gets one of the lists
    #[arg(long, global = true, value_name = "LIST")]
    pub(crate) cpus: Vec<Cpus>,
    /// Say more on standard error; repeat for even more
    #[arg(short, long, global = true, action = ArgAction::Count)]
    pub(crate) verbose: u8,
}

impl Global {
    /// The level that was asked for. The weak one takes two words, so that nobody gets it by
    /// copying half a command.
    pub(crate) fn jail_level(&self) -> Result<JailLevel, Failure> {
        match (self.jail, self.accept_weaker_jail) {
            (None | Some(JailChoice::Weak), true) => Ok(JailLevel::Weak),
            (Some(JailChoice::Weak), false) => Err(Failure::WeakNotAccepted),
            (Some(JailChoice::Standard), _) => Ok(JailLevel::Standard),
            (None, false) | (Some(JailChoice::Strict), _) => Ok(JailLevel::Strict),
        }
    }
}

#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    /// Parachain validation functions: the code that decides about blocks
    #[command(subcommand)]
    Pvf(PvfVerb),
    /// Run a program: a WASI command, or an exported function
    Run(Box<Run>),
    /// Run what a bundle recorded again, and say whether it ends the same
    Replay(Replay),
    /// Prepare code for later calls, so that they find its artifact in the cache
    Prepare(Files),
    /// The artifact cache: what lies there, whether it is whole, and less of it
    #[command(
        subcommand,
        after_help = "Exit codes: 0 done (verify: every file is whole), 1 verify: some file is damaged, \
                      2 there is no such directory, 4 fault of this machine."
    )]
    Cache(CacheVerb),
    /// Say which layers of the jail this machine gives, and how to mend what it does not
    #[command(
        after_help = "Exit codes: 0 the strict jail holds and the canary ran, 1 something of that is \
                      missing, 4 nothing can be run here. All levels are tried: --jail is not looked at."
    )]
    Doctor,
    /// Measure this machine: calls, throughput, preparing, starting, each beside what bounds it
    #[command(
        after_help = "Takes under two minutes. The numbers are those of this machine with what else it \
                      does meanwhile. Exit codes: 0 measured, 2 usage, 4 fault of this machine. Artifacts \
                      go to a temporary directory: --cache is not looked at."
    )]
    Bench(Bench),
}

#[derive(Debug, Args)]
pub(crate) struct Bench {
    /// Draw the times into this file, as SVG
    #[arg(long, value_name = "FILE")]
    pub(crate) plot: Option<PathBuf>,
    /// Do everything a few times only, to see that it can be done
    #[arg(long)]
    pub(crate) quick: bool,
}

#[derive(Debug, Subcommand)]
pub(crate) enum PvfVerb {
    /// Validate one block and say how to vote
    Validate(Box<Validate>),
    /// Say whether code may be accepted at all: prepare it under the stricter limits
    Precheck(Files),
    /// Say what code is, without compiling it
    Inspect(Inspect),
}

#[derive(Debug, Subcommand)]
pub(crate) enum CacheVerb {
    /// List the artifacts, what was used last first; reads their headers only
    List,
    /// Read every artifact and compare it with its digest; removes nothing
    Verify,
    /// Remove what went unused and what there is no room for; hosts may go on meanwhile
    Prune(Prune),
}

#[derive(Debug, Args)]
pub(crate) struct Prune {
    /// Remove what nobody used for this long, as in 30m or 12h [default: 24h]
    #[arg(long, value_name = "TIME", value_parser = parse_time)]
    pub(crate) older_than: Option<Duration>,
    /// Leave no more than this many bytes, as in 5000000, 500M or 2G [default: 10G]
    #[arg(long, value_name = "BYTES", value_parser = parse_bytes)]
    pub(crate) bytes_max: Option<u64>,
}

#[derive(Debug, Args)]
pub(crate) struct Files {
    /// Files of WebAssembly, plain or zstd-compressed; text if the name ends in .wat
    #[arg(required = true, value_name = "FILE")]
    pub(crate) files: Vec<PathBuf>,
    /// Meanwhile serve metrics over HTTP at this address, as in 127.0.0.1:9615; port 0 takes any that
    /// is free
    #[arg(long, value_name = "ADDRESS:PORT")]
    pub(crate) metrics: Option<SocketAddr>,
    #[command(flatten)]
    pub(crate) meaning: Meaning,
}

#[derive(Debug, Args)]
pub(crate) struct Inspect {
    /// A file of WebAssembly, plain or zstd-compressed; text if the name ends in .wat
    #[arg(value_name = "FILE")]
    pub(crate) file: PathBuf,
    /// CPU time to read it, as in 2s or 500ms; wall time is limited to 4 times that
    /// [default: the executor params' for a precheck, or 60s]
    #[arg(long, value_name = "TIME", value_parser = parse_time)]
    pub(crate) cpu_limit: Option<Duration>,
    #[command(flatten)]
    pub(crate) meaning: Meaning,
}

#[derive(Debug, Args)]
pub(crate) struct Validate {
    /// The validation function: WebAssembly, plain or zstd-compressed; text if the name ends in .wat
    #[arg(long, value_name = "FILE")]
    pub(crate) code: PathBuf,
    /// SCALE-encoded ValidationParams, as they go to the function
    #[arg(
        long,
        value_name = "FILE",
        required_unless_present = "block_data",
        conflicts_with_all = [
            "block_data", "parent_head", "relay_parent_number", "relay_parent_storage_root", "relay_parent",
        ]
    )]
    pub(crate) params: Option<PathBuf>,
    /// The head that the block builds on, in hex
    #[arg(long, value_name = "HEX", requires = "block_data")]
    pub(crate) parent_head: Option<String>,
    /// The block with its proof, plain or zstd-compressed
    #[arg(
        long,
        value_name = "FILE",
        requires_all = ["parent_head", "relay_parent_number", "relay_parent_storage_root"]
    )]
    pub(crate) block_data: Option<PathBuf>,
    /// The relay chain block that the block is anchored in
    #[arg(long, value_name = "N", requires = "block_data")]
    pub(crate) relay_parent_number: Option<u32>,
    /// The storage root of that relay chain block, in hex
    #[arg(long, value_name = "HEX", requires = "block_data")]
    pub(crate) relay_parent_storage_root: Option<String>,
    /// The hash of that relay chain block, in hex: for candidates of descriptor version 3
    #[arg(long, value_name = "HEX", requires_all = ["block_data", "scheduling_parent"])]
    pub(crate) relay_parent: Option<String>,
    /// The hash of the relay chain block that the block is scheduled by, in hex: for the same
    #[arg(long, value_name = "HEX", requires = "relay_parent")]
    pub(crate) scheduling_parent: Option<String>,
    /// Write the SCALE-encoded ValidationResult to this file
    #[arg(long, value_name = "FILE")]
    pub(crate) result_out: Option<PathBuf>,
    /// Why the block is validated, which decides about CPU time and retry
    #[arg(long, value_enum, default_value = "approval")]
    pub(crate) kind: KindChoice,
    /// CPU time for the call, as in 2s, 500ms or 1m; wall time is limited to 4 times that
    /// [default: the executor params', or 12s for approval and disputes and 2s for backing]
    #[arg(long, value_name = "TIME", value_parser = parse_time)]
    pub(crate) cpu_limit: Option<Duration>,
    /// Whether to try once more when it cannot be said whose fault it was
    /// [default: once, after 3 seconds; never for backing]
    #[arg(long, value_enum)]
    pub(crate) retry: Option<RetryChoice>,
    #[command(flatten)]
    pub(crate) bundles: BundleArguments,
    #[command(flatten)]
    pub(crate) meaning: Meaning,
}

/// Settings that change what code means; the defaults are Polkadot's.
#[derive(Debug, Args)]
pub(crate) struct Meaning {
    /// The session's executor params in SCALE: a file, or hex after 0x
    #[arg(
        long,
        value_name = "FILE|HEX",
        conflicts_with_all = ["memory_pages", "stack_values", "bulk_memory"]
    )]
    pub(crate) executor_params: Option<String>,
    /// Pages of 64 KiB that linear memory may reach [default: 2080, Polkadot's 32 + 2048]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=65536))]
    pub(crate) memory_pages: Option<u32>,
    /// Values on the logical stack before the guest traps [default: 65536]
    #[arg(long, value_name = "N")]
    pub(crate) stack_values: Option<u32>,
    /// Allow memory.copy and memory.fill
    #[arg(long)]
    pub(crate) bulk_memory: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum JailChoice {
    /// Every layer that the design requires and the kernel has
    Strict,
    /// System-call filters, limits, and one of an empty root and Landlock
    Standard,
    /// Whatever the machine gives; only together with --accept-weaker-jail
    Weak,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum KindChoice {
    /// Somebody disputes it
    Dispute,
    /// This validator was drawn to approve it
    Approval,
    /// This validator may back it, for a system parachain
    BackingSystemParas,
    /// This validator may back it
    Backing,
}

impl From<KindChoice> for ExecKind {
    fn from(kind: KindChoice) -> Self {
        match kind {
            KindChoice::Dispute => Self::Dispute,
            KindChoice::Approval => Self::Approval,
            KindChoice::BackingSystemParas => Self::BackingSystemParas,
            KindChoice::Backing => Self::Backing,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum RetryChoice {
    /// Once, after a second, on a fresh worker
    Once,
    /// Never
    Never,
}

/// A number with a unit: ms, s, m or h.
pub(crate) fn parse_time(text: &str) -> Result<Duration, String> {
    const ACCEPTED: &str = "a number with a unit is accepted, as in 500ms, 2s or 1m";
    let split = text.find(|c: char| c.is_ascii_alphabetic()).ok_or(ACCEPTED)?;
    let (number, unit) = text.split_at(split);
    let number: f64 = number.trim().parse().map_err(|_| ACCEPTED)?;
    let seconds = match unit {
        "ms" => 0.001,
        "s" => 1.0,
        "m" => 60.0,
        "h" => 3600.0,
        _ => return Err(ACCEPTED.into()),
    };
    match Duration::try_from_secs_f64(number * seconds) {
        Ok(Duration::ZERO) | Err(_) => Err("a time above zero is accepted".into()),
        Ok(time) => Ok(time),
    }
}

/// A number of bytes, or of K, M, G or T of them by 1024.
pub(crate) fn parse_bytes(text: &str) -> Result<u64, String> {
    const ACCEPTED: &str = "a number of bytes is accepted, as in 5000000, 500M or 2G";
    let split = text.find(|c: char| c.is_ascii_alphabetic()).unwrap_or(text.len());
    let (number, unit) = text.split_at(split);
    let shift = match unit {
        "" => 0,
        "K" => 10,
        "M" => 20,
        "G" => 30,
        "T" => 40,
        _ => return Err(ACCEPTED.into()),
    };
    let number: u64 = number.parse().map_err(|_| ACCEPTED)?;
    number.checked_mul(1 << shift).ok_or_else(|| ACCEPTED.into())
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_arguments_make_sense_to_clap() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn the_weak_jail_takes_two_words_and_no_other_level_is_lowered_by_one() {
        let level = |arguments: &[&str]| {
            let arguments = ["lazaret"].iter().chain(arguments).chain(&["doctor"]);
            let parsed = Arguments::try_parse_from(arguments).expect("good arguments");
            parsed.global.jail_level().ok()
        };
        assert_eq!(level(&[]), Some(JailLevel::Strict));
        assert_eq!(level(&["--accept-weaker-jail"]), Some(JailLevel::Weak));
        assert_eq!(level(&["--jail", "weak"]), None);
        assert_eq!(level(&["--jail", "weak", "--accept-weaker-jail"]), Some(JailLevel::Weak));
        assert_eq!(level(&["--jail", "standard"]), Some(JailLevel::Standard));
        assert_eq!(level(&["--jail", "strict", "--accept-weaker-jail"]), Some(JailLevel::Strict));
    }

    #[test]
    fn times_need_a_unit_and_a_value() {
        assert_eq!(parse_time("500ms"), Ok(Duration::from_millis(500)));
        assert_eq!(parse_time("1.5s"), Ok(Duration::from_millis(1500)));
        for wrong in ["", "5", "ms", "0s", "-1s", "1 year", "1e400s", "nans"] {
            assert!(parse_time(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn bytes_may_have_a_unit() {
        assert_eq!(parse_bytes("0"), Ok(0));
        assert_eq!(parse_bytes("500M"), Ok(500 << 20));
        for wrong in ["", "G", "-1", "1.5G", "2 G", "1X", "99999999999999999999", "99999999T"] {
            assert!(parse_bytes(wrong).is_err(), "{wrong}");
        }
    }
}
