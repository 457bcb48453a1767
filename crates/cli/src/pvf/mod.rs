//! Verbs about parachain validation functions.

pub(crate) mod inspect;
pub(crate) mod validate;
