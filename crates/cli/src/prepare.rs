//! `lazaret prepare` and `lazaret pvf precheck`: one file or many, each a line.

use std::{path::Path, time::Duration};

use lazaret::{Answer, Fault, Host, PrepareFacts, Security, Verdict, pvf, pvf::PrepareKind};
use serde_json::{Value, json};

use crate::{
    arguments::{Files, Global},
    errors::Failure,
    executor_params, hosting, many,
    report::{self, Ending, bytes, time},
};

/// Under which limits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum How {
    /// Those of execution: the code was accepted.
    Prepare,
    /// The stricter ones: may the code be accepted at all?
    Precheck,
}

impl From<How> for PrepareKind {
    fn from(how: How) -> Self {
        match how {
            How::Prepare => Self::Prepare,
            How::Precheck => Self::Precheck,
        }
    }
}

type Prepared = Result<Result<Answer<PrepareFacts>, Fault>, Failure>;

pub(crate) async fn run(global: &Global, verb: &Files, how: How) -> Result<Ending, Failure> {
    let executor_params = executor_params::read(&verb.meaning)?;
    let base = executor_params::code_params(&verb.meaning, &executor_params)?;
    let host = hosting::start(global, executor_params.prepare_limits(how.into())).await?;
    hosting::serve_metrics(&host, verb.metrics).await?;
    let mut gravest = Ending::Returned;
    let mut objects = Vec::new();
    let work = |path: &Path| {
        let (host, path) = (host.clone(), path.to_owned());
        let params = hosting::params(&path, &verb.meaning, base.clone());
        async move {
            let code = hosting::read_code(&path)?;
            Ok(prepare(&host, &code, &params, how).await)
        }
    };
    many::each(&verb.files, work, |path, prepared: Prepared| match prepared {
        Ok(answer) => {
            gravest = gravest.max(Ending::of(&answer));
            if global.json {
                objects.push(object(path, &answer, how, host.security()));
            } else {
                show(path, &answer);
            }
        }
        Err(failure) => {
            if global.json {
                let text = failure.text();
                objects.push(json!({ "file": path.display().to_string(), "verdict": "usage", "reason": text }));
            }
            eprintln!("lazaret: {}", failure.text());
            gravest = gravest.max(Ending::Usage);
        }
    })
    .await;
    if global.json {
        say!("{}", json!({ "files": objects }));
    } else if let Some(words) = report::jail_words(host.security()) {
        report::line("jail", words);
    }
    Ok(gravest)
}

async fn prepare(
    host: &Host,
    code: &lazaret::Code,
    params: &lazaret::Params,
    how: How,
) -> Result<Answer<PrepareFacts>, Fault> {
    match how {
        How::Prepare => host.prepare(code, params).await,
        How::Precheck => host.precheck(code, params).await,
    }
}

fn show(path: &Path, answer: &Result<Answer<PrepareFacts>, Fault>) {
    let words = match answer {
        Err(fault) => fault.to_string(),
        Ok(answer) => match &answer.verdict {
            Verdict::Returned(facts) => {
                let artifact = answer.artifact.as_ref();
                let size = artifact.map_or(0, |artifact| artifact.bytes);
                let from = artifact.map_or("", |artifact| report::origin(artifact.origin));
                format!(
                    "{} of code, {} of artifact, {} CPU, {} of heap ({from})",
                    bytes(facts.code_bytes),
                    bytes(size),
                    time(Duration::from_micros(facts.cpu_micros)),
                    bytes(facts.heap_bytes_peak),
                )
            }
            verdict => report::reason(verdict).unwrap_or_default(),
        },
    };
    say!("{:<13}{}: {words}", Ending::of(answer).word(), path.display());
}

fn object(
    path: &Path,
    answer: &Result<Answer<PrepareFacts>, Fault>,
    how: How,
    security: &Security,
) -> Value {
    let ending = Ending::of(answer);
    let vote = (how == How::Precheck).then(|| pvf::precheck_vote(answer));
    let mut object = match answer {
        Ok(answer) => report::object(answer, ending, vote, security),
        Err(fault) => {
            let mut object = serde_json::Map::new();
            object.insert("verdict".into(), "fault".into());
            object.insert("vote".into(), vote.map(|vote| vote.to_string()).into());
            object.insert("reason".into(), fault.to_string().into());
            object.insert("jail".into(), report::jail_object(security));
            object.insert("stall".into(), report::stall_object(fault));
            object
        }
    };
    object.insert("file".into(), path.display().to_string().into());
    Value::from(object)
}
