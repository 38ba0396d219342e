//! What node, follower and batcher show at `/metrics`: counters that their loops raise, and what their
//! parts know anyway, read when it is asked for.
//!
//! Owns names and help. A part that grows numbers of its own registers them where it is built, or is read
//! here.

use super::{follower::Status, posting::Posting};
use crate::{
    builder::Sealed,
    l1::L1Chain,
    metrics::{Collector, Counter, DescriptorEncoder, Metrics, Values},
    pressure::Gauge,
    store::ChainStore,
    txpool::Pool,
};
use alloy::primitives::utils::format_ether;
use batcher::{control::Control, tracker::Heads, txmgr::TxStatus};
use std::{
    fmt,
    sync::{Arc, Mutex, PoisonError},
};
use tokio::sync::watch;

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
}

impl Collector for NodeValues {
    fn encode(&self, encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let mut values = Values(encoder);
        chain(&self.store, &mut values)?;
        l1_block(self.l1.status().number, &mut values)?;
        self.pool(&mut values)?;
        self.pressure(&mut values)
    }
}

impl NodeValues {
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

/// What a batcher knows, inside a node or in a process of its own.
#[derive(Debug)]
pub(super) struct PostingValues {
    pub(super) posting: Posting,
    pub(super) control: Control,
}

impl Collector for PostingValues {
    fn encode(&self, encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let mut values = Values(encoder);
        heads(&self.posting.heads.borrow(), &mut values)?;
        let posted = *self.posting.posted.borrow();
        let help = "Batches posted to L1 since the start";
        values.counter("posted_batches", help, posted.batches)?;
        values.counter("posted_bytes", "Bytes of them", posted.bytes)?;
        let help = "Wei paid for them, for gas and blobs";
        #[allow(clippy::cast_precision_loss, reason = "metrics are floating-point numbers")]
        values.counter("posted_cost_wei", help, posted.cost_wei as f64)?;
        let help = "Tasks that send to L1 and do not any more until an operator resumes them";
        values.gauge("tasks_halted", help, self.control.state().halted.len() as u64)?;
        self.accounts(&mut values)
    }
}

impl PostingValues {
    fn accounts(&self, values: &mut Values<'_>) -> fmt::Result {
        let senders = self.control.all_senders();
        let senders: Vec<(_, TxStatus)> =
            senders.iter().map(|(task, sender)| (*task, sender.status())).collect();
        let wallets = || senders.iter().filter_map(|(task, status)| Some((*task, status.wallet?)));
        let name = ("l1_balance_ether", "Ether of the account that pays L1 for a task");
        let balances = wallets().map(|(task, wallet)| (task, ether(wallet.balance_wei)));
        values.gauge_by(name, "task", balances)?;
        let name = ("l1_runway_days", "Days that it lasts at the pace of the last day");
        let days = wallets().filter_map(|(task, wallet)| Some((task, wallet.runway_days()?)));
        values.gauge_by(name, "task", days)?;
        let name = ("l1_held", "1 while something keeps it from sending: see /ready");
        let held = senders.iter().map(|(task, status)| (*task, u64::from(status.hold.is_some())));
        values.gauge_by(name, "task", held)?;
        let name = ("l1_attempts", "Attempts of its transaction in flight; 0 when there is none");
        let attempts = |status: &TxStatus| status.in_flight.map_or(0, |flight| flight.attempts);
        let attempts = senders.iter().map(|(task, status)| (*task, attempts(status) as u64));
        values.gauge_by(name, "task", attempts)
    }
}

/// What a follower knows.
#[derive(Debug)]
pub(super) struct FollowerValues {
    pub(super) store: ChainStore,
    pub(super) heads: watch::Receiver<Heads>,
    pub(super) status: Arc<Status>,
}

impl Collector for FollowerValues {
    fn encode(&self, encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let mut values = Values(encoder);
        chain(&self.store, &mut values)?;
        heads(&self.heads.borrow(), &mut values)?;
        let progress = self.status.progress();
        l1_block(progress.latest.number, &mut values)?;
        let help = "Number of the L1 block up to which everything is derived";
        values.gauge("l1_derived_block", help, progress.read.number)?;
        values.gauge("outputs_compared", "Outputs on L1 that were compared", progress.compared)?;
        let help = "Outputs on L1 that are not the derived chain's";
        values.gauge("outputs_wrong", help, progress.wrong)
    }
}

fn chain(store: &ChainStore, values: &mut Values<'_>) -> fmt::Result {
    let head = store.head();
    values.gauge("head_block", "Number of the newest block", head.number)?;
    values.gauge("head_timestamp_seconds", "Timestamp of the newest block", head.timestamp)
}

fn l1_block(number: u64, values: &mut Values<'_>) -> fmt::Result {
    values.gauge("l1_block", "Number of the newest L1 block that was read", number)
}

fn heads(heads: &Heads, values: &mut Values<'_>) -> fmt::Result {
    let help = "Number of the newest block that L1 data determines";
    values.gauge("safe_block", help, heads.safe.block.number)?;
    let help = "Number of the newest block that finalized L1 data determines";
    values.gauge("finalized_block", help, heads.finalized.block.number)?;
    let help = "Batches in the Inbox that were derived";
    values.gauge("inbox_batches", help, heads.safe.position.next_batch)
}

/// Ether as a number, for a graph.
fn ether(wei: u128) -> f64 {
    // What it prints is a decimal number.
    format_ether(wei).parse().unwrap_or(f64::NAN)
}
