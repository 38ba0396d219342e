//! The parts of the Weft node.

pub mod store;
