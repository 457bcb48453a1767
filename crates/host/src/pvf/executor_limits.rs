//! What executor params mean to a host: the params of code, and the limits of preparing it.

use std::time::Duration;

use lazaret_wire::params::{
    HEAP_PAGES_ESTIMATE, MAX_MEMORY_PAGES_DEFAULT, STACK_LOGICAL_DEFAULT,
    STACK_NATIVE_BYTES_DEFAULT,
};

use crate::{
    Params, PrepareLimits,
    pvf::{ExecTimeoutKind, ExecutorParam, ExecutorParams, Inconsistency, PrepareKind},
};

/// Pages that a 32-bit linear memory can have.
const MEMORY_PAGES_MAX: u32 = 65_536;

/// Why a host cannot work by executor params.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Unusable {
    /// They break a rule of the network.
    #[error(transparent)]
    Inconsistent(#[from] Inconsistency),
    /// They ask for what this version cannot do. To ignore that would give other answers than the
    /// network's.
    #[error("executor param {param} is not supported by this version")]
    Unsupported {
        /// The param's name.
        param: &'static str,
    },
}

impl ExecutorParams {
    /// What code means under these params.
    pub fn code_params(&self) -> Result<Params, Unusable> {
        self.check_consistency()?;
        for param in &self.0 {
            if let ExecutorParam::EnabledHostFunction(_) = param {
                return Err(Unusable::Unsupported { param: param.name() });
            }
        }
        let pages = HEAP_PAGES_ESTIMATE.saturating_add(self.max_memory_pages());
        Ok(Params {
            memory_pages_max: pages.min(MEMORY_PAGES_MAX),
            stack_logical_max: self.stack_logical_max(),
            stack_native_bytes_max: self.stack_native_max(),
            bulk_memory: self.0.contains(&ExecutorParam::WasmExtBulkMemory),
            ..Params::default()
        })
    }

    /// The limits of a preparation. `PrecheckingMaxMemory` holds for prechecks alone: code that one
    /// session accepted is prepared in the next, whatever that one accepts.
    pub fn prepare_limits(&self, kind: PrepareKind) -> PrepareLimits {
        let default = PrepareLimits::default();
        let precheck_bytes = self.prechecking_max_memory().unwrap_or(default.heap_bytes_max);
        PrepareLimits {
            precheck_cpu: self.prepare_timeout(PrepareKind::Precheck),
            execution_cpu: self.prepare_timeout(PrepareKind::Prepare),
            heap_bytes_max: match kind {
                PrepareKind::Precheck => precheck_bytes,
                PrepareKind::Prepare => precheck_bytes.max(default.heap_bytes_max),
            },
            ..default
        }
    }

    /// CPU time of a preparation.
    pub fn prepare_timeout(&self, kind: PrepareKind) -> Duration {
        Duration::from_millis(self.prepare_millis(kind))
    }

    /// CPU time of a call.
    pub fn exec_timeout(&self, kind: ExecTimeoutKind) -> Duration {
        Duration::from_millis(self.exec_millis(kind))
    }

    pub(super) fn prepare_millis(&self, kind: PrepareKind) -> u64 {
        self.find(|param| match *param {
            ExecutorParam::PvfPrepTimeout(of, millis) if of == kind => Some(millis),
            _ => None,
        })
        .unwrap_or(kind.millis_default())
    }

    pub(super) fn exec_millis(&self, kind: ExecTimeoutKind) -> u64 {
        self.find(|param| match *param {
            ExecutorParam::PvfExecTimeout(of, millis) if of == kind => Some(millis),
            _ => None,
        })
        .unwrap_or(kind.millis_default())
    }

    pub(super) fn stack_logical_max(&self) -> u32 {
        self.find(|param| match *param {
            ExecutorParam::StackLogicalMax(values) => Some(values),
            _ => None,
        })
        .unwrap_or(STACK_LOGICAL_DEFAULT)
    }

    pub(super) fn stack_native_max(&self) -> u32 {
        self.find(|param| match *param {
            ExecutorParam::StackNativeMax(bytes) => Some(bytes),
            _ => None,
        })
        .unwrap_or(STACK_NATIVE_BYTES_DEFAULT)
    }

    fn max_memory_pages(&self) -> u32 {
        self.find(|param| match *param {
            ExecutorParam::MaxMemoryPages(pages) => Some(pages),
            _ => None,
        })
        .unwrap_or(MAX_MEMORY_PAGES_DEFAULT)
    }

    fn prechecking_max_memory(&self) -> Option<u64> {
        self.find(|param| match *param {
            ExecutorParam::PrecheckingMaxMemory(bytes) => Some(bytes),
            _ => None,
        })
    }

    fn find<T>(&self, value: impl FnMut(&ExecutorParam) -> Option<T>) -> Option<T> {
        self.0.iter().find_map(value)
    }
}

#[cfg(test)]
mod tests {
    use super::{ExecTimeoutKind::*, ExecutorParam::*, PrepareKind::*, *};
    use crate::pvf::HostFunctions::EccRfc163;

    fn code_params(params: &[ExecutorParam]) -> Result<Params, Unusable> {
        ExecutorParams(params.to_vec()).code_params()
    }

    #[test]
    fn no_executor_params_mean_the_defaults() {
        let none = ExecutorParams::default();
        assert_eq!(none.code_params(), Ok(Params::default()));
        assert_eq!(none.prepare_limits(Precheck), PrepareLimits::default());
        assert_eq!(none.prepare_limits(Prepare), PrepareLimits::default());
    }

    #[test]
    fn each_param_reaches_what_it_is_for() {
        let default = Params::default();
        for (param, expected) in [
            (MaxMemoryPages(8192), Params { memory_pages_max: 8224, ..default.clone() }),
            (MaxMemoryPages(65_504), Params { memory_pages_max: 65_536, ..default.clone() }),
            (MaxMemoryPages(65_536), Params { memory_pages_max: 65_536, ..default.clone() }),
            (StackLogicalMax(1024), Params { stack_logical_max: 1024, ..default.clone() }),
            (
                StackNativeMax(1 << 30),
                Params { stack_native_bytes_max: 1 << 30, ..default.clone() },
            ),
            (WasmExtBulkMemory, Params { bulk_memory: true, ..default.clone() }),
            (PrecheckingMaxMemory(1 << 30), default.clone()),
            (PvfPrepTimeout(Prepare, 60_001), default.clone()),
            (PvfExecTimeout(Backing, 1), default.clone()),
        ] {
            assert_eq!(code_params(&[param]), Ok(expected), "{param:?}");
        }
    }

    /// The one difference is the native stack: it is in the key because refusals are kept under it.
    #[test]
    fn params_of_one_prep_hash_share_artifacts() {
        let none = ExecutorParams::default();
        for param in [
            MaxMemoryPages(1),
            StackLogicalMax(1024),
            PrecheckingMaxMemory(1 << 30),
            PvfPrepTimeout(Precheck, 1),
            PvfExecTimeout(Backing, 1),
            WasmExtBulkMemory,
        ] {
            let one = ExecutorParams(vec![param]);
            let bytes = |params: &ExecutorParams| params.code_params().unwrap().artifact_bytes();
            assert_eq!(
                one.prep_hash() == none.prep_hash(),
                bytes(&one) == bytes(&none),
                "{param:?}"
            );
            assert_eq!(one.prep_hash() != none.prep_hash(), param.reaches_artifact(), "{param:?}");
        }
    }

    #[test]
    fn params_that_cannot_be_honoured_are_refused_by_name() {
        let error = code_params(&[WasmExtBulkMemory, EnabledHostFunction(EccRfc163)]);
        let error = error.expect_err("there are no such host functions");
        assert_eq!(
            error.to_string(),
            "executor param EnabledHostFunction(EccRfc163) is not supported by this version"
        );
        assert!(matches!(code_params(&[MaxMemoryPages(0)]), Err(Unusable::Inconsistent(_))));
    }

    #[test]
    fn limits_of_preparing_follow_the_kind() {
        let params = ExecutorParams(vec![
            PrecheckingMaxMemory(256 << 20),
            PvfPrepTimeout(Precheck, 1_500),
            PvfPrepTimeout(Prepare, 400_000),
        ]);
        let precheck = params.prepare_limits(Precheck);
        assert_eq!(precheck.precheck_cpu, Duration::from_millis(1_500));
        assert_eq!(precheck.execution_cpu, Duration::from_secs(400));
        assert_eq!(precheck.heap_bytes_max, 256 << 20);
        let prepare = params.prepare_limits(Prepare);
        assert_eq!(prepare.heap_bytes_max, PrepareLimits::default().heap_bytes_max);
        let roomy = ExecutorParams(vec![PrecheckingMaxMemory(16 << 30)]);
        assert_eq!(roomy.prepare_limits(Prepare).heap_bytes_max, 16 << 30);
    }

    #[test]
    fn times_that_are_not_set_are_the_networks_defaults() {
        let params = ExecutorParams(vec![PvfExecTimeout(Approval, 16_000)]);
        assert_eq!(params.exec_timeout(Approval), Duration::from_secs(16));
        assert_eq!(params.exec_timeout(Backing), Duration::from_secs(2));
        assert_eq!(params.prepare_timeout(Precheck), Duration::from_secs(60));
        assert_eq!(params.prepare_timeout(Prepare), Duration::from_secs(360));
    }
}
