//! The program in which Polkadot's host executes code: its own entry point under the version of this
//! benchmark. The peer's host starts it; nobody else does.

polkadot_node_core_pvf_common::decl_worker_main!(
    "execute-worker",
    polkadot_node_core_pvf_execute_worker::worker_entrypoint,
    env!("CARGO_PKG_VERSION"),
    "bench-peer",
);
