//! A view that remembers what was read through it.
//!
//! Authoritative for what execution asked of the state below: in parallel modes also for what was
//! asked in vain. Answers exactly as the view below does, and does not know what a witness is.

use super::{Account, PostState, Reads, StateDiff, StateTrie, StateView};
use crate::error::ViewError;
use alloc::collections::BTreeMap;
use alloy_primitives::{Address, B256, KECCAK256_EMPTY, U256};
use revm::bytecode::Bytecode;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Parts of the record that are locked apart, so that threads seldom meet. A power of two.
const SHARDS: usize = 16;

/// What was read.
#[derive(Debug, Default)]
pub struct Recorded {
    /// Accounts and slots, of those also that do not exist.
    pub reads: Reads,
    /// Codes by their hash; never the empty one.
    pub codes: BTreeMap<B256, Bytecode>,
    /// The oldest block whose hash was read.
    pub oldest_block: Option<u64>,
}

/// Wraps a view. Threads may read through it at once.
#[derive(Debug)]
pub struct Recorder<'v, V> {
    view: &'v V,
    reads: [Mutex<Reads>; SHARDS],
    codes: Mutex<BTreeMap<B256, Bytecode>>,
    oldest_block: Mutex<Option<u64>>,
}

/// A thread that panicked while it held a lock had inserted its entry or had not: both are sound.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl<'v, V: StateView> Recorder<'v, V> {
    /// Records nothing yet.
    #[must_use]
    pub fn new(view: &'v V) -> Self {
        Self {
            view,
            reads: Default::default(),
            codes: Mutex::default(),
            oldest_block: Mutex::default(),
        }
    }

    /// Everything that was read.
    #[must_use]
    pub fn into_recorded(self) -> Recorded {
        let shards = self.reads.into_iter();
        let reads =
            shards.flat_map(|shard| shard.into_inner().unwrap_or_else(PoisonError::into_inner));
        Recorded {
            reads: reads.collect(),
            codes: self.codes.into_inner().unwrap_or_else(PoisonError::into_inner),
            oldest_block: self.oldest_block.into_inner().unwrap_or_else(PoisonError::into_inner),
        }
    }

    fn shard(&self, address: Address) -> MutexGuard<'_, Reads> {
        lock(&self.reads[usize::from(address[19]) % SHARDS])
    }
}

impl<V: StateView> StateView for Recorder<'_, V> {
    fn account(&self, address: Address) -> Result<Option<Account>, ViewError> {
        self.shard(address).entry(address).or_default();
        self.view.account(address)
    }

    fn slot(&self, address: Address, slot: U256) -> Result<U256, ViewError> {
        self.shard(address).entry(address).or_default().insert(slot);
        self.view.slot(address, slot)
    }

    fn code(&self, code_hash: B256) -> Result<Bytecode, ViewError> {
        let code = self.view.code(code_hash)?;
        if code_hash != KECCAK256_EMPTY {
            lock(&self.codes).entry(code_hash).or_insert_with(|| code.clone());
        }
        Ok(code)
    }

    fn block_hash(&self, number: u64) -> Result<B256, ViewError> {
        let mut oldest = lock(&self.oldest_block);
        *oldest = Some(oldest.map_or(number, |oldest| oldest.min(number)));
        drop(oldest);
        self.view.block_hash(number)
    }

    fn trie_for(&self, reads: &Reads, diff: &StateDiff) -> Result<StateTrie, ViewError> {
        self.view.trie_for(reads, diff)
    }

    fn after(&self, diff: &StateDiff) -> Result<PostState, ViewError> {
        self.view.after(diff)
    }
}
