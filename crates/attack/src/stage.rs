//! A real host with one worker of each role, and attacks run on it one after another.

use std::{
    io,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use lazaret::{
    Answer, Code, Fault, Host, Retry, Verdict,
    pvf::{Block, Settings, Validated},
};
use tempfile::TempDir;

use crate::{
    blob::Order,
    invariants::{Memory, Outside, left_behind},
    layers::Without,
    seen::Seen,
};

/// How long a process may linger after its job's verdict.
const LINGER_MAX: Duration = Duration::from_millis(100);

/// An honest guest: it returns the smallest result there is, out of its zeros.
const HONEST: &str = r#"(module
    (memory (export "memory") 1)
    (global (export "__heap_base") i32 (i32.const 1024))
    (func (export "validate_block") (param i32 i32) (result i64) (i64.const 0xc00000200)))"#;

/// A host to attack.
pub(crate) struct Stage {
    host: Host,
    honest: Code,
    cache: TempDir,
    canary: TempDir,
    /// Holds the worker's program under the name that says what it leaves out.
    _programs: TempDir,
    needles: Vec<String>,
}

/// What came of one attack.
pub(crate) struct Report {
    pub(crate) seen: Seen,
    pub(crate) answer: Result<Answer<Validated>, Fault>,
    pub(crate) invariants: Invariants,
}

/// What was broken, by invariant; empty where it held.
#[derive(Debug)]
pub(crate) struct Invariants {
    pub(crate) outside: Vec<String>,
    pub(crate) processes: Vec<String>,
    pub(crate) artifact: Vec<String>,
    pub(crate) next_job: Vec<String>,
    pub(crate) memory: Vec<String>,
    pub(crate) no_fault: Vec<String>,
}

impl Invariants {
    pub(crate) fn by_name(&self) -> [(&'static str, &[String]); 6] {
        [
            ("outside", &self.outside),
            ("processes", &self.processes),
            ("artifact", &self.artifact),
            ("next_job", &self.next_job),
            ("memory", &self.memory),
            ("no_fault", &self.no_fault),
        ]
    }

    pub(crate) fn broken(&self) -> Vec<String> {
        self.by_name().into_iter().flat_map(|(_, broken)| broken.to_vec()).collect()
    }
}

impl Stage {
    /// Starts the host and runs an honest job on it, so that everything is warm.
    pub(crate) async fn set(without: Without) -> Result<Self, Box<dyn std::error::Error>> {
        let (cache, canary) = (tempfile::tempdir()?, tempfile::tempdir()?);
        std::fs::write(canary.path().join("canary"), "alive")?;
        let (programs, program) = program_for(without)?;
        let builder = Host::builder().cache_dir(cache.path()).worker_program(program);
        let host = builder.execute_workers(1).prepare_workers(1).start().await?;
        let honest = Code::new(&wat::parse_str(HONEST)?)?;
        let needles = needles(&cache, &canary);
        let stage = Self { host, honest, cache, canary, _programs: programs, needles };
        for _ in 0..2 {
            if let Some(why) = stage.honest_job_fails().await {
                return Err(why.into());
            }
        }
        Ok(stage)
    }

    /// Whether a layer is on, by its name.
    pub(crate) fn has(&self, layer: &str) -> bool {
        let layers = &self.host.security().layers;
        let on = lazaret::LayerState::On;
        layers.iter().any(|known| known.name.as_str() == layer && known.state == on)
    }

    /// The arena of one of the battery's attempts.
    pub(crate) fn arena(&self, attempt: u32, argument: u32) -> Vec<u8> {
        let canary = self.canary.path().join("canary");
        let canary = canary.to_str().unwrap_or_default();
        Order { attempt, argument, canary, needles: &self.needles }.encode()
    }

    /// Prepares a blob, so that an attack on it is a job of an execute worker and nothing else.
    pub(crate) async fn prepare(&self, blob: &[u8]) -> Result<Code, Box<dyn std::error::Error>> {
        let code = Code::new(blob)?;
        let prepared = self.host.prepare(&code, &Settings::default().params).await?;
        match prepared.verdict {
            Verdict::Returned(_) => Ok(code),
            other => Err(format!("the blob did not become an artifact: {other:?}").into()),
        }
    }

    /// Runs a prepared blob as a job, and nothing else.
    pub(crate) async fn run(
        &self,
        code: &Code,
        arena: Vec<u8>,
        cpu: Duration,
    ) -> Result<Answer<Validated>, Fault> {
        let mut settings = Settings::default();
        settings.retry = Retry::Never;
        settings.limits.cpu = cpu;
        self.host.validate(code, Block::encoded(arena), &settings).await
    }

    /// Runs a prepared blob as a job and looks at what it left.
    pub(crate) async fn attack(&self, code: &Code, arena: Vec<u8>, cpu: Duration) -> Report {
        let (before, memory_before) = (self.outside(), Memory::look());
        let mut answer = self.run(code, arena, cpu).await;
        if let Ok(Answer { verdict: Verdict::Returned(validated), .. }) = &mut answer {
            // The answer is the caller's memory and not the host's.
            validated.encoded = Vec::new();
        }
        let seen = Seen::of(&answer);
        let processes = processes_after_a_while().await;
        let next_job = self.honest_job_fails().await.into_iter().collect();
        let after = self.outside();
        let no_fault = match &seen {
            Seen::Blamed(fault) => vec![format!("a fault: {fault}")],
            _ => Vec::new(),
        };
        let invariants = Invariants {
            outside: before.changes(&after),
            processes,
            artifact: before.changed_artifacts(&after),
            next_job,
            memory: memory_before.growth(Memory::look()),
            no_fault,
        };
        Report { seen, answer, invariants }
    }

    fn outside(&self) -> Outside {
        Outside::look(&[self.cache.path(), self.canary.path()])
    }

    async fn honest_job_fails(&self) -> Option<String> {
        let mut settings = Settings::default();
        settings.retry = Retry::Never;
        let block = Block::encoded(vec![1, 2, 3]);
        match self.host.validate(&self.honest, block, &settings).await {
            Ok(Answer { verdict: Verdict::Returned(_), .. }) => None,
            Ok(answer) => Some(format!("the next honest job: {:?}", answer.verdict)),
            Err(fault) => Some(format!("the next honest job: {fault}")),
        }
    }
}

/// Looks until nothing is left, or until it should have been.
async fn processes_after_a_while() -> Vec<String> {
    let begin = Instant::now();
    loop {
        let left = left_behind();
        if left.is_empty() || begin.elapsed() > LINGER_MAX {
            return left;
        }
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

/// This program under a name from which its workers know what to leave out: a worker has no
/// environment and one argument, and its name is the one thing left to tell it by.
fn program_for(without: Without) -> io::Result<(TempDir, PathBuf)> {
    let own = std::env::current_exe()?;
    let folder = tempfile::tempdir_in(own.parent().unwrap_or(Path::new("/")))?;
    let program = folder.path().join(without.program_name());
    std::fs::hard_link(&own, &program).or_else(|_| std::fs::copy(&own, &program).map(drop))?;
    Ok((folder, program))
}

/// Words by which a job could tell where it is, as far as they are ones that tell something.
fn needles(cache: &TempDir, canary: &TempDir) -> Vec<String> {
    let name = rustix::system::uname().nodename().to_string_lossy().into_owned();
    let folders = [cache, canary].map(|folder| folder.path().display().to_string());
    let mut needles = folders.to_vec();
    needles.extend((name.len() > 3 && name != "localhost").then_some(name));
    needles
}
