//! JSON-RPC over HTTP and WebSocket, on one port.
//!
//! Owns the shapes Ethereum clients read, the limits of the edge, and the way of a raw transaction
//! into the pool. Deliberately absent: building blocks, storage (behind [`Chain`]), and anything
//! that changes the chain.
//!
//! A call is parsed with raw parameters, found in a static table (`table`) and run on a thread for
//! calls of its class (`cost`, `lanes`), because it may read storage or execute. Only answers that
//! need none of that are given on the async threads. What a client may take of all this is counted by
//! its address (`clients`).

mod account_info;
mod accounts;
mod admit;
mod ancestors;
mod aside;
mod block_id;
mod blocks;
mod body;
mod budget;
mod bundles;
mod call;
mod chain;
mod clients;
mod config;
mod connections;
mod context;
mod cost;
mod debug;
mod error;
mod explain;
mod feed;
mod fees;
mod filters;
mod flashblocks;
mod format;
mod forward;
#[doc(hidden)]
pub mod fuzzing;
mod jsonrpc;
mod lanes;
mod logs;
mod meta;
mod modules;
mod optimism;
mod otterscan;
mod otterscan_search;
mod overrides;
mod parity;
mod payloads;
mod pool;
mod prepare;
mod pressure;
mod process;
mod raw;
mod relay;
mod replay;
mod send;
mod server;
mod simulate;
mod socket;
mod status;
mod stream;
mod table;
mod transactions;
mod transfers;
mod witness;

pub use chain::{Chain, ChainError, Heads, Rollup};
pub use clients::ClientLimits;
pub(crate) use connections::accept;
pub use context::{Check, Readiness, RpcContext, RpcOptions};
pub(crate) use error::{BLOCK_DISAGREES, STATE_UNAVAILABLE};
pub use error::{Disagreement, Limit, Refusal, RpcError, SimulationError};
pub use forward::{Sends, Upstream};
pub use server::serve;
pub use status::{Told, serve_status};
