//! What came of a run, as a bundle has it, and in what two of them differ.

use lazaret::{
    Answer, Fault, Usage, Verdict,
    program::{Ran, Returned},
    pvf::Validated,
};
use serde::{Deserialize, Serialize};

use super::Differences;
use crate::{
    report::{self, Ending},
    run::outcome::number,
};

/// The conclusion, and what it was drawn from.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Ended {
    /// `returned`, `refused`, `inconclusive` or `fault`.
    pub(crate) verdict: String,
    /// The word of its reason, if it did not return.
    pub(crate) kind: Option<String>,
    /// The reason in words, which explain and are not compared.
    pub(crate) reason: Option<String>,
    pub(crate) exit_code: Option<i32>,
    /// Numbers that an export returned, as they are written.
    pub(crate) values: Option<Vec<String>>,
    /// Bytes that it returned.
    pub(crate) output: Option<Digested>,
    pub(crate) stdout: Option<Digested>,
    pub(crate) stderr: Option<Digested>,
    pub(crate) memory_pages: Option<u32>,
    pub(crate) fuel: Option<u64>,
    pub(crate) cpu_micros: u64,
    pub(crate) wall_micros: u64,
    pub(crate) resident_bytes_peak: Option<u64>,
    pub(crate) attempts: u32,
}

/// Bytes that are compared and not kept.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Digested {
    pub(crate) bytes: u64,
    pub(crate) blake3: String,
}

impl Digested {
    pub(crate) fn of(bytes: &[u8]) -> Self {
        Self { bytes: bytes.len() as u64, blake3: blake3::hash(bytes).to_hex().to_string() }
    }
}

impl Ended {
    /// Of a program. What it wrote is that of the answer, which has it where it was kept.
    pub(crate) fn of_run(answer: &Result<Answer<Ran>, Fault>) -> Self {
        let Ok(known) = answer else { return Self::of(answer) };
        let mut ended = Self::of(answer);
        ended.stdout = Some(Digested::of(&known.written.stdout));
        ended.stderr = Some(Digested::of(&known.written.stderr));
        if let Verdict::Returned(ran) = &known.verdict {
            ended.memory_pages = Some(ran.memory_pages);
            match &ran.returned {
                Returned::Exited(code) => ended.exit_code = Some(*code),
                Returned::Values(values) => {
                    ended.values = Some(values.iter().map(number).collect());
                }
                Returned::Bytes(bytes) => ended.output = Some(Digested::of(bytes)),
            }
        }
        ended
    }

    /// Of a block.
    pub(crate) fn of_block(answer: &Result<Answer<Validated>, Fault>) -> Self {
        let mut ended = Self::of(answer);
        if let Ok(Answer { verdict: Verdict::Returned(validated), .. }) = answer {
            ended.memory_pages = Some(validated.memory_pages);
            ended.output = Some(Digested::of(&validated.encoded));
        }
        ended
    }

    fn of<T>(answer: &Result<Answer<T>, Fault>) -> Self {
        let verdict = Ending::of(answer).word().to_owned();
        match answer {
            Err(fault) => Self {
                verdict,
                kind: Some(fault.word().into()),
                reason: Some(fault.to_string()),
                ..Self::default()
            },
            Ok(answer) => {
                let Usage { cpu, wall, resident_bytes_peak, fuel, .. } = answer.usage;
                Self {
                    verdict,
                    kind: answer.verdict.reason_word().map(str::to_owned),
                    reason: report::reason(&answer.verdict),
                    fuel,
                    cpu_micros: report::micros(cpu),
                    wall_micros: report::micros(wall),
                    resident_bytes_peak,
                    attempts: answer.attempts,
                    ..Self::default()
                }
            }
        }
    }

    pub(crate) fn has_returned(&self) -> bool {
        self.verdict == Ending::Returned.word()
    }

    /// What must be equal when the same is run again and is not: its name, here, and there. Times and
    /// memory in use are not among it.
    pub(crate) fn differences(&self, other: &Self) -> Differences {
        let shown = |ended: &Self| {
            let bytes = |digested: &Option<Digested>| match digested {
                None => "none".into(),
                Some(Digested { bytes, blake3 }) => {
                    format!("{bytes} bytes, BLAKE3 {}", blake3.chars().take(16).collect::<String>())
                }
            };
            [
                ("verdict", ended.verdict.clone()),
                ("kind", ended.kind.clone().unwrap_or("none".into())),
                ("exit_code", format!("{:?}", ended.exit_code)),
                ("values", format!("{:?}", ended.values)),
                ("output", bytes(&ended.output)),
                ("stdout", bytes(&ended.stdout)),
                ("stderr", bytes(&ended.stderr)),
                ("memory_pages", format!("{:?}", ended.memory_pages)),
                ("fuel", format!("{:?}", ended.fuel)),
            ]
        };
        let pairs = shown(self).into_iter().zip(shown(other));
        pairs
            .filter(|((_, here), (_, there))| here != there)
            .map(|((name, here), (_, there))| (name, here, there))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_that_differ_in_time_alone_agree() {
        let one = Ended { verdict: "returned".into(), fuel: Some(1), ..Ended::default() };
        let slower = Ended { cpu_micros: 9, resident_bytes_peak: Some(9), ..one.clone() };
        assert!(one.differences(&slower).is_empty());
        let other = Ended { fuel: Some(2), stdout: Some(Digested::of(b"x")), ..one.clone() };
        let names: Vec<_> = one.differences(&other).into_iter().map(|(name, ..)| name).collect();
        assert_eq!(names, ["stdout", "fuel"]);
    }
}
