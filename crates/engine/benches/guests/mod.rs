//! A guest that does one thing over and over: so often that making the instance, and the call itself,
//! do not show.

use divan::{Bencher, counter::ItemsCount};
use lazaret_engine::{
    Artifact, Engine, Params,
    pvf::{Input, Instance},
};

#[path = "../../tests/shared/mod.rs"]
mod shared;

/// How often, in one call.
pub(crate) const TURNS: usize = 1_000;

/// Such a guest, ready to be called.
pub(crate) struct Guest {
    engine: Engine,
    params: Params,
    artifact: Artifact,
}

impl Guest {
    /// `step` may use the input at `$ptr`, of `$len` bytes, and `$give`, which makes a fat pointer.
    pub(crate) fn that_repeats(imports: &str, step: &str) -> Self {
        let body = format!(
            "(local $turns i32)
             (local.set $turns (i32.const {TURNS}))
             (loop $again
                {step}
                (br_if $again (local.tee $turns (i32.sub (local.get $turns) (i32.const 1)))))
             (i64.const 0)"
        );
        let text = shared::runtime(imports, &body);
        let (engine, params) = (shared::engine(), shared::text_params());
        let prepared = shared::prepare(&engine, text.as_bytes(), &params).expect("a guest");
        let artifact = shared::load(&engine, &prepared.artifact);
        Self { engine, params, artifact }
    }

    /// Measures its steps.
    pub(crate) fn bench(&self, bencher: Bencher<'_, '_>, input: &[u8]) {
        let instance = || {
            let instance =
                Instance::new(&self.engine, &self.artifact, &self.params, Box::new(|_| ()));
            instance.expect("an instance")
        };
        bencher.counter(ItemsCount::new(TURNS)).with_inputs(instance).bench_local_values(
            |instance| {
                let reply = instance.validate_block(Input::Encoded(input));
                assert!(reply.is_ok(), "{reply:?}");
                reply
            },
        );
    }
}
