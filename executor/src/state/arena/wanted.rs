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

/// Accounts, and the slots of each, in order of their keys; no key comes twice.
#[derive(Debug, Default)]
pub(super) struct Wanted {
    pub(super) accounts: Vec<Want>,
    pub(super) slots: Vec<Want>,
}

impl Wanted {
    /// What reading `reads` and applying `diff` needs. Slots that go with their account, or with all
    /// of its storage, are not looked at.
    pub(super) fn of(reads: &Reads, diff: &StateDiff, batch: &mut Batch<KeyOf>) -> Self {
        let (mut wanted, none) = (Self::default(), BTreeSet::new());
        for (address, slots) in reads {
            wanted.push(*address, slots, diff.accounts.get(address), batch);
        }
        let unread = diff.accounts.iter().filter(|(address, _)| !reads.contains_key(*address));
        for (address, change) in unread {
            wanted.push(*address, &none, Some(change), batch);
        }
        batch.finish(&mut |tag, hash| wanted.set(tag, hash));
        for account in &wanted.accounts {
            wanted.slots[account.slots.clone()].sort_unstable_by_key(|slot| slot.key);
        }
        wanted.accounts.sort_unstable_by_key(|account| account.key);
        wanted
    }

    fn push(
        &mut self,
        address: Address,
        reads: &BTreeSet<U256>,
        change: Option<&AccountDiff>,
        batch: &mut Batch<KeyOf>,
    ) {
        let first = self.slots.len();
        let changes = change.filter(|change| change.after.is_some() && !change.wiped);
        let changes = changes.map(|change| &change.slots);
        for slot in reads {
            let change = changes.and_then(|changes| changes.get(slot));
            self.push_slot(slot, change.is_some_and(|change| change.after.is_zero()), batch);
        }
        let unread = changes.into_iter().flatten().filter(|(slot, _)| !reads.contains(*slot));
        for (slot, change) in unread {
            self.push_slot(slot, change.after.is_zero(), batch);
        }
        let goes = change.is_some_and(|change| change.after.is_none());
        let tag = KeyOf::Account(self.accounts.len());
        self.accounts.push(Want { key: B256::ZERO, goes, slots: first..self.slots.len() });
        batch.push(tag, address.as_slice(), &mut |tag, hash| self.set(tag, hash));
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
