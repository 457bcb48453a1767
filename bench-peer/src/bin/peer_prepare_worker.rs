//! The program in which Polkadot's host prepares code: its own entry point under the version of this
//! benchmark. The peer's host starts it; nobody else does.

polkadot_node_core_pvf_common::decl_worker_main!(
    "prepare-worker",
    polkadot_node_core_pvf_prepare_worker::worker_entrypoint,
    env!("CARGO_PKG_VERSION"),
    "bench-peer",
);
