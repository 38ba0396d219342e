//! State as execution and RPC read it: at the head, or after any stored block.
//!
//! A view is one snapshot of the file and the list of the blocks that were in the order log alone at
//! that time, so it does not move while blocks are committed, folded or rolled back. Above the file's
//! head the newest of those blocks that touched a value has it. An earlier block's values come from the history index (the first change after it) and the
//! change set of that change (the value before); a slot without later change is as it is now.

use super::{
    ChainStore, ChainStoreError, Corruption, Head, Kept, has_code,
    proofs::{TRIE_CHANGES_MAX, trie_at},
    read_head,
    recent::Layer,
    rollback::head_at,
    write::hashed_slot,
};
use crate::store::{
    kv::KvSnapshot,
    tables::{
        AccountChangeSets, AccountsHistory, Bytecodes, HashedAccounts, HashedStorages, Headers,
        StorageChangeSets, StoragesHistory, Table,
    },
};
use alloy::primitives::{Address, B256, U256, keccak256, map::B256Map};
use executor::{Account, StateTrie, StateView, ViewError};
use revm::bytecode::Bytecode;
use std::{
    collections::VecDeque,
    fmt,
    sync::{Arc, Mutex, PoisonError},
};

/// Analysed codes kept in memory. Analysis of a 24 KiB contract takes longer than reading it; 1,024
/// of them at most are about 50 MiB, and few contracts make most of the calls.
const CODES_MAX: usize = 1024;
/// Attempts to find a snapshot and the trie that belongs to it. One suffices unless a rollback and
/// a commit both pass between two adjacent reads.
const VIEW_ATTEMPTS_MAX: usize = 16;

/// The state after one block. Moves between threads, and the workers that execute a block read it
/// together; keeps file pages from being reused, so it should live for one request or one block.
pub struct ChainView {
    snapshot: KvSnapshot,
    /// The blocks above the snapshot's head, and perhaps some that it has.
    layer: Arc<Layer>,
    store: ChainStore,
    /// Head of the snapshot.
    folded: Head,
    head: Head,
    block: Head,
    folded_trie: StateTrie,
    /// The trie of `block`, where it is in memory.
    trie: Option<StateTrie>,
    no_trie: StateTrie,
}

impl fmt::Debug for ChainView {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ChainView").field("block", &self.block).finish_non_exhaustive()
    }
}

impl ChainStore {
    /// The state at the head.
    ///
    /// # Errors
    /// [`ChainStoreError`] when the file cannot be read; [`ChainStoreError::Contended`] may be
    /// retried.
    pub fn view(&self) -> Result<ChainView, ChainStoreError> {
        for _ in 0..VIEW_ATTEMPTS_MAX {
            let (layer, snapshot, folded) = self.layer_and_snapshot()?;
            let head = layer.head();
            // The trie of a block is known before the block is and forgotten after it is undone, so
            // it is missing only when what was read is outdated already. Neither is it trimmed while
            // the block may be the file's head: the window is wider than the list may be.
            let trie = |head: Head| self.0.tries.get(head.number, head.hash);
            if let (Some(trie), Some(folded_trie)) = (trie(head), trie(folded)) {
                return Ok(ChainView {
                    snapshot,
                    layer,
                    store: self.clone(),
                    folded,
                    head,
                    block: head,
                    folded_trie,
                    trie: Some(trie),
                    no_trie: StateTrie::default(),
                });
            }
        }
        Err(ChainStoreError::Contended)
    }

    /// The list of recent blocks, and a snapshot of the file that it continues, with the file's head.
    pub(super) fn layer_and_snapshot(
        &self,
    ) -> Result<(Arc<Layer>, KvSnapshot, Head), ChainStoreError> {
        for _ in 0..VIEW_ATTEMPTS_MAX {
            // In this order: what is folded in between is in both.
            let layer = self.0.recent.get();
            let snapshot = self.0.kv.snapshot()?;
            let folded = read_head(&snapshot)?;
            if layer.undoing_to == Some(folded) {
                return Ok((Arc::new(Layer::empty(folded)), snapshot, folded));
            }
            if layer.head_at(folded.number) == Some(folded) {
                return Ok((layer, snapshot, folded));
            }
        }
        Err(ChainStoreError::Contended)
    }

    /// The state after block `number`; `None` above the head, and where it is pruned.
    ///
    /// # Errors
    /// [`ChainStoreError`] when the file cannot be read; [`ChainStoreError::Contended`] may be
    /// retried.
    pub fn view_at(&self, number: u64) -> Result<Option<ChainView>, ChainStoreError> {
        let mut view = self.view()?;
        if number > view.head.number {
            return Ok(None);
        }
        if number < view.head.number {
            if number < Kept::read(&view.snapshot)?.first_state {
                return Ok(None);
            }
            view.block = match view.layer.get(number) {
                Some(block) => block.head(),
                None => head_at(&view.snapshot, number)?,
            };
            view.trie = self.0.tries.get(number, view.block.hash);
        }
        Ok(Some(view))
    }
}

impl ChainView {
    /// The block whose state this is.
    #[must_use]
    pub fn block(&self) -> Head {
        self.block
    }

    /// Whether [`StateView::trie`] is this state's trie. Within the last
    /// [`TRIE_WINDOW_BLOCKS`](super::TRIE_WINDOW_BLOCKS) blocks it is, since the store was opened;
    /// otherwise it is the empty trie: the view answers every read, but a block cannot be sealed on
    /// it, and proofs need [`Self::state_trie`].
    #[must_use]
    pub fn has_trie(&self) -> bool {
        self.trie.is_some()
    }

    /// This state's trie, for proofs; rebuilt from the nearest one in memory by the change sets where
    /// it is not. Within the proof window it can always be had; before it the number of changes since
    /// is bounded.
    ///
    /// # Errors
    /// [`ChainStoreError::TrieTooOld`] when too much has changed since; otherwise the file failed.
    pub fn state_trie(&self) -> Result<StateTrie, ChainStoreError> {
        self.rebuilt_trie(TRIE_CHANGES_MAX)
    }

    /// This state's trie, however much has changed since: for the node's own use.
    pub(super) fn any_state_trie(&self) -> Result<StateTrie, ChainStoreError> {
        self.rebuilt_trie(usize::MAX)
    }

    fn rebuilt_trie(&self, changes_max: usize) -> Result<StateTrie, ChainStoreError> {
        if let Some(trie) = &self.trie {
            return Ok(trie.clone());
        }
        let (head, tries) = ((self.folded, &self.folded_trie), &self.store.0.tries);
        trie_at(&self.snapshot, tries, head, self.block.number, changes_max)
    }

    /// What the view reads of the file.
    pub(super) fn rows(&self) -> &KvSnapshot {
        &self.snapshot
    }

    /// The trie after the last block of [`Self::rows`].
    pub(super) fn rows_trie(&self) -> &StateTrie {
        &self.folded_trie
    }

    /// Whether the file has later blocks than this one.
    fn is_past(&self) -> bool {
        self.block.number < self.folded.number
    }

    fn read_account(&self, address: Address) -> Result<Option<Account>, ChainStoreError> {
        let (above, through) = (self.folded.number, self.block.number);
        if let Some(account) = self.layer.account(address, above, through) {
            return Ok(account);
        }
        if self.is_past() {
            let from = (address, self.block.number + 1);
            let change = self.snapshot.read_from::<AccountsHistory>(&from)?;
            if let Some(((changed, number), ())) = change
                && changed == address
            {
                let before = self.snapshot.read::<AccountChangeSets>(&(number, address))?;
                let missing = Corruption::Missing { table: AccountChangeSets::SPEC.name, number };
                return Ok(before.ok_or(missing)?);
            }
        }
        Ok(self.snapshot.read::<HashedAccounts>(&keccak256(address))?)
    }

    fn read_slot(&self, address: Address, slot: U256) -> Result<U256, ChainStoreError> {
        let (above, through) = (self.folded.number, self.block.number);
        if let Some(value) = self.layer.slot(address, slot, above, through) {
            return Ok(value);
        }
        if self.is_past() {
            let from = ((address, slot), self.block.number + 1);
            let change = self.snapshot.read_from::<StoragesHistory>(&from)?;
            if let Some((changed, ())) = change
                && changed.0 == (address, slot)
            {
                let number = changed.1;
                let before = self.snapshot.read::<StorageChangeSets>(&((number, address), slot))?;
                let missing = Corruption::Missing { table: StorageChangeSets::SPEC.name, number };
                return Ok(before.ok_or(missing)?);
            }
        }
        let key = (keccak256(address), hashed_slot(slot));
        Ok(self.snapshot.read::<HashedStorages>(&key)?.unwrap_or_default())
    }

    fn read_code(&self, code_hash: B256) -> Result<Option<Bytecode>, ChainStoreError> {
        if let Some(code) = self.store.0.codes.get(code_hash) {
            return Ok(Some(code));
        }
        if let Some(code) = self.layer.code(code_hash) {
            return Ok(Some(code.clone()));
        }
        let Some(raw) = self.snapshot.read::<Bytecodes>(&code_hash)? else { return Ok(None) };
        let code = Bytecode::new_raw_checked(raw).map_err(|_| Corruption::Code { code_hash })?;
        self.store.0.codes.insert(code_hash, code.clone());
        Ok(Some(code))
    }
}

impl StateView for ChainView {
    fn account(&self, address: Address) -> Result<Option<Account>, ViewError> {
        Ok(self.read_account(address)?)
    }

    fn slot(&self, address: Address, slot: U256) -> Result<U256, ViewError> {
        Ok(self.read_slot(address, slot)?)
    }

    fn code(&self, code_hash: B256) -> Result<Bytecode, ViewError> {
        if !has_code(&code_hash) {
            return Ok(Bytecode::default());
        }
        self.read_code(code_hash)?.ok_or(ViewError::MissingCode(code_hash))
    }

    fn block_hash(&self, number: u64) -> Result<B256, ViewError> {
        let missing = ViewError::MissingBlockHash(number);
        if number > self.block.number {
            return Err(missing);
        }
        if let Some(block) = self.layer.get(number) {
            return Ok(block.record.hash);
        }
        let stored = self.snapshot.read::<Headers>(&number).map_err(ChainStoreError::from)?;
        stored.map(|stored| stored.hash).ok_or(missing)
    }

    /// See [`ChainView::has_trie`].
    fn trie(&self) -> &StateTrie {
        self.trie.as_ref().unwrap_or(&self.no_trie)
    }
}

/// Analysed codes, the first in being the first out. Code is content: an entry is never wrong.
#[derive(Debug, Default)]
pub(super) struct Codes(Mutex<CodeQueue>);

#[derive(Debug, Default)]
struct CodeQueue {
    codes: B256Map<Bytecode>,
    order: VecDeque<B256>,
}

impl Codes {
    fn get(&self, code_hash: B256) -> Option<Bytecode> {
        let queue = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        queue.codes.get(&code_hash).cloned()
    }

    fn insert(&self, code_hash: B256, code: Bytecode) {
        let mut queue = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if queue.codes.insert(code_hash, code).is_some() {
            return;
        }
        queue.order.push_back(code_hash);
        if queue.order.len() > CODES_MAX
            && let Some(oldest) = queue.order.pop_front()
        {
            queue.codes.remove(&oldest);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_code_cache_is_bounded() {
        let codes = Codes::default();
        for number in 0..2 * CODES_MAX {
            let hash = keccak256(number.to_be_bytes());
            codes.insert(hash, Bytecode::default());
            assert!(codes.get(hash).is_some());
        }
        let queue = codes.0.lock().unwrap();
        assert_eq!((queue.codes.len(), queue.order.len()), (CODES_MAX, CODES_MAX));
    }
}
