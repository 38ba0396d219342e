//! Tests of the batcher through its public interface: the format's properties, the encoder and
//! derivation as state machines, and posting against a real anvil.

#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stdout, reason = "these are tests")]

mod columns;
mod derive;
mod encoder;
mod format;
mod l1;
mod posting;
mod restart;
mod support;
mod txmgr;
