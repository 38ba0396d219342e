//! Tests of the batcher through its public interface: the format's properties, the encoder and
//! derivation as state machines, and posting against a real anvil.

#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stdout, reason = "these are tests")]

mod columns;
mod corpus;
mod derive;
mod encoder;
mod failover;
mod format;
#[allow(dead_code, reason = "long runs are the example's")]
mod fuzz;
mod gate;
mod history;
mod l1;
mod posting;
mod restart;
mod signers;
mod support;
mod tracker;
mod txmgr;
mod vectors;

/// For the bounds on what decoding takes; each thread counts for itself.
#[global_allocator]
static ALLOCATOR: fuzz::Counting = fuzz::Counting;
