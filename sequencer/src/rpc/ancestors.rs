//! A state with the hashes of blocks that are simulated on top of it, for BLOCKHASH.

use alloy::primitives::{Address, B256, U256};
use executor::{Account, Reads, StateDiff, StateTrie, StateView, ViewError};
use revm::bytecode::Bytecode;
use std::{
    collections::BTreeMap,
    sync::{PoisonError, RwLock},
};

/// The state below simulated blocks.
#[derive(Debug)]
pub(super) struct Ancestors<V> {
    view: V,
    hashes: RwLock<BTreeMap<u64, B256>>,
}

impl<V> Ancestors<V> {
    pub(super) fn new(view: V) -> Self {
        Self { view, hashes: RwLock::default() }
    }

    /// Adds a simulated block.
    pub(super) fn insert(&self, number: u64, hash: B256) {
        self.hashes.write().unwrap_or_else(PoisonError::into_inner).insert(number, hash);
    }
}

impl<V: StateView> StateView for Ancestors<V> {
    fn account(&self, address: Address) -> Result<Option<Account>, ViewError> {
        self.view.account(address)
    }

    fn slot(&self, address: Address, slot: U256) -> Result<U256, ViewError> {
        self.view.slot(address, slot)
    }

    fn code(&self, code_hash: B256) -> Result<Bytecode, ViewError> {
        self.view.code(code_hash)
    }

    fn block_hash(&self, number: u64) -> Result<B256, ViewError> {
        let hashes = self.hashes.read().unwrap_or_else(PoisonError::into_inner);
        hashes.get(&number).map_or_else(|| self.view.block_hash(number), |hash| Ok(*hash))
    }

    fn trie_for(&self, reads: &Reads, diff: &StateDiff) -> Result<StateTrie, ViewError> {
        self.view.trie_for(reads, diff)
    }
}
