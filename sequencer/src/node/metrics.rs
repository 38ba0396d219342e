//! What the node shows at `/metrics`: counters that its loops raise, and what its parts know anyway, read
//! when it is asked for.
//!
//! Owns names and help. A part that grows numbers of its own registers them where it is built, or is read
//! here.

use super::posting::Posting;
use crate::{
    builder::Sealed,
    l1::L1Chain,
    metrics::{Collector, Counter, DescriptorEncoder, Metrics, Values},
    pressure::Gauge,
    store::ChainStore,
    txpool::Pool,
};
use std::{
    fmt,
    sync::{Arc, Mutex, PoisonError},
};

/// What was sealed since the start.
#[derive(Clone, Debug, Default)]
pub(super) struct SealedCounters {
    blocks: Counter,
    transactions: Counter,
    gas: Counter,
}

impl SealedCounters {
    /// Adds a block.
    pub(super) fn note(&self, sealed: &Sealed) {
        self.blocks.inc();
        self.transactions.inc_by(sealed.transactions as u64);
        self.gas.inc_by(sealed.header.gas_used);
    }

    /// Registers them.
    pub(super) fn register(&self, metrics: &mut Metrics) {
        let registry = metrics.registry();
        registry.register("sealed_blocks", "Blocks sealed since the start", self.blocks.clone());
        let help = "Users' transactions in blocks sealed since the start";
        registry.register("sealed_transactions", help, self.transactions.clone());
        registry.register("sealed_gas", "Gas used in them", self.gas.clone());
    }
}

/// What is read at each scrape.
#[derive(Debug)]
pub(super) struct NodeValues {
    pub(super) store: ChainStore,
    pub(super) pool: Arc<Mutex<Pool>>,
    pub(super) l1: Arc<L1Chain>,
    pub(super) pressure: Gauge,
    pub(super) posting: Posting,
}

impl Collector for NodeValues {
    fn encode(&self, encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let mut values = Values(encoder);
        self.chain(&mut values)?;
        self.pool(&mut values)?;
        self.posting(&mut values)?;
        self.pressure(&mut values)
    }
}

impl NodeValues {
    fn chain(&self, values: &mut Values<'_>) -> fmt::Result {
        let head = self.store.head();
        values.gauge("head_block", "Number of the newest sealed block", head.number)?;
        let help = "Timestamp of the newest sealed block";
        values.gauge("head_timestamp_seconds", help, head.timestamp)?;
        let help = "Number of the newest L1 block that was read";
        values.gauge("l1_block", help, self.l1.status().number)
    }

    fn pool(&self, values: &mut Values<'_>) -> fmt::Result {
        let pool = self.pool.lock().unwrap_or_else(PoisonError::into_inner);
        let (counts, bytes) = (pool.counts(), pool.bytes());
        drop(pool);
        let help = "Pooled transactions in nonce order";
        values.gauge("pool_ready_transactions", help, counts.ready)?;
        let help = "Pooled transactions behind a nonce gap";
        values.gauge("pool_parked_transactions", help, counts.parked)?;
        values.gauge("pool_bytes", "Raw bytes of pooled transactions", bytes)
    }

    fn posting(&self, values: &mut Values<'_>) -> fmt::Result {
        let Posting { heads, posted } = &self.posting;
        let (heads, posted) = (*heads.borrow(), *posted.borrow());
        let help = "Number of the newest block that L1 data determines";
        values.gauge("safe_block", help, heads.safe.block.number)?;
        let help = "Number of the newest block that finalized L1 data determines";
        values.gauge("finalized_block", help, heads.finalized.block.number)?;
        let help = "Batches in the Inbox that were derived";
        values.gauge("inbox_batches", help, heads.safe.position.next_batch)?;
        let help = "Batches posted to L1 since the start";
        values.counter("posted_batches", help, posted.batches)?;
        values.counter("posted_bytes", "Bytes of them", posted.bytes)?;
        let help = "Wei paid for them, for gas and blobs";
        #[allow(clippy::cast_precision_loss, reason = "metrics are floating-point numbers")]
        values.counter("posted_cost_wei", help, posted.cost_wei as f64)
    }

    fn pressure(&self, values: &mut Values<'_>) -> fmt::Result {
        let Some(pressure) = self.pressure.read() else { return Ok(()) };
        let help =
            "Back-pressure: 0 open, 1 warn, 2 throttle, 3 minimum fee, 4 deposits only, 5 paused";
        values.gauge("pressure_level", help, pressure.level.rank())?;
        let help = "Time since the oldest block that is not on L1 was sealed";
        values.gauge("unsafe_lag_seconds", help, pressure.load.lag.as_secs_f64())?;
        values.gauge("unsafe_blocks", "Blocks that are not on L1", pressure.load.blocks)?;
        let help = "Bytes of users' transactions in them, before compression";
        values.gauge("unsafe_bytes", help, pressure.load.bytes)
    }
}
