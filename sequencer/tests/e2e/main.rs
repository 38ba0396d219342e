//! End to end: the real binary as its own process, the real Anvil, the real contracts.
//!
//! One module per story. Each test has an Anvil and a data directory of its own on free ports, and
//! skips visibly where `npm ci` in contracts has not run.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stderr,
    reason = "a test fails by panicking, also in what its tests share"
)]

mod bad_start;
mod failures;
mod finality;
mod history;
mod l1_away;
mod pipeline;
mod pool;
mod preconfirmations;
mod proxy;
mod reorg;
#[path = "../support/skip.rs"]
mod skip;
mod support;
mod uniswap;
