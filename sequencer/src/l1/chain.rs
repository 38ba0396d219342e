//! The recent canonical L1 blocks in memory. Bounded; written by the watcher, read by the builder.

use alloy::primitives::B256;
use batcher::l1::{L1Block, Standing};
use std::{
    collections::VecDeque,
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

/// L1 blocks kept in memory: about a day of mainnet. When full, the watcher waits until the builder
/// has moved past the oldest; L2 takes one L1 block per block, so it catches up.
pub const BLOCKS_MAX: u32 = 8_192;

/// L1 blocks kept behind the one that L2 builds on: the deepest L1 reorg that is followed.
pub const BLOCKS_BEHIND: u64 = 512;

/// Recent L1 blocks with their deposits.
#[derive(Debug)]
pub struct L1Chain {
    blocks: Mutex<VecDeque<L1Block>>,
    status: Mutex<L1Status>,
}

/// How fresh the picture is.
#[derive(Clone, Copy, Debug, Default)]
pub struct L1Status {
    /// When L1 last answered.
    pub answered: Option<Instant>,
    /// Number of the latest L1 block seen.
    pub number: u64,
}

impl L1Status {
    /// Whether L1 answered within `limit`.
    #[must_use]
    pub fn is_fresh(&self, limit: Duration) -> bool {
        self.answered.is_some_and(|answered| answered.elapsed() <= limit)
    }
}

impl L1Chain {
    /// Starts from blocks the ledger has, oldest first, each the parent of the next.
    #[must_use]
    pub fn new(blocks: impl IntoIterator<Item = L1Block>) -> Self {
        let blocks: VecDeque<_> = blocks.into_iter().collect();
        let number = blocks.back().map_or(0, |block| block.origin.number);
        Self { blocks: Mutex::new(blocks), status: Mutex::new(L1Status { answered: None, number }) }
    }

    // The lock is held for a look-up or a push only. A panic between cannot leave it half-written.
    fn blocks(&self) -> MutexGuard<'_, VecDeque<L1Block>> {
        self.blocks.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The canonical block of this number, if it is in memory.
    #[must_use]
    pub fn block(&self, number: u64) -> Option<L1Block> {
        let blocks = self.blocks();
        let first = blocks.front()?.origin.number;
        blocks.get(usize::try_from(number.checked_sub(first)?).ok()?).cloned()
    }

    /// Number of the newest block.
    #[must_use]
    pub fn tip_number(&self) -> u64 {
        self.blocks().back().map_or(0, |block| block.origin.number)
    }

    /// What is known of a block that L2 builds on. Blocks older than memory are canonical.
    #[must_use]
    pub fn standing(&self, number: u64, hash: B256) -> Standing {
        let blocks = self.blocks();
        let first = blocks.front().map_or(0, |block| block.origin.number);
        let Some(at) = number.checked_sub(first) else { return Standing::Canonical };
        let found = usize::try_from(at).ok().and_then(|at| blocks.get(at));
        match found {
            Some(block) if block.origin.hash == hash => Standing::Canonical,
            Some(_) => Standing::Lost,
            None => Standing::NotRead,
        }
    }

    /// Whether there is room for another block.
    #[must_use]
    pub fn has_room(&self) -> bool {
        self.blocks().len() < BLOCKS_MAX as usize
    }

    /// Appends the next block.
    pub fn push(&self, block: L1Block) {
        self.blocks().push_back(block);
    }

    /// Forgets the blocks after `number`: L1 was reorganised.
    pub fn truncate(&self, number: u64) {
        let mut blocks = self.blocks();
        while blocks.back().is_some_and(|block| block.origin.number > number) {
            blocks.pop_back();
        }
    }

    /// Forgets blocks far behind the one that L2 builds on. One always stays.
    pub fn release(&self, l2_origin_number: u64) {
        let mut blocks = self.blocks();
        let keep_from = l2_origin_number.saturating_sub(BLOCKS_BEHIND);
        while blocks.len() > 1 && blocks.front().is_some_and(|b| b.origin.number < keep_from) {
            blocks.pop_front();
        }
    }

    /// Freshness.
    #[must_use]
    pub fn status(&self) -> L1Status {
        *self.status.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes that L1 answered, and its newest block.
    pub fn answered(&self, number: u64) {
        let status = L1Status { answered: Some(Instant::now()), number };
        *self.status.lock().unwrap_or_else(PoisonError::into_inner) = status;
    }
}
