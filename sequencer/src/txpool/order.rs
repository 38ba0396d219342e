//! In which order ready transactions are offered to the block builder, and when.
//!
//! Owns the merge over senders; within a sender the nonce order is law and no policy touches it.
//! Does not execute: gas is counted by limit, so the builder asks again with the gas really left.

use super::{
    Pool,
    admission::priority_fee_wei,
    index::Head,
    queue::{Entry, Queue},
};
use alloy::primitives::{Address, U256};
use clap::ValueEnum;
use executor::Transaction;
use serde::{Deserialize, Serialize};
use std::{
    cmp::Reverse,
    collections::{BTreeMap, BinaryHeap, HashMap, btree_map},
    iter::Peekable,
    time::Instant,
};

/// Gas below which no transaction fits: a plain transfer.
const TRANSACTION_GAS_MIN: u64 = 21_000;

/// The policy across senders.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum Ordering {
    /// First come, first served, by arrival at this node.
    #[default]
    Fcfs,
    /// Highest effective priority fee first among what arrived in the same window of time; the
    /// windows one after another; arrival breaks ties.
    PriorityFee,
}

/// What a block would take, by which the pool decides what it can be offered.
#[derive(Clone, Copy)]
pub(super) struct Demand<'p> {
    pub(super) ordering: Ordering,
    pub(super) base_fee_wei: u64,
    /// Least effective tip, wei per gas.
    pub(super) tip_wei_min: u64,
    /// The first window that is not closed yet.
    pub(super) open_window: u64,
    /// What a transaction costs its sender beside gas, wei.
    pub(super) extra_fee_wei: &'p dyn Fn(&Transaction) -> U256,
}

/// What keeps a ready transaction from being offered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Obstacle {
    BaseFee,
    Tip { tip_wei: u128 },
    TotalFee { fee_wei: U256, cap_wei: U256 },
    Window,
}

impl Pool {
    pub(super) fn demand<'p>(
        &self,
        base_fee_wei: u64,
        now: Instant,
        extra_fee_wei: &'p dyn Fn(&Transaction) -> U256,
    ) -> Demand<'p> {
        let (ordering, open_window) = (self.config.ordering, self.clock.open_window(now));
        let tip_wei_min = self.tip_wei_min;
        Demand { ordering, base_fee_wei, tip_wei_min, open_window, extra_fee_wei }
    }

    /// From now on [`Self::best`] offers only what pays this tip, or was in a block that was undone; what
    /// does not, waits.
    pub fn require_tip(&mut self, tip_wei_min: u64) {
        self.tip_wei_min = tip_wei_min;
    }
}

impl Demand<'_> {
    /// Price per gas above the base fee that the transaction pays at most, wei.
    fn spare_wei(&self, transaction: &Transaction) -> Option<u128> {
        transaction.max_fee_per_gas_wei().checked_sub(u128::from(self.base_fee_wei))
    }

    /// What stands in the way of this one, if anything does.
    pub(super) fn obstacle(&self, entry: &Entry) -> Option<Obstacle> {
        let transaction = &entry.transaction;
        let Some(spare_wei) = self.spare_wei(transaction) else { return Some(Obstacle::BaseFee) };
        let tip_wei = spare_wei.min(priority_fee_wei(transaction));
        if tip_wei < u128::from(self.tip_wei_min) && !entry.is_returned() {
            return Some(Obstacle::Tip { tip_wei });
        }
        if let Some(cap_wei) = entry.terms.as_ref().and_then(|terms| terms.max_total_fee_wei) {
            let price_wei = transaction.effective_gas_price_wei(self.base_fee_wei);
            let gas_wei = U256::from(transaction.gas_limit()) * U256::from(price_wei);
            let fee_wei = gas_wei.saturating_add((self.extra_fee_wei)(transaction));
            if fee_wei > cap_wei {
                return Some(Obstacle::TotalFee { fee_wei, cap_wei });
            }
        }
        let waits = self.ordering == Ordering::PriorityFee && entry.window >= self.open_window;
        waits.then_some(Obstacle::Window)
    }

    fn candidate(&self, sender: Address, entry: &Entry) -> Option<Candidate> {
        if self.obstacle(entry).is_some() {
            return None;
        }
        let spare_wei = self.spare_wei(&entry.transaction)?;
        let (window, tip_wei) = match self.ordering {
            Ordering::Fcfs => (0, 0),
            Ordering::PriorityFee => {
                (entry.window, spare_wei.min(priority_fee_wei(&entry.transaction)))
            }
        };
        let (window, arrival) = (Reverse(window), Reverse(entry.sequence));
        let nonce = entry.transaction.nonce();
        Some(Candidate { window, tip_wei, arrival, sender, nonce })
    }
}

/// Greatest is offered first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Candidate {
    window: Reverse<u64>,
    tip_wei: u128,
    arrival: Reverse<u64>,
    sender: Address,
    nonce: u64,
}

/// Ready transactions in order; see [`super::Pool::best`].
pub struct Best<'p> {
    demand: Demand<'p>,
    gas_left: u64,
    senders: &'p HashMap<Address, Queue>,
    /// First ready transactions not looked at yet, by arrival and so by window.
    heads: Peekable<btree_map::Iter<'p, u64, Head>>,
    heap: BinaryHeap<Candidate>,
}

impl std::fmt::Debug for Best<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Best").field("gas_left", &self.gas_left).finish_non_exhaustive()
    }
}

impl<'p> Best<'p> {
    pub(super) fn new(
        demand: Demand<'p>,
        senders: &'p HashMap<Address, Queue>,
        heads: &'p BTreeMap<u64, Head>,
        gas_limit: u64,
    ) -> Self {
        let (heads, heap) = (heads.iter().peekable(), BinaryHeap::new());
        Self { demand, gas_left: gas_limit, senders, heads, heap }
    }

    /// Whether a head could come before everything that has been looked at.
    fn is_due(&self, sequence: u64, head: &Head) -> bool {
        let Some(top) = self.heap.peek() else { return true };
        match self.demand.ordering {
            Ordering::Fcfs => sequence < top.arrival.0,
            Ordering::PriorityFee => head.window <= top.window.0,
        }
    }

    /// Looks at the heads that could come next. They are in the order of arrival, so that taking k
    /// of them costs k, and by fee one window is seen at a time.
    fn look(&mut self) {
        while let Some(&(&sequence, head)) = self.heads.peek() {
            let waits = self.demand.ordering == Ordering::PriorityFee
                && head.window >= self.demand.open_window;
            if waits || !self.is_due(sequence, head) {
                return;
            }
            self.heads.next();
            if head.max_fee_wei < u128::from(self.demand.base_fee_wei) {
                continue;
            }
            let Some(queue) = self.senders.get(&head.sender) else { continue };
            let candidate =
                queue.head().and_then(|entry| self.demand.candidate(head.sender, entry));
            self.heap.extend(candidate);
        }
    }
}

impl<'p> Iterator for Best<'p> {
    type Item = &'p Transaction;

    fn next(&mut self) -> Option<Self::Item> {
        while self.gas_left >= TRANSACTION_GAS_MIN {
            self.look();
            let Candidate { sender, nonce, .. } = self.heap.pop()?;
            let queue = self.senders.get(&sender)?;
            let entry = queue.ready(nonce)?;
            let gas_limit = entry.transaction.gas_limit();
            // One that does not fit holds back its sender, whose later ones need it, and no other.
            let Some(gas_left) = self.gas_left.checked_sub(gas_limit) else { continue };
            self.gas_left = gas_left;
            let next = queue.ready(nonce + 1);
            self.heap.extend(next.and_then(|entry| self.demand.candidate(sender, entry)));
            return Some(&entry.transaction);
        }
        None
    }
}
