//! A shard: the accounts whose hashed addresses start with certain nibbles, and all of their storage.
//! Applies changes and answers reads; hashing is the [`Hasher`](super::hasher::Hasher)'s.
//!
//! An account without code and storage, as most are, is a leaf alone. What the others have besides is
//! in a [`Contract`].

use super::{
    ArenaError,
    diff::{AccountChange, SlotChange},
    encode,
    link::Link,
    nodes::{Leaf, Nodes},
    slab::{ITEMS_MAX, Slab},
};
use crate::state::Account;
use alloy_primitives::{B256, KECCAK256_EMPTY, U256};
use alloy_trie::EMPTY_ROOT_HASH;
use std::vec::Vec;

/// An account as its leaf holds it.
#[derive(Clone, Copy, Debug)]
pub(super) struct AccountLeaf {
    key: B256,
    balance_wei: [u8; 32],
    nonce: u64,
    /// Index of its contract, or [`NO_CONTRACT`].
    contract: u32,
}

const NO_CONTRACT: u32 = u32::MAX;

impl AccountLeaf {
    fn new(key: B256) -> Self {
        Self { key, balance_wei: [0; 32], nonce: 0, contract: NO_CONTRACT }
    }

    fn contract(&self) -> Option<u32> {
        (self.contract != NO_CONTRACT).then_some(self.contract)
    }
}

/// A slot that is not zero.
#[derive(Clone, Copy, Debug)]
pub(super) struct SlotLeaf {
    pub(super) key: B256,
    /// Big-endian.
    pub(super) value: B256,
}

impl Leaf for AccountLeaf {
    fn key(&self) -> &B256 {
        &self.key
    }
}

impl Leaf for SlotLeaf {
    fn key(&self) -> &B256 {
        &self.key
    }
}

/// Code and storage of an account that has either.
#[derive(Clone, Copy, Debug)]
struct Contract {
    code_hash: B256,
    /// Place of the root of its storage trie.
    storage: u32,
}

/// Which tries of a shard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Accounts,
    Storage,
}

/// See the module.
#[derive(Debug)]
pub(super) struct Shard {
    pub(super) nodes: Nodes,
    pub(super) accounts: Slab<AccountLeaf>,
    pub(super) slots: Slab<SlotLeaf>,
    contracts: Slab<Contract>,
    /// Place of the root of the accounts.
    pub(super) root: u32,
    /// Roots of storage tries that changed since they were hashed.
    pub(super) changed: Vec<u32>,
}

impl Default for Shard {
    fn default() -> Self {
        let mut nodes = Nodes::default();
        let root = nodes.add_trie();
        Self {
            nodes,
            accounts: Slab::default(),
            slots: Slab::default(),
            contracts: Slab::default(),
            root,
            changed: Vec::new(),
        }
    }
}

impl Shard {
    /// A shard of flat state in order of the keys, all different; not hashed yet.
    ///
    /// # Errors
    /// [`ArenaError`] when there is more than fits, or a slot of an account that is not there.
    pub(super) fn of_sorted(
        accounts: Vec<(B256, Account)>,
        slots: Vec<(B256, SlotLeaf)>,
    ) -> Result<Self, ArenaError> {
        let mut shard = Self::default();
        if !shard.has_room(accounts.len().saturating_add(slots.len())) {
            return Err(ArenaError::Full);
        }
        shard.nodes.reserve(accounts.len() + slots.len());
        let owners = owners(&slots);
        shard.slots = Slab::of(slots.iter().map(|(_, slot)| *slot).collect());
        drop(slots);
        shard.accounts = Slab::of(accounts.iter().map(|(key, _)| AccountLeaf::new(*key)).collect());
        for (index, (_, account)) in (0..).zip(&accounts) {
            shard.set(index, account);
        }
        shard.nodes.build(shard.root, 0, shard.accounts.all());
        for (address, first, count) in owners {
            let found = accounts.binary_search_by_key(&address, |(key, _)| *key);
            let index = found.map_err(|_| ArenaError::StraySlot { address })?;
            let contract = shard.contract_of(to_u32(index));
            let storage = shard.contracts.get(contract).storage;
            let leaves = &shard.slots.all()[first..first + count];
            shard.nodes.build(storage, to_u32(first), leaves);
            shard.changed.push(storage);
        }
        shard.nodes.shrink();
        Ok(shard)
    }

    /// Makes a change; `depth` is the number of nibbles that the shard's addresses share.
    pub(super) fn apply(&mut self, depth: u8, change: &AccountChange, slots: &[SlotChange]) {
        let Some(account) = change.after else {
            self.remove(&change.key);
            return;
        };
        let new = || AccountLeaf::new(change.key);
        let index = self.nodes.entry((self.root, depth), &change.key, &mut self.accounts, new);
        self.set(index, &account);
        if change.wiped {
            self.wipe(index);
        }
        for slot in slots {
            if slot.value.is_zero() {
                self.remove_slot(index, &slot.key);
            } else {
                self.set_slot(index, slot);
            }
        }
        self.tidy(index);
    }

    fn set(&mut self, index: u32, account: &Account) {
        let leaf = self.accounts.get_mut(index);
        leaf.nonce = account.nonce;
        leaf.balance_wei = account.balance_wei.to_be_bytes();
        if leaf.contract().is_some() || account.code_hash != KECCAK256_EMPTY {
            let contract = self.contract_of(index);
            self.contracts.get_mut(contract).code_hash = account.code_hash;
        }
    }

    /// The contract of an account, new if it has none.
    fn contract_of(&mut self, index: u32) -> u32 {
        let leaf = self.accounts.get_mut(index);
        if let Some(contract) = leaf.contract() {
            return contract;
        }
        let storage = self.nodes.add_trie();
        let contract = self.contracts.add(Contract { code_hash: KECCAK256_EMPTY, storage });
        leaf.contract = contract;
        contract
    }

    fn storage(&self, index: u32) -> Option<u32> {
        let contract = self.accounts.get(index).contract()?;
        Some(self.contracts.get(contract).storage)
    }

    fn set_slot(&mut self, index: u32, slot: &SlotChange) {
        let contract = self.contract_of(index);
        let storage = self.contracts.get(contract).storage;
        let new = || SlotLeaf { key: slot.key, value: B256::ZERO };
        let leaf = self.nodes.entry((storage, 0), &slot.key, &mut self.slots, new);
        self.slots.get_mut(leaf).value = slot.value;
        self.changed.push(storage);
    }

    fn remove_slot(&mut self, index: u32, key: &B256) {
        let Some(storage) = self.storage(index) else { return };
        if let Some(leaf) = self.nodes.remove(storage, key, &self.slots) {
            self.slots.remove(leaf);
            self.changed.push(storage);
        }
    }

    fn wipe(&mut self, index: u32) {
        if let Some(storage) = self.storage(index) {
            self.nodes.clear(storage, &mut self.slots);
        }
    }

    /// Drops the contract of an account that has neither code nor storage any more.
    fn tidy(&mut self, index: u32) {
        let leaf = self.accounts.get_mut(index);
        let Some(contract) = leaf.contract() else { return };
        let Contract { code_hash, storage } = *self.contracts.get(contract);
        if code_hash == KECCAK256_EMPTY && self.nodes.child(storage).link().is_empty() {
            leaf.contract = NO_CONTRACT;
            self.contracts.remove(contract);
            self.nodes.remove_trie(storage);
        }
    }

    fn remove(&mut self, key: &B256) {
        let Some(index) = self.nodes.remove(self.root, key, &self.accounts) else { return };
        self.wipe(index);
        if let Some(contract) = self.accounts.get(index).contract() {
            self.nodes.remove_trie(self.contracts.get(contract).storage);
            self.contracts.remove(contract);
        }
        self.accounts.remove(index);
    }

    /// Index of an account's leaf.
    pub(super) fn find(&self, key: &B256) -> Option<u32> {
        self.nodes.find(self.root, key, &self.accounts)
    }

    /// The account of a leaf.
    pub(super) fn account(&self, index: u32) -> Account {
        let leaf = self.accounts.get(index);
        let code_hash =
            leaf.contract().map_or(KECCAK256_EMPTY, |index| self.contracts.get(index).code_hash);
        let balance_wei = U256::from_be_bytes(leaf.balance_wei);
        Account { nonce: leaf.nonce, balance_wei, code_hash }
    }

    /// Place of the root of an account's storage, unless that is empty.
    pub(super) fn storage_place(&self, index: u32) -> Option<u32> {
        self.storage(index).filter(|place| !self.nodes.child(*place).link().is_empty())
    }

    /// Root of the storage of an account; of a trie whose hashes are up to date.
    pub(super) fn storage_root(&self, index: u32) -> B256 {
        let place = self.storage_place(index);
        place.map_or(EMPTY_ROOT_HASH, |place| self.nodes.child(place).hash())
    }

    /// The value in storage that hangs at `place`; zero where there is none.
    pub(super) fn slot(&self, place: u32, key: &B256) -> B256 {
        let leaf = self.nodes.find(place, key, &self.slots);
        leaf.map_or(B256::ZERO, |leaf| self.slots.get(leaf).value)
    }

    /// Appends the value of an account's leaf. Its storage root must be up to date.
    pub(super) fn put_account(&self, index: u32, out: &mut Vec<u8>) {
        encode::account(out, &self.account(index), &self.storage_root(index));
    }

    /// Appends a leaf that hangs at depth `from`; `value` is room to work in.
    pub(super) fn put_leaf(
        &self,
        (kind, index): (Kind, u32),
        from: u8,
        value: &mut Vec<u8>,
        out: &mut Vec<u8>,
    ) {
        value.clear();
        let key = match kind {
            Kind::Accounts => {
                self.put_account(index, value);
                &self.accounts.get(index).key
            }
            Kind::Storage => {
                let slot = self.slots.get(index);
                encode::slot(value, &slot.value);
                &slot.key
            }
        };
        encode::leaf(out, key, from, value);
    }

    /// A key below a node.
    pub(super) fn key_below(&self, kind: Kind, link: Link) -> &B256 {
        match kind {
            Kind::Accounts => self.nodes.key_below(link, &self.accounts),
            Kind::Storage => self.nodes.key_below(link, &self.slots),
        }
    }

    /// Whether these changes surely fit.
    pub(super) fn has_room(&self, changes: usize) -> bool {
        let most = [self.accounts.places(), self.slots.places(), self.contracts.places()];
        most.iter().all(|places| places.saturating_add(changes) < ITEMS_MAX)
            // An account may bring two tries: a place for the root of its storage is one more run.
            && self.nodes.has_room(changes.saturating_mul(2))
    }

    /// Bytes allocated.
    pub(super) fn bytes(&self) -> usize {
        size_of::<Self>()
            + self.nodes.bytes()
            + self.accounts.bytes()
            + self.slots.bytes()
            + self.contracts.bytes()
            + self.changed.capacity() * size_of::<u32>()
    }
}

/// Which slots, by first index and count, belong to which hashed address.
fn owners(slots: &[(B256, SlotLeaf)]) -> Vec<(B256, usize, usize)> {
    let mut first = 0;
    let chunks = slots.chunk_by(|(a, _), (b, _)| a == b);
    let owners = chunks.map(|chunk| {
        let owner = (chunk[0].0, first, chunk.len());
        first += chunk.len();
        owner
    });
    owners.collect()
}

/// An index of which it is known that it fits.
#[allow(clippy::cast_possible_truncation, reason = "below ITEMS_MAX")]
fn to_u32(index: usize) -> u32 {
    index as u32
}
