//! The tries of recent blocks, in memory. They share everything that did not change, so a window of
//! them costs the differences: all of the last blocks, and of the rest of the proof window every
//! [`ANCHOR_BLOCKS`]th, from which the others are rebuilt. Does not build tries and does not know the
//! file.

use super::Head;
use alloy::primitives::B256;
use executor::StateTrie;
use std::{
    collections::BTreeMap,
    sync::{
        Mutex, MutexGuard, PoisonError, RwLock,
        atomic::{AtomicU64, Ordering},
    },
};

/// Blocks whose trie stays in memory, the head included: the window in which proofs cost nothing
/// but the walk. Most requests for proofs ask for a block of the last minutes; older ones rebuild.
pub const TRIE_WINDOW_BLOCKS: u64 = 128;
/// Blocks for which a proof can always be had, unless the node is told otherwise.
pub const PROOF_WINDOW_BLOCKS: u64 = 1_024;
/// Blocks between two tries that stay in memory for the rest of the proof window: a proof there
/// reads the changes of this many blocks at most, once the node has run through the window.
const ANCHOR_BLOCKS: u64 = 64;

/// Tries by block number; the lock is held for map operations only.
#[derive(Debug)]
pub(super) struct Tries {
    known: RwLock<BTreeMap<u64, (B256, StateTrie)>>,
    proof_window_blocks: AtomicU64,
    /// Held by who rebuilds one.
    rebuilding: Mutex<()>,
}

impl Tries {
    /// Only the head's.
    pub(super) fn new(head: Head, trie: StateTrie) -> Self {
        let known = RwLock::new(BTreeMap::from([(head.number, (head.hash, trie))]));
        let proof_window_blocks = AtomicU64::new(PROOF_WINDOW_BLOCKS);
        Self { known, proof_window_blocks, rebuilding: Mutex::new(()) }
    }

    /// Sets the proof window.
    pub(super) fn set_proof_window(&self, blocks: u64) {
        self.proof_window_blocks.store(blocks, Ordering::Relaxed);
    }

    /// Whether `number` is in the proof window that ends at `head`.
    pub(super) fn is_in_window(&self, number: u64, head: u64) -> bool {
        number >= (head + 1).saturating_sub(self.proof_window_blocks.load(Ordering::Relaxed))
    }

    /// The right to rebuild a trie, one at a time: it takes memory, and a core that the block builder
    /// wants too, and who waited mostly finds a trie near the one that it needs.
    pub(super) fn rebuild_turn(&self) -> MutexGuard<'_, ()> {
        self.rebuilding.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The last block before `number` whose trie stays.
    pub(super) fn anchor_below(number: u64) -> u64 {
        number.saturating_sub(1) / ANCHOR_BLOCKS * ANCHOR_BLOCKS
    }

    /// The trie of exactly this block.
    pub(super) fn get(&self, number: u64, hash: B256) -> Option<StateTrie> {
        let tries = self.known.read().unwrap_or_else(PoisonError::into_inner);
        tries.get(&number).filter(|(known, _)| *known == hash).map(|(_, trie)| trie.clone())
    }

    /// The first trie from `number` to `head`, with its block's number and hash.
    pub(super) fn at_or_above(&self, number: u64, head: u64) -> Option<(u64, B256, StateTrie)> {
        let tries = self.known.read().unwrap_or_else(PoisonError::into_inner);
        let (number, (hash, trie)) = tries.range(number..=head.max(number)).next()?;
        Some((*number, *hash, trie.clone()))
    }

    /// Adds a block's trie.
    pub(super) fn insert(&self, block: Head, trie: StateTrie) {
        let mut tries = self.known.write().unwrap_or_else(PoisonError::into_inner);
        tries.insert(block.number, (block.hash, trie));
    }

    /// Adds the trie of an earlier block, if it is one that stays and there is none of its number:
    /// who rebuilt it read a snapshot, and meanwhile the block may be another.
    pub(super) fn offer(&self, block: Head, head: u64, trie: &StateTrie) {
        if stays(block.number, head, TRIE_WINDOW_BLOCKS) {
            let mut tries = self.known.write().unwrap_or_else(PoisonError::into_inner);
            tries.entry(block.number).or_insert_with(|| (block.hash, trie.clone()));
        }
    }

    /// Forgets the blocks above `number`.
    pub(super) fn remove_above(&self, number: u64) {
        let mut tries = self.known.write().unwrap_or_else(PoisonError::into_inner);
        let removed = tries.split_off(&number.saturating_add(1));
        drop(tries);
        // Dropped outside the lock: freeing nodes takes longer than a look-up.
        drop(removed);
    }

    /// Forgets the blocks that the windows have left.
    pub(super) fn trim(&self, head: u64) {
        let window = self.proof_window_blocks.load(Ordering::Relaxed).max(TRIE_WINDOW_BLOCKS);
        let first = (head + 1).saturating_sub(window);
        let mut tries = self.known.write().unwrap_or_else(PoisonError::into_inner);
        let kept = tries.split_off(&first);
        let mut removed = std::mem::replace(&mut *tries, kept);
        // One block leaves the window of all tries with each new one; after a setting changed, or
        // rebuilt tries were added, it is more.
        let left = tries.range(..=head).map(|(number, _)| *number);
        let left: Vec<_> = left.filter(|n| !stays(*n, head, TRIE_WINDOW_BLOCKS)).collect();
        removed.extend(left.iter().filter_map(|number| tries.remove_entry(number)));
        drop(tries);
        drop(removed);
    }
}

/// Whether a trie within the proof window is one that stays.
fn stays(number: u64, head: u64, all_blocks: u64) -> bool {
    number + all_blocks > head || number.is_multiple_of(ANCHOR_BLOCKS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_recent_tries_stay_and_some_of_the_window() {
        let block = |number| Head { number, hash: B256::ZERO, timestamp: 0 };
        let tries = Tries::new(block(0), StateTrie::default());
        tries.set_proof_window(512);
        for number in 1..=2_000 {
            tries.insert(block(number), StateTrie::default());
            tries.trim(number);
        }
        let known: Vec<_> = tries.known.read().unwrap().keys().copied().collect();
        let anchors = [1536, 1600, 1664, 1728, 1792, 1856];
        let all = 2_001 - TRIE_WINDOW_BLOCKS..=2_000;
        let expected: Vec<_> =
            anchors.into_iter().filter(|n| !all.contains(n)).chain(all.clone()).collect();
        assert_eq!(known, expected);
        assert!(tries.is_in_window(1_489, 2_000) && !tries.is_in_window(1_488, 2_000));
        assert_eq!(tries.at_or_above(1_700, 2_000).unwrap().0, 1_728);
        assert_eq!((Tries::anchor_below(1_728), Tries::anchor_below(1)), (1_664, 0));
        // What was rebuilt replaces nothing, and stays only where tries do.
        let other = Head { hash: B256::repeat_byte(1), ..block(1_728) };
        tries.offer(other, 2_000, &StateTrie::default());
        assert!(tries.get(1_728, B256::ZERO).is_some());
        tries.offer(block(1_700), 2_000, &StateTrie::default());
        assert_eq!(tries.at_or_above(1_700, 2_000).unwrap().0, 1_728);
    }
}
