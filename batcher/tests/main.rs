//! Tests of the batcher through its public interface: the format's properties, the encoder and
//! derivation as state machines, and posting against a real anvil.

mod derive;
mod encoder;
mod format;
mod support;
