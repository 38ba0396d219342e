//! In which order ready transactions are offered to the block builder.
//!
//! Owns the merge over senders; within a sender the nonce order is law and no policy touches it.
//! Does not execute: gas is counted by limit, so the builder asks again with the gas really left.

use super::{admission::priority_fee_wei, queue::Queue};
use alloy::primitives::Address;
use executor::Transaction;
use serde::{Deserialize, Serialize};
use std::{
    cmp::Reverse,
    collections::{BTreeMap, BinaryHeap, HashMap, btree_map},
};

/// Gas below which no transaction fits: a plain transfer.
const TRANSACTION_GAS_MIN: u64 = 21_000;

/// The policy across senders.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Ordering {
    /// First come, first served, by arrival at this node.
    #[default]
    Fcfs,
    /// Highest effective priority fee first; arrival breaks ties.
    PriorityFee,
}

/// Greatest is offered first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Candidate {
    tip_wei: u128,
    arrival: Reverse<u64>,
    sender: Address,
    nonce: u64,
}

/// Ready transactions in order; see [`super::Pool::best`].
#[derive(Debug)]
pub struct Best<'p> {
    ordering: Ordering,
    base_fee_wei: u64,
    gas_left: u64,
    senders: &'p HashMap<Address, Queue>,
    /// First ready transactions not looked at yet, by arrival.
    heads: btree_map::Iter<'p, u64, Address>,
    /// The head taken from `heads` last, while it waits for its turn.
    peeked: Option<Candidate>,
    heap: BinaryHeap<Candidate>,
}

impl<'p> Best<'p> {
    pub(super) fn new(
        ordering: Ordering,
        senders: &'p HashMap<Address, Queue>,
        heads: &'p BTreeMap<u64, Address>,
        base_fee_wei: u64,
        gas_limit: u64,
    ) -> Self {
        let mut best = Self {
            ordering,
            base_fee_wei,
            gas_left: gas_limit,
            senders,
            heads: heads.iter(),
            peeked: None,
            heap: BinaryHeap::new(),
        };
        // By arrival the heads are sorted already and are merged lazily, so that taking k of them
        // costs k; by fee all of them must be seen first.
        if ordering == Ordering::PriorityFee {
            while let Some(head) = best.next_head() {
                best.heap.push(head);
            }
        }
        best
    }

    fn candidate(&self, sender: Address, nonce: u64) -> Option<Candidate> {
        let entry = self.senders.get(&sender)?.ready(nonce)?;
        let transaction = &entry.transaction;
        let base_fee_wei = u128::from(self.base_fee_wei);
        let spare_wei = transaction.max_fee_per_gas_wei().checked_sub(base_fee_wei)?;
        let tip_wei = match self.ordering {
            Ordering::Fcfs => 0,
            Ordering::PriorityFee => spare_wei.min(priority_fee_wei(transaction)),
        };
        Some(Candidate { tip_wei, arrival: Reverse(entry.sequence), sender, nonce })
    }

    /// The next sender's head that pays the base fee.
    fn next_head(&mut self) -> Option<Candidate> {
        loop {
            let (_, &sender) = self.heads.next()?;
            let nonce = self.senders.get(&sender)?.next_nonce();
            if let Some(candidate) = self.candidate(sender, nonce) {
                return Some(candidate);
            }
        }
    }

    fn pop(&mut self) -> Option<Candidate> {
        if self.peeked.is_none() {
            self.peeked = self.next_head();
        }
        if self.peeked.as_ref() > self.heap.peek() { self.peeked.take() } else { self.heap.pop() }
    }
}

impl<'p> Iterator for Best<'p> {
    type Item = &'p Transaction;

    fn next(&mut self) -> Option<Self::Item> {
        while self.gas_left >= TRANSACTION_GAS_MIN {
            let candidate = self.pop()?;
            let entry = self.senders.get(&candidate.sender)?.ready(candidate.nonce)?;
            let gas_limit = entry.transaction.gas_limit();
            // One that does not fit holds back its sender, whose later ones need it, and no other.
            let Some(gas_left) = self.gas_left.checked_sub(gas_limit) else { continue };
            self.gas_left = gas_left;
            if let Some(next) = self.candidate(candidate.sender, candidate.nonce + 1) {
                self.heap.push(next);
            }
            return Some(&entry.transaction);
        }
        None
    }
}
