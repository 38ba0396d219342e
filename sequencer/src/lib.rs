//! The Weft node: JSON-RPC and pool. The binary around it lives in `main.rs`.

pub mod rpc;
pub mod txpool;
