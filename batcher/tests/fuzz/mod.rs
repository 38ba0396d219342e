//! The fuzz of the batch format: what anybody may post to L1 and every node has to read.
//!
//! A target takes bytes, drives the real decoder, measures the memory that it takes, and says what came
//! out, or what must not have. Inputs are mutations of seeds made here, of a committed corpus
//! (`tests/corpus`), and of what gave an outcome that was not seen before. `make test` replays the corpus
//! and runs each target shortly (`tests/corpus.rs`); `examples/fuzz_batch.rs` runs one as long as one
//! likes. Whoever builds this makes [`Counting`] its allocator.

#![allow(clippy::cast_possible_truncation, reason = "what is drawn is small, or may be anything")]

mod bombs;
mod campaign;
mod channel;
#[path = "../../../executor/tests/fuzz/dice.rs"]
#[allow(dead_code, reason = "the executor's fuzz draws more shapes")]
mod dice;
mod frames;
mod memory;
mod mutate;
mod packed;
mod parts;
mod seeds;
mod targets;

pub(crate) use bombs::{ACCESS_LIST, AUTHORIZATIONS, list_of};
pub(crate) use campaign::{Budget, Campaign};
pub(crate) use memory::{Counting, measured};
pub(crate) use targets::{Seen, Target};
