//! What came of a run: for people, for programs, as an exit code.

use std::{io::Write, process::ExitCode};

use lazaret::{
    Answer, CodeStep, Doubt, Refusal, Security, Usage, Verdict,
    program::{Ran, Returned, Value as Number},
};
use serde_json::{Map, Value, json};

use super::asked::Asked;
use crate::{
    exit_codes::{self, Codes},
    report::{self, Ending, time},
};

/// The guest's, or one that says why there is none.
pub(crate) fn exit_code(answer: &Answer<Ran>) -> ExitCode {
    match &answer.verdict {
        Verdict::Returned(Ran { returned: Returned::Exited(code), .. }) => {
            exit_codes::of_guest(*code)
        }
        Verdict::Returned(_) => ExitCode::SUCCESS,
        Verdict::Refused(_) => Codes::BesideGuests.code(Ending::Refused),
        Verdict::Inconclusive(_) => Codes::BesideGuests.code(Ending::Inconclusive),
    }
}

pub(crate) fn ending(answer: &Answer<Ran>) -> Ending {
    match &answer.verdict {
        Verdict::Returned(_) => Ending::Returned,
        Verdict::Refused(_) => Ending::Refused,
        Verdict::Inconclusive(_) => Ending::Inconclusive,
    }
}

/// What a function returned goes to standard output, what is wrong to standard error. What a WASI program
/// wrote went there before.
pub(crate) fn show(answer: &Answer<Ran>, asked: &Asked, security: &Security) {
    match &answer.verdict {
        Verdict::Returned(Ran { returned: Returned::Values(values), .. }) => {
            values.iter().for_each(|value| say!("{}", number(value)));
        }
        Verdict::Returned(Ran { returned: Returned::Bytes(bytes), .. }) => write(bytes),
        Verdict::Returned(_) => {}
        verdict => {
            let word = ending(answer).word();
            let reason = report::reason(verdict).unwrap_or_default();
            tell!("lazaret: {word}: {reason}{}", remedy(verdict, &answer.usage));
        }
    }
    let real = asked.case.real();
    if !real.is_empty() {
        let real = real.join(" and ");
        tell!("lazaret: it sees the real {real}: another run may end otherwise");
    }
    if let Some(words) = report::jail_words(security) {
        tell!("lazaret: jail: {words}");
    }
}

/// What a WASI program wrote, where it was kept.
pub(crate) fn show_written(answer: &Answer<Ran>) {
    write(&answer.written.stdout);
    let _ = std::io::stderr().write_all(&answer.written.stderr);
}

/// Bytes as they are. Nobody may be reading.
fn write(bytes: &[u8]) {
    let mut stdout = std::io::stdout();
    let _ = stdout.write_all(bytes).and_then(|()| stdout.flush());
}

/// What was used, and how to allow more.
fn remedy<T>(verdict: &Verdict<T>, usage: &Usage) -> String {
    let (cpu, wall) = (time(usage.cpu), time(usage.wall));
    match verdict {
        Verdict::Refused(refusal) => match refusal {
            Refusal::CpuLimit { .. } => format!(" (it used {cpu}; --cpu-limit raises it)"),
            Refusal::OutOfFuel { .. } => format!(" (in {cpu}; --fuel raises it)"),
            Refusal::MemoryLimit { .. } | Refusal::MemoryExhausted { .. } => {
                " (a page has 64 KiB; --memory raises it)".into()
            }
            Refusal::TableLimit { .. } | Refusal::TableExhausted { .. } => {
                " (--table-elements raises it)".into()
            }
            Refusal::StackLimit { .. } => " (--stack-values raises it)".into(),
            Refusal::OutputTooLarge { .. } => " (--output-max raises it)".into(),
            Refusal::Code { step: CodeStep::Interface, .. } => {
                " (--stub-imports lets unknown ones trap when they are called)".into()
            }
            _ => String::new(),
        },
        Verdict::Inconclusive(Doubt::WallLimit { .. }) => {
            format!(" (it ran for {cpu} in {wall}, and may have waited; --wall-limit raises it)")
        }
        _ => String::new(),
    }
}

/// A number as it is written.
pub(crate) fn number(value: &Number) -> String {
    match *value {
        Number::I32(number) => number.to_string(),
        Number::I64(number) => number.to_string(),
        Number::F32(bits) => f32::from_bits(bits).to_string(),
        Number::F64(bits) => f64::from_bits(bits).to_string(),
    }
}

/// The keys of one run.
pub(crate) fn object(
    answer: &Answer<Ran>,
    asked: &Asked,
    security: &Security,
) -> Map<String, Value> {
    let mut object = report::object(answer, ending(answer), None, security);
    object.remove("vote");
    object.insert("fuel".into(), answer.usage.fuel.into());
    let ran = match &answer.verdict {
        Verdict::Returned(ran) => Some(ran),
        _ => None,
    };
    object.insert("memory_pages".into(), ran.map(|ran| ran.memory_pages).into());
    let exit_code = ran.and_then(|ran| match &ran.returned {
        Returned::Exited(code) => Some(*code),
        _ => None,
    });
    object.insert("exit_code".into(), exit_code.into());
    let values = ran.and_then(|ran| match &ran.returned {
        Returned::Values(values) => Some(values.iter().map(value_object).collect::<Vec<_>>()),
        _ => None,
    });
    object.insert("values".into(), values.into());
    if let Some(Ran { returned: Returned::Bytes(bytes), .. }) = ran {
        insert_bytes(&mut object, "bytes", bytes);
    }
    if asked.is_wasi() {
        insert_bytes(&mut object, "stdout", &answer.written.stdout);
        insert_bytes(&mut object, "stderr", &answer.written.stderr);
    }
    object.insert("real".into(), asked.case.real().into());
    object
}

/// The bits go with a float, because a NaN has many.
fn value_object(value: &Number) -> Value {
    let text = number(value);
    match *value {
        Number::I32(_) => json!({ "type": "i32", "value": text }),
        Number::I64(_) => json!({ "type": "i64", "value": text }),
        Number::F32(bits) => {
            json!({ "type": "f32", "value": text, "bits": format!("{bits:#010x}") })
        }
        Number::F64(bits) => {
            json!({ "type": "f64", "value": text, "bits": format!("{bits:#018x}") })
        }
    }
}

/// As text where it is text, and in hex where it is not.
fn insert_bytes(object: &mut Map<String, Value>, key: &str, bytes: &[u8]) {
    match std::str::from_utf8(bytes) {
        Ok(text) => object.insert(key.into(), text.into()),
        Err(_) => object.insert(format!("{key}_hex"), hex::encode(bytes).into()),
    };
}
