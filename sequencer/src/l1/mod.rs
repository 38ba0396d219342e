//! The node's picture of L1: which blocks it has seen, with their deposits, and how fresh it is.
//!
//! The ledger is authoritative and survives restarts; [`L1Chain`] is the part of it that the block
//! builder reads without waiting. Nothing here decides what an L2 block contains.

mod chain;
mod watcher;

pub use batcher::l1::Standing;
pub use chain::{BLOCKS_BEHIND, BLOCKS_MAX, L1Chain, L1Status};
pub use watcher::{Watcher, WatcherError};
