//! The specification's test suite through the profile `plain`, in this process.

mod shared;

use lazaret_engine::program::{Input, Instance, Output, Value};
use lazaret_engine::{CodeLimits, Engine, ExecuteError, Params, Profile, TrapKind, UnknownImports};
use shared::programs::call;
use spec::{Number, Outcome, Runner, Step, Trap};

/// Assertions that hold. Raise it when the suite grows; never lower it.
const PASSED_MIN: usize = 52_000;

struct InProcess {
    engine: Engine,
    params: Params,
}

impl Runner for InProcess {
    fn prepare(&mut self, code: &[u8]) -> Result<(), String> {
        let prepared = self.engine.prepare(code, &self.params, &CodeLimits::default());
        prepared.map(|_| ()).map_err(|error| error.to_string())
    }

    fn run(&mut self, code: &[u8], steps: &[Step]) -> Vec<Outcome> {
        let failed = |words: String| vec![Outcome::Failed(words); steps.len()];
        let prepared = match self.engine.prepare(code, &self.params, &CodeLimits::default()) {
            Ok(prepared) => prepared,
            Err(error) => return failed(error.to_string()),
        };
        let artifact = shared::memfd(&prepared.artifact);
        // SAFETY: the artifact comes from `prepare` just above; nobody else has the memfd.
        let program = unsafe { self.engine.load_program(artifact, &self.params) }.unwrap();
        match Instance::new(&self.engine, &program, &self.params) {
            Ok(mut instance) => steps.iter().map(|step| take(&mut instance, step)).collect(),
            Err(error) => vec![ended(error); steps.len()],
        }
    }
}

fn take(instance: &mut Instance, step: &Step) -> Outcome {
    let given: Vec<_> = step
        .arguments
        .iter()
        .map(|number| match *number {
            Number::I32(value) => Value::I32(value),
            Number::I64(value) => Value::I64(value),
            Number::F32(bits) => Value::F32(bits),
            Number::F64(bits) => Value::F64(bits),
        })
        .collect();
    match call(instance, &step.function, Input::Values(&given)) {
        Ok(Output::Values(values)) => Outcome::Returned(
            values
                .into_iter()
                .map(|value| match value {
                    Value::I32(value) => Number::I32(value),
                    Value::I64(value) => Number::I64(value),
                    Value::F32(bits) => Number::F32(bits),
                    Value::F64(bits) => Number::F64(bits),
                })
                .collect(),
        ),
        Ok(other) => Outcome::Failed(format!("{other:?}")),
        Err(error) => ended(error),
    }
}

fn ended(error: ExecuteError) -> Outcome {
    Outcome::Trapped(match error {
        ExecuteError::StackExhausted { .. } => Trap::StackExhausted,
        ExecuteError::Trap { kind, .. } => match kind {
            TrapKind::Unreachable => Trap::Unreachable,
            TrapKind::MemoryOutOfBounds => Trap::MemoryOutOfBounds,
            TrapKind::TableOutOfBounds => Trap::TableOutOfBounds,
            TrapKind::IndirectCallToNull => Trap::IndirectCallToNull,
            TrapKind::IndirectCallSignature => Trap::IndirectCallSignature,
            TrapKind::IntegerOverflow => Trap::IntegerOverflow,
            TrapKind::IntegerDivisionByZero => Trap::IntegerDivisionByZero,
            TrapKind::BadConversionToInteger => Trap::BadConversionToInteger,
            TrapKind::StackOverflow | TrapKind::HostCall | TrapKind::Other => Trap::Other,
        },
        other => return Outcome::Failed(other.to_string()),
    })
}

#[test]
fn every_assertion_that_the_allowed_features_cover_holds() {
    let params = Params {
        unknown_imports: UnknownImports::TrapWhenCalled,
        memory_pages_max: 65_536,
        // The suite makes tables of this size, and is content with any limit above.
        table_elements_max: 10_000_000,
        ..Params::of(Profile::Plain)
    };
    let engine = Engine::new(&params).expect("the engine starts on this machine");
    let mut runner = InProcess { engine, params };
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
