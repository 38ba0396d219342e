//! JSON-RPC as clients meet it: a served listener on port 0 over a real chain in memory.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

mod admission;
mod calls;
mod chain;
mod conditional;
mod errors;
mod eth;
mod explain;
mod fees;
mod fuzz;
mod limits;
mod logs;
mod node;
mod optimism;
mod otterscan;
mod pressure;
mod pruned;
mod raw;
mod recompute;
#[path = "../support/recomputed.rs"]
mod recomputed;
#[path = "../support/rollup_chain.rs"]
mod rollup_chain;
mod sending;
mod simulate;
mod sockets;
mod tracing;
mod wallets;
mod witnesses;
