//! What a call costs: its class, which says how much of a client's budget it takes and which threads
//! run it.
//!
//! A unit is about a microsecond of one core. The costs are constants, so that a client can know what
//! it may do; what a call really takes is bounded by the limits of its method. Measures nothing.

use super::{
    chain::Chain,
    jsonrpc::{Body, Request},
    send::SEND_METHODS,
    table::Table,
};
use serde_json::value::RawValue;

/// Units of all entries of one batch; the entries beyond it answer -32005. A thousand calls of
/// contracts, 250 searches for logs or 50 traces fit in: half a second of a core as a rule.
pub(super) const BATCH_COST_MAX: u64 = 500_000;
/// Bytes of a body that cost a unit: JSON is parsed at about a gigabyte per second.
const BYTES_PER_UNIT: usize = 1_024;

/// How much work a method is. In rising order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Class {
    /// Answered from memory in microseconds, or handed to the admission's own threads: no thread is
    /// switched for it.
    Instant,
    /// A few reads of the chain or the state.
    Read,
    /// Executes one call, with bounded gas.
    Execute,
    /// Reads many blocks, or builds proofs.
    Search,
    /// Executes a block or many calls, mostly watched.
    Trace,
}

impl Class {
    /// Units that one call takes.
    pub(super) const fn cost(self) -> u64 {
        match self {
            // Sends are held by the admission's line; here they must never be what runs out.
            Self::Instant => 1,
            // A read from memory and the writing of an answer of some kilobytes.
            Self::Read => 20,
            // An ordinary eth_call; one with all the gas takes a hundred times as much, at low priority.
            Self::Execute => 500,
            // 10,000 blooms, or a proof in an old trie.
            Self::Search => 2_000,
            // A block of some hundred transactions.
            Self::Trace => 10_000,
        }
    }
}

/// Units that the bytes of a body take.
pub(super) const fn of_bytes(bytes: usize) -> u64 {
    (bytes / BYTES_PER_UNIT) as u64
}

/// Whether it puts a transaction into the pool.
pub(super) fn is_send(entry: &RawValue) -> bool {
    Request::parse(entry).is_ok_and(|request| SEND_METHODS.contains(&&*request.method))
}

/// The class of one request. What is no request, or for no known method, is answered at once.
fn of_request<C: Chain>(request: &Request<'_>) -> Class {
    Table::<C>::find(&request.method).map_or(Class::Instant, |method| method.class)
}

/// The highest class in a body. A batch is work of its length: it is instant only where it is sends.
pub(super) fn of_body<C: Chain>(bytes: &[u8]) -> Class {
    let of_entry = |entry| Request::parse(entry).map_or(Class::Instant, |it| of_request::<C>(&it));
    match Body::parse(bytes) {
        Ok(Body::Single(entry)) => of_entry(entry),
        Ok(Body::Batch(entries)) => {
            let of_entry = |entry| match is_send(entry) {
                true => Class::Instant,
                false => of_entry(entry).max(Class::Read),
            };
            entries.into_iter().map(of_entry).max().unwrap_or(Class::Instant)
        }
        Err(_) => Class::Instant,
    }
}
