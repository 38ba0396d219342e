//! A change by hashed keys: what the arena applies. Made from a [`StateDiff`] with the batched keccak,
//! or by a caller who has the hashes already.

use super::key::prefix;
use crate::{
    keccak::Batch,
    state::{Account, StateDiff},
};
use alloy_primitives::{B256, U256};
use std::{ops::Range, vec::Vec};

/// Accounts after a change, each with its changed slots, in any order. Of what comes more than once,
/// the last counts.
#[derive(Clone, Debug, Default)]
pub struct HashedDiff {
    pub(super) accounts: Vec<AccountChange>,
    pub(super) slots: Vec<SlotChange>,
}

/// An account after a change.
#[derive(Clone, Debug)]
pub(super) struct AccountChange {
    pub(super) key: B256,
    /// `None` where there is none any more, and no storage either.
    pub(super) after: Option<Account>,
    /// Its storage is cleared before its slots are set.
    pub(super) wiped: bool,
    /// Its slots.
    pub(super) slots: Range<usize>,
}

/// A slot after a change; zero removes it.
#[derive(Clone, Copy, Debug)]
pub(super) struct SlotChange {
    pub(super) key: B256,
    pub(super) value: B256,
}

/// A change by hashed keys, and the way back from it.
#[derive(Clone, Debug, Default)]
pub struct Change {
    /// The change.
    pub forward: HashedDiff,
    /// What leads from the state after it to the state before it: see [`StateDiff::reversed`], which
    /// says what cannot be undone, too: wiping storage from before the change.
    pub backward: HashedDiff,
}

/// Keys of a diff that are being hashed.
#[derive(Clone, Copy, Debug)]
pub(super) enum KeyOf {
    Account(usize),
    Slot(usize),
}

impl Change {
    /// The same change by hashed keys. Each key is hashed once.
    pub(super) fn of(diff: &StateDiff, batch: &mut Batch<KeyOf>) -> Self {
        let forward = HashedDiff::of(diff, batch);
        Self { backward: forward.reversed(diff), forward }
    }
}

impl HashedDiff {
    /// Adds an account: what it is after the change, or `None`, and whether its storage is wiped
    /// before its slots are set.
    pub fn push_account(&mut self, hashed_address: B256, after: Option<Account>, wiped: bool) {
        let slots = self.slots.len()..self.slots.len();
        self.accounts.push(AccountChange { key: hashed_address, after, wiped, slots });
    }

    /// Adds a slot to the account that was added last; without any account, nothing happens.
    pub fn push_slot(&mut self, hashed_slot: B256, value: U256) {
        if let Some(account) = self.accounts.last_mut() {
            self.slots.push(SlotChange { key: hashed_slot, value: value.into() });
            account.slots.end += 1;
        }
    }

    /// The same change by hashed keys, in the order of the diff.
    pub(super) fn of(diff: &StateDiff, batch: &mut Batch<KeyOf>) -> Self {
        let mut hashed = Self::default();
        hashed.accounts.reserve_exact(diff.accounts.len());
        for (address, change) in &diff.accounts {
            hashed.push_account(B256::ZERO, change.after, change.wiped);
            let account = hashed.accounts.len() - 1;
            hashed.hash(batch, KeyOf::Account(account), address.as_slice());
            // The slots of an account that is gone went with it: only the way back needs their keys.
            for (slot, value) in &change.slots {
                hashed.push_slot(B256::ZERO, value.after);
                let index = hashed.slots.len() - 1;
                hashed.hash(batch, KeyOf::Slot(index), &slot.to_be_bytes::<32>());
            }
        }
        batch.finish(&mut |tag, hash| hashed.set(tag, hash));
        hashed
    }

    /// The way back from `diff`, of which this is the forward one: the same keys, and what was before.
    fn reversed(&self, diff: &StateDiff) -> Self {
        let mut reversed = self.clone();
        for (hashed, change) in reversed.accounts.iter_mut().zip(diff.accounts.values()) {
            (hashed.after, hashed.wiped) = (change.before, false);
            let slots = &mut reversed.slots[hashed.slots.clone()];
            for (slot, value) in slots.iter_mut().zip(change.slots.values()) {
                slot.value = value.before.into();
            }
        }
        reversed
    }

    fn hash(&mut self, batch: &mut Batch<KeyOf>, tag: KeyOf, key: &[u8]) {
        batch.push(tag, key, &mut |tag, hash| self.set(tag, hash));
    }

    fn set(&mut self, tag: KeyOf, hash: B256) {
        match tag {
            KeyOf::Account(index) => self.accounts[index].key = hash,
            KeyOf::Slot(index) => self.slots[index].key = hash,
        }
    }

    /// Indices of the accounts, roughly in order of their keys, so that neighbours in the trie are
    /// changed one after the other. Equal keys stay in their order.
    #[allow(clippy::cast_possible_truncation, reason = "the index was put in by this function")]
    pub(super) fn order(&self) -> Vec<usize> {
        let keyed = self.accounts.iter().zip(0u64..);
        let mut order: Vec<u64> =
            keyed.map(|(change, index)| u64::from(prefix(&change.key)) << 32 | index).collect();
        order.sort_unstable();
        order.into_iter().map(|entry| entry as u32 as usize).collect()
    }
}
