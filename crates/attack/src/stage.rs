//! A real host with one worker of each role, and attacks run on it one after another.

use std::{
    io,
    path::{Path, PathBuf},
    sync::atomic::{AtomicU32, Ordering},
    time::{Duration, Instant},
};

use lazaret::{
    Answer, Builder, Code, Fault, Host, Origin, PrepareFacts, PrepareLimits, PrepareRetry, Retry,
    Verdict,
    pvf::{Block, Settings, Validated},
};
use tempfile::TempDir;

use crate::{
    blob::Order,
    invariants::{Memory, Outside, left_behind},
    layers::Without,
    native::for_prepare,
    seen::Seen,
};

/// How long a process may linger after its job's verdict.
const LINGER_MAX: Duration = Duration::from_secs(10);

/// What a preparation may take; `p.c` has the same length.
const PREPARE_CPU: Duration = Duration::from_millis(300);
const ARTIFACT_BYTES_MAX: u64 = 16 << 20;

/// A host to attack.
pub(crate) struct Stage {
    host: Host,
    /// To start another host like it.
    builder: Builder,
    honest: Honest,
    /// How many honest codes there were beside that one.
    salts: AtomicU32,
    cache: TempDir,
    canary: TempDir,
    /// What may wait below each worker.
    ready_max: usize,
    input_bytes_min: usize,
    /// Holds the worker's program under the name that says what it leaves out.
    _programs: TempDir,
    needles: Vec<String>,
}

/// What came of one attack.
pub(crate) struct Report<T> {
    pub(crate) seen: Seen,
    pub(crate) answer: Result<Answer<T>, Fault>,
    pub(crate) invariants: Invariants,
}

/// An honest guest that no other is like: it returns its number as the new head.
#[derive(Clone)]
struct Honest {
    code: Code,
    head: [u8; 4],
}

/// What came of several attacks beside each other.
pub(crate) struct Reports {
    /// One for each.
    pub(crate) answers: Vec<Result<Answer<PrepareFacts>, Fault>>,
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
        let limits = PrepareLimits {
            execution_cpu: PREPARE_CPU,
            artifact_bytes_max: ARTIFACT_BYTES_MAX,
            ..PrepareLimits::default()
        };
        let builder = Host::builder().cache_dir(cache.path()).worker_program(program);
        let builder = builder.execute_workers(1).prepare_limits(limits);
        let builder = builder.prepare_workers(1).critical_prepare_workers(0);
        // An attempt that is made a second time is to be made and not remembered.
        let again =
            PrepareRetry { cool_down: Duration::ZERO, tries_max: u32::MAX, ..<_>::default() };
        // And every attempt is a death, which here is no reason to make the artifact anew.
        let builder = builder.prepare_retry(again).deaths_max(usize::MAX);
        let host = builder.clone().start().await?;
        let (last, honest, salts) = (honest(u32::MAX)?, honest(0)?, AtomicU32::new(0));
        let stage = Self {
            host,
            builder,
            honest,
            salts,
            ready_max: without.ready_max(),
            input_bytes_min: without.input_bytes_min(),
            needles: needles(&cache, &canary),
            cache,
            canary,
            _programs: programs,
        };
        for origin in [Origin::Prepared, Origin::Memory] {
            if let Some(why) = is_misled(&stage.host, &stage.honest, origin).await {
                return Err(why.into());
            }
        }
        // After a call of other code no ordinary worker has a template.
        match is_misled(&stage.host, &last, Origin::Prepared).await {
            Some(why) => Err(why.into()),
            None => Ok(stage),
        }
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
        let mut arena = Order { attempt, argument, canary, needles: &self.needles }.encode();
        arena.resize(arena.len().max(self.input_bytes_min), 0);
        arena
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
    pub(crate) async fn attack(
        &self,
        code: &Code,
        arena: Vec<u8>,
        cpu: Duration,
    ) -> Report<Validated> {
        let (before, memory_before) = (self.outside(), Memory::look());
        let mut answer = self.run(code, arena.clone(), cpu).await;
        if let Ok(Answer { verdict: Verdict::Returned(validated), .. }) = &mut answer {
            // The answer is the caller's memory and not the host's.
            validated.encoded = Vec::new();
        }
        let seen = Seen::of(&answer);
        let processes = processes_after_a_while(self.ready_max).await;
        let next_job = self.honest_job_fails().await.into_iter().collect();
        let after = self.outside();
        let no_fault = faults(&seen);
        let mut outside = before.changes(&after);
        outside.extend(after.changed_inputs(&arena));
        let invariants = Invariants {
            outside,
            processes,
            artifact: before.changed_artifacts(&after),
            next_job,
            memory: memory_before.growth(Memory::look()),
            no_fault,
        };
        Report { seen, answer, invariants }
    }

    /// Runs blobs with their arenas in prepare jobs beside each other, calls what artifacts they leave,
    /// and looks at what else they left.
    pub(crate) async fn attack_in_prepare(
        &self,
        attacks: &[(&[u8], Vec<u8>)],
        cpu: Duration,
    ) -> Reports {
        let (before, memory_before) = (self.outside(), Memory::look());
        let running: Vec<_> = attacks
            .iter()
            .map(|(blob, arena)| tokio::spawn(prepare(self.host.clone(), for_prepare(blob, arena))))
            .collect();
        let (mut answers, mut next_job, mut kept) = (Vec::new(), Vec::new(), 0);
        for (running, (_, arena)) in running.into_iter().zip(attacks) {
            let (code, answer) = running.await.unwrap_or((None, Err(Fault::ShuttingDown)));
            if let (Ok(Answer { verdict: Verdict::Returned(_), .. }), Some(code)) = (&answer, code)
            {
                kept += 1;
                let called = Seen::of(&self.run(&code, arena.clone(), cpu).await);
                let blames = matches!(called, Seen::Blamed(_) | Seen::WorkerLost);
                next_job.extend(blames.then(|| format!("a call of its artifact: {called:?}")));
            }
            answers.push(answer);
        }
        let no_fault = answers.iter().flat_map(|answer| faults(&Seen::of(answer))).collect();
        let processes = processes_after_a_while(self.ready_max).await;
        let after = self.outside();
        next_job.extend(self.others_are_misled().await);
        let invariants = Invariants {
            outside: before.changes_beside_artifacts(&after, self.cache.path(), kept),
            processes,
            artifact: before.changed_artifacts(&after),
            next_job,
            memory: memory_before.growth(Memory::look()),
            no_fault,
        };
        Reports { answers, invariants }
    }

    /// Whether honest code is called by another's artifact: code that was there before the attack, and
    /// code that comes after it.
    async fn others_are_misled(&self) -> Option<String> {
        let known = is_misled(&self.host, &self.honest, Origin::Memory).await;
        let Ok(fresh) = honest(1 + self.salts.fetch_add(1, Ordering::Relaxed)) else {
            return known;
        };
        known.or(is_misled(&self.host, &fresh, Origin::Prepared).await)
    }

    /// Whether a host that finds only what is on disk calls honest code by another's artifact.
    pub(crate) async fn next_host_is_misled(&self) -> Option<String> {
        match self.builder.clone().start().await {
            Err(fault) => Some(format!("the next host: {fault}")),
            Ok(host) => is_misled(&host, &self.honest, Origin::Disk).await,
        }
    }

    fn outside(&self) -> Outside {
        Outside::look(&[self.cache.path(), self.canary.path()])
    }

    async fn honest_job_fails(&self) -> Option<String> {
        is_misled(&self.host, &self.honest, Origin::Memory).await
    }
}

fn faults(seen: &Seen) -> Vec<String> {
    match seen {
        Seen::Blamed(fault) => vec![format!("a fault: {fault}")],
        _ => Vec::new(),
    }
}

async fn prepare(host: Host, code: Vec<u8>) -> (Option<Code>, Result<Answer<PrepareFacts>, Fault>) {
    match Code::new(&code) {
        Ok(code) => {
            let prepared = host.prepare(&code, &Settings::default().params).await;
            (Some(code), prepared)
        }
        Err(error) => (None, Err(Fault::Memory(io::Error::other(error).into()))),
    }
}

fn honest(number: u32) -> Result<Honest, Box<dyn std::error::Error>> {
    let head = number.to_le_bytes();
    let escaped: String = head.iter().map(|byte| format!("\\{byte:02x}")).collect();
    // Four bytes of head, and nothing else in the result.
    let wat = format!(
        r#"(module
            (memory (export "memory") 1)
            (global (export "__heap_base") i32 (i32.const 1024))
            (data (i32.const 512) "\10{escaped}")
            (func (export "validate_block") (param i32 i32) (result i64) (i64.const 0x1000000200)))"#
    );
    Ok(Honest { code: Code::new(&wat::parse_str(wat)?)?, head })
}

/// Whether a call of honest code fails, says something else, or has its artifact from elsewhere.
async fn is_misled(host: &Host, honest: &Honest, origin: Origin) -> Option<String> {
    let mut settings = Settings::default();
    settings.retry = Retry::Never;
    let answer = host.validate(&honest.code, Block::encoded(vec![1, 2, 3]), &settings).await;
    let answer = match answer {
        Ok(answer) => answer,
        Err(fault) => return Some(format!("an honest job: {fault}")),
    };
    let found = answer.artifact.as_ref().map(|artifact| artifact.origin);
    match &answer.verdict {
        Verdict::Returned(validated) if validated.result.head_data != honest.head => {
            Some(format!("an honest job returned {:?}", validated.result.head_data))
        }
        Verdict::Returned(_) if found == Some(origin) => None,
        Verdict::Returned(_) => Some(format!("an honest job's artifact is from {found:?}")),
        other => Some(format!("an honest job: {other:?}")),
    }
}

/// Looks until nothing is left, or until it should have been.
async fn processes_after_a_while(ready_max: usize) -> Vec<String> {
    let begin = Instant::now();
    loop {
        let left = left_behind(ready_max);
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
