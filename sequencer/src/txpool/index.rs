//! The pool's indexes over all senders: by hash, arrival, age and fee, and the sums the bounds are
//! checked against.
//!
//! Follows the queues and decides nothing. Every change of a queue happens between
//! [`Index::leave`] and [`Index::enter`], so that heads and counts cannot drift from it.

use super::queue::{Entry, Queue};
use alloy::primitives::{Address, B256};
use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet, HashMap},
    time::Instant,
};

/// First arrival; what is reinserted comes before it, and there is as much room for that.
pub(super) const SEQUENCE_START: u64 = 1 << 63;

/// The first ready transaction of a sender, with what decides whether it is looked at closer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Head {
    pub(super) sender: Address,
    pub(super) window: u64,
    pub(super) max_fee_wei: u128,
}

#[derive(Debug)]
pub(super) struct Index {
    places: HashMap<B256, (Address, u64)>,
    hashes: HashMap<u64, B256>,
    /// Of those that may be dropped when they get old: all but those that came back.
    ages: BTreeSet<(Instant, u64)>,
    /// Of the same, which may make room: cheapest first; of equals the latest arrival first.
    fees: BTreeSet<(u128, Reverse<u64>)>,
    /// First ready transaction of each sender that has one, by arrival.
    heads: BTreeMap<u64, Head>,
    bytes: usize,
    ready: usize,
    /// Transactions with conditions.
    conditional: usize,
    back: u64,
    front: u64,
}

impl Default for Index {
    fn default() -> Self {
        Self {
            places: HashMap::new(),
            hashes: HashMap::new(),
            ages: BTreeSet::new(),
            fees: BTreeSet::new(),
            heads: BTreeMap::new(),
            bytes: 0,
            ready: 0,
            conditional: 0,
            back: SEQUENCE_START,
            front: SEQUENCE_START,
        }
    }
}

impl Index {
    /// The sequence of a newcomer: after everything.
    pub(super) fn next_sequence(&self) -> u64 {
        self.back
    }

    /// The first of `count` sequences before everything.
    pub(super) fn front_sequences(&mut self, count: usize) -> u64 {
        self.front -= count as u64;
        self.front
    }

    pub(super) fn insert(&mut self, entry: &Entry) {
        let Entry { transaction, sequence, added, .. } = entry;
        let (sequence, added) = (*sequence, *added);
        let hash = transaction.hash();
        self.conditional += usize::from(entry.has_conditions());
        self.places.insert(hash, (transaction.sender(), transaction.nonce()));
        self.hashes.insert(sequence, hash);
        if !entry.is_returned() {
            self.ages.insert((added, sequence));
            self.fees.insert((transaction.max_fee_per_gas_wei(), Reverse(sequence)));
        }
        self.bytes += transaction.raw().len();
        self.back = self.back.max(sequence + 1);
    }

    pub(super) fn remove(&mut self, entry: &Entry) {
        let (transaction, sequence) = (&entry.transaction, entry.sequence);
        if self.places.remove(&transaction.hash()).is_none() {
            return;
        }
        self.hashes.remove(&sequence);
        self.ages.remove(&(entry.added, sequence));
        self.fees.remove(&(transaction.max_fee_per_gas_wei(), Reverse(sequence)));
        self.bytes -= transaction.raw().len();
        self.conditional -= usize::from(entry.has_conditions());
    }

    /// Before a change of the sender's queue.
    pub(super) fn leave(&mut self, queue: &Queue) {
        self.ready -= queue.ready_len();
        if let Some(head) = queue.head() {
            self.heads.remove(&head.sequence);
        }
    }

    /// After a change of the sender's queue.
    pub(super) fn enter(&mut self, sender: Address, queue: &Queue) {
        self.ready += queue.ready_len();
        if let Some(head) = queue.head() {
            let max_fee_wei = head.transaction.max_fee_per_gas_wei();
            self.heads.insert(head.sequence, Head { sender, window: head.window, max_fee_wei });
        }
    }

    pub(super) fn contains(&self, hash: &B256) -> bool {
        self.places.contains_key(hash)
    }

    /// Sender and nonce of a pooled transaction.
    pub(super) fn place(&self, hash: &B256) -> Option<(Address, u64)> {
        self.places.get(hash).copied()
    }

    pub(super) fn cheapest(&self) -> impl Iterator<Item = (u128, B256)> + '_ {
        self.fees.iter().filter_map(|(fee_wei, Reverse(sequence))| {
            self.hashes.get(sequence).map(|hash| (*fee_wei, *hash))
        })
    }

    pub(super) fn added_before(&self, limit: Instant) -> Vec<B256> {
        let old = self.ages.range(..(limit, 0));
        old.filter_map(|(_, sequence)| self.hashes.get(sequence).copied()).collect()
    }

    pub(super) fn heads(&self) -> &BTreeMap<u64, Head> {
        &self.heads
    }

    pub(super) fn len(&self) -> usize {
        self.places.len()
    }

    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    pub(super) fn has_conditional(&self) -> bool {
        self.conditional > 0
    }

    pub(super) fn ready(&self) -> usize {
        self.ready
    }
}
