//! One block on its way to a job.

use lazaret_wire::work;
use parity_scale_codec::Encode;

use crate::{
    pvf::{BLOCK_DATA_BYTES_MAX, ValidationParams},
    request::Input,
};

/// One block to validate.
#[derive(Clone, Debug)]
pub struct Block(Form);

#[derive(Clone, Debug)]
enum Form {
    Encoded(Vec<u8>),
    Parts(ValidationParams),
}

impl Block {
    /// From SCALE-encoded [`ValidationParams`], handed to the guest as they are.
    pub fn encoded(params: Vec<u8>) -> Self {
        Self(Form::Encoded(params))
    }

    /// From its parts. Block data may be zstd-compressed behind Substrate's 8-byte prefix, as it
    /// travels on the network; it is decompressed in the job, up to [`BLOCK_DATA_BYTES_MAX`].
    pub fn parts(params: ValidationParams) -> Self {
        Self(Form::Parts(params))
    }

    pub(crate) fn into_input(self) -> Input {
        match self.0 {
            Form::Encoded(bytes) => {
                Input { pieces: [bytes].into(), form: work::Input::PvfEncoded, image: None }
            }
            Form::Parts(params) => parts_input(params),
        }
    }
}

fn parts_input(params: ValidationParams) -> Input {
    let extension = params.extension.as_ref().map(Encode::encode).unwrap_or_default();
    Input {
        form: work::Input::PvfParts(work::PvfParts {
            // A head that is longer makes an input beyond every limit.
            parent_head_bytes: params.parent_head.len().try_into().unwrap_or(u32::MAX),
            extension_bytes: extension.len() as u32,
            relay_parent_number: params.relay_parent_number,
            relay_parent_storage_root: params.relay_parent_storage_root,
            block_data_bytes_max: BLOCK_DATA_BYTES_MAX,
        }),
        pieces: [params.parent_head, params.block_data, extension].into(),
        image: None,
    }
}
