//! `lazaret pvf validate`: one block, one verdict, one vote.

use std::{fs, path::Path};

use lazaret::{
    Answer, Retry, Verdict,
    pvf::{self, Block, PrepareKind, Settings, Validated},
};
use serde_json::{Value, json};

use crate::{
    arguments::{Global, RetryChoice, Validate},
    bundle::{
        Case, Ended, Given, Machine,
        case::{CaseLimits, Parents, PvfParts, What},
    },
    errors::Failure,
    executor_params, hosting,
    report::{self, Ending, bytes, line, time},
};

/// Bytes of a head on the command line at the most (Polkadot's `MAX_HEAD_DATA_SIZE`).
const HEAD_BYTES_MAX: usize = 1024 * 1024;

pub(crate) async fn run(global: &Global, verb: &Validate) -> Result<Ending, Failure> {
    let code = hosting::read_code(&verb.code)?;
    let executor_params = executor_params::read(&verb.meaning)?;
    let base = executor_params::settings(&verb.meaning, verb.kind, &executor_params)?;
    let settings = settings(verb, base);
    let (asked, input) = block(verb, settings.limits.input_bytes_max)?;
    let case = case(&settings, asked);
    let host = hosting::start(global, executor_params.prepare_limits(PrepareKind::Prepare)).await?;
    let block = match &case.asked {
        What::PvfParts(parts) => parts.block(&input),
        _ => None,
    };
    let block = block.unwrap_or_else(|| Block::encoded(input.clone()));
    let answer = host.validate(&code, block, &settings).await;
    let given =
        Given { case: &case, code: &code, image: None, input: &input, input_is_whole: true };
    verb.bundles.places().keep(&given, &Ended::of_block(&answer), &Machine::of(&host))?;
    if let (Some(path), Ok(Answer { verdict: Verdict::Returned(validated), .. })) =
        (&verb.result_out, &answer)
    {
        fs::write(path, &validated.encoded)
            .map_err(|source| Failure::Write { path: path.clone(), source })?;
    }
    let (ending, vote) = (Ending::of(&answer), pvf::vote(&answer));
    let answer = answer.map_err(|fault| Failure::of(fault, &host))?;
    if global.json {
        let mut object = report::object(&answer, ending, Some(vote), host.security());
        object.insert("result".into(), result_object(&answer.verdict));
        say!("{}", Value::from(object));
    } else {
        say!("{}: vote {vote}", ending.word());
        show(&answer);
        if let Some(words) = report::jail_words(host.security()) {
            line("jail", words);
        }
    }
    Ok(ending)
}

/// The settings of the kind, and what was asked for in their place.
fn settings(verb: &Validate, base: Settings) -> Settings {
    let mut settings = base;
    settings.params = hosting::params(&verb.code, &verb.meaning, settings.params);
    settings.limits.cpu = verb.cpu_limit.unwrap_or(settings.limits.cpu);
    settings.retry = match verb.retry {
        None => settings.retry,
        Some(RetryChoice::Once) => Retry::Once,
        Some(RetryChoice::Never) => Retry::Never,
    };
    settings
}

/// What is asked, and the bytes that belong to it.
fn block(verb: &Validate, bytes_max: u64) -> Result<(What, Vec<u8>), Failure> {
    let read = |path: &Path| hosting::read_up_to(path, bytes_max + 1);
    if let Some(path) = &verb.params {
        return Ok((What::PvfEncoded, read(path)?));
    }
    // clap asks for all of these together, or for --params.
    let block_data = verb.block_data.as_deref().map(read).transpose()?.unwrap_or_default();
    let mut input = from_hex(
        "--parent-head",
        verb.parent_head.as_deref().unwrap_or_default(),
        "hex of at most 1 MiB",
    )?;
    let parts = PvfParts {
        parent_head_bytes: input.len() as u64,
        relay_parent_number: verb.relay_parent_number.unwrap_or_default(),
        relay_parent_storage_root: hash_from_hex(
            "--relay-parent-storage-root",
            verb.relay_parent_storage_root.as_deref().unwrap_or_default(),
        )?,
        extension: extension(verb)?,
    };
    input.extend(block_data);
    Ok((What::PvfParts(parts), input))
}

/// The same as a bundle has it.
fn case(settings: &Settings, asked: What) -> Case {
    let limits = CaseLimits {
        cpu_micros: report::micros(settings.limits.cpu),
        wall_micros: None,
        fuel: None,
        output_bytes_max: settings.limits.output_bytes_max.into(),
        input_bytes_max: settings.limits.input_bytes_max,
    };
    Case { params: settings.params.clone(), limits, asked }
}

/// What candidates of descriptor version 3 add, if that was named.
fn extension(verb: &Validate) -> Result<Option<Parents>, Failure> {
    // clap asks for both or none.
    let (Some(relay), Some(scheduling)) = (&verb.relay_parent, &verb.scheduling_parent) else {
        return Ok(None);
    };
    let relay = hash_from_hex("--relay-parent", relay)?;
    Ok(Some((relay, hash_from_hex("--scheduling-parent", scheduling)?)))
}

fn hash_from_hex(argument: &'static str, value: &str) -> Result<[u8; 32], Failure> {
    const ACCEPTED: &str = "hex of 32 bytes";
    let wrong = |_| Failure::Hex { argument, value: shortened(value), accepted: ACCEPTED };
    from_hex(argument, value, ACCEPTED)?.try_into().map_err(wrong)
}

fn from_hex(
    argument: &'static str,
    value: &str,
    accepted: &'static str,
) -> Result<Vec<u8>, Failure> {
    let digits = value.strip_prefix("0x").unwrap_or(value);
    match hex::decode(digits) {
        Ok(bytes) if bytes.len() <= HEAD_BYTES_MAX => Ok(bytes),
        _ => Err(Failure::Hex { argument, value: shortened(value), accepted }),
    }
}

fn shortened(value: &str) -> String {
    value.chars().take(80).collect()
}

fn show(answer: &Answer<Validated>) {
    match &answer.verdict {
        Verdict::Returned(validated) => show_result(validated),
        verdict => line("because", report::reason(verdict).unwrap_or_default()),
    }
    if answer.attempts > 0 {
        let (cpu, wall) = (time(answer.usage.cpu), time(answer.usage.wall));
        line("time", format!("{cpu} CPU, {wall} wall"));
        if let Some(peak) = answer.usage.resident_bytes_peak {
            line("resident", bytes(peak));
        }
    }
    if answer.attempts > 1 {
        line("attempts", answer.attempts);
    }
    if let Some(artifact) = &answer.artifact {
        line("artifact", report::artifact_words(artifact));
    }
    for logged in &answer.log {
        line(
            "guest log",
            format!("{} {}: {}", report::level(logged.level), logged.target, logged.message),
        );
    }
    if answer.log_lines_dropped > 0 {
        line("guest log", format!("and {} more lines", answer.log_lines_dropped));
    }
}

fn show_result(validated: &Validated) {
    let result = &validated.result;
    line("new head", format!("0x{}", hex::encode(pvf::head_hash(&result.head_data))));
    match pvf::head_number(&result.head_data) {
        Some(number) => line("number", number),
        None => line("number", "not in a known form"),
    }
    line("upward", format!("{} messages", result.upward_messages.0.len()));
    line("horizontal", format!("{} messages", result.horizontal_messages.0.len()));
    line("downward", format!("{} processed", result.processed_downward_messages));
    match &result.new_validation_code {
        None => line("code upgrade", "none"),
        Some(code) => line("code upgrade", format!("{} bytes", code.len())),
    }
    let pages = validated.memory_pages;
    line("memory", format!("{pages} pages ({})", bytes(u64::from(pages) * 65536)));
}

fn result_object(verdict: &Verdict<Validated>) -> Value {
    let Verdict::Returned(validated) = verdict else { return Value::Null };
    let result = &validated.result;
    let hex = |bytes: &Vec<u8>| format!("0x{}", hex::encode(bytes));
    json!({
        "head_data": hex(&result.head_data),
        "head_hash": format!("0x{}", hex::encode(pvf::head_hash(&result.head_data))),
        "head_number": pvf::head_number(&result.head_data),
        "new_validation_code_bytes": result.new_validation_code.as_ref().map(Vec::len),
        "upward_messages": result.upward_messages.0.iter().map(hex).collect::<Vec<_>>(),
        "horizontal_messages": result.horizontal_messages.0.iter().map(|message| {
            json!({ "recipient": message.recipient, "data": hex(&message.data) })
        }).collect::<Vec<_>>(),
        "processed_downward_messages": result.processed_downward_messages,
        "hrmp_watermark": result.hrmp_watermark,
        "memory_pages": validated.memory_pages,
    })
}
