//! What a worker remembers of the calls it served, to tell which come again.

use std::{collections::VecDeque, os::fd::OwnedFd};

use lazaret_wire::work::{Execute, Limits, Load};

use crate::template::is_all_in_order;

/// Artifacts whose last call is remembered: more than there can be templates, so that one that had to go comes
/// back with its next call.
const REMEMBERED_MAX: usize = 64;

/// What calls that one template serves have in common.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Call {
    artifact: u64,
    pub(crate) load: Load,
}

/// The last call of each artifact, that of the last one first.
pub(crate) struct Calls {
    last: VecDeque<Call>,
    /// Whether the last two were calls of the same artifact.
    is_again: bool,
    /// The artifact of the last one, if that was the second of its kind.
    artifact: Option<OwnedFd>,
}

impl Calls {
    pub(crate) fn new() -> Self {
        Self { last: VecDeque::with_capacity(REMEMBERED_MAX), is_again: false, artifact: None }
    }

    /// Takes note of one that is served now.
    pub(crate) fn note(&mut self, execute: &Execute, artifact: OwnedFd) {
        let before = self.last.iter().position(|call| call.is_of_same(execute));
        self.is_again = before == Some(0);
        let before = before.and_then(|place| self.last.remove(place));
        let again = before.filter(|call| call.is_like(execute));
        self.artifact = again.is_some().then_some(artifact);
        self.last.truncate(REMEMBERED_MAX - 1);
        self.last.push_front(match again {
            Some(call) => call.widened(&execute.limits),
            None => Call::of(execute),
        });
    }

    /// The last one, and whether the one before was of the same artifact.
    pub(crate) fn last(&self) -> Option<(&Call, bool)> {
        Some((self.last.front()?, self.is_again))
    }

    /// The last one with its artifact, if there was one like it before: more are to be expected.
    pub(crate) fn likely(&self) -> Option<(&Call, &OwnedFd)> {
        self.last.front().zip(self.artifact.as_ref())
    }

    /// Whether the last call of this one's artifact was like it.
    pub(crate) fn had_one_like(&self, execute: &Execute) -> bool {
        self.last.iter().any(|call| call.is_like(execute))
    }
}

impl Call {
    pub(crate) fn of(execute: &Execute) -> Self {
        let (params, limits) = (execute.params.clone(), execute.limits.clone());
        let shut = is_all_in_order(execute);
        Self { artifact: execute.artifact, load: Load { params, limits, shut, often: false } }
    }

    /// Whether the same template is the best for both.
    pub(crate) fn is_like(&self, execute: &Execute) -> bool {
        self.is_of_same(execute) && self.load.shut == is_all_in_order(execute)
    }

    /// Whether both call the same artifact.
    pub(crate) fn is_of_same(&self, execute: &Execute) -> bool {
        self.artifact == execute.artifact && self.load.params == execute.params
    }

    /// The same of a call that was noted.
    pub(crate) fn is_of_same_as(&self, call: &Self) -> bool {
        self.artifact == call.artifact && self.load.params == call.load.params
    }

    /// Whether a template that loaded for this call can serve that one: limits of a process can only be
    /// lowered.
    pub(crate) fn covers(&self, execute: &Execute) -> bool {
        let (ours, theirs) = (&self.load.limits, &execute.limits);
        self.is_of_same(execute)
            && (is_all_in_order(execute) || !self.load.shut)
            && ours.cpu_micros >= theirs.cpu_micros
            && ours.memory_bytes >= theirs.memory_bytes
    }

    fn widened(mut self, limits: &Limits) -> Self {
        self.load.limits = Limits {
            cpu_micros: self.load.limits.cpu_micros.max(limits.cpu_micros),
            memory_bytes: self.load.limits.memory_bytes.max(limits.memory_bytes),
            ..limits.clone()
        };
        self
    }
}

#[cfg(test)]
mod tests {
    use lazaret_wire::{
        params::Params,
        work::{Given, Input},
    };

    use super::*;

    fn call(artifact: u64, memory_bytes: u64, given: Given) -> Execute {
        let (wall_micros, heap_bytes, output_bytes) = (1, 0, 1);
        let limits = Limits { cpu_micros: 1, wall_micros, memory_bytes, heap_bytes, output_bytes };
        Execute { artifact, given, input: Input::PvfEncoded, params: Params::default(), limits }
    }

    fn small(artifact: u64) -> Execute {
        call(artifact, 1 << 20, Given::Inline(vec![]))
    }

    fn noted(calls: &mut Calls, execute: &Execute) -> bool {
        let (artifact, _) = rustix::pipe::pipe().unwrap();
        calls.note(execute, artifact);
        calls.likely().is_some()
    }

    #[test]
    fn the_second_call_of_an_artifact_is_likely_whatever_came_between() {
        let mut calls = Calls::new();
        assert!(!noted(&mut calls, &small(1)));
        assert!(!noted(&mut calls, &small(2)));
        assert!(noted(&mut calls, &small(1)));
        assert!(calls.had_one_like(&small(2)));
        assert!(!calls.had_one_like(&small(3)));
        assert_eq!(calls.last(), Some((&Call::of(&small(1)), false)));
        assert!(noted(&mut calls, &small(1)));
        assert_eq!(calls.last(), Some((&Call::of(&small(1)), true)));
    }

    #[test]
    fn a_call_of_another_form_is_the_first_of_its_form() {
        let mut calls = Calls::new();
        let large = call(1, 1 << 20, Given::Attached);
        assert!(!noted(&mut calls, &small(1)));
        assert!(!noted(&mut calls, &large));
        assert!(!calls.had_one_like(&small(1)));
        assert!(noted(&mut calls, &large));
    }

    #[test]
    fn a_likely_call_has_the_widest_limits_that_were_asked_for() {
        let mut calls = Calls::new();
        for memory_bytes in [1 << 20, 3 << 20, 2 << 20] {
            noted(&mut calls, &call(1, memory_bytes, Given::Inline(vec![])));
        }
        let (likely, _) = calls.likely().unwrap();
        assert!(likely.covers(&call(1, 3 << 20, Given::Inline(vec![]))));
        assert!(!likely.covers(&call(1, 4 << 20, Given::Inline(vec![]))));
    }

    #[test]
    fn so_many_artifacts_are_remembered_and_no_more() {
        let mut calls = Calls::new();
        assert!((0..=REMEMBERED_MAX as u64).all(|artifact| !noted(&mut calls, &small(artifact))));
        assert!(!calls.had_one_like(&small(0)));
        assert!(calls.had_one_like(&small(1)));
        assert_eq!(calls.last.len(), REMEMBERED_MAX);
    }
}
