//! `attack all`: every row of `list`, with the whole jail and with one layer off at a time, as a
//! table.

use std::{
    collections::{BTreeMap, BTreeSet},
    error::Error,
    fmt,
    time::Duration,
};

use lazaret::Code;

use crate::{
    blob, in_prepare,
    layers::Without,
    list::{Expect, ROWS, Row, Unfiltered},
    polkadot,
    seen::Seen,
    stage::Stage,
};

/// CPU time of one attempt; four times as much on the wall.
const CPU: Duration = Duration::from_millis(300);

#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// One case of each row, and no column but those of the whole jail and seccomp off.
    #[arg(long)]
    short: bool,
    /// Only rows whose id begins so.
    #[arg(long, value_name = "ID", default_value = "")]
    only: String,
    /// Whose jail: Lazaret's, or one made as Polkadot's host makes its own.
    #[arg(long, value_enum, default_value_t = Posture::Lazaret)]
    pub(crate) posture: Posture,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Posture {
    Lazaret,
    Polkadot,
}

/// What came of all cases of a row.
#[derive(Default)]
pub(crate) struct Outcome {
    pub(crate) seen: BTreeSet<String>,
    pub(crate) missed: Vec<String>,
    pub(crate) stopped_by: &'static str,
}

/// How many rows held, by the family that their ids begin with.
#[derive(Default)]
pub(crate) struct Tally(BTreeMap<char, (usize, usize)>);

impl Tally {
    pub(crate) fn count(&mut self, row: &Row, held: bool) {
        let (of_family, rows) = self.0.entry(row.family.to_ascii_uppercase()).or_default();
        *of_family += usize::from(held);
        *rows += 1;
    }

    pub(crate) fn held(&self) -> usize {
        self.0.values().map(|(held, _)| held).sum()
    }

    pub(crate) fn rows(&self) -> usize {
        self.0.values().map(|(_, rows)| rows).sum()
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let families: Vec<_> =
            self.0.iter().map(|(family, (held, rows))| format!("{family} {held}/{rows}")).collect();
        f.write_str(&families.join(", "))
    }
}

/// Whether every row came to what it should.
pub(crate) async fn run(arguments: &Arguments) -> Result<bool, Box<dyn Error>> {
    if arguments.posture == Posture::Polkadot {
        return polkadot::run(&arguments.only);
    }
    let blobs = blob::compile_all()?;
    let rows: Vec<_> = ROWS.iter().filter(|row| row.id.starts_with(&arguments.only)).collect();
    let settings = match arguments.short {
        true => &Without::SHORT[..],
        false => &Without::ALL[..],
    };
    let mut misses = 0;
    for &without in settings {
        let stage = Stage::set(without).await?;
        let codes = prepared(&stage, &blobs).await?;
        heading(without.name());
        let mut tally = Tally::default();
        for row in &rows {
            let outcome =
                run_row(&stage, &codes[&row.family], row, (without, arguments.short)).await;
            println!("{}", line(row, without, &outcome));
            for miss in &outcome.missed {
                println!("      MISS {miss}");
            }
            tally.count(row, outcome.missed.is_empty());
        }
        misses += tally.rows() - tally.held();
        let (held, rows, name) = (tally.held(), tally.rows(), without.name());
        println!("{name}: {held} of {rows} rows as expected ({tally})");
    }
    // Only a job that calls something has it loaded.
    let mut settings = settings.to_vec();
    settings.retain(|without| !without.is_of_a_template());
    misses += in_prepare::run(&blobs, &settings, (&arguments.only, arguments.short)).await?;
    same_addresses(&blobs).await?;
    println!("\n{misses} misses");
    Ok(misses == 0)
}

async fn prepared(
    stage: &Stage,
    blobs: &BTreeMap<char, Vec<u8>>,
) -> Result<BTreeMap<char, Code>, Box<dyn Error>> {
    let mut codes = BTreeMap::new();
    for (&family, blob) in blobs {
        codes.insert(family, stage.prepare(blob).await?);
    }
    Ok(codes)
}

async fn run_row(
    stage: &Stage,
    code: &Code,
    row: &Row,
    (without, short): (Without, bool),
) -> Outcome {
    let mut outcome = Outcome::default();
    for argument in row.cases(short) {
        let mut report = stage.attack(code, stage.arena(row.attempt, argument), CPU).await;
        if starved(&report.seen) && !as_expected(stage, row, without, &report.seen) {
            // Others share this machine; a limit that was reached for their sake says nothing.
            report = stage.attack(code, stage.arena(row.attempt, argument), CPU).await;
        }
        outcome.stopped_by = stopped_by(row, without, &report.seen);
        outcome.seen.insert(report.seen.to_string());
        if !as_expected(stage, row, without, &report.seen) {
            outcome.missed.push(format!("[{argument}] seen: {:?}", report.seen));
        }
        let broken = report.invariants.broken();
        outcome.missed.extend(broken.iter().map(|what| format!("[{argument}] {what}")));
    }
    outcome
}

/// The head of a table.
pub(crate) fn heading(of: &str) {
    println!("\n== {of} ==");
    println!("{:<5} {:<62} {:<14} {:<30} stopped by", "id", "attempt", "expected", "seen");
}

pub(crate) fn starved(seen: &Seen) -> bool {
    matches!(seen, Seen::CpuLimit | Seen::WallLimit | Seen::Blamed(_))
}

pub(crate) fn as_expected(stage: &Stage, row: &Row, without: Without, seen: &Seen) -> bool {
    if row.expected == Expect::FaultIfOffered {
        return *seen == Seen::Fault || !stage.has("no-cpuid");
    }
    match (without, row.unfiltered) {
        (Without::Seccomp, Unfiltered::By(_)) => seen.held(),
        (Without::Seccomp, Unfiltered::Unnamed(_)) => !matches!(seen, Seen::Blamed(_)),
        _ => seen.is(row.expected),
    }
}

pub(crate) fn stopped_by(row: &Row, without: Without, seen: &Seen) -> &'static str {
    match (seen, row.unfiltered) {
        (Seen::Sigsys, _) => "job-filter",
        (Seen::CpuLimit, _) => "CPU timer",
        (_, Unfiltered::By(second) | Unfiltered::Same(second)) => second,
        (_, Unfiltered::Unnamed(why)) if without == Without::Seccomp => why,
        (_, Unfiltered::Unnamed(_)) => "",
    }
}

pub(crate) fn line(row: &Row, without: Without, outcome: &Outcome) -> String {
    let expected = match (without, row.unfiltered) {
        (Without::Seccomp, Unfiltered::By(_)) => "held".to_owned(),
        (Without::Seccomp, Unfiltered::Unnamed(_)) => "none named".to_owned(),
        _ => format!("{:?}", row.expected),
    };
    let seen: Vec<_> = outcome.seen.iter().map(String::as_str).collect();
    let mark = if outcome.missed.is_empty() { "" } else { "  <-- MISS" };
    let seen = seen.join(", ");
    let by = outcome.stopped_by;
    format!("{:<5} {:<62} {expected:<14} {seen:<30} {by}{mark}", row.id, row.what)
}

/// H08: where the text and the stack of two jobs of different code are. Told, not judged: jobs of one
/// worker are its forks, so they are in the same places.
async fn same_addresses(blobs: &BTreeMap<char, Vec<u8>>) -> Result<(), Box<dyn Error>> {
    const SAY_ADDRESS: u32 = 14;
    let mut found = Vec::new();
    for worker in ["one worker", "another"] {
        let stage = Stage::set(Without::Nothing).await?;
        for salt in [0, 1] {
            let mut blob = blobs[&'h'].clone();
            blob.push(salt);
            let code = stage.prepare(&blob).await?;
            let answer = stage.run(&code, stage.arena(SAY_ADDRESS, 0), CPU).await?;
            let said = answer.log.first().map(|line| line.message.to_string());
            found.push(format!("{worker}, code {salt}: {}", said.unwrap_or_default()));
        }
    }
    println!("\nH08   addresses of text and stack: {}", found.join("; "));
    Ok(())
}
