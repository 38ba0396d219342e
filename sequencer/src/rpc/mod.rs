//! JSON-RPC over HTTP and WebSocket, on one port.
//!
//! Owns the shapes Ethereum clients read, the limits of the edge, and the way of a raw transaction
//! into the pool. Deliberately absent: building blocks, storage (behind [`Chain`]), and anything
//! that changes the chain.
//!
//! A call is parsed with raw parameters, found in a static table (`table`) and run on a blocking
//! thread, because it may read storage, recover a signature or execute. Only answers that need none
//! of that are given on the async threads.

mod accounts;
mod block_id;
mod blocks;
mod call;
mod chain;
mod context;
mod error;
mod feed;
mod fees;
mod filters;
mod format;
#[doc(hidden)]
pub mod fuzzing;
mod jsonrpc;
mod logs;
mod meta;
mod overrides;
mod process;
mod send;
mod server;
mod socket;
mod table;
mod transactions;
mod witness;

pub use chain::{Chain, ChainError, Heads};
pub use context::{Check, Readiness, RpcContext, RpcOptions};
pub use error::{Limit, Refusal, RpcError};
pub use server::serve;
