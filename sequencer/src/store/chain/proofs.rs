//! Tries of earlier blocks: from the nearest one in memory back by the change sets, and on the way the
//! tries that later requests start from. Does not know which blocks somebody asks for.

use super::{ChainStoreError, Head, rollback::head_at, tries::Tries};
use crate::store::{
    chain::Corruption,
    kv::{Access, KvTransaction},
    tables::{AccountChangeSets, Headers, StorageChangeSets, Table},
};
use alloy::primitives::Address;
use executor::{
    StateDiff, StateTrie,
    state::{AccountDiff, SlotDiff},
};
use std::{
    collections::btree_map::{BTreeMap, Entry},
    ops::ControlFlow,
};

/// Change-set rows read at most to rebuild the trie of a block outside the proof window: about a
/// second of work, which bounds what one request for an old proof can cost.
pub(super) const TRIE_CHANGES_MAX: usize = 500_000;

/// The trie after block `number`, which is below `head`. Reads `changes_max` change-set rows at most
/// where the block is outside the proof window; inside it, what the blocks of the window changed.
pub(super) fn trie_at<K: Access>(
    rows: &KvTransaction<K>,
    tries: &Tries,
    (head, head_trie): (Head, &StateTrie),
    number: u64,
    changes_max: usize,
) -> Result<StateTrie, ChainStoreError> {
    let _turn = tries.rebuild_turn();
    let is_in_window = tries.is_in_window(number, head.number);
    let mut changes_left = if is_in_window { usize::MAX } else { changes_max };
    let (mut at, mut trie) = (head.number, head_trie.clone());
    // A trie that was left by a rollback is of another block than the snapshot's.
    if let Some((nearest, hash, known)) = tries.at_or_above(number, head.number)
        && head_at(rows, nearest)?.hash == hash
    {
        (at, trie) = (nearest, known);
    }
    while at > number {
        let next = number.max(Tries::anchor_below(at));
        let diff = diff_back(rows, &trie, next..at, &mut changes_left)?;
        let diff = diff.ok_or(ChainStoreError::TrieTooOld { number })?;
        trie = trie.apply(&diff)?;
        let block = head_at(rows, next)?;
        check_root(rows, next, &trie)?;
        if is_in_window {
            tries.offer(block, head.number, &trie);
        }
        at = next;
    }
    Ok(trie)
}

fn check_root<K: Access>(
    rows: &KvTransaction<K>,
    number: u64,
    trie: &StateTrie,
) -> Result<(), ChainStoreError> {
    let missing = Corruption::Missing { table: Headers::SPEC.name, number };
    let header = rows.read::<Headers>(&number)?.ok_or(missing)?.header.state_root;
    if trie.root() == header {
        return Ok(());
    }
    Err(Corruption::StateRoot { number, header, tables: trie.root() }.into())
}

/// What block `number` changed, as the way back from `trie`, which is the state after it.
pub(super) fn diff_of_block<K: Access>(
    rows: &KvTransaction<K>,
    trie: &StateTrie,
    number: u64,
) -> Result<StateDiff, ChainStoreError> {
    let mut unlimited = usize::MAX;
    let diff = diff_back(rows, trie, number.saturating_sub(1)..number, &mut unlimited)?;
    Ok(diff.unwrap_or_default())
}

/// The change that leads from `trie`, the state after block `blocks.end`, to that after
/// `blocks.start`. The oldest change of an account or slot has its value. `None` once more than
/// `changes_left` rows were read.
fn diff_back<K: Access>(
    rows: &KvTransaction<K>,
    trie: &StateTrie,
    blocks: std::ops::Range<u64>,
    changes_left: &mut usize,
) -> Result<Option<StateDiff>, ChainStoreError> {
    let mut accounts: BTreeMap<Address, AccountDiff> = BTreeMap::new();
    let mut is_exceeded = false;
    let mut is_last = |number: u64| {
        if number > blocks.end {
            return true;
        }
        is_exceeded = *changes_left == 0;
        *changes_left = changes_left.saturating_sub(1);
        is_exceeded
    };
    let first = blocks.start + 1;
    rows.visit_from::<AccountChangeSets, ChainStoreError>(&first, |(number, address), after| {
        if is_last(number) {
            return Ok(ControlFlow::Break(()));
        }
        if let Entry::Vacant(vacant) = accounts.entry(address) {
            let before = trie.account(address)?;
            vacant.insert(AccountDiff { before, after, ..AccountDiff::default() });
        }
        Ok(ControlFlow::Continue(()))
    })?;
    rows.visit_from::<StorageChangeSets, ChainStoreError>(&first, |key, after| {
        let ((number, address), slot) = key;
        if is_last(number) {
            return Ok(ControlFlow::Break(()));
        }
        let change = match accounts.entry(address) {
            Entry::Occupied(occupied) => occupied.into_mut(),
            // It did not change itself: it is as it is now.
            Entry::Vacant(vacant) => {
                let now = trie.account(address)?;
                vacant.insert(AccountDiff { before: now, after: now, ..AccountDiff::default() })
            }
        };
        if let Entry::Vacant(vacant) = change.slots.entry(slot) {
            vacant.insert(SlotDiff { before: trie.slot(address, slot)?, after });
        }
        Ok(ControlFlow::Continue(()))
    })?;
    Ok((!is_exceeded).then(|| StateDiff { accounts, ..StateDiff::default() }))
}
