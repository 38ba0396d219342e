//! A whole state in memory: what `verify` starts from, what the tests compare with.

use super::{Account, Reads, StateDiff, StateTrie, StateView};
use crate::{block::ExecutedBlock, error::ViewError};
use alloc::collections::BTreeMap;
use alloy_primitives::{
    Address, B256, KECCAK256_EMPTY, U256,
    map::{AddressMap, B256Map, HashMap},
};
use revm::bytecode::Bytecode;

/// Accounts, storage, code, block hashes and the trie over them.
#[derive(Clone, Debug, Default)]
pub struct MemoryState {
    accounts: AddressMap<Account>,
    storage: AddressMap<HashMap<U256, U256>>,
    codes: B256Map<Bytecode>,
    block_hashes: BTreeMap<u64, B256>,
    trie: StateTrie,
}

/// Block hashes kept: BLOCKHASH looks back 256 blocks.
const BLOCK_HASHES_MAX: usize = 257;

impl MemoryState {
    /// Applies a change and the trie that goes with it.
    ///
    /// # Errors
    /// [`ViewError`] when the trie cannot be updated; the state is then unchanged.
    pub fn apply(&mut self, diff: &StateDiff) -> Result<(), ViewError> {
        self.trie = self.trie.apply(diff)?;
        self.apply_flat(diff);
        Ok(())
    }

    /// Applies an executed block, whose trie is known already if it was executed on this state, and
    /// remembers its hash.
    ///
    /// # Errors
    /// [`ViewError`] when the trie cannot be updated; the state is then unchanged.
    pub fn apply_block(&mut self, block: &ExecutedBlock) -> Result<(), ViewError> {
        self.trie = match &block.trie {
            Some(trie) => trie.clone(),
            None => self.trie.apply(&block.diff)?,
        };
        self.apply_flat(&block.diff);
        self.set_block_hash(block.header.number, block.hash);
        Ok(())
    }

    /// The trie over this state.
    #[must_use]
    pub fn trie(&self) -> &StateTrie {
        &self.trie
    }

    fn apply_flat(&mut self, diff: &StateDiff) {
        for (address, change) in &diff.accounts {
            if change.wiped || change.after.is_none() {
                self.storage.remove(address);
            }
            match change.after {
                Some(account) => self.accounts.insert(*address, account),
                None => self.accounts.remove(address),
            };
            for (slot, value) in &change.slots {
                let storage = self.storage.entry(*address).or_default();
                if value.after.is_zero() {
                    storage.remove(slot);
                } else {
                    storage.insert(*slot, value.after);
                }
            }
        }
        self.codes.extend(diff.codes.iter().map(|(hash, code)| (*hash, code.clone())));
    }

    /// Makes a block's hash known to BLOCKHASH.
    pub fn set_block_hash(&mut self, number: u64, hash: B256) {
        self.block_hashes.insert(number, hash);
        while self.block_hashes.len() > BLOCK_HASHES_MAX {
            self.block_hashes.pop_first();
        }
    }

    /// State root.
    #[must_use]
    pub fn root(&self) -> B256 {
        self.trie.root()
    }
}

impl StateView for MemoryState {
    fn account(&self, address: Address) -> Result<Option<Account>, ViewError> {
        Ok(self.accounts.get(&address).copied())
    }

    fn slot(&self, address: Address, slot: U256) -> Result<U256, ViewError> {
        let storage = self.storage.get(&address);
        Ok(storage.and_then(|storage| storage.get(&slot)).copied().unwrap_or_default())
    }

    fn code(&self, code_hash: B256) -> Result<Bytecode, ViewError> {
        if code_hash == KECCAK256_EMPTY {
            return Ok(Bytecode::default());
        }
        self.codes.get(&code_hash).cloned().ok_or(ViewError::MissingCode(code_hash))
    }

    fn block_hash(&self, number: u64) -> Result<B256, ViewError> {
        self.block_hashes.get(&number).copied().ok_or(ViewError::MissingBlockHash(number))
    }

    fn trie_for(&self, _: &Reads, _: &StateDiff) -> Result<StateTrie, ViewError> {
        Ok(self.trie.clone())
    }
}
