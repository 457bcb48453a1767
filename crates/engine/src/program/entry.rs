//! Calls of exported functions: numbers in, numbers out; bytes in, bytes out.

use wasmtime::{Func, FuncType, Val, ValType};

use super::call::{Input, Output, Value};
use super::instance::Instance;
use super::words;
use crate::execute::{EXPORTS_LISTED_MAX, ExecuteError};
use crate::stack::RESERVED;

/// Bytes of a name or word of somebody's choosing that an error repeats.
const WORD_BYTES_MAX: usize = 128;

/// Results, or parameters, that a function which is called from outside may have.
const VALUES_MAX: usize = 1000;

/// Calls an export. Nothing of the guest's runs before what was given is known to fit.
pub(super) fn export(
    instance: &mut Instance,
    name: &str,
    input: Input<'_>,
) -> Result<Output, ExecuteError> {
    let function = instance.function(name)?;
    let ty = function.ty(&instance.store);
    let arguments = match input {
        Input::Bytes(bytes) => return call_with_bytes(instance, function, &ty, bytes),
        Input::Values(values) => values.to_vec(),
        Input::Words(given) => words::read(name, &ty, given)?,
    };
    fits(name, &ty, &arguments)?;
    if let Some(ended) = instance.start(true)? {
        return Ok(ended);
    }
    let arguments: Vec<Val> = arguments.into_iter().map(Val::from).collect();
    let mut results = vec![Val::I32(0); ty.results().len()];
    if let Some(ended) = instance.run(function, &arguments, &mut results)? {
        return Ok(ended);
    }
    Ok(Output::Values(results.iter().filter_map(value).collect()))
}

/// Whether numbers are what the function takes, and numbers what it returns.
fn fits(name: &str, ty: &FuncType, given: &[Value]) -> Result<(), ExecuteError> {
    let is_number =
        |ty: ValType| matches!(ty, ValType::I32 | ValType::I64 | ValType::F32 | ValType::F64);
    let count = ty.params().len().max(ty.results().len());
    if count > VALUES_MAX || !ty.params().chain(ty.results()).all(is_number) {
        let found = if count > VALUES_MAX { "too many values".into() } else { type_text(ty) };
        return Err(ExecuteError::TypeNotHandedOver { function: capped(name), found });
    }
    let fits = ty.params().len() == given.len()
        && ty.params().zip(given).all(|(ty, value)| ty.matches(&value.ty()));
    if fits {
        return Ok(());
    }
    let found = given.iter().take(VALUES_MAX).map(|value| value.ty().to_string());
    Err(ExecuteError::Arguments {
        function: capped(name),
        expected: list(ty.params().map(|ty| ty.to_string())),
        found: list(found),
    })
}

fn call_with_bytes(
    instance: &mut Instance,
    function: Func,
    ty: &FuncType,
    bytes: &[u8],
) -> Result<Output, ExecuteError> {
    let lacks = |lacks| ExecuteError::BytesConvention { lacks };
    if type_text(ty) != "(i32, i32) -> (i64)" {
        return Err(lacks("the function is not of type (i32, i32) -> (i64)"));
    }
    let alloc = instance
        .instance
        .get_func(&mut instance.store, "alloc")
        .filter(|alloc| type_text(&alloc.ty(&instance.store)) == "(i32) -> (i32)")
        .ok_or(lacks("there is no exported function `alloc` of type (i32) -> (i32)"))?;
    let memory = instance.store.data().memory.ok_or(lacks("there is no memory"))?;
    let bytes_max = i32::MAX as u64;
    let length = i32::try_from(bytes.len())
        .map_err(|_| ExecuteError::InputTooLarge { bytes: bytes.len() as u64, bytes_max })?;
    if let Some(ended) = instance.start(true)? {
        return Ok(ended);
    }
    let mut results = [Val::I32(0)];
    if let Some(ended) = instance.run(alloc, &[Val::I32(length)], &mut results)? {
        return Ok(ended);
    }
    let pointer = results[0].i32().unwrap_or(0);
    let start = pointer as u32 as usize;
    let room = memory.data_mut(&mut instance.store).get_mut(start..start + bytes.len());
    match room {
        Some(room) if pointer != 0 => room.copy_from_slice(bytes),
        Some(_) => {
            let text = format!("`alloc` has no {length} bytes");
            return Err(ExecuteError::InputMemory { text });
        }
        None => {
            let text =
                format!("`alloc` returned {start}, and the memory ends before {length} bytes");
            return Err(ExecuteError::InputMemory { text });
        }
    }
    let mut results = [Val::I64(0)];
    let arguments = [Val::I32(pointer), Val::I32(length)];
    if let Some(ended) = instance.run(function, &arguments, &mut results)? {
        return Ok(ended);
    }
    let packed = results[0].i64().unwrap_or(0) as u64;
    let (pointer, length) = ((packed >> 32) as u32, packed as u32);
    let memory_bytes = memory.data_size(&instance.store) as u64;
    if u64::from(pointer) + u64::from(length) > memory_bytes {
        return Err(ExecuteError::OutputOutOfBounds { pointer, length, memory_bytes });
    }
    Ok(Output::Bytes(pointer as usize..pointer as usize + length as usize))
}

impl Instance {
    /// An exported function by its name, if it is the guest's own.
    pub(super) fn function(&mut self, name: &str) -> Result<Func, ExecuteError> {
        if !RESERVED.contains(&name)
            && let Some(function) = self.instance.get_func(&mut self.store, name)
        {
            return Ok(function);
        }
        let exports = self.instance.exports(&mut self.store);
        let mut there_are: Vec<_> = exports
            .filter(|export| !RESERVED.contains(&export.name()))
            .filter_map(|export| {
                let name = capped(export.name());
                export.into_func().map(|_| name)
            })
            .collect();
        there_are.sort();
        there_are.truncate(EXPORTS_LISTED_MAX);
        Err(ExecuteError::NoSuchFunction { name: capped(name), there_are })
    }
}

impl Value {
    fn ty(self) -> ValType {
        match self {
            Self::I32(_) => ValType::I32,
            Self::I64(_) => ValType::I64,
            Self::F32(_) => ValType::F32,
            Self::F64(_) => ValType::F64,
        }
    }
}

impl From<Value> for Val {
    fn from(value: Value) -> Self {
        match value {
            Value::I32(value) => Self::I32(value),
            Value::I64(value) => Self::I64(value),
            Value::F32(bits) => Self::F32(bits),
            Value::F64(bits) => Self::F64(bits),
        }
    }
}

fn value(value: &Val) -> Option<Value> {
    Some(match value {
        Val::I32(value) => Value::I32(*value),
        Val::I64(value) => Value::I64(*value),
        Val::F32(bits) => Value::F32(*bits),
        Val::F64(bits) => Value::F64(*bits),
        _ => return None,
    })
}

fn type_text(ty: &FuncType) -> String {
    let params = list(ty.params().map(|ty| ty.to_string()));
    format!("{params} -> {}", list(ty.results().map(|ty| ty.to_string())))
}

fn list(types: impl Iterator<Item = String>) -> String {
    format!("({})", types.collect::<Vec<_>>().join(", "))
}

/// Words of somebody's choosing, short enough to be repeated.
pub(super) fn capped(word: &str) -> String {
    match word.floor_char_boundary(WORD_BYTES_MAX) {
        end if end == word.len() => word.to_owned(),
        end => format!("{}...", &word[..end]),
    }
}
