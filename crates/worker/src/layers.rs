//! The layers of the jail as they travel: from the sandbox's words to the wire's.

use lazaret_sandbox::layer::{self, StepError};
use lazaret_wire::greeting::{Layer, LayerState};

/// What a canary job says: its layers, or the one that it could not have.
pub(crate) type CanaryWord = Result<Vec<Layer>, Layer>;

/// A layer as the wire names it.
pub(crate) fn on_the_wire(layer: layer::Layer, state: layer::LayerState) -> Layer {
    let state = match state {
        layer::LayerState::On => LayerState::On,
        layer::LayerState::Off(refusal) => {
            LayerState::Off { call: refusal.call.into(), errno: refusal.errno }
        }
    };
    Layer { name: layer.name().into(), state }
}

/// The layer that a step failed at, as the wire names it.
pub(crate) fn missing_layer(error: StepError) -> Layer {
    on_the_wire(error.layer, layer::LayerState::Off(error.refusal))
}
