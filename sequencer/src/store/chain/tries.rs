//! The tries of the last blocks, in memory. They share everything that did not change, so a window
//! of them costs the differences. Does not build tries and does not know the file.

use super::Head;
use alloy::primitives::B256;
use executor::StateTrie;
use std::{
    collections::BTreeMap,
    sync::{PoisonError, RwLock},
};

/// Blocks whose trie stays in memory, the head included: the window in which proofs cost nothing
/// but the walk. Most requests for proofs ask for a block of the last minutes; older ones rebuild.
pub const TRIE_WINDOW_BLOCKS: u64 = 128;

/// Tries by block number; the lock is held for a map operation only.
#[derive(Debug)]
pub(super) struct Tries(RwLock<BTreeMap<u64, (B256, StateTrie)>>);

impl Tries {
    /// Only the head's.
    pub(super) fn new(head: Head, trie: StateTrie) -> Self {
        Self(RwLock::new(BTreeMap::from([(head.number, (head.hash, trie))])))
    }

    /// The trie of exactly this block.
    pub(super) fn get(&self, number: u64, hash: B256) -> Option<StateTrie> {
        let tries = self.0.read().unwrap_or_else(PoisonError::into_inner);
        tries.get(&number).filter(|(known, _)| *known == hash).map(|(_, trie)| trie.clone())
    }

    /// Adds a block's trie.
    pub(super) fn insert(&self, block: Head, trie: StateTrie) {
        let mut tries = self.0.write().unwrap_or_else(PoisonError::into_inner);
        tries.insert(block.number, (block.hash, trie));
    }

    /// Forgets the blocks above `number`.
    pub(super) fn remove_above(&self, number: u64) {
        let mut tries = self.0.write().unwrap_or_else(PoisonError::into_inner);
        let removed = tries.split_off(&number.saturating_add(1));
        drop(tries);
        // Dropped outside the lock: freeing nodes takes longer than a look-up.
        drop(removed);
    }

    /// Forgets the blocks that the window has left.
    pub(super) fn trim(&self, head: u64) {
        let first = (head + 1).saturating_sub(TRIE_WINDOW_BLOCKS);
        let mut tries = self.0.write().unwrap_or_else(PoisonError::into_inner);
        let kept = tries.split_off(&first);
        let removed = std::mem::replace(&mut *tries, kept);
        drop(tries);
        drop(removed);
    }
}
