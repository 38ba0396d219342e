//! The Weft node: JSON-RPC in front, a pool, a block builder over the executor, stores behind, and
//! the L1 side: a watcher that brings deposits and a batcher that posts.
//!
//! Owns everything that waits: sockets, disks, L1. The rules of the chain are in `executor`, what
//! is posted to L1 and read back in `batcher`.

pub mod admin;
pub mod args;
pub mod builder;
pub mod commands;
pub mod derived;
pub mod l1;
pub mod l1_client;
pub mod metrics;
pub mod node;
pub mod pressure;
pub mod rpc;
pub mod settings;
pub mod store;
pub mod telemetry;
pub mod txpool;

/// Blocks for unit tests; the tests outside have them, too.
#[cfg(test)]
#[path = "../tests/support/rollup_chain.rs"]
mod rollup_chain;
