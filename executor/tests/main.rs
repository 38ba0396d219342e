//! Tests of the executor crate, one binary; each module is named after the property it holds.
#![allow(
    clippy::unwrap_used,
    clippy::cast_possible_truncation,
    reason = "a test fails by panicking, also in what its tests share"
)]

mod blocks;
mod ethers;
mod support;
mod trie;
