//! Where a run was: this program, its engine, its kernel, its processor, its jail.

use std::fs;

use lazaret::{Host, LayerState};
use serde::{Deserialize, Serialize};

use super::Differences;
use crate::report::level_word;

/// Facts of a machine; what it does not tell is empty.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Machine {
    /// The version of this program.
    pub(crate) lazaret: String,
    /// Identifies the engine, its settings and the features of the processor.
    pub(crate) engine: String,
    pub(crate) kernel: String,
    pub(crate) processor: String,
    pub(crate) processors: u32,
    pub(crate) memory_kib: u64,
    pub(crate) jail: String,
    pub(crate) layers_off: Vec<String>,
}

impl Machine {
    pub(crate) fn of(host: &Host) -> Self {
        let security = host.security();
        let is_off = |layer: &&lazaret::Layer| !matches!(layer.state, LayerState::On);
        let off = security.layers.iter().filter(is_off).map(|layer| layer.name.to_string());
        let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
        let field = |text: &str, name: &str| {
            let line = text.lines().find(|line| line.starts_with(name));
            let value = line.and_then(|line| line.split_once(':'));
            value.map(|(_, value)| value.trim().to_owned()).unwrap_or_default()
        };
        let memory = field(&read("/proc/meminfo"), "MemTotal");
        Self {
            lazaret: env!("CARGO_PKG_VERSION").into(),
            engine: hex::encode(host.engine_fingerprint()),
            kernel: read("/proc/sys/kernel/osrelease").trim().into(),
            processor: field(&read("/proc/cpuinfo"), "model name"),
            processors: std::thread::available_parallelism().map_or(0, |count| count.get() as u32),
            memory_kib: memory.split(' ').next().and_then(|kib| kib.parse().ok()).unwrap_or(0),
            jail: level_word(security.level).into(),
            layers_off: off.collect(),
        }
    }

    /// In what two machines differ: its name, here, and there.
    pub(crate) fn differences(&self, other: &Self) -> Differences {
        let shown = |machine: &Self| {
            [
                ("lazaret", machine.lazaret.clone()),
                ("engine", machine.engine.chars().take(16).collect()),
                ("kernel", machine.kernel.clone()),
                ("processor", machine.processor.clone()),
                ("processors", machine.processors.to_string()),
                ("memory_kib", machine.memory_kib.to_string()),
                ("jail", machine.jail.clone()),
                ("layers_off", machine.layers_off.join(", ")),
            ]
        };
        let pairs = shown(self).into_iter().zip(shown(other));
        pairs
            .filter(|((_, here), (_, there))| here != there)
            .map(|((name, here), (_, there))| (name, here, there))
            .collect()
    }
}
