//! Where a transaction is, and why it is not further.
//!
//! Answers from the pool alone. Whether a transaction is in the chain is the chain's to say, and it
//! is asked first.

use super::{
    DropReason, Event, Pool, Step,
    order::{Demand, Obstacle},
    queue::{Entry, Queue},
};
use alloy::primitives::{Address, B256, U256};
use executor::{SkipReason, Transaction};
use std::time::Instant;

/// Where a transaction is, as the pool knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// The next block may take it.
    Ready,
    /// A transaction with this nonce must come first.
    NonceGap {
        /// The missing nonce.
        missing: u64,
    },
    /// It does not pay the base fee.
    FeeBelowBaseFee {
        /// What it pays at most per gas, wei.
        max_fee_wei: u128,
        /// The base fee, wei.
        base_fee_wei: u64,
    },
    /// It does not pay the tip that is asked for while L1 is behind.
    TipBelowMinimum {
        /// What it pays per gas above the base fee, wei.
        tip_wei: u128,
        /// What it must pay, wei.
        tip_wei_min: u64,
    },
    /// It would cost more than its sender allows.
    TotalFeeAboveCap {
        /// What it would cost now, wei.
        fee_wei: U256,
        /// What its sender allows, wei.
        cap_wei: U256,
    },
    /// Its ordering window is open.
    Window {
        /// When it closes, in milliseconds since the unix epoch.
        until_unix_ms: u64,
    },
    /// One before it of the same sender waits, and it with that one.
    Behind {
        /// Hash of the first that waits.
        hash: B256,
        /// Its nonce.
        nonce: u64,
    },
    /// A block could not take it, for a reason that passes.
    Skipped(SkipReason),
    /// A block has executed it. The chain does not show it yet, or not any more.
    Ordered {
        /// Number of the block.
        block_number: u64,
    },
    /// It left the pool.
    Dropped(DropReason),
    /// Nothing is known of it.
    Unknown,
}

/// Where a transaction is, and what happened to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Explanation {
    /// Where it is.
    pub place: Place,
    /// Sender and nonce, while it is pooled.
    pub sender: Option<(Address, u64)>,
    /// What happened, oldest first.
    pub events: Vec<Event>,
}

impl Pool {
    /// Where a transaction is, for a block with this base fee and these fees beside gas.
    #[must_use]
    pub fn explain(
        &self,
        hash: &B256,
        base_fee_wei: u64,
        now: Instant,
        extra_fee_wei: &dyn Fn(&Transaction) -> U256,
    ) -> Explanation {
        let events = self.lives.events(hash).to_vec();
        let Some((sender, nonce)) = self.index.place(hash) else {
            return Explanation { place: gone(events.last()), sender: None, events };
        };
        let demand = self.demand(base_fee_wei, now, extra_fee_wei);
        let queue = self.senders.get(&sender);
        let place = queue.and_then(|queue| self.place_of(queue, nonce, &demand));
        let place = place.unwrap_or_else(|| match events.last().map(|last| &last.step) {
            Some(Step::Skipped(reason)) => Place::Skipped((**reason).clone()),
            _ => Place::Ready,
        });
        Explanation { place, sender: Some((sender, nonce)), events }
    }

    /// What a pooled one waits for, if for anything.
    fn place_of(&self, queue: &Queue, nonce: u64, demand: &Demand<'_>) -> Option<Place> {
        if nonce >= queue.ready_end() {
            return Some(Place::NonceGap { missing: queue.ready_end() });
        }
        let entry = queue.get(nonce)?;
        if let Some(obstacle) = demand.obstacle(entry) {
            return Some(self.name(obstacle, entry, demand));
        }
        let mut before = (queue.next_nonce()..nonce).filter_map(|nonce| queue.get(nonce));
        let first = before.find(|entry| demand.obstacle(entry).is_some())?;
        let (hash, nonce) = (first.transaction.hash(), first.transaction.nonce());
        Some(Place::Behind { hash, nonce })
    }

    fn name(&self, obstacle: Obstacle, entry: &Entry, demand: &Demand<'_>) -> Place {
        match obstacle {
            Obstacle::BaseFee => Place::FeeBelowBaseFee {
                max_fee_wei: entry.transaction.max_fee_per_gas_wei(),
                base_fee_wei: demand.base_fee_wei,
            },
            Obstacle::Tip { tip_wei } => {
                Place::TipBelowMinimum { tip_wei, tip_wei_min: demand.tip_wei_min }
            }
            Obstacle::TotalFee { fee_wei, cap_wei } => Place::TotalFeeAboveCap { fee_wei, cap_wei },
            Obstacle::Window => {
                let until_unix_ms = self.clock.unix_ms(self.clock.closes_at(entry.window));
                Place::Window { until_unix_ms }
            }
        }
    }
}

/// Where one is that is not pooled, by the last that happened to it.
fn gone(last: Option<&Event>) -> Place {
    match last.map(|last| &last.step) {
        Some(Step::Dropped(reason)) => Place::Dropped((**reason).clone()),
        Some(Step::Ordered { block_number }) => Place::Ordered { block_number: *block_number },
        _ => Place::Unknown,
    }
}
