//! What happened to transactions, step by step with times: the memory behind "where is my
//! transaction".
//!
//! Kept for a configured time and bounded in number. Not durable, and a record that is missing says
//! nothing. What is in the chain is the chain's to tell.

use super::terms::{Terms, Unmet};
use alloy::primitives::B256;
use executor::SkipReason;
use std::{
    collections::{HashMap, VecDeque},
    sync::Arc,
    time::Duration,
};

/// Transactions remembered, about 70 MB at three steps each; when full the oldest is forgotten.
pub const LIVES_MAX: usize = 262_144;

/// Steps kept of one transaction; of more the first ones and the last are kept.
pub const STEPS_MAX: usize = 16;

/// Why a transaction left the pool unmined.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DropReason {
    /// The sender replaced it.
    #[error("replaced by {by}")]
    Replaced {
        /// Hash of the replacement.
        by: B256,
    },
    /// It paid least when the pool was full.
    #[error("evicted: the pool was full and it paid least")]
    Evicted,
    /// It waited longer than the pool keeps transactions.
    #[error("expired: it waited longer than the pool keeps transactions")]
    Expired,
    /// Another transaction with its nonce was mined.
    #[error("nonce used by another transaction: next nonce {next}")]
    NonceUsed {
        /// The account's next nonce at that time.
        next: u64,
    },
    /// The block builder offered it and execution refused it.
    #[error("{0}")]
    Skipped(SkipReason),
    /// A condition of its sender did not hold when it could have been included.
    #[error("transaction conditional rejected: {0}")]
    Conditional(Unmet),
    /// Executing it failed, which is a defect of this node.
    #[error("internal error: it cannot be executed here")]
    Unexecutable,
}

/// One step in a transaction's life.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Admitted to the pool.
    Received,
    /// Read back after a restart of the node.
    Restored,
    /// Admitted behind a gap, or parked because one before it left.
    Parked {
        /// The missing nonce.
        missing: u64,
    },
    /// In order: a block may take it.
    Ready,
    /// Execution refused it for a reason that passes; it stays.
    Skipped(Box<SkipReason>),
    /// Executed in a block, sealed or being built.
    Ordered {
        /// Number of the block.
        block_number: u64,
    },
    /// Its block was undone, and it is in the pool again.
    Returned,
    /// It left the pool.
    Dropped(Box<DropReason>),
}

/// A step and its time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// Milliseconds since the unix epoch, on the node's clock.
    pub at_unix_ms: u64,
    /// What happened.
    pub step: Step,
}

/// Why and when a transaction left.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dropped {
    /// Why.
    pub reason: DropReason,
    /// When, in milliseconds since the unix epoch.
    pub at_unix_ms: u64,
}

#[derive(Debug, Default)]
struct Life {
    events: Vec<Event>,
    /// Kept after it has left: a block that is undone brings the transaction back without them.
    terms: Option<Arc<Terms>>,
}

/// The memory.
#[derive(Debug)]
pub(super) struct Lives {
    keep_ms: u64,
    lives: HashMap<B256, Life>,
    /// Each transaction once, with the time at which it was put here.
    order: VecDeque<(u64, B256)>,
}

impl Lives {
    pub(super) fn new(keep: Duration) -> Self {
        let keep_ms = u64::try_from(keep.as_millis()).unwrap_or(u64::MAX);
        Self { keep_ms, lives: HashMap::new(), order: VecDeque::new() }
    }

    /// Notes a step. The same one again is not noted twice in a row.
    pub(super) fn note(&mut self, hash: B256, step: Step, at_unix_ms: u64) {
        if !self.lives.contains_key(&hash) {
            self.make_room(at_unix_ms);
            self.order.push_back((at_unix_ms, hash));
        }
        let events = &mut self.lives.entry(hash).or_default().events;
        if events.last().is_some_and(|last| last.step == step) {
            return;
        }
        if events.len() >= STEPS_MAX {
            events.pop();
        }
        events.push(Event { at_unix_ms, step });
    }

    /// Forgets what is older than is kept, and the oldest when full.
    fn make_room(&mut self, now_ms: u64) {
        let forget_before = now_ms.saturating_sub(self.keep_ms);
        while let Some(&(since, hash)) = self.order.front() {
            let is_full = self.order.len() >= LIVES_MAX;
            if since >= forget_before && !is_full {
                return;
            }
            self.order.pop_front();
            let life = self.lives.get(&hash);
            let last = life.and_then(|life| life.events.last()).map_or(0, |last| last.at_unix_ms);
            if !is_full && last >= forget_before {
                // Something happened to it since: it is kept from then on.
                self.order.push_back((last, hash));
            } else {
                self.lives.remove(&hash);
            }
        }
    }

    pub(super) fn keep_terms(&mut self, hash: &B256, terms: Option<&Arc<Terms>>) {
        if let (Some(life), Some(terms)) = (self.lives.get_mut(hash), terms) {
            life.terms = Some(terms.clone());
        }
    }

    pub(super) fn terms(&self, hash: &B256) -> Option<Arc<Terms>> {
        self.lives.get(hash)?.terms.clone()
    }

    pub(super) fn events(&self, hash: &B256) -> &[Event] {
        self.lives.get(hash).map_or(&[], |life| &life.events)
    }

    /// The last step, and when it was.
    pub(super) fn last(&self, hash: &B256) -> Option<&Event> {
        self.events(hash).last()
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        assert_eq!(self.lives.len(), self.order.len());
        self.lives.len()
    }
}
