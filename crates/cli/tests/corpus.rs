//! Every real runtime and every real block of the shared data, end to end.

mod support;

use std::{
    fs,
    path::{Path, PathBuf},
    sync::Arc,
};

use lazaret::{
    Answer, Code, Fault, Host, Verdict, Vote,
    pvf::{self, Block, Settings, Validated},
};
use support::{data, entries, host, skipped};
use tokio::{sync::Semaphore, task::JoinSet};

/// Requests in flight: enough to keep both kinds of worker busy, few enough to keep memory small.
const IN_FLIGHT: usize = 6;

struct Case {
    name: String,
    code: PathBuf,
    params: PathBuf,
    expected: Expected,
}

enum Expected {
    Result(PathBuf),
    /// The result of the same block without its last bytes.
    AsWithoutGarbage,
    Refused,
}

/// Bytes behind the block in the cases `trailing_garbage`.
const GARBAGE_BYTES: usize = 4;

/// Blocks that the runtime accepts, and inputs that it must refuse. The one negative case that is
/// none is garbage behind the block: chains ignore it.
fn cases(pvf: &Path) -> Vec<Case> {
    let mut cases = Vec::new();
    for folder in entries(pvf).into_iter().filter(|path| path.is_dir()) {
        let name = folder.file_name().unwrap().to_string_lossy().into_owned();
        let mut add = |label: String, params: PathBuf, expected| {
            cases.push(Case { name: label, code: folder.join("code"), params, expected });
        };
        for path in entries(&folder) {
            let file = path.file_name().unwrap().to_string_lossy().into_owned();
            let Some(stem) = file.strip_suffix("params.scale") else { continue };
            let result = folder.join(format!("{stem}result.scale"));
            add(format!("{name}/{file}"), path, Expected::Result(result));
        }
        let negative = folder.join("neg");
        for path in negative.is_dir().then(|| entries(&negative)).into_iter().flatten() {
            let file = path.file_name().unwrap().to_string_lossy().into_owned();
            let Some(stem) = file.strip_suffix(".params.scale") else { continue };
            let expected = match stem {
                "trailing_garbage" => Expected::AsWithoutGarbage,
                _ => Expected::Refused,
            };
            add(format!("{name}/{stem}"), path, expected);
        }
    }
    cases
}

async fn complaint(host: &Host, case: &Case) -> Option<String> {
    let code = Code::new(&fs::read(&case.code).unwrap()).unwrap();
    let params = fs::read(&case.params).unwrap();
    let validate = |params: &[u8]| {
        let (code, block) = (code.clone(), Block::encoded(params.to_vec()));
        async move { host.validate(&code, block, &Settings::default()).await }
    };
    let answer = validate(&params).await;
    let vote = pvf::vote(&answer);
    let right = match &case.expected {
        Expected::Result(path) => {
            vote == Vote::For && output(&answer) == fs::read(path).ok().as_deref()
        }
        Expected::AsWithoutGarbage => {
            let clean = validate(&params[..params.len() - GARBAGE_BYTES]).await;
            vote == Vote::For && output(&answer) == output(&clean)
        }
        Expected::Refused => {
            let refused = matches!(&answer, Ok(Answer { verdict: Verdict::Refused(_), .. }));
            vote == Vote::Against && refused
        }
    };
    (!right).then(|| format!("{}: {}", case.name, shown(&answer)))
}

fn output(answer: &Result<Answer<Validated>, Fault>) -> Option<&[u8]> {
    match answer {
        Ok(Answer { verdict: Verdict::Returned(validated), .. }) => Some(&validated.encoded),
        _ => None,
    }
}

fn shown<T: std::fmt::Debug>(answer: &Result<Answer<T>, Fault>) -> String {
    let mut text = match answer {
        Ok(answer) => format!("{:?}", answer.verdict),
        Err(fault) => format!("{fault:?}"),
    };
    text.truncate(text.floor_char_boundary(500));
    text
}

/// Runs `work` on every item, a few at a time, and collects what went wrong.
async fn complaints<T, F>(items: Vec<T>, work: impl Fn(T) -> F) -> Vec<String>
where
    F: Future<Output = Option<String>> + Send + 'static,
{
    let places = Arc::new(Semaphore::new(IN_FLIGHT));
    let mut running = JoinSet::new();
    for item in items {
        let place = places.clone().acquire_owned().await.unwrap();
        let job = work(item);
        running.spawn(async move {
            let complaint = job.await;
            drop(place);
            complaint
        });
    }
    running.join_all().await.into_iter().flatten().collect()
}

/// One test, so that the 53 runtimes are prepared once: precheck them all, then run all blocks.
#[tokio::test(flavor = "multi_thread")]
async fn every_real_runtime_prepares_and_every_real_block_ends_as_certified() {
    let Some(pvf) = data("pvf") else {
        return skipped(78, "real runtimes and blocks: there is no ../shared/data/pvf");
    };
    let cache = tempfile::tempdir().unwrap();
    let host = host(cache.path()).await;

    let runtimes: Vec<_> = entries(&pvf)
        .into_iter()
        .map(|folder| folder.join("code"))
        .filter(|path| path.exists())
        .collect();
    assert!(runtimes.len() >= 53, "{} runtimes", runtimes.len());
    let wrong = complaints(runtimes, |path| {
        let host = host.clone();
        async move {
            let code = Code::new(&fs::read(&path).unwrap()).unwrap();
            let inspected = host.inspect(&code, &Default::default()).await;
            let answer = host.precheck(&code, &Default::default()).await;
            let fine = matches!(inspected, Ok(Answer { verdict: Verdict::Returned(_), .. }))
                && pvf::precheck_vote(&answer) == Vote::For;
            (!fine)
                .then(|| format!("{}: {}, {}", path.display(), shown(&answer), shown(&inspected)))
        }
    })
    .await;
    assert!(wrong.is_empty(), "{} runtimes:\n{}", wrong.len(), wrong.join("\n"));

    let cases = cases(&pvf);
    let count = |refused: bool| {
        cases.iter().filter(|case| matches!(case.expected, Expected::Refused) == refused).count()
    };
    assert!(count(false) >= 29 && count(true) >= 18, "{} and {}", count(false), count(true));
    let wrong = complaints(cases, |case| {
        let host = host.clone();
        async move { complaint(&host, &case).await }
    })
    .await;
    assert!(wrong.is_empty(), "{} cases:\n{}", wrong.len(), wrong.join("\n"));
}
