//! The differential fuzz: random blocks, every mode against the sequential reference.
//!
//! Owns the generator and the comparison. `modes_agree` runs a short part of it as a test, and the
//! example `fuzz` runs as much as one likes; both are this module. Everything follows from a seed and
//! a block's index. It is no oracle of Ethereum's rules: a mistake that the reference makes, too, is
//! for the blockchain tests and the real blocks to find.

pub(crate) mod assembler;
mod authorizations;
mod campaign;
mod compare;
mod contracts;
pub(crate) mod dice;
mod intent;
mod interpreter;
mod lives;
mod patterns;
mod program;
#[cfg(test)]
mod proof;
mod scenario;
mod tally;
mod world;

pub(crate) use campaign::Campaign;
