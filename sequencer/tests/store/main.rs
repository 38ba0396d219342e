//! The stores against real files and databases: one binary, so that the helpers compile once.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::print_stderr,
    clippy::cast_possible_truncation,
    reason = "helpers of tests fail like tests, and their numbers are small"
)]

mod block_record;
mod chain_check;
mod chain_crash;
mod chain_execution;
mod chain_history;
mod chain_log;
mod chain_model;
mod chain_pruning;
mod chain_store;
mod disk_full;
mod ledger;
mod log_faults;
mod log_files;
mod log_recovery;
mod mini_blocks;
#[path = "../support/postgres.rs"]
mod postgres;
#[path = "../support/rollup_chain.rs"]
mod rollup_chain;
#[path = "../support/skip.rs"]
mod skip;
mod snapshots;
mod submissions;
