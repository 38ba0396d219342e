//! End to end: the real binary as its own process, the real Anvil, the real contracts.
//!
//! One module per story. Each test has an Anvil and a data directory of its own on free ports, and
//! skips visibly where `npm ci` in contracts has not run.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stderr,
    clippy::print_stdout,
    reason = "a test fails by panicking, also in what its tests share"
)]

mod admin;
mod bad_start;
mod failures;
mod finality;
mod follower;
#[path = "../support/full_blocks.rs"]
mod full_blocks;
mod history;
mod l1_away;
mod payloads;
mod pipeline;
mod pool;
#[path = "../support/postgres.rs"]
mod postgres;
mod preconfirmations;
mod pressure;
mod processes;
mod proxy;
mod reorg;
mod restarts;
#[path = "../support/skip.rs"]
mod skip;
mod story;
mod support;
#[path = "../support/traffic.rs"]
mod traffic;
mod uniswap;
