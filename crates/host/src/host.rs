//! The host: what a program that runs untrusted code holds.

use std::{
    sync::Arc,
    time::{Instant, SystemTime},
};

use lazaret_wire::{
    greeting::{Layer, LayerState, Role},
    work::ARTIFACT_BYTES_MAX,
};

use crate::{
    Answer, Builder, Code, Fault, Inspection, JailLevel, Limits, Params, PrepareFacts,
    PrepareLimits, Retry,
    artifacts::{STORE_BYTES_MAX, Shelf, Store, UNUSED_MAX},
    cgroup::{HostGroup, Refusal},
    judge::Waiting,
    pipeline,
    request::{Input, Output},
    worker::{Pool, Spawner, Terms},
};

/// Runs untrusted code. Cloning shares it; when the last clone is gone, its workers are killed. Where
/// it has control groups, that waits until they are dead, a second at the most.
#[derive(Clone)]
pub struct Host {
    pub(crate) shared: Arc<Shared>,
}

pub(crate) struct Shared {
    pub(crate) execute_workers: Pool,
    pub(crate) prepare_workers: Pool,
    pub(crate) shelf: Arc<Shelf>,
    pub(crate) store: Option<Store>,
    pub(crate) prepare_limits: PrepareLimits,
    pub(crate) engine_fingerprint: [u8; 32],
    pub(crate) waiting: Waiting,
    security: Security,
    /// After the workers, so that they are killed before their control groups are removed.
    _cgroup: Arc<Result<HostGroup, Refusal>>,
}

/// What protects this machine from the guests of a host.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Security {
    /// The level that was asked for.
    pub level: JailLevel,
    /// Every layer in the order of its steps, as the first worker found them.
    pub layers: Vec<Layer>,
}

/// Everything that one call depends on.
#[derive(Clone, Debug)]
pub(crate) struct Call {
    pub(crate) code: Code,
    pub(crate) params: Params,
    pub(crate) input: Input,
    pub(crate) limits: Limits,
    pub(crate) retry: Retry,
    pub(crate) deadline: Option<Instant>,
}

impl Host {
    /// Settings to start a host with.
    pub fn builder() -> Builder {
        Builder::default()
    }

    pub(crate) async fn start(settings: Builder) -> Result<Self, Fault> {
        let spawner = Spawner::new(settings.worker_program.as_deref())
            .map_err(|error| Fault::Spawn(error.into()))?;
        let place = settings.cgroup;
        // The groups of dead hosts are waited for.
        let made = tokio::task::spawn_blocking(move || HostGroup::make(&place)).await;
        let cgroup = Arc::new(made.unwrap_or(Err(Refusal::absent("making a control group"))));
        let pool = |role, count| {
            let terms = Terms {
                role,
                jail: settings.jail,
                patience: settings.patience,
                cgroup: cgroup.clone(),
                kept_bytes_max: match role {
                    // An artifact is charged to the group of the job that wrote it, for as long as
                    // it is kept.
                    Role::Prepare => settings.hot_bytes_max.saturating_add(ARTIFACT_BYTES_MAX),
                    Role::Execute => 0,
                },
            };
            Pool::new(terms, spawner.clone(), count, settings.waiting_max)
        };
        let execute_workers = pool(Role::Execute, settings.execute_workers);
        let prepare_workers = pool(Role::Prepare, settings.prepare_workers);
        let store = settings.cache_dir.as_deref().map(Store::open).transpose()?;
        if let Some(store) = store.clone() {
            tokio::task::spawn_blocking(move || {
                store.prune(SystemTime::now(), STORE_BYTES_MAX, UNUSED_MAX);
            });
        }
        let facts = execute_workers.lease().await?.facts()?.clone();
        let filter_is_on = facts
            .layers
            .iter()
            .any(|layer| layer.name.as_str() == "job-filter" && layer.state == LayerState::On);
        let shared = Shared {
            execute_workers,
            prepare_workers,
            shelf: Shelf::new(settings.hot_bytes_max),
            store,
            prepare_limits: settings.prepare_limits,
            engine_fingerprint: facts.engine_fingerprint,
            waiting: if filter_is_on { Waiting::Impossible } else { Waiting::Possible },
            security: Security { level: settings.jail, layers: facts.layers },
            _cgroup: cgroup,
        };
        Ok(Self { shared: Arc::new(shared) })
    }

    /// Which layers of the jail are on.
    pub fn security(&self) -> &Security {
        &self.shared.security
    }

    /// Calls code once with one input, preparing the code first if need be. Dropping the future
    /// withdraws the call and kills its job; a preparation goes on for whoever else needs it.
    pub(crate) async fn execute(&self, call: Call) -> Result<Answer<Output>, Fault> {
        pipeline::execute(self.shared.clone(), call).await
    }

    /// Prepares code under the limits of execution, so that a later call finds its artifact.
    pub async fn prepare(
        &self,
        code: &Code,
        params: &Params,
    ) -> Result<Answer<PrepareFacts>, Fault> {
        let purpose = crate::artifacts::Purpose::Execution;
        pipeline::prepare(self.shared.clone(), code.clone(), params.clone(), purpose).await
    }

    /// Says whether code may be accepted at all: prepares it under the stricter limits.
    pub async fn precheck(
        &self,
        code: &Code,
        params: &Params,
    ) -> Result<Answer<PrepareFacts>, Fault> {
        let purpose = crate::artifacts::Purpose::Precheck;
        pipeline::prepare(self.shared.clone(), code.clone(), params.clone(), purpose).await
    }

    /// Says what code is, without compiling it. The code is read in a jailed job, as always.
    pub async fn inspect(&self, code: &Code, params: &Params) -> Result<Answer<Inspection>, Fault> {
        pipeline::inspect(self.shared.clone(), code.clone(), params.clone()).await
    }
}

impl std::fmt::Debug for Host {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Host").field("security", &self.shared.security.level).finish()
    }
}
