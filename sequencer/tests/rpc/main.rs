//! JSON-RPC as clients meet it: a served listener on port 0 over a real chain in memory.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

mod calls;
mod chain;
mod errors;
mod eth;
mod fuzz;
mod logs;
mod node;
mod pruned;
mod recompute;
#[path = "../support/recomputed.rs"]
mod recomputed;
#[path = "../support/rollup_chain.rs"]
mod rollup_chain;
mod sending;
mod sockets;
mod witnesses;
