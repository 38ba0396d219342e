//! Building a shard from flat state at once: leaves are laid down in order of their keys, and branches
//! are put over them without ever being moved. Much faster than inserting key by key.

use super::{
    ArenaError,
    shard::{Shard, SlotLeaf},
};
use crate::state::Account;
use alloy_primitives::{B256, U256};
use std::vec::Vec;

/// A shard in the making: accounts and slots in any order.
#[derive(Debug, Default)]
pub(super) struct ShardBuilder {
    accounts: Vec<(B256, Account)>,
    /// With the hashed address.
    slots: Vec<(B256, SlotLeaf)>,
}

impl ShardBuilder {
    pub(super) fn add_account(&mut self, key: B256, account: Account) {
        self.accounts.push((key, account));
    }

    /// Adds a slot; zero is no value, and is not stored.
    pub(super) fn add_slot(&mut self, address: B256, key: B256, value: U256) {
        if !value.is_zero() {
            self.slots.push((address, SlotLeaf { key, value: value.into() }));
        }
    }

    /// The shard, not hashed yet. What was collected is given back before the trie is built over it.
    pub(super) fn build(mut self) -> Result<Shard, ArenaError> {
        self.accounts.sort_unstable_by_key(|(key, _)| *key);
        self.slots.sort_unstable_by_key(|(address, slot)| (*address, slot.key));
        let twice = |pair: &[(B256, Account)]| pair[0].0 == pair[1].0;
        if let Some(pair) = self.accounts.windows(2).find(|pair| twice(pair)) {
            return Err(ArenaError::Duplicate(pair[0].0));
        }
        let twice =
            |pair: &[(B256, SlotLeaf)]| pair[0].0 == pair[1].0 && pair[0].1.key == pair[1].1.key;
        if let Some(pair) = self.slots.windows(2).find(|pair| twice(pair)) {
            return Err(ArenaError::Duplicate(pair[0].1.key));
        }
        Shard::of_sorted(self.accounts, self.slots)
    }
}
