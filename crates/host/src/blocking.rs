//! A host for programs that are not async: the same requests, each blocking its thread.
//!
//! It has a tokio runtime of its own inside, so it must not be used inside another.

use std::{sync::Arc, time::Duration};

use tokio::runtime::Runtime;

use crate::{
    Answer, Builder, Code, Fault, Inspection, Params, PrepareFacts, PrepareLimits, Security,
    program::{self, CallEnd, Command, ExportCall, Ran},
    pvf::{Block, Settings, Validated},
};

/// A [`Host`](crate::Host) with its own runtime. Cloning shares it; calls from many threads run at once.
/// When the last clone is gone, its workers are killed.
///
/// ```no_run
/// use lazaret::{Code, Host, blocking, pvf};
///
/// fn main() -> Result<(), Box<dyn std::error::Error>> {
///     // Before anything that starts a thread: this same program is also the worker.
///     lazaret_worker::run_if_worker();
///
///     let host = blocking::Host::start(Host::builder().cache_dir("/var/cache/lazaret"))?;
///     let code = Code::new(&std::fs::read("runtime.wasm")?)?;
///     let block = pvf::Block::encoded(std::fs::read("params.scale")?);
///     let answer = host.validate(&code, block, &pvf::Settings::default());
///     println!("vote {}", pvf::vote(&answer));
///     Ok(())
/// }
/// ```
///
/// # Panics
///
/// Every method that waits panics inside a tokio runtime, where blocking a thread would stop others; so
/// does dropping the last clone. There, use [`Host`](crate::Host) itself.
#[derive(Clone, Debug)]
pub struct Host {
    /// Before the runtime, which it needs to the end.
    host: crate::Host,
    runtime: Arc<Runtime>,
}

impl Host {
    /// Starts a host and its first worker, as [`Builder::start`] does.
    pub fn start(builder: Builder) -> Result<Self, Fault> {
        let runtime = Runtime::new().map_err(|error| Fault::Runtime(error.into()))?;
        let host = runtime.block_on(builder.start())?;
        Ok(Self { host, runtime: Arc::new(runtime) })
    }

    /// See [`Host::validate`](crate::Host::validate).
    pub fn validate(
        &self,
        code: &Code,
        block: Block,
        settings: &Settings,
    ) -> Result<Answer<Validated>, Fault> {
        self.runtime.block_on(self.host.validate(code, block, settings))
    }

    /// See [`Host::call`](crate::Host::call).
    pub fn call(
        &self,
        code: &Code,
        call: ExportCall,
        settings: &program::Settings,
    ) -> Result<Answer<Ran>, Fault> {
        self.runtime.block_on(self.host.call(code, call, settings))
    }

    /// See [`Host::call_each`](crate::Host::call_each).
    pub fn call_each(
        &self,
        code: &Code,
        calls: Vec<ExportCall>,
        settings: &program::Settings,
    ) -> Result<Answer<Vec<CallEnd>>, Fault> {
        self.runtime.block_on(self.host.call_each(code, calls, settings))
    }

    /// See [`Host::run`](crate::Host::run).
    pub fn run(
        &self,
        code: &Code,
        command: Command,
        settings: &program::Settings,
    ) -> Result<Answer<Ran>, Fault> {
        self.runtime.block_on(self.host.run(code, command, settings))
    }

    /// See [`Host::precheck`](crate::Host::precheck).
    pub fn precheck(&self, code: &Code, params: &Params) -> Result<Answer<PrepareFacts>, Fault> {
        self.runtime.block_on(self.host.precheck(code, params))
    }

    /// See [`Host::precheck_with`](crate::Host::precheck_with).
    pub fn precheck_with(
        &self,
        code: &Code,
        params: &Params,
        limits: &PrepareLimits,
    ) -> Result<Answer<PrepareFacts>, Fault> {
        self.runtime.block_on(self.host.precheck_with(code, params, limits))
    }

    /// See [`Host::prepare`](crate::Host::prepare).
    pub fn prepare(&self, code: &Code, params: &Params) -> Result<Answer<PrepareFacts>, Fault> {
        self.runtime.block_on(self.host.prepare(code, params))
    }

    /// See [`Host::inspect`](crate::Host::inspect).
    pub fn inspect(&self, code: &Code, params: &Params) -> Result<Answer<Inspection>, Fault> {
        self.runtime.block_on(self.host.inspect(code, params))
    }

    /// Which layers of the jail are on.
    pub fn security(&self) -> &Security {
        self.host.security()
    }

    /// See [`Host::metrics_text`](crate::Host::metrics_text).
    pub fn metrics_text(&self) -> String {
        self.host.metrics_text()
    }

    /// See [`Host::shut_down`](crate::Host::shut_down).
    pub fn shut_down(&self, patience: Duration) {
        self.runtime.block_on(self.host.shut_down(patience));
    }
}
