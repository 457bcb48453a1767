//! The cases, each a function from a stage to rows of the table.

mod artifact_size;
mod block_data;
mod blocks;
mod endless;
mod memory;
mod prepare;
mod start;
mod throughput;
mod trivial;

use clap::ValueEnum;

use crate::{stage::Stage, table::Row};

pub(crate) use memory::hold;

/// What can be measured, in the order in which it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Case {
    /// A trivial guest, one call after another.
    Trivial,
    /// A trivial guest, all workers busy.
    Throughput,
    /// A trivial guest with much block data.
    BlockData,
    /// A trivial call of artifacts of 1 to 30 MB.
    ArtifactSize,
    /// A guest that never returns, until the answer.
    Endless,
    /// Preparing the runtimes of the real blocks.
    Prepare,
    /// The real blocks, beside the engine alone.
    Blocks,
    /// From the start of a host with 50 artifacts to its first verdict.
    Start,
    /// Memory of an idle worker, and of a host with 50 artifacts.
    Memory,
}

impl Case {
    pub(crate) async fn run(self, stage: &mut Stage) -> Result<Vec<Row>, String> {
        match self {
            Self::Trivial => trivial::run(stage).await,
            Self::Throughput => throughput::run(stage).await,
            Self::BlockData => block_data::run(stage).await,
            Self::ArtifactSize => artifact_size::run(stage).await,
            Self::Endless => endless::run(stage).await,
            Self::Prepare => prepare::run(stage).await,
            Self::Blocks => blocks::run(stage).await,
            Self::Start => start::run(stage).await,
            Self::Memory => memory::run(stage).await,
        }
    }
}
