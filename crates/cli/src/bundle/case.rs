//! What was asked of a run, as a bundle has it and as the library is asked.

use std::time::Duration;

use lazaret::{
    Params,
    program::{Clock, Command, ExportCall, Image, Limits, Random, Settings},
    pvf::{self, Block, ValidationParams, ValidationParamsExtension},
};
use serde::{Deserialize, Serialize};

/// Everything that a run depends on but bytes: those of code, image and input.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Case {
    pub(crate) params: Params,
    pub(crate) limits: CaseLimits,
    pub(crate) asked: What,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct CaseLimits {
    pub(crate) cpu_micros: u64,
    pub(crate) wall_micros: Option<u64>,
    pub(crate) fuel: Option<u64>,
    pub(crate) output_bytes_max: u64,
    pub(crate) input_bytes_max: u64,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum What {
    Plain(Export),
    Wasi(Box<Wasi>),
    /// The input is SCALE-encoded `ValidationParams`.
    PvfEncoded,
    /// The input is the head, the block data.
    PvfParts(PvfParts),
}

/// A call of an export.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Export {
    pub(crate) name: String,
    /// Numbers in words; none means that it is given the input's bytes.
    pub(crate) words: Option<Vec<String>>,
}

/// What a WASI program sees.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Wasi {
    pub(crate) arguments: Vec<Text>,
    pub(crate) environment: Vec<(Text, Text)>,
    pub(crate) export: Option<Export>,
    /// Where the directories of the image are found.
    pub(crate) mounts: Vec<Text>,
    pub(crate) tmp_bytes_max: u64,
    pub(crate) clock: Clock,
    pub(crate) random: CaseRandom,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum CaseRandom {
    Seeded(u64),
    /// What was drawn, in hex.
    Drawn(String),
}

impl Default for CaseRandom {
    fn default() -> Self {
        Self::Seeded(0)
    }
}

/// A block in parts.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct PvfParts {
    /// How many of the input's first bytes are the head.
    pub(crate) parent_head_bytes: u64,
    pub(crate) relay_parent_number: u32,
    pub(crate) relay_parent_storage_root: [u8; 32],
    /// Of candidate descriptor version 3.
    pub(crate) extension: Option<Parents>,
}

/// The relay parent and the scheduling parent.
pub(crate) type Parents = ([u8; 32], [u8; 32]);

/// Bytes that are mostly text.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub(crate) enum Text {
    Utf8(String),
    Hex { hex: String },
}

impl From<&[u8]> for Text {
    fn from(bytes: &[u8]) -> Self {
        match std::str::from_utf8(bytes) {
            Ok(text) => Self::Utf8(text.to_owned()),
            Err(_) => Self::Hex { hex: hex::encode(bytes) },
        }
    }
}

impl Text {
    pub(crate) fn to_bytes(&self) -> Vec<u8> {
        match self {
            Self::Utf8(text) => text.clone().into_bytes(),
            // Of a stranger's bundle: it is then another run than was recorded.
            Self::Hex { hex } => hex::decode(hex).unwrap_or_default(),
        }
    }
}

impl Case {
    /// Settings of a plain or WASI program.
    pub(crate) fn settings(&self) -> Settings {
        let CaseLimits { cpu_micros, wall_micros, fuel, .. } = self.limits;
        let limits = Limits {
            cpu: Duration::from_micros(cpu_micros),
            wall: wall_micros.map(Duration::from_micros),
            fuel,
            output_bytes_max: self.limits.output_bytes_max,
            input_bytes_max: self.limits.input_bytes_max,
        };
        Settings { params: self.params.clone(), limits, ..Settings::plain() }
    }

    /// Settings of a block. It is tried once, as it is recorded.
    pub(crate) fn pvf_settings(&self) -> pvf::Settings {
        let mut settings = pvf::Settings::default();
        settings.params = self.params.clone();
        settings.limits.cpu = Duration::from_micros(self.limits.cpu_micros);
        settings.limits.input_bytes_max = self.limits.input_bytes_max;
        settings.limits.output_bytes_max =
            self.limits.output_bytes_max.try_into().unwrap_or(u32::MAX);
        settings
    }

    /// What it sees of its machine that differs from run to run.
    pub(crate) fn real(&self) -> Vec<&'static str> {
        let What::Wasi(wasi) = &self.asked else { return Vec::new() };
        let clock = (wasi.clock == Clock::Real).then_some("clock");
        let random = matches!(wasi.random, CaseRandom::Drawn(_)).then_some("random");
        clock.into_iter().chain(random).collect()
    }
}

impl Export {
    /// The call; where it is given bytes, these.
    pub(crate) fn call(&self, bytes: Vec<u8>) -> ExportCall {
        match &self.words {
            Some(words) => ExportCall::words(self.name.clone(), words.clone()),
            None => ExportCall::bytes(self.name.clone(), bytes),
        }
    }

    pub(crate) fn takes_bytes(&self) -> bool {
        self.words.is_none()
    }
}

impl Wasi {
    /// The run, without its standard input; where its export is given bytes, these.
    pub(crate) fn command(&self, image: Option<&Image>, bytes: &[u8]) -> Command {
        let mut command = Command::default();
        for argument in &self.arguments {
            command = command.argument(argument.to_bytes());
        }
        for (name, value) in &self.environment {
            command = command.variable(name.to_bytes(), value.to_bytes());
        }
        if let Some(export) = &self.export {
            let bytes = if export.takes_bytes() { bytes.to_vec() } else { Vec::new() };
            command = command.export(export.call(bytes));
        }
        if let Some(image) = image {
            command = command.image(image.clone());
        }
        let random = match &self.random {
            CaseRandom::Seeded(seed) => Random::Seeded(*seed),
            CaseRandom::Drawn(digits) => {
                let mut drawn = [0; 32];
                // Of a stranger's bundle: it is then another run than was recorded.
                let _ = hex::decode_to_slice(digits, &mut drawn);
                Random::Drawn(drawn)
            }
        };
        command.tmp(self.tmp_bytes_max).clock(self.clock).random(random)
    }
}

impl PvfParts {
    /// The block, if the input is as long as it should be.
    pub(crate) fn block(&self, input: &[u8]) -> Option<Block> {
        let (head, block_data) = input.split_at_checked(self.parent_head_bytes as usize)?;
        let extension = self.extension.map(|(relay_parent, scheduling_parent)| {
            ValidationParamsExtension::V3 { relay_parent, scheduling_parent }
        });
        Some(Block::parts(ValidationParams {
            parent_head: head.to_vec(),
            block_data: block_data.to_vec(),
            relay_parent_number: self.relay_parent_number,
            relay_parent_storage_root: self.relay_parent_storage_root,
            extension,
        }))
    }
}
