//! An artifact of a plain or WASI program, mapped and linked.

/// Compiled code, mapped and linked to what its profile provides.
pub struct Program {}

impl Program {
    /// The machine code, as [`Artifact::text`](crate::Artifact::text) gives it, on the same terms.
    pub fn text(&self) -> &[u8] {
        todo!()
    }
}
