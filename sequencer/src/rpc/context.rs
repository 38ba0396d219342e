//! What every call shares: the chain, the pool, and the bounded bookkeeping of the edge.
//!
//! The node builds one and hands it to [`super::serve`]. The pool's lock is held for single pool
//! operations only, never across a read of the chain or an await.

use super::{
    admit::{Admissions, Desk},
    aside::Aside,
    budget::TRACES_MAX,
    chain::Chain,
    clients::ClientLimits,
    feed::Feed,
    filters::Filters,
    forward::Sends,
    lanes::Lanes,
    stream::{READINGS_MAX, STREAMS_MAX},
    witness::WITNESSES_MAX,
};
use crate::{
    metrics::Metrics,
    pressure::Gauge,
    txpool::{Admission, Journal, Pool},
};
use batcher::archive::PayloadArchive;
use serde::Serialize;
use std::{
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};
use tokio::sync::{Notify, Semaphore};

/// Bodies longer than [`super::process::INLINE_BYTES_MAX`] that are parsed, or batches of sends that
/// are worked on, at once. More wait for their turn in the order of arrival; what they hold meanwhile
/// is bounded by the bytes that clients may hold.
const PARSES_MAX: usize = 2;
/// WebSockets at once; an upgrade beyond it answers 503.
pub(super) const SOCKETS_MAX: usize = 4_096;

/// One check of `/ready`.
#[derive(Clone, Debug, Serialize)]
pub struct Check {
    /// What was looked at: a store, L1, the batcher.
    pub name: &'static str,
    /// Whether it lets the node serve.
    pub ok: bool,
    /// What was seen, for the operator.
    pub detail: String,
}

/// Answer of `/ready`: ready when every check is.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Readiness {
    /// The checks.
    pub checks: Vec<Check>,
}

impl Readiness {
    /// Whether every check passed.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.checks.iter().all(|check| check.ok)
    }
}

/// What the node decides about its RPC.
#[derive(Clone)]
pub struct RpcOptions {
    /// Answer of web3_clientVersion and `/version`.
    pub client_version: String,
    /// Answer of eth_maxPriorityFeePerGas, wei; 0 suits first-come ordering.
    pub priority_fee_wei: u64,
    /// Told after each admitted transaction.
    pub new_transaction: Arc<Notify>,
    /// Where admitted transactions are written, if they are to survive a restart.
    pub journal: Option<Arc<Journal>>,
    /// Where transactions go.
    pub sends: Sends,
    /// What each client may do.
    pub clients: ClientLimits,
    /// What `/v1/da` serves; without it there is no such path.
    pub archive: Option<PayloadArchive>,
    /// Asked by `/ready`. Must not block.
    pub readiness: Arc<dyn Fn() -> Readiness + Send + Sync>,
    /// What is refused because L1 is behind.
    pub pressure: Gauge,
    /// Asked by `/metrics`: the text, in OpenMetrics' format. Must not block.
    pub metrics: Arc<dyn Fn() -> String + Send + Sync>,
}

impl fmt::Debug for RpcOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RpcOptions")
            .field("client_version", &self.client_version)
            .field("priority_fee_wei", &self.priority_fee_wei)
            .field("sends", &self.sends)
            .field("clients", &self.clients)
            .finish_non_exhaustive()
    }
}

impl Default for RpcOptions {
    /// This crate's version, no tip, the usual limits, always ready, no pressure, no metrics, and a notify
    /// nobody waits on.
    fn default() -> Self {
        Self {
            client_version: concat!("weft/v", env!("CARGO_PKG_VERSION")).to_owned(),
            priority_fee_wei: 0,
            new_transaction: Arc::new(Notify::new()),
            journal: None,
            sends: Sends::default(),
            clients: ClientLimits::default(),
            archive: None,
            readiness: Arc::new(Readiness::default),
            pressure: Gauge::default(),
            metrics: Arc::new(|| Metrics::new().encode()),
        }
    }
}

/// State shared by all connections.
#[derive(Debug)]
pub struct RpcContext<C> {
    pub(super) chain: Arc<C>,
    pool: Arc<Mutex<Pool>>,
    pub(super) admission: Admission,
    pub(super) options: RpcOptions,
    pub(super) admissions: Admissions,
    pub(super) feed: Arc<Feed>,
    pub(super) filters: Filters,
    pub(super) lanes: Lanes,
    pub(super) aside: Aside,
    pub(super) parses: Semaphore,
    pub(super) sockets: Arc<Semaphore>,
    pub(super) witnesses: Semaphore,
    pub(super) streams: Arc<Semaphore>,
    pub(super) readings: Semaphore,
    pub(super) traces: Semaphore,
}

impl<C: Chain> RpcContext<C> {
    /// A context over a chain and the pool that its block builder takes from.
    #[must_use]
    pub fn new(chain: C, pool: Arc<Mutex<Pool>>, options: RpcOptions) -> Self {
        let admission = Admission::new(chain.rules());
        let (chain, feed) = (Arc::new(chain), Arc::new(Feed::new()));
        let desk = Desk {
            chain: chain.clone(),
            pool: pool.clone(),
            feed: feed.clone(),
            new_transaction: options.new_transaction.clone(),
            journal: options.journal.clone(),
            pressure: options.pressure.clone(),
        };
        Self {
            chain,
            pool,
            admission,
            options,
            admissions: Admissions::start(desk),
            feed,
            filters: Filters::default(),
            lanes: Lanes::start(),
            aside: Aside::start(),
            parses: Semaphore::new(PARSES_MAX),
            sockets: Arc::new(Semaphore::new(SOCKETS_MAX)),
            witnesses: Semaphore::new(WITNESSES_MAX),
            streams: Arc::new(Semaphore::new(STREAMS_MAX)),
            readings: Semaphore::new(READINGS_MAX),
            traces: Semaphore::new(TRACES_MAX),
        }
    }

    /// Suggested tip, wei per gas: the node's, or what is asked for while L1 is behind.
    pub(super) fn tip_wei(&self) -> u64 {
        self.options.priority_fee_wei.max(self.options.pressure.orders().tip_wei_min)
    }

    /// The served chain.
    #[must_use]
    pub fn chain(&self) -> &C {
        &self.chain
    }

    /// The pool. A panic elsewhere while it was held leaves no half-made change: its operations
    /// check first and change last.
    pub(super) fn pool(&self) -> MutexGuard<'_, Pool> {
        self.pool.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
