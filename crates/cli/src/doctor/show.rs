//! What was found, for people and for programs. The keys are documented in docs/doctor.md and stay.

use std::io;

use lazaret::{JailLevel, LayerState};
use lazaret_worker::{layer_names, strict_requires};
use serde_json::{Value, json};

use super::{
    Examination, Health,
    canary::CanarySeen,
    facts::Facts,
    hazards::{Hazard, HazardState},
    mending::{Mending, Off, mending},
};
use crate::{
    errors::with_causes,
    report::{level_word, line, time},
};

/// The error number by which a layer is judged that did not fail: a refusal, not a lack.
const EPERM: i32 = 1;

pub(crate) fn object(seen: &Examination) -> Value {
    let refused =
        seen.jail.refused.iter().map(
            |(level, fault)| json!({ "level": level_word(*level), "reason": with_causes(fault) }),
        );
    json!({
        "strict": seen.jail.level == Some(JailLevel::Strict),
        "level": seen.jail.level.map(level_word),
        "refused": refused.collect::<Vec<_>>(),
        "layers": layer_names().map(|name| layer_object(seen, name)).collect::<Vec<_>>(),
        "hazards": seen.hazards.iter().map(hazard_object).collect::<Vec<_>>(),
        "cache": {
            "directory": seen.cache.directory.as_ref().map(|path| path.display().to_string()),
            "writable": seen.cache.is_kept(),
            "reason": seen.cache.refused,
        },
        "canary": canary_object(&seen.canary),
        "machine": machine_object(&seen.facts),
        "exit_code": seen.health().code(),
    })
}

fn layer_object(seen: &Examination, name: &str) -> Value {
    let (state, off) = match seen.jail.state(name) {
        None => ("unknown", None),
        Some(LayerState::On) => ("on", None),
        Some(LayerState::Off { call, errno }) => {
            ("off", Some(Off { layer: name, call: call.as_str(), errno: *errno }))
        }
    };
    let found = off.map(|off| mending(&off, &seen.facts));
    json!({
        "name": name,
        "state": state,
        "required": strict_requires(name, off.map_or(EPERM, |off| off.errno)),
        "call": off.map(|off| off.call),
        "errno": off.map(|off| off.errno),
        "error": off.map(|off| error(&off)),
        "mend": found.map(|found| json!({
            "cause": found.cause,
            "knob": found.knob,
            "command": found.command,
            "profile": found.profile,
        })),
    })
}

fn hazard_object(hazard: &Hazard) -> Value {
    let is_present = hazard.state == HazardState::Present;
    json!({
        "name": hazard.name,
        "state": hazard.state.word(),
        "value": hazard.value,
        "why": is_present.then_some(hazard.why),
        "command": is_present.then_some(hazard.command),
    })
}

fn canary_object(canary: &CanarySeen) -> Value {
    match canary {
        CanarySeen::Right { usage, prepare_wall } => json!({
            "state": "right",
            "reason": null,
            "cpu_micros": usage.cpu.as_micros() as u64,
            "wall_micros": usage.wall.as_micros() as u64,
            "prepare_wall_micros": prepare_wall.as_micros() as u64,
        }),
        CanarySeen::Wrong(reason) => json!({ "state": "wrong", "reason": reason }),
        CanarySeen::NotRun => json!({ "state": "not-run", "reason": "no host could be started" }),
    }
}

fn machine_object(facts: &Facts) -> Value {
    json!({
        "kernel": facts.kernel,
        "system": facts.system,
        "user": facts.user,
        "program": facts.program,
        "surroundings": facts.surroundings.word(),
        "outer_filter": facts.outer_filter,
        "apparmor_profile": facts.apparmor_profile,
        "apparmor_restrict_unprivileged_userns": facts.apparmor_restricts,
        "unprivileged_userns_clone": facts.userns_clone,
        "max_user_namespaces": facts.user_namespaces_max,
    })
}

fn error(off: &Off<'_>) -> String {
    match off.errno {
        0 => "does not hold".into(),
        errno => io::Error::from_raw_os_error(errno).to_string(),
    }
}

pub(crate) fn text(seen: &Examination) {
    say!("{}", headline(seen));
    for (level, fault) in &seen.jail.refused {
        line(level_word(*level), format!("refused: {}", with_causes(fault)));
    }
    machine_text(&seen.facts);
    say!("\nlayers of the jail");
    layer_names().for_each(|name| layer_text(seen, name));
    say!("\nhazards");
    seen.hazards.iter().for_each(hazard_text);
    say!("\nuse");
    let directory = seen.cache.directory.as_ref().map(|path| path.display().to_string());
    match (&directory, &seen.cache.refused) {
        (_, Some(reason)) => line("cache", reason),
        (directory, None) => {
            line("cache", format!("artifacts are kept in {}", directory.as_deref().unwrap_or("")))
        }
    }
    match &seen.canary {
        CanarySeen::Right { usage, prepare_wall } => {
            let (wall, prepared) = (time(usage.wall), time(*prepare_wall));
            line("canary", format!("right: prepared in {prepared}, called in {wall}"));
        }
        CanarySeen::Wrong(reason) => line("canary", format!("WRONG: {reason}")),
        CanarySeen::NotRun => line("canary", "not run: no host could be started"),
    }
}

fn headline(seen: &Examination) -> String {
    match (seen.health(), seen.jail.level) {
        (_, None) => "this machine cannot run untrusted code: no level of the jail holds".into(),
        (Health::Unable, Some(_)) => "this machine comes to wrong answers or to none".into(),
        (Health::Strict, _) => "the strict jail holds".into(),
        (Health::Lacking, Some(JailLevel::Strict)) => {
            "the strict jail holds, and artifacts cannot be kept".into()
        }
        (Health::Lacking, Some(level)) => {
            format!("the strict jail does not hold; {} does", level_word(level))
        }
    }
}

fn machine_text(facts: &Facts) {
    let or = |word: &Option<String>| word.clone().unwrap_or_else(|| "unknown".into());
    let user = match facts.user {
        Some(0) => "root".into(),
        Some(id) => format!("user {id}"),
        None => "an unknown user".into(),
    };
    let filter = if facts.outer_filter { ", under a seccomp filter already" } else { "" };
    let (kernel, system) = (or(&facts.kernel), or(&facts.system));
    let surroundings = facts.surroundings.word();
    line("machine", format!("Linux {kernel}, {system}, {surroundings}, as {user}{filter}"));
}

fn layer_text(seen: &Examination, name: &str) {
    let (call, errno) = match seen.jail.state(name) {
        None => return say!("  ?    {name}"),
        Some(LayerState::On) => return say!("  on   {name}"),
        Some(LayerState::Off { call, errno }) => (call.as_str(), *errno),
    };
    let off = Off { layer: name, call, errno };
    let weight = match strict_requires(name, errno) {
        true => "required",
        false => "not required here",
    };
    say!("  OFF  {name} ({weight}): {call}: {}", error(&off));
    let Mending { cause, knob, command, profile } = mending(&off, &seen.facts);
    say!("         why   {cause} [{knob}]");
    if let Some(command) = command {
        say!("         mend  {command}");
    }
    if let Some(profile) = profile {
        say!("         file  {profile}");
    }
}

fn hazard_text(hazard: &Hazard) {
    let Hazard { name, state, value, why, command } = hazard;
    match state {
        HazardState::Absent => say!("  ok   {name}: {}", or_none(value)),
        HazardState::Unknown => say!("  ?    {name}: the machine does not tell"),
        HazardState::Present => {
            say!("  !!   {name}: {value}");
            say!("         why   {why}");
            say!("         mend  {command}");
        }
    }
}

fn or_none(value: &str) -> &str {
    if value.is_empty() { "none" } else { value }
}
