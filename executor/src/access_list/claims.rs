//! What a block access list claims about the state before each transaction, as a state to read.
//!
//! With a true list every transaction can be executed apart from the others. Nothing here is
//! authoritative: a false list gives false values, and never more than an error or a wrong guess.

use super::BlockAccessList;
use crate::{
    error::ViewError,
    state::{Account, PostState, Reads, StateDiff, StateTrie, StateView},
};
use alloc::vec::Vec;
use alloy_primitives::{
    Address, B256, KECCAK256_EMPTY, U256, keccak256,
    map::{AddressMap, B256Map},
};
use revm::bytecode::Bytecode;

/// A list over the state before its block, prepared for reading.
#[derive(Debug)]
pub struct Claims<'a, V> {
    view: &'a V,
    list: &'a BlockAccessList,
    /// Of each account whose code changes: by index, the hash of the code.
    code_hashes: AddressMap<Vec<(u64, B256)>>,
    codes: B256Map<Bytecode>,
}

/// The state before one transaction, as claimed.
#[derive(Clone, Copy, Debug)]
pub struct StateBefore<'c, V> {
    claims: &'c Claims<'c, V>,
    /// Index of the transaction in the list; changes of lower indices have happened.
    index: u64,
}

impl<'a, V: StateView> Claims<'a, V> {
    /// Prepares a list; hashes every code in it, and nothing else.
    #[must_use]
    pub fn new(view: &'a V, list: &'a BlockAccessList) -> Self {
        let mut claims =
            Self { view, list, code_hashes: AddressMap::default(), codes: B256Map::default() };
        for account in list.accounts().iter().filter(|account| !account.code_changes.is_empty()) {
            let mut hashes = Vec::with_capacity(account.code_changes.len());
            for change in &account.code_changes {
                let hash = keccak256(&change.new_code);
                hashes.push((change.block_access_index.get(), hash));
                // One that cannot be a code stays unknown, and reading it is an error.
                if let Ok(code) = Bytecode::new_raw_checked(change.new_code.clone()) {
                    claims.codes.insert(hash, code);
                }
            }
            claims.code_hashes.insert(account.address, hashes);
        }
        claims
    }

    /// The state before the transaction at this place in the block.
    #[must_use]
    pub fn before(&self, transaction: usize) -> StateBefore<'_, V> {
        let index = u64::try_from(transaction).unwrap_or(u64::MAX).saturating_add(1);
        StateBefore { claims: self, index }
    }
}

/// The last of `changes`, which are in order, before `index`.
fn last_before<T>(changes: &[T], index: u64, index_of: impl Fn(&T) -> u64) -> Option<&T> {
    let count = changes.partition_point(|change| index_of(change) < index);
    count.checked_sub(1).and_then(|last| changes.get(last))
}

impl<V: StateView> StateView for StateBefore<'_, V> {
    fn account(&self, address: Address) -> Result<Option<Account>, ViewError> {
        let base = self.claims.view.account(address)?;
        let Some(listed) = self.claims.list.account(address) else { return Ok(base) };
        let mut account = base.unwrap_or_default();
        let at = self.index;
        if let Some(change) =
            last_before(&listed.balance_changes, at, |change| change.block_access_index.get())
        {
            account.balance_wei = change.post_balance;
        }
        if let Some(change) =
            last_before(&listed.nonce_changes, at, |change| change.block_access_index.get())
        {
            account.nonce = change.new_nonce;
        }
        let hashes = self.claims.code_hashes.get(&address);
        if let Some((_, hash)) = hashes.and_then(|hashes| last_before(hashes, at, |(i, _)| *i)) {
            account.code_hash = *hash;
        }
        Ok((!account.is_empty()).then_some(account))
    }

    fn slot(&self, address: Address, slot: U256) -> Result<U256, ViewError> {
        let listed = self.claims.list.account(address).and_then(|account| {
            let slots = &account.storage_changes;
            let at = slots.binary_search_by_key(&slot, |changes| changes.slot).ok()?;
            last_before(&slots.get(at)?.changes, self.index, |change| {
                change.block_access_index.get()
            })
        });
        listed.map_or_else(|| self.claims.view.slot(address, slot), |change| Ok(change.new_value))
    }

    fn code(&self, code_hash: B256) -> Result<Bytecode, ViewError> {
        if code_hash == KECCAK256_EMPTY {
            return Ok(Bytecode::default());
        }
        let listed = self.claims.codes.get(&code_hash).cloned();
        listed.map_or_else(|| self.claims.view.code(code_hash), Ok)
    }

    fn block_hash(&self, number: u64) -> Result<B256, ViewError> {
        self.claims.view.block_hash(number)
    }

    /// That of the state before the block: a list has none, and nothing can be sealed on its claims.
    fn trie_for(&self, reads: &Reads, diff: &StateDiff) -> Result<StateTrie, ViewError> {
        self.claims.view.trie_for(reads, diff)
    }

    fn after(&self, diff: &StateDiff) -> Result<PostState, ViewError> {
        self.claims.view.after(diff)
    }
}
