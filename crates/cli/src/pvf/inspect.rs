//! `lazaret pvf inspect`: what code is, read in a jailed job and not compiled.

use lazaret::{Answer, ImportTreatment, Inspection, Verdict, pvf::PrepareKind};
use serde_json::{Value, json};

use crate::{
    arguments::{Global, Inspect},
    errors::Failure,
    executor_params, hosting,
    report::{self, Ending, bytes, line},
};

pub(crate) async fn run(global: &Global, verb: &Inspect) -> Result<Ending, Failure> {
    let code = hosting::read_code(&verb.file)?;
    let executor_params = executor_params::read(&verb.meaning)?;
    let base = executor_params::code_params(&verb.meaning, &executor_params)?;
    let params = hosting::params(&verb.file, &verb.meaning, base);
    let mut limits = executor_params.prepare_limits(PrepareKind::Precheck);
    limits.precheck_cpu = verb.cpu_limit.unwrap_or(limits.precheck_cpu);
    let host = hosting::start(global, limits.clone()).await?;
    let answer = host.inspect_with(&code, &params, &limits).await;
    let ending = Ending::of(&answer);
    let answer = answer.map_err(|fault| Failure::of(fault, &host))?;
    let digest = hex::encode(code.digest());
    if global.json {
        let mut object = report::object(&answer, ending, None, host.security());
        object.insert("file_bytes".into(), code.len().into());
        object.insert("blake3".into(), digest.into());
        object.insert("inspection".into(), inspection_object(&answer));
        say!("{}", Value::from(object));
        return Ok(ending);
    }
    say!("{}", verb.file.display());
    line("file", format!("{}, BLAKE3 {digest}", bytes(code.len())));
    match &answer.verdict {
        Verdict::Returned(inspection) => show(inspection),
        verdict => line("would be refused", report::reason(verdict).unwrap_or_default()),
    }
    if let Some(words) = report::jail_words(host.security()) {
        line("jail", words);
    }
    Ok(ending)
}

fn show(inspection: &Inspection) {
    match &inspection.spec {
        Some((name, version)) => line("spec", format!("{name} {version}")),
        None => line("spec", "not said"),
    }
    let form = if inspection.compressed { "compressed" } else { "plain" };
    line("code", format!("{} ({form})", bytes(inspection.code_bytes)));
    line("imports", inspection.imports_total);
    for import in &inspection.imports {
        say!("    {:<24}{}.{}", treatment(import.treatment), import.module, import.name);
    }
    match inspection.refusals.as_slice() {
        [] => {
            line("refused", "not so far: what compiles and instantiates is found out by precheck")
        }
        refusals => refusals.iter().for_each(|refusal| line("refused", refusal)),
    }
}

fn treatment(treatment: ImportTreatment) -> &'static str {
    match treatment {
        ImportTreatment::Provided => "provided",
        ImportTreatment::Traps => "traps when called",
        ImportTreatment::OwnMemory => "becomes its own memory",
        ImportTreatment::Refused => "refused",
    }
}

fn inspection_object(answer: &Answer<Inspection>) -> Value {
    let Verdict::Returned(inspection) = &answer.verdict else { return Value::Null };
    json!({
        "spec_name": inspection.spec.as_ref().map(|(name, _)| name.as_str()),
        "spec_version": inspection.spec.as_ref().map(|(_, version)| version),
        "code_bytes": inspection.code_bytes,
        "compressed": inspection.compressed,
        "imports_total": inspection.imports_total,
        "imports": inspection.imports.iter().map(|import| json!({
            "module": import.module.as_str(),
            "name": import.name.as_str(),
            "treatment": treatment(import.treatment),
        })).collect::<Vec<_>>(),
        "refusals": inspection.refusals.iter().map(|refusal| refusal.as_str()).collect::<Vec<_>>(),
    })
}
