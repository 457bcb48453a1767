//! The layers of the jail that only the host can put on: control groups for a worker and its jobs.
//!
//! Called while a worker is started. What a worker says of its layers is completed here, by the same
//! rule as there: the strict jail does without what is not there to be had.

use lazaret_wire::greeting::{JailLevel, Layer, LayerState};

use super::{process::Terms, spawner::Child};
use crate::{
    cgroup::{JobMemory, Refusal, WorkerGroup},
    verdict::Fault,
};

/// Each job is born in a group of its own. The worker's to try, with what the host gives it.
pub(super) const GROUP: &str = "job-cgroup";
/// That group's memory and processes are bounded.
pub(super) const LIMITS: &str = "cgroup-limits";

/// Makes the control groups of a worker that is about to be started.
pub(super) fn worker_group(terms: &Terms) -> Result<WorkerGroup, Refusal> {
    terms.cgroup.as_ref().as_ref().map_err(|refusal| *refusal)?.worker()
}

/// Puts a worker that has not been told anything yet into its group. `refused` is what came of making
/// the group.
pub(super) fn admit(child: &Child, refused: Option<Refusal>) -> Result<(), Refusal> {
    match (child.group(), refused) {
        (Some(group), _) => group.admit(child.id()),
        (None, refused) => Err(refused.unwrap_or(Refusal::absent("a control group"))),
    }
}

/// Bounds the jobs of a worker that has greeted, and says in its layers what came of it. `refused` is
/// why the worker was not born in one, which it cannot know.
pub(super) fn limit_jobs(
    child: &Child,
    refused: Option<Refusal>,
    layers: &mut Vec<Layer>,
) -> Result<JobMemory, Refusal> {
    let absent = || Refusal::absent("a control group of the jobs");
    let place = layers.iter().position(|layer| layer.name.as_str() == GROUP).ok_or_else(absent)?;
    if let Some(refusal) = refused {
        layers[place].state = off(refusal);
    }
    let limited = match (&layers[place].state, child.group()) {
        (LayerState::On, Some(group)) => group.limit_jobs(),
        _ => Err(absent()),
    };
    let state = limited.as_ref().map_or_else(|refusal| off(*refusal), |_| LayerState::On);
    layers.insert(place + 1, Layer { name: LIMITS.into(), state });
    limited
}

/// Does without a layer unless the level asks for it.
pub(super) fn unless_required<T>(
    jail: JailLevel,
    layer: &str,
    done: Result<T, Refusal>,
) -> Result<Result<T, Refusal>, Fault> {
    match done {
        Err(refusal) if jail == JailLevel::Strict && !refusal.is_absence() => {
            Err(missing(layer, refusal))
        }
        done => Ok(done),
    }
}

/// A layer that cannot be done without.
pub(super) fn missing(layer: &str, refusal: Refusal) -> Fault {
    Fault::Jail { layer: layer.into(), call: refusal.call.into(), errno: refusal.errno }
}

fn off(refusal: Refusal) -> LayerState {
    LayerState::Off { call: refusal.call.into(), errno: refusal.errno }
}
