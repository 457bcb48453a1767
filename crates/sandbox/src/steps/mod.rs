//! The steps of the jail, one function each, grouped by what they take away.
//!
//! Called by [`crate::worker`] and [`crate::job`], which know the order. A step does its one
//! thing, tries whether it worked, and says which call failed; it does not know whether it is
//! required.

pub(crate) mod cgroup;
pub(crate) mod clocks;
pub(crate) mod descriptors;
pub(crate) mod file_rights;
pub(crate) mod identity;
pub(crate) mod limits;
pub(crate) mod namespaces;
pub(crate) mod privileges;
pub(crate) mod processor;
pub(crate) mod root;
