//! State as execution and RPC read it: at the head, or after any stored block.
//!
//! A view is one snapshot of the file and the list of the blocks that were in the order log alone at
//! that time, so it does not move while blocks are committed, folded or rolled back. Above the file's
//! head the newest of those blocks that touched a value has it. An earlier block's values come from
//! the history index (the first change after it) and the change set of that change (the value before);
//! a slot without later change is as it is now.

use super::{
    ChainStore, ChainStoreError, Corruption, Head, Kept, OpenBlock, back::CHANGES_MAX, has_code,
    read_head, recent::Layer, rollback::head_at, write::hashed_slot,
};
use crate::store::{
    kv::KvSnapshot,
    tables::{
        AccountChangeSets, AccountsHistory, Bytecodes, HashedAccounts, HashedStorages, Headers,
        StorageChangeSets, StoragesHistory, Table,
    },
};
use alloy::primitives::{Address, B256, U256, keccak256, map::B256Map};
use executor::{Account, PostState, Reads, StateDiff, StateTrie, StateView, ViewError};
use revm::bytecode::Bytecode;
use std::{
    collections::VecDeque,
    fmt,
    sync::{Arc, Mutex, PoisonError, atomic::Ordering},
};

/// Analysed codes kept in memory. Analysis of a 24 KiB contract takes longer than reading it; 1,024
/// of them at most are about 50 MiB, and few contracts make most of the calls.
const CODES_MAX: usize = 1024;
/// Attempts to find a snapshot and the list of blocks that continues it. One suffices unless a
/// rollback and a commit both pass between two adjacent reads.
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
    /// Head of the chain.
    head: Head,
    block: Head,
    /// What of the cache it may use; nothing at an earlier block.
    version: Option<u64>,
    /// Its number among all views.
    ticket: u64,
    /// What is built on top of the block, where the view is of the pending state.
    open: Option<Arc<OpenBlock>>,
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
        let (layer, snapshot, folded) = self.layer_and_snapshot()?;
        let head = layer.head();
        let version = Some(layer.version);
        let ticket = self.0.tickets.fetch_add(1, Ordering::Relaxed);
        let (store, block) = (self.clone(), head);
        Ok(ChainView { snapshot, layer, store, folded, head, block, version, ticket, open: None })
    }

    /// The state after what the open block has executed so far; that at the head where nothing is
    /// open. It has no trie.
    ///
    /// # Errors
    /// As [`Self::view`].
    pub fn pending_view(&self) -> Result<ChainView, ChainStoreError> {
        let mut view = self.view()?;
        for _ in 0..VIEW_ATTEMPTS_MAX {
            let Some(open) = self.open_block() else { return Ok(view) };
            if open.parent == view.block {
                view.open = Some(open);
                return Ok(view);
            }
            // It is sealed, and this is the state after it; that it is closed is yet to be said.
            if open.parent.number < view.block.number {
                return Ok(view);
            }
            // Opened since, on a block that this view has not.
            view = self.view()?;
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
                // Of the version that is coming: nothing is in the cache for it yet.
                let layer = Layer::empty(folded, layer.version + 1);
                return Ok((Arc::new(layer), snapshot, folded));
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
            view.version = None;
            if number < Kept::read(&view.snapshot)?.first_state {
                return Ok(None);
            }
            view.block = match view.layer.get(number) {
                Some(block) => block.head(),
                None => head_at(&view.snapshot, number)?,
            };
        }
        Ok(Some(view))
    }

    /// The state after a block as it is seen now; [`ChainStoreError::Contended`] where the block was
    /// undone.
    pub(super) fn view_of(&self, block: Head) -> Result<ChainView, ChainStoreError> {
        let view = self.view_at(block.number)?.filter(|view| view.block == block);
        view.ok_or(ChainStoreError::Contended)
    }
}

impl ChainView {
    /// The open block, where this is the state after what it has executed so far.
    #[must_use]
    pub fn open(&self) -> Option<&Arc<OpenBlock>> {
        self.open.as_ref()
    }

    /// The block whose state this is, or that the open one is on top of.
    #[must_use]
    pub fn block(&self) -> Head {
        self.block
    }

    /// The chain's head as this view sees it.
    pub(super) fn head(&self) -> Head {
        self.head
    }

    /// Head of the file as this view sees it.
    pub(super) fn folded(&self) -> Head {
        self.folded
    }

    /// The blocks above the file's head.
    pub(super) fn layer(&self) -> &Layer {
        &self.layer
    }

    /// What the file has.
    pub(super) fn rows(&self) -> &KvSnapshot {
        &self.snapshot
    }

    pub(super) fn ticket(&self) -> u64 {
        self.ticket
    }

    pub(super) fn store(&self) -> &ChainStore {
        &self.store
    }

    /// Whether the file has later blocks than this one.
    fn is_past(&self) -> bool {
        self.block.number < self.folded.number
    }

    pub(super) fn read_account(
        &self,
        address: Address,
    ) -> Result<Option<Account>, ChainStoreError> {
        let Some(version) = self.version else { return self.find_account(address) };
        let cache = &self.store.0.cache;
        if let Some(account) = cache.account(address, version) {
            return Ok(account);
        }
        let account = self.find_account(address)?;
        cache.add_account(address, account, version);
        Ok(account)
    }

    fn find_account(&self, address: Address) -> Result<Option<Account>, ChainStoreError> {
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

    pub(super) fn read_slot(&self, address: Address, slot: U256) -> Result<U256, ChainStoreError> {
        let Some(version) = self.version else { return self.find_slot(address, slot) };
        let cache = &self.store.0.cache;
        if let Some(value) = cache.slot(address, slot, version) {
            return Ok(value);
        }
        let value = self.find_slot(address, slot)?;
        cache.add_slot(address, slot, value, version);
        Ok(value)
    }

    fn find_slot(&self, address: Address, slot: U256) -> Result<U256, ChainStoreError> {
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
        if let Some(account) = self.open.as_ref().and_then(|open| open.account(address)) {
            return Ok(account);
        }
        Ok(self.read_account(address)?)
    }

    fn slot(&self, address: Address, slot: U256) -> Result<U256, ViewError> {
        if let Some(value) = self.open.as_ref().and_then(|open| open.slot(address, slot)) {
            return Ok(value);
        }
        Ok(self.read_slot(address, slot)?)
    }

    fn code(&self, code_hash: B256) -> Result<Bytecode, ViewError> {
        if !has_code(&code_hash) {
            return Ok(Bytecode::default());
        }
        if let Some(code) = self.open.as_ref().and_then(|open| open.code(&code_hash)) {
            return Ok(code.clone());
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

    /// Within the proof window it can always be had; before it the number of changes since is bounded.
    fn trie_for(&self, reads: &Reads, diff: &StateDiff) -> Result<StateTrie, ViewError> {
        if self.open.is_some() {
            return Err(ViewError::MissingNode);
        }
        self.trie_within(reads, diff, CHANGES_MAX).map_err(|error| match error {
            ChainStoreError::TrieTooOld { .. } => ViewError::MissingNode,
            error => error.into(),
        })
    }

    fn after(&self, diff: &StateDiff) -> Result<PostState, ViewError> {
        if self.open.is_none()
            && let Some(root) = self.store.0.roots.after(self.block, diff)?
        {
            return Ok(PostState { root, trie: None });
        }
        let trie = self.trie_for(&Reads::default(), diff)?.apply(diff)?;
        Ok(PostState { root: trie.root(), trie: Some(trie) })
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
