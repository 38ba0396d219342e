//! Tests of the executor crate, one binary; each module is named after the property it holds.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::cast_possible_truncation,
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a test fails by panicking, also in what its tests share"
)]

mod access_list;
mod access_list_oracle;
mod arena;
mod block_roots;
mod blockchain_tests;
mod blocks;
mod ethers;
mod failures;
mod fee_oracle;
mod fees;
mod files;
mod fuzz;
mod keccak;
mod mainnet_blocks;
mod modes;
mod modes_agree;
mod peek;
mod support;
mod trie;
mod witness;
