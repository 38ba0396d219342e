//! The keys whose nodes a partial trie must have, in order, so that those below a node lie side by
//! side. Says which nodes a change needs beside the ways to its keys; builds nothing.

use super::{
    diff::KeyOf,
    key::{common, nibble},
};
use crate::{
    keccak::Batch,
    state::{AccountDiff, Reads, StateDiff},
};
use alloy_primitives::{Address, B256, U256};
use std::{collections::BTreeSet, ops::Range, vec::Vec};

/// A key of an account or of a slot.
#[derive(Clone, Debug)]
pub(super) struct Want {
    pub(super) key: B256,
    /// It is to be removed, if it is there.
    goes: bool,
    /// Those of an account; a slot has none.
    pub(super) slots: Range<usize>,
}

/// The keys of accounts, and of slots of each, whose nodes a partial trie must have: see
/// [`StateArena::trie_of`](super::StateArena::trie_of). Hashed already, so that whoever shares an
/// arena need not hold it for that.
#[derive(Debug, Default)]
pub struct Wanted {
    /// In order of their keys; none comes twice.
    pub(super) accounts: Vec<Want>,
    /// In order of their keys within an account.
    pub(super) slots: Vec<Want>,
}

impl Wanted {
    /// What reading `reads` and applying any of `changes`, or one after the other, needs. Slots that
    /// go with their account, or with all of its storage, are not looked at.
    #[must_use]
    pub fn new(reads: &Reads, changes: &[&StateDiff]) -> Self {
        let mut wanted = Self::default();
        let mut batch = Batch::detect();
        let changed = changes.iter().flat_map(|diff| diff.accounts.keys());
        let mut addresses: Vec<Address> = reads.keys().chain(changed).copied().collect();
        addresses.sort_unstable();
        addresses.dedup();
        for address in addresses {
            let changes = changes.iter().filter_map(|diff| diff.accounts.get(&address));
            wanted.push(address, reads.get(&address), changes, &mut batch);
        }
        batch.finish(&mut |tag, hash| wanted.set(tag, hash));
        wanted.bring_in_order();
        wanted
    }

    fn push<'d>(
        &mut self,
        address: Address,
        reads: Option<&BTreeSet<U256>>,
        changes: impl Iterator<Item = &'d AccountDiff>,
        batch: &mut Batch<KeyOf>,
    ) {
        let (first, mut goes) = (self.slots.len(), false);
        for slot in reads.into_iter().flatten() {
            self.push_slot(slot, false, batch);
        }
        for change in changes {
            goes |= change.after.is_none();
            if change.after.is_some() && !change.wiped {
                for (slot, value) in &change.slots {
                    self.push_slot(slot, value.after.is_zero(), batch);
                }
            }
        }
        let tag = KeyOf::Account(self.accounts.len());
        self.accounts.push(Want { key: B256::ZERO, goes, slots: first..self.slots.len() });
        batch.push(tag, address.as_slice(), &mut |tag, hash| self.set(tag, hash));
    }

    /// Sorts, and makes one of what comes twice: it goes if it does once.
    fn bring_in_order(&mut self) {
        for account in &mut self.accounts {
            let slots = &mut self.slots[account.slots.clone()];
            slots.sort_unstable_by_key(|slot| slot.key);
            let mut kept = 0;
            for index in 0..slots.len() {
                if kept > 0 && slots[kept - 1].key == slots[index].key {
                    slots[kept - 1].goes |= slots[index].goes;
                } else {
                    slots.swap(kept, index);
                    kept += 1;
                }
            }
            account.slots.end = account.slots.start + kept;
        }
        self.accounts.sort_unstable_by_key(|account| account.key);
    }

    fn push_slot(&mut self, slot: &U256, goes: bool, batch: &mut Batch<KeyOf>) {
        let tag = KeyOf::Slot(self.slots.len());
        self.slots.push(Want { key: B256::ZERO, goes, slots: 0..0 });
        batch.push(tag, &slot.to_be_bytes::<32>(), &mut |tag, hash| self.set(tag, hash));
    }

    fn set(&mut self, tag: KeyOf, hash: B256) {
        match tag {
            KeyOf::Account(index) => self.accounts[index].key = hash,
            KeyOf::Slot(index) => self.slots[index].key = hash,
        }
    }
}

/// Those that share the nibbles of `key` up to a depth. All of `wants` share a path that `key` does.
pub(super) fn along<'w>(wants: &'w [Want], key: &B256, depth: u8) -> &'w [Want] {
    let is_before = |want: &Want| want.key < *key && common(&want.key, key) < depth;
    let rest = &wants[wants.partition_point(is_before)..];
    &rest[..rest.partition_point(|want| common(&want.key, key) >= depth)]
}

/// The children of a branch, by its depth and its mask: the nibble of each, and what is wanted below
/// it, or `None` where the reference is enough.
///
/// A branch that is left with one child gives way to it, and how depends on what that child is. So
/// if children without removals below them do not keep the branch, the nodes of all are wanted. There
/// is at most one such child then: this costs no more than a node for every branch passed.
pub(super) fn split(
    wants: &[Want],
    depth: u8,
    mask: u16,
) -> impl Iterator<Item = (u8, Option<&[Want]>)> {
    let mut parts = [&wants[..0]; 16];
    let (mut rest, mut shrinking) = (wants, 0u16);
    while let Some(first) = rest.first() {
        let own = nibble(&first.key, depth);
        let count = rest.partition_point(|want| nibble(&want.key, depth) == own);
        let (part, later) = rest.split_at(count);
        parts[usize::from(own)] = part;
        shrinking |= u16::from(part.iter().any(|want| want.goes)) << own;
        rest = later;
    }
    let staying = mask & !shrinking;
    let may_collapse = mask & shrinking != 0 && staying.count_ones() < 2;
    let is_child = move |nibble: &u8| mask >> nibble & 1 == 1;
    (0..16).filter(is_child).map(move |nibble| {
        let part = parts[usize::from(nibble)];
        (nibble, (may_collapse || !part.is_empty()).then_some(part))
    })
}
