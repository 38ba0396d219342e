//! The transactions of one sender, by nonce: a contiguous ready part from the next nonce on, and
//! what is parked behind a gap.
//!
//! Knows nothing of other senders, of bounds, or of why a transaction leaves.

use super::{index::SEQUENCE_START, terms::Terms};
use alloy::primitives::U256;
use executor::Transaction;
use std::{collections::BTreeMap, sync::Arc, time::Instant};

/// A pooled transaction.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    pub(super) transaction: Transaction,
    /// The most that it was to cost beside gas x price + value when it came, in wei.
    pub(super) extra_fee_wei: U256,
    /// Position in the order of arrival; unique within the pool.
    pub(super) sequence: u64,
    pub(super) added: Instant,
    /// Ordering window that it arrived in; 0 is closed from the beginning. Never falls with the
    /// sequence.
    pub(super) window: u64,
    pub(super) terms: Option<Arc<Terms>>,
}

impl Entry {
    pub(super) fn has_conditions(&self) -> bool {
        self.terms.as_ref().is_some_and(|terms| terms.conditions.is_some())
    }

    /// Whether it was in a block that was undone.
    pub(super) fn is_returned(&self) -> bool {
        self.sequence < SEQUENCE_START
    }

    /// The most that it can cost, in wei.
    pub(super) fn cost_max_wei(&self) -> U256 {
        self.transaction.max_cost_wei().saturating_add(self.extra_fee_wei)
    }
}

/// One sender's transactions.
#[derive(Debug)]
pub(super) struct Queue {
    next_nonce: u64,
    /// First nonce from `next_nonce` on that is not here.
    ready_end: u64,
    /// Sum of [`Entry::cost_max_wei`], saturating.
    cost_wei: U256,
    entries: BTreeMap<u64, Entry>,
}

impl Queue {
    pub(super) fn new(next_nonce: u64) -> Self {
        Self { next_nonce, ready_end: next_nonce, cost_wei: U256::ZERO, entries: BTreeMap::new() }
    }

    pub(super) fn next_nonce(&self) -> u64 {
        self.next_nonce
    }

    pub(super) fn ready_end(&self) -> u64 {
        self.ready_end
    }

    pub(super) fn cost_wei(&self) -> U256 {
        self.cost_wei
    }

    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    pub(super) fn get(&self, nonce: u64) -> Option<&Entry> {
        self.entries.get(&nonce)
    }

    /// All entries by nonce.
    pub(super) fn entries(&self) -> impl Iterator<Item = &Entry> {
        self.entries.values()
    }

    /// The entry when its nonce is in the ready part.
    pub(super) fn ready(&self, nonce: u64) -> Option<&Entry> {
        if nonce >= self.ready_end { None } else { self.entries.get(&nonce) }
    }

    /// The first ready entry: the one a block could take now.
    pub(super) fn head(&self) -> Option<&Entry> {
        self.ready(self.next_nonce)
    }

    pub(super) fn ready_len(&self) -> usize {
        usize::try_from(self.ready_end - self.next_nonce).unwrap_or(usize::MAX)
    }

    /// Puts the entry at its nonce, which must be free.
    pub(super) fn insert(&mut self, entry: Entry) {
        let nonce = entry.transaction.nonce();
        self.cost_wei = self.cost_wei.saturating_add(entry.cost_max_wei());
        self.entries.insert(nonce, entry);
        self.extend_ready();
    }

    pub(super) fn remove(&mut self, nonce: u64) -> Option<Entry> {
        let entry = self.entries.remove(&nonce)?;
        self.subtract_cost(&entry);
        if (self.next_nonce..self.ready_end).contains(&nonce) {
            self.ready_end = nonce;
        }
        Some(entry)
    }

    /// Moves the next nonce up; returns what is below it now.
    pub(super) fn advance(&mut self, next_nonce: u64) -> Vec<Entry> {
        if next_nonce <= self.next_nonce {
            return Vec::new();
        }
        let kept = self.entries.split_off(&next_nonce);
        let used = std::mem::replace(&mut self.entries, kept);
        self.next_nonce = next_nonce;
        self.ready_end = self.ready_end.max(next_nonce);
        for entry in used.values() {
            self.subtract_cost(entry);
        }
        self.extend_ready();
        used.into_values().collect()
    }

    /// Moves the next nonce down after a rollback.
    pub(super) fn rewind(&mut self, next_nonce: u64) {
        if next_nonce < self.next_nonce {
            self.next_nonce = next_nonce;
            self.ready_end = next_nonce;
            self.extend_ready();
        }
    }

    fn extend_ready(&mut self) {
        while self.entries.contains_key(&self.ready_end) {
            self.ready_end += 1;
        }
    }

    /// A saturated sum cannot be subtracted from: it is then summed anew.
    fn subtract_cost(&mut self, entry: &Entry) {
        self.cost_wei = if self.cost_wei == U256::MAX {
            let costs = self.entries.values().map(Entry::cost_max_wei);
            costs.fold(U256::ZERO, U256::saturating_add)
        } else {
            self.cost_wei - entry.cost_max_wei()
        };
    }
}
