//! What tests of plain and WASI programs share: preparing them, and a world that tests can look into.

#![allow(dead_code)] // Each test file uses its own part.

use std::cell::RefCell;
use std::rc::Rc;

use lazaret_engine::program::{Call, Entry, Input, Instance, Output, Program, Value};
use lazaret_engine::wasi::{Outside, Stream, World, WriteError};
use lazaret_engine::{CodeFormat, CodeLimits, Engine, ExecuteError, Params, PrepareError, Profile};

use super::memfd;

/// Params of a profile, for code written as text.
pub(crate) fn text(profile: Profile) -> Params {
    Params { code_format: CodeFormat::Text, ..Params::of(profile) }
}

pub(crate) fn prepare(code: &[u8], params: &Params) -> Result<Vec<u8>, PrepareError> {
    let engine = Engine::new(params).expect("the engine starts on this machine");
    engine.prepare(code, params, &CodeLimits::default()).map(|prepared| prepared.artifact)
}

/// A program that is loaded, and the engine it was loaded by.
pub(crate) struct Loaded {
    pub(crate) engine: Engine,
    pub(crate) program: Program,
    pub(crate) params: Params,
}

pub(crate) fn load(code: &[u8], params: &Params) -> Loaded {
    load_by(Engine::new(params).expect("the engine starts on this machine"), code, params)
}

pub(crate) fn load_by(engine: Engine, code: &[u8], params: &Params) -> Loaded {
    let prepared = engine.prepare(code, params, &CodeLimits::default());
    let artifact = prepared.expect("the code prepares").artifact;
    // SAFETY: `artifact` comes from `prepare` in the same process; nobody else has the memfd.
    let program = unsafe { engine.load_program(memfd(&artifact), params) }.expect("it loads");
    Loaded { engine, program, params: params.clone() }
}

impl Loaded {
    pub(crate) fn instance(&self) -> Instance {
        self.try_instance().expect("there is an instance")
    }

    pub(crate) fn try_instance(&self) -> Result<Instance, ExecuteError> {
        Instance::new(&self.engine, &self.program, &self.params)
    }
}

/// Prepares text as a plain program.
pub(crate) fn plain(text_of: &str) -> Loaded {
    load(text_of.as_bytes(), &text(Profile::Plain))
}

pub(crate) fn call(
    instance: &mut Instance,
    name: &str,
    input: Input<'_>,
) -> Result<Output, ExecuteError> {
    instance.call(&Call { entry: Entry::Export { name, input }, fuel: None })
}

/// Calls with i32 in and out.
pub(crate) fn number(instance: &mut Instance, name: &str, given: &[i32]) -> i32 {
    let given: Vec<_> = given.iter().copied().map(Value::I32).collect();
    match call(instance, name, Input::Values(&given)) {
        Ok(Output::Values(values)) => match values[..] {
            [Value::I32(value)] => value,
            _ => panic!("{values:?}"),
        },
        other => panic!("{name}: {other:?}"),
    }
}

/// Standard streams that a test holds the other end of.
#[derive(Clone, Default)]
pub(crate) struct Streams {
    pub(crate) input: Rc<RefCell<Vec<u8>>>,
    pub(crate) out: Rc<RefCell<Vec<u8>>>,
    pub(crate) err: Rc<RefCell<Vec<u8>>>,
    pub(crate) bytes_max: Option<u64>,
}

impl Outside for Streams {
    fn read(&mut self, buffer: &mut [u8]) -> usize {
        let mut input = self.input.borrow_mut();
        let bytes = input.len().min(buffer.len());
        buffer[..bytes].copy_from_slice(&input[..bytes]);
        input.drain(..bytes);
        bytes
    }

    fn write(&mut self, stream: Stream, bytes: &[u8]) -> Result<(), WriteError> {
        let mut to = match stream {
            Stream::Out => self.out.borrow_mut(),
            Stream::Err => self.err.borrow_mut(),
        };
        if let Some(bytes_max) = self.bytes_max
            && (to.len() + bytes.len()) as u64 > bytes_max
        {
            return Err(WriteError::Limit { bytes_max });
        }
        to.extend_from_slice(bytes);
        Ok(())
    }
}

impl Streams {
    pub(crate) fn world(&self) -> World {
        World::new(Box::new(self.clone()))
    }

    pub(crate) fn out(&self) -> String {
        String::from_utf8_lossy(&self.out.borrow()).into_owned()
    }

    pub(crate) fn err(&self) -> String {
        String::from_utf8_lossy(&self.err.borrow()).into_owned()
    }
}

/// Runs a command in a world.
pub(crate) fn command(loaded: &Loaded, world: World) -> Result<Output, ExecuteError> {
    let mut instance = loaded.instance();
    instance.provide(world);
    instance.call(&Call { entry: Entry::Command, fuel: None })
}
