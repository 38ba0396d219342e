//! What left the pool without being mined, and why: the memory behind "where is my transaction".
//!
//! A bounded ring; the oldest record is forgotten first. Not durable and not complete: a record that
//! is missing says nothing.

use alloy::primitives::B256;
use executor::SkipReason;
use std::{
    collections::{HashMap, VecDeque},
    time::Instant,
};

/// Records kept. Sized for the drops of a busy hour at a few per second, about 2 MB; when full the
/// oldest is forgotten.
pub const DROPS_MAX: usize = 16_384;

/// Why a transaction left the pool unmined.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DropReason {
    /// The sender replaced it.
    Replaced {
        /// Hash of the replacement.
        by: B256,
    },
    /// It paid least when the pool was full.
    Evicted,
    /// It waited longer than the pool keeps transactions.
    Expired,
    /// Another transaction with its nonce was mined.
    NonceUsed {
        /// The account's next nonce at that time.
        next: u64,
    },
    /// The block builder offered it and execution refused it.
    Skipped(SkipReason),
}

/// One record.
#[derive(Clone, Debug)]
pub struct Dropped {
    /// Hash of the transaction.
    pub hash: B256,
    /// Why it left.
    pub reason: DropReason,
    /// When, on the node's own clock.
    pub at: Instant,
}

/// The ring. A hash that was dropped twice is found with its latest reason.
#[derive(Debug, Default)]
pub(super) struct Drops {
    ring: VecDeque<Dropped>,
    /// Records of a hash still in the ring, and the latest one's reason.
    by_hash: HashMap<B256, (usize, Dropped)>,
}

impl Drops {
    pub(super) fn push(&mut self, dropped: Dropped) {
        if self.ring.len() == DROPS_MAX
            && let Some(oldest) = self.ring.pop_front()
        {
            self.forget(&oldest.hash);
        }
        let entry = self.by_hash.entry(dropped.hash).or_insert((0, dropped.clone()));
        entry.0 += 1;
        entry.1 = dropped.clone();
        self.ring.push_back(dropped);
    }

    fn forget(&mut self, hash: &B256) {
        let Some(entry) = self.by_hash.get_mut(hash) else { return };
        entry.0 -= 1;
        if entry.0 == 0 {
            self.by_hash.remove(hash);
        }
    }

    pub(super) fn get(&self, hash: &B256) -> Option<&Dropped> {
        self.by_hash.get(hash).map(|(_, dropped)| dropped)
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.ring.len()
    }
}
