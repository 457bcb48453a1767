//! The specification's test suite through the profile `plain`, each module's calls in a jailed job.

mod support;

use std::collections::HashMap;

use lazaret::{
    Builder, Code, Host, Lanes, Refusal, TrapKind, UnknownImports, Verdict,
    program::{CallEnd, ExportCall, Settings, Value},
};
use spec::{Number, Outcome, Runner, Step, Trap};
use tokio::runtime::Runtime;

/// Assertions that hold. Raise it when the suite grows; never lower it.
const PASSED_MIN: usize = 52_000;

struct InJobs {
    runtime: Runtime,
    host: Host,
    settings: Settings,
    /// What was said of code before, by its digest.
    prepared: HashMap<[u8; 32], Result<(), String>>,
}

impl Runner for InJobs {
    fn prepare(&mut self, code: &[u8]) -> Result<(), String> {
        let code = Code::new(code).map_err(|error| error.to_string())?;
        if let Some(known) = self.prepared.get(code.digest()) {
            return known.clone();
        }
        let params = self.settings.params_for(lazaret::Profile::Plain);
        let answer = self.runtime.block_on(self.host.prepare(&code, &params)).expect("no fault");
        let said = match answer.verdict {
            Verdict::Returned(_) => Ok(()),
            Verdict::Refused(refusal) => Err(lazaret::describe(&refusal)),
            Verdict::Inconclusive(doubt) => panic!("a preparation: {doubt}"),
        };
        self.prepared.insert(*code.digest(), said.clone());
        said
    }

    fn run(&mut self, code: &[u8], steps: &[Step]) -> Vec<Outcome> {
        let failed = |words: String| vec![Outcome::Failed(words); steps.len()];
        let Ok(code) = Code::new(code) else { return failed("no code".into()) };
        let calls = steps.iter().map(call).collect();
        let answer = self.runtime.block_on(self.host.call_each(&code, calls, &self.settings));
        match answer.expect("no fault of this machine").verdict {
            Verdict::Returned(ends) => ends.into_iter().map(outcome).collect(),
            Verdict::Refused(refusal) => vec![refused(&refusal); steps.len()],
            Verdict::Inconclusive(doubt) => failed(doubt.to_string()),
        }
    }
}

fn call(step: &Step) -> ExportCall {
    let values = step.arguments.iter().map(|number| match *number {
        Number::I32(value) => Value::I32(value),
        Number::I64(value) => Value::I64(value),
        Number::F32(bits) => Value::F32(bits),
        Number::F64(bits) => Value::F64(bits),
    });
    ExportCall::values(step.function.clone(), values)
}

fn outcome(end: CallEnd) -> Outcome {
    let number = |value| match value {
        Value::I32(value) => Number::I32(value),
        Value::I64(value) => Number::I64(value),
        Value::F32(bits) => Number::F32(bits),
        Value::F64(bits) => Number::F64(bits),
    };
    match end {
        CallEnd::Values(values) => Outcome::Returned(values.into_iter().map(number).collect()),
        CallEnd::Refused(refusal) => refused(&refusal),
    }
}

/// The suite tells more kinds of traps apart than verdicts do; the words say which it was.
fn refused(refusal: &Refusal) -> Outcome {
    let (kind, message) = match refusal {
        Refusal::StackLimit { .. } => return Outcome::Trapped(Trap::StackExhausted),
        Refusal::Trap { kind, message } => (kind, message.as_str()),
        other => return Outcome::Failed(lazaret::describe(other)),
    };
    let says = |words: &str| message.contains(words);
    Outcome::Trapped(match kind {
        TrapKind::Unreachable => Trap::Unreachable,
        TrapKind::MemoryOutOfBounds => Trap::MemoryOutOfBounds,
        TrapKind::BadIndirectCall if says("uninitialized") => Trap::IndirectCallToNull,
        TrapKind::BadIndirectCall if says("type mismatch") => Trap::IndirectCallSignature,
        TrapKind::BadIndirectCall => Trap::TableOutOfBounds,
        TrapKind::Arithmetic if says("divide by zero") => Trap::IntegerDivisionByZero,
        TrapKind::Arithmetic if says("conversion") => Trap::BadConversionToInteger,
        TrapKind::Arithmetic => Trap::IntegerOverflow,
        _ => Trap::Other,
    })
}

fn builder(cache: &std::path::Path) -> Builder {
    support::builder(cache).lanes(Lanes::generic())
}

#[test]
fn every_assertion_that_the_allowed_features_cover_holds_in_jobs() {
    let cache = tempfile::tempdir().expect("a folder");
    let runtime = Runtime::new().expect("a runtime");
    let host = runtime.block_on(support::started(builder(cache.path())));
    let mut settings = Settings::plain();
    settings.params.unknown_imports = UnknownImports::TrapWhenCalled;
    settings.params.memory_pages_max = 65_536;
    // The suite makes tables of this size, and is content with any limit above.
    settings.params.table_elements_max = 10_000_000;
    let mut runner = InJobs { runtime, host, settings, prepared: HashMap::new() };
    let mut summary = spec::Summary::default();
    for file in spec::files() {
        summary.add(spec::run(&file, &mut runner));
    }
    eprintln!("{} hold", summary.passed);
    for (reason, count) in &summary.skipped {
        eprintln!("SKIPPED: {count}: {reason}");
    }
    let shown = summary.failed.iter().take(40).cloned().collect::<Vec<_>>().join("\n");
    assert!(summary.failed.is_empty(), "{} do not hold:\n{shown}", summary.failed.len());
    assert!(summary.passed >= PASSED_MIN, "only {} hold", summary.passed);
}
