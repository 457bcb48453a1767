//! The jail as hosts find it that are started at each level in turn.
//!
//! The strict one names only the first layer it misses, so where it refuses the weak one is started
//! too: it goes through every layer and says of each whether it is on.

use lazaret::{Builder, Fault, JailLevel, Layer, LayerState};

/// What the levels came to.
pub(crate) struct JailSeen {
    /// The strongest level that holds; `None` if no host starts at all.
    pub(crate) level: Option<JailLevel>,
    /// The levels that do not, and why.
    pub(crate) refused: Vec<(JailLevel, Fault)>,
    /// Every layer that was tried.
    layers: Vec<Layer>,
}

impl JailSeen {
    /// What became of a layer; `None` if it was not tried.
    pub(crate) fn state(&self, name: &str) -> Option<&LayerState> {
        self.layers.iter().find(|layer| layer.name.as_str() == name).map(|layer| &layer.state)
    }

    pub(crate) fn is_off(&self, name: &str) -> bool {
        matches!(self.state(name), Some(LayerState::Off { .. }))
    }
}

pub(crate) async fn look(bare: &Builder) -> JailSeen {
    let mut seen = JailSeen { level: None, refused: Vec::new(), layers: Vec::new() };
    for level in [JailLevel::Strict, JailLevel::Standard, JailLevel::Weak] {
        // No cache: whether there is one says nothing about the jail.
        match bare.clone().jail(level).start().await {
            Ok(host) => {
                seen.level = seen.level.or(Some(level));
                seen.layers.clone_from(&host.security().layers);
            }
            Err(fault) => seen.refused.push((level, fault)),
        }
        if seen.level == Some(JailLevel::Strict) {
            break;
        }
    }
    if let (None, Some((_, Fault::Jail { layer, call, errno }))) = (seen.level, seen.refused.last())
    {
        let state = LayerState::Off { call: call.clone(), errno: *errno };
        seen.layers.push(Layer { name: layer.clone(), state });
    }
    seen
}
