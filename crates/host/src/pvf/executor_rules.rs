//! What executor params must keep to, by the rules of `ExecutorParams::check_consistency` in
//! `polkadot-primitives`. A runtime checks them before it sets params, so params that break one come
//! from no chain.

use std::{collections::BTreeSet, ops::RangeInclusive};

use crate::pvf::{ExecTimeoutKind, ExecutorParam, ExecutorParams, PrepareKind};

/// Accepted values of `MaxMemoryPages`.
const MAX_MEMORY_PAGES: RangeInclusive<u64> = 1..=65_536;
/// Accepted values of `StackLogicalMax`.
const STACK_LOGICAL_MAX: RangeInclusive<u64> = 1024..=131_072;
/// Accepted values of `PrecheckingMaxMemory`.
const PRECHECKING_MAX_MEMORY: RangeInclusive<u64> = 256 << 20..=16 << 30;
/// Bytes of native stack for each value on the logical stack, at least.
const NATIVE_BYTES_PER_VALUE: u64 = 128;

/// A rule that executor params break.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Inconsistency {
    /// A param is there twice.
    #[error("executor param {param} is there twice; once is accepted")]
    Duplicate {
        /// Its name.
        param: &'static str,
    },
    /// A value is out of its range.
    #[error("executor param {param} is {value}; {min} to {max} is accepted")]
    OutOfRange {
        /// The param's name.
        param: &'static str,
        /// Its value.
        value: u64,
        /// The least that is accepted.
        min: u64,
        /// The most that is accepted.
        max: u64,
    },
    /// Two values do not go together. Where a param is not set, its default counts.
    #[error("executor param {} is {} and {} is {}; {accepted} is accepted", .of.0, .of.1, .and.0, .and.1)]
    Incompatible {
        /// The one param's name and value.
        of: (&'static str, u64),
        /// The other's.
        and: (&'static str, u64),
        /// What the rule asks for.
        accepted: &'static str,
    },
}

impl ExecutorParams {
    /// Checks the network's rules: no param twice, each value in its range, the native stack at least
    /// 128 bytes for each logical value, less time for a precheck than for a preparation and less for
    /// backing than for approval.
    pub fn check_consistency(&self) -> Result<(), Inconsistency> {
        let mut seen = BTreeSet::new();
        for param in &self.0 {
            if !seen.insert(param.name()) {
                return Err(Inconsistency::Duplicate { param: param.name() });
            }
            check_range(param)?;
        }
        self.check_stacks()?;
        self.check_prepare_times()?;
        self.check_exec_times()
    }

    fn check_stacks(&self) -> Result<(), Inconsistency> {
        let logical = u64::from(self.stack_logical_max());
        let native = u64::from(self.stack_native_max());
        if native >= NATIVE_BYTES_PER_VALUE * logical {
            return Ok(());
        }
        Err(Inconsistency::Incompatible {
            of: ("StackNativeMax", native),
            and: ("StackLogicalMax", logical),
            accepted: "at least 128 times the latter",
        })
    }

    fn check_prepare_times(&self) -> Result<(), Inconsistency> {
        in_order(
            ("PvfPrepTimeout(Precheck)", self.prepare_millis(PrepareKind::Precheck)),
            ("PvfPrepTimeout(Prepare)", self.prepare_millis(PrepareKind::Prepare)),
        )
    }

    fn check_exec_times(&self) -> Result<(), Inconsistency> {
        in_order(
            ("PvfExecTimeout(Backing)", self.exec_millis(ExecTimeoutKind::Backing)),
            ("PvfExecTimeout(Approval)", self.exec_millis(ExecTimeoutKind::Approval)),
        )
    }
}

fn check_range(param: &ExecutorParam) -> Result<(), Inconsistency> {
    let (value, range) = match *param {
        ExecutorParam::MaxMemoryPages(pages) => (pages.into(), MAX_MEMORY_PAGES),
        ExecutorParam::StackLogicalMax(values) => (values.into(), STACK_LOGICAL_MAX),
        ExecutorParam::PrecheckingMaxMemory(bytes) => (bytes, PRECHECKING_MAX_MEMORY),
        ExecutorParam::StackNativeMax(_)
        | ExecutorParam::PvfPrepTimeout(..)
        | ExecutorParam::PvfExecTimeout(..)
        | ExecutorParam::WasmExtBulkMemory
        | ExecutorParam::EnabledHostFunction(_) => return Ok(()),
    };
    if range.contains(&value) {
        return Ok(());
    }
    let (min, max) = range.into_inner();
    Err(Inconsistency::OutOfRange { param: param.name(), value, min, max })
}

fn in_order(
    strict: (&'static str, u64),
    lenient: (&'static str, u64),
) -> Result<(), Inconsistency> {
    if strict.1 < lenient.1 {
        return Ok(());
    }
    Err(Inconsistency::Incompatible { of: strict, and: lenient, accepted: "less than the latter" })
}

#[cfg(test)]
mod tests {
    use super::{ExecTimeoutKind::*, ExecutorParam::*, PrepareKind::*, *};
    use crate::pvf::HostFunctions::EccRfc163;

    const MIB: u64 = 1 << 20;

    fn check(params: &[ExecutorParam]) -> Result<(), Inconsistency> {
        ExecutorParams(params.to_vec()).check_consistency()
    }

    /// Each answer is that of `ExecutorParams::check_consistency` of polkadot-primitives 26.0.0.
    #[test]
    fn the_limits_of_each_value_are_those_of_the_network() {
        for (inside, outside) in [
            (MaxMemoryPages(1), MaxMemoryPages(0)),
            (MaxMemoryPages(65_536), MaxMemoryPages(65_537)),
            (StackLogicalMax(1024), StackLogicalMax(1023)),
            (StackLogicalMax(131_072), StackLogicalMax(131_073)),
            (PrecheckingMaxMemory(256 * MIB), PrecheckingMaxMemory(256 * MIB - 1)),
            (PrecheckingMaxMemory(16_384 * MIB), PrecheckingMaxMemory(16_384 * MIB + 1)),
        ] {
            assert_eq!(check(&[inside]), Ok(()));
            let error = check(&[outside]);
            assert!(matches!(error, Err(Inconsistency::OutOfRange { .. })), "{outside:?}");
        }
    }

    /// The same.
    #[test]
    fn two_values_go_together_as_on_the_network() {
        let good: &[&[ExecutorParam]] = &[
            &[],
            &[StackNativeMax(128 * 65_536)],
            &[StackNativeMax(u32::MAX)],
            &[StackLogicalMax(1024), StackNativeMax(128 * 1024)],
            &[PvfPrepTimeout(Precheck, 0)],
            &[PvfPrepTimeout(Precheck, 359_999)],
            &[PvfPrepTimeout(Prepare, 60_001)],
            &[PvfPrepTimeout(Prepare, u64::MAX), PvfPrepTimeout(Precheck, u64::MAX - 1)],
            &[PvfExecTimeout(Backing, 0)],
            &[PvfExecTimeout(Backing, 11_999)],
            &[PvfExecTimeout(Approval, 2_001)],
        ];
        for params in good {
            assert_eq!(check(params), Ok(()), "{params:?}");
        }
        let bad: &[&[ExecutorParam]] = &[
            &[StackNativeMax(128 * 65_536 - 1)],
            &[StackLogicalMax(1024), StackNativeMax(128 * 1024 - 1)],
            &[PvfPrepTimeout(Precheck, 360_000)],
            &[PvfPrepTimeout(Prepare, 60_000)],
            &[PvfPrepTimeout(Precheck, 1), PvfPrepTimeout(Prepare, 1)],
            &[PvfExecTimeout(Backing, 12_000)],
            &[PvfExecTimeout(Approval, 2_000)],
            &[PvfExecTimeout(Backing, 5), PvfExecTimeout(Approval, 5)],
        ];
        for params in bad {
            let error = check(params);
            assert!(matches!(error, Err(Inconsistency::Incompatible { .. })), "{params:?}");
        }
    }

    /// The same: a duplicate is seen before its value is.
    #[test]
    fn a_param_stands_once_and_once_for_each_kind() {
        for twice in [
            [MaxMemoryPages(1), MaxMemoryPages(0)],
            [StackNativeMax(0), StackNativeMax(1)],
            [PvfExecTimeout(Backing, 1), PvfExecTimeout(Backing, 2)],
            [WasmExtBulkMemory, WasmExtBulkMemory],
            [EnabledHostFunction(EccRfc163), EnabledHostFunction(EccRfc163)],
        ] {
            let param = twice[0].name();
            assert_eq!(check(&twice), Err(Inconsistency::Duplicate { param }));
        }
        let first_bad = check(&[MaxMemoryPages(0), MaxMemoryPages(1)]);
        assert!(matches!(first_bad, Err(Inconsistency::OutOfRange { .. })));
        assert_eq!(check(&[PvfExecTimeout(Backing, 1), PvfExecTimeout(Approval, 2)]), Ok(()));
    }

    #[test]
    fn a_broken_rule_names_the_param_its_value_and_what_is_accepted() {
        for (params, message) in [
            (
                vec![WasmExtBulkMemory, WasmExtBulkMemory],
                "executor param WasmExtBulkMemory is there twice; once is accepted",
            ),
            (vec![MaxMemoryPages(0)], "executor param MaxMemoryPages is 0; 1 to 65536 is accepted"),
            (
                vec![StackNativeMax(1)],
                "executor param StackNativeMax is 1 and StackLogicalMax is 65536; \
                 at least 128 times the latter is accepted",
            ),
            (
                vec![PvfExecTimeout(Backing, 12_000)],
                "executor param PvfExecTimeout(Backing) is 12000 and PvfExecTimeout(Approval) \
                 is 12000; less than the latter is accepted",
            ),
        ] {
            assert_eq!(check(&params).expect_err("broken").to_string(), message);
        }
    }
}
