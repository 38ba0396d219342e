//! The fuzz of what comes in from outside: bodies, transactions, filters, overrides.
//!
//! A target takes bytes, drives the real parsing code and everything behind it, and says what came
//! out, or what must not have. Inputs are mutations of a committed corpus, and of what gave an
//! outcome that was not seen before. `make test` replays the corpus and runs each target shortly
//! (`tests/rpc/fuzz.rs`); `examples/fuzz_rpc.rs` runs one as long as one likes.

mod campaign;
mod corpus;
#[path = "../../../executor/tests/fuzz/dice.rs"]
#[allow(dead_code, reason = "the executor's fuzz draws more shapes")]
mod dice;
mod json;
mod rlp;
mod targets;
mod transactions;
mod world;

pub(crate) use campaign::{Budget, Campaign};
pub(crate) use targets::Target;
