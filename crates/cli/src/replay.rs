//! `lazaret replay`: a bundle is run again, and what came of it is compared with what is recorded.

use std::path::PathBuf;

use clap::Args;
use lazaret::{Fault, Host, program::Image, pvf::Block};
use serde_json::{Value, json};

use crate::{
    arguments::Global,
    bundle::{self, Bundle, Differences, Ended, IMAGE, INPUT, Machine, case::What},
    errors::Failure,
    report::{Ending, line, time},
    run::{self, Asked},
};

#[derive(Debug, Args)]
#[command(
    after_help = "Exit codes: 0 verdict, output and fuel agree, 1 something differs, 2 usage (it is no bundle, \
                  or not all of it is there), 3 it agrees in nothing because this run was inconclusive, 4 \
                  fault of this machine."
)]
pub(crate) struct Replay {
    /// A bundle, as `lazaret run --bundle` or `lazaret pvf validate --bundle` wrote it
    #[arg(value_name = "BUNDLE")]
    pub(crate) bundle: PathBuf,
    /// The code, where the bundle has only its digest
    #[arg(long, value_name = "FILE")]
    pub(crate) code: Option<PathBuf>,
}

pub(crate) async fn run(global: &Global, verb: &Replay) -> Result<Ending, Failure> {
    let unusable = |reason| Failure::Bundle { path: verb.bundle.clone(), reason };
    let bundle = bundle::read(&verb.bundle)?;
    let asked = asked(&bundle, verb).map_err(unusable)?;
    let input = bundle.bytes(INPUT).ok_or_else(|| unusable("it has no input".into()))?;
    let host = run::host(global, 1).await?;
    let ended = again(&asked, input, &host).await.map_err(unusable)?;
    let ended = ended.map_err(|fault| Failure::of(fault, &host))?;
    let found = Found::compare(&bundle, &ended, &Machine::of(&host));
    if global.json {
        say!("{}", found.object(&bundle, &ended));
    } else {
        found.show(&bundle, &ended);
    }
    Ok(match (found.differences.is_empty(), ended.verdict == Ending::Inconclusive.word()) {
        (true, _) => Ending::Returned,
        (false, true) => Ending::Inconclusive,
        (false, false) => Ending::Refused,
    })
}

/// What is in the bundle, as it was asked then. Nothing of it is looked at but lengths and digests.
fn asked(bundle: &Bundle, verb: &Replay) -> Result<Asked, String> {
    let code = bundle::code(bundle, verb.code.as_deref())?;
    let case = bundle.header.case.clone();
    let mounts = match &case.asked {
        What::Wasi(wasi) => wasi.mounts.iter().map(|at| at.to_bytes()).collect(),
        _ => Vec::new(),
    };
    let image = bundle.bytes(IMAGE).map(|bytes| Image::from_bytes(bytes, mounts));
    let image = image.transpose().map_err(|error| error.to_string())?;
    Ok(Asked { case, code, image })
}

/// The error says what is wrong with the bundle.
async fn again(asked: &Asked, input: &[u8], host: &Host) -> Result<Result<Ended, Fault>, String> {
    let block = match &asked.case.asked {
        What::Plain(_) | What::Wasi(_) => {
            let answer = asked.run(host, input.to_vec()).await;
            return Ok(answer.map(|answer| Ended::of_run(&Ok(answer))));
        }
        What::PvfEncoded => Block::encoded(input.to_vec()),
        What::PvfParts(parts) => {
            parts.block(input).ok_or("its input is shorter than the parent head in it")?
        }
    };
    let answer = host.validate(&asked.code, block, &asked.case.pvf_settings()).await;
    Ok(answer.map(|answer| Ended::of_block(&Ok(answer))))
}

/// What differs: of the run, and of the machines.
struct Found {
    differences: Differences,
    machines: Differences,
    /// Why a difference would be no surprise.
    reasons: Vec<String>,
}

impl Found {
    fn compare(bundle: &Bundle, ended: &Ended, machine: &Machine) -> Self {
        let header = &bundle.header;
        let mut reasons: Vec<_> =
            header.case.real().iter().map(|real| format!("it sees the real {real}")).collect();
        if !header.input_is_whole {
            reasons.push("its input was cut off when it was recorded".into());
        }
        if header.ended.verdict == Ending::Fault.word() {
            reasons.push("a fault of the other machine was recorded".into());
        }
        Self {
            differences: header.ended.differences(ended),
            machines: header.machine.differences(machine),
            reasons,
        }
    }

    fn object(&self, bundle: &Bundle, ended: &Ended) -> Value {
        let shown = |differences: &Differences| {
            let of = differences.iter().map(|(what, recorded, here)| {
                json!({ "what": what, "recorded": recorded, "here": here })
            });
            of.collect::<Vec<_>>()
        };
        json!({
            "agree": self.differences.is_empty(),
            "differences": shown(&self.differences),
            "machines": shown(&self.machines),
            "reasons": self.reasons,
            "recorded": bundle.header.ended,
            "here": ended,
        })
    }

    fn show(&self, bundle: &Bundle, ended: &Ended) {
        let recorded = &bundle.header.ended;
        match self.differences.is_empty() {
            true => say!("agrees: {}", words(ended)),
            false => {
                say!("differs: {} was recorded, here {}", words(recorded), words(ended));
            }
        }
        for (what, recorded, here) in &self.differences {
            line(what, format!("{recorded} was recorded, {here} here"));
        }
        let cpu = |ended: &Ended| time(std::time::Duration::from_micros(ended.cpu_micros));
        line("CPU time", format!("{} was recorded, {} here", cpu(recorded), cpu(ended)));
        if let Some(fuel) = ended.fuel {
            line("fuel", fuel);
        }
        for reason in &self.reasons {
            line("note", reason);
        }
        for (what, recorded, here) in &self.machines {
            line("machine", format!("{what}: {recorded:?} there, {here:?} here"));
        }
    }
}

/// An ending in a few words. The reason may be a stranger's: it is escaped.
fn words(ended: &Ended) -> String {
    match (&ended.kind, ended.exit_code) {
        (Some(kind), _) => format!("{:?} for {:?}", ended.verdict, kind).replace('"', ""),
        (None, Some(code)) => format!("{:?} with exit code {code}", ended.verdict).replace('"', ""),
        (None, None) => format!("{:?}", ended.verdict).replace('"', ""),
    }
}
