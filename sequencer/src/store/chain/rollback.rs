//! Going back: the change that leads from the head to an earlier block, read from the change sets,
//! and the removal of the blocks in between. Does not decide when to roll back.

use super::{
    ChainEvent, ChainStore, ChainStoreError, Corruption, Head, StoredBlock, kept::check_rollback,
    outputs, read::read_block, recent::Layer, write, write_head, write_position,
};
use crate::store::{
    kv::{Access, KvTransaction, KvWriter},
    log::RecordKind,
    tables::{
        AccountChangeSets, AccountsHistory, BlockBodies, HashedAccounts, HashedStorages,
        HeaderNumbers, Headers, OutputParts, Receipts, StorageChangeSets, StoragesHistory, Table,
        TransactionHashNumbers,
    },
};
use alloy::primitives::{Address, B256, keccak256};
use executor::{
    StateDiff,
    state::{AccountDiff, SlotDiff},
};
use std::{
    collections::btree_map::Entry,
    ops::ControlFlow,
    sync::{PoisonError, atomic::Ordering},
};

/// What undoing folded blocks gives.
pub(super) struct Undone {
    /// The block gone back to.
    pub(super) target: Head,
    /// Its state root.
    pub(super) state_root: B256,
    /// The change that leads there from the database's head.
    pub(super) diff: StateDiff,
    /// The removed blocks, oldest first.
    pub(super) removed: Vec<StoredBlock>,
}

impl ChainStore {
    /// Removes the blocks above `number` and restores the state after it: a record in the order log,
    /// and one durable transaction where the database has some of them. Then publishes the new head.
    /// Gives back the removed blocks, oldest first: all of them are in memory at one time, so a
    /// rollback is as deep as L1's reorganisations are.
    ///
    /// # Errors
    /// [`ChainStoreError::NoSuchBlock`] above the head, [`ChainStoreError::HistoryPruned`] below what
    /// is kept; [`ChainStoreError::DiskFull`] until there is room; otherwise a file failed or
    /// contradicts itself and the node should halt.
    pub fn rollback_to(&self, number: u64) -> Result<Vec<StoredBlock>, ChainStoreError> {
        let _writer = self.0.writer.lock().unwrap_or_else(PoisonError::into_inner);
        // No fold meanwhile: the database's head stays where it is.
        let _fold = self.0.folding.lock().unwrap_or_else(PoisonError::into_inner);
        self.0.check_not_diverged()?;
        let layer = self.0.recent.get();
        let head = layer.head();
        if number > head.number {
            return Err(ChainStoreError::NoSuchBlock { head, number });
        }
        if number == head.number {
            return Ok(Vec::new());
        }
        check_rollback(&self.0.kv.snapshot()?, number, head)?;
        let view = self.view_at(number)?.ok_or(ChainStoreError::NoSuchBlock { head, number })?;
        let (target, root) = (view.block(), view.state_root()?);
        let mut back = view.way_back(usize::MAX)?;
        drop(view);
        self.view()?.fill_before(&mut back)?;
        // What leads back is tried before the log says that it was done.
        if !self.0.roots.try_back(root, &back)? {
            return Err(Corruption::WayBack { number, header: root }.into());
        }
        let unfolded = layer.blocks.iter().filter(|block| block.number() > number);
        let unfolded = unfolded.map(|block| block.stored());
        let removed = if number < layer.folded.number {
            let undone = self.rollback_folded(layer.folded, number)?;
            undone.removed.into_iter().chain(unfolded).collect()
        } else {
            let removed = unfolded.collect();
            self.log_rollback(number)?;
            self.0.cache.clear(layer.version + 1);
            self.0.recent.truncate(number);
            removed
        };
        self.0.roots.return_to(target);
        self.0.head.send_replace(target);
        let position = self.0.log.durable_position();
        self.0.preconfirmed.tell(ChainEvent::RolledBack { position, to: number });
        Ok(removed)
    }

    /// The rows are written first, so that what cannot be undone is found before the log says that it
    /// was; then the record, then the transaction. A start finishes what ends in between.
    fn rollback_folded(&self, folded: Head, number: u64) -> Result<Undone, ChainStoreError> {
        let writer = self.0.kv.writer()?;
        let undone = undo_folded(&writer, folded, number)?;
        let position = self.log_rollback(number)?;
        let version = self.0.recent.get().version + 1;
        self.0.cache.clear(version);
        self.0.recent.change(|layer| layer.undoing(undone.target));
        let committed = write_position(&writer, position)
            .map_err(ChainStoreError::from)
            .and_then(|()| Ok(writer.commit()?));
        if let Err(error) = committed {
            tracing::error!(%error, number, "blocks are undone in the order log and not in the database");
            self.0.diverged.store(true, Ordering::Release);
            return Err(ChainStoreError::Diverged);
        }
        self.0.recent.change(|_| Layer::empty(undone.target, version));
        Ok(undone)
    }

    fn log_rollback(&self, number: u64) -> Result<u64, ChainStoreError> {
        let position = self.0.append(RecordKind::Rollback, number, &[])?;
        // Before anybody reads the state that it was on top of.
        self.0.preconfirmed.close();
        Ok(position)
    }
}

/// Removes the blocks above `number` from the database, whose head is given; the caller commits.
pub(super) fn undo_folded(
    writer: &KvWriter,
    head: Head,
    number: u64,
) -> Result<Undone, ChainStoreError> {
    let target = head_at(writer, number)?;
    let missing = Corruption::Missing { table: Headers::SPEC.name, number };
    let state_root = writer.read::<Headers>(&number)?.ok_or(missing)?.header.state_root;
    let diff = diff_back_to(writer, number)?;
    write::state(writer, &diff)?;
    let removed = (number + 1..=head.number)
        .map(|number| remove_block(writer, number))
        .collect::<Result<Vec<_>, _>>()?;
    write_head(writer, target)?;
    Ok(Undone { target, state_root, diff, removed })
}

/// A stored block as a head.
pub(super) fn head_at<K: Access>(
    transaction: &KvTransaction<K>,
    number: u64,
) -> Result<Head, ChainStoreError> {
    let stored = transaction.read::<Headers>(&number)?;
    let missing = Corruption::Missing { table: Headers::SPEC.name, number };
    let stored = stored.ok_or(missing)?;
    Ok(Head { number, hash: stored.hash, timestamp: stored.header.timestamp })
}

/// The change that leads from the head back to the state after block `number`. For every account
/// and slot the oldest change set above `number` has the value.
pub(super) fn diff_back_to<K: Access>(
    transaction: &KvTransaction<K>,
    number: u64,
) -> Result<StateDiff, ChainStoreError> {
    let mut diff = StateDiff::default();
    let first = number.saturating_add(1);
    transaction.visit_from::<AccountChangeSets, ChainStoreError>(
        &first,
        |(_, address), account| {
            if let Entry::Vacant(vacant) = diff.accounts.entry(address) {
                let before = transaction.read::<HashedAccounts>(&keccak256(address))?;
                vacant.insert(AccountDiff { before, after: account, ..AccountDiff::default() });
            }
            Ok(ControlFlow::Continue(()))
        },
    )?;
    transaction.visit_from::<StorageChangeSets, ChainStoreError>(
        &first,
        |((_, address), slot), value| {
            let change = account_change(transaction, &mut diff, address)?;
            if let Entry::Vacant(vacant) = change.slots.entry(slot) {
                let key = (keccak256(address), write::hashed_slot(slot));
                let before = transaction.read::<HashedStorages>(&key)?.unwrap_or_default();
                vacant.insert(SlotDiff { before, after: value });
            }
            Ok(ControlFlow::Continue(()))
        },
    )?;
    Ok(diff)
}

/// The entry of an account; one that did not change itself is as it is now.
fn account_change<'d, K: Access>(
    transaction: &KvTransaction<K>,
    diff: &'d mut StateDiff,
    address: Address,
) -> Result<&'d mut AccountDiff, ChainStoreError> {
    match diff.accounts.entry(address) {
        Entry::Occupied(occupied) => Ok(occupied.into_mut()),
        Entry::Vacant(vacant) => {
            let now = transaction.read::<HashedAccounts>(&keccak256(address))?;
            Ok(vacant.insert(AccountDiff { before: now, after: now, ..AccountDiff::default() }))
        }
    }
}

/// Removes every row of a block but its state, and gives the block back.
fn remove_block(writer: &KvWriter, number: u64) -> Result<StoredBlock, ChainStoreError> {
    let missing = Corruption::Missing { table: Headers::SPEC.name, number };
    let block = read_block(writer, number)?.ok_or(missing)?;
    writer.remove::<Headers>(&number)?;
    writer.remove::<HeaderNumbers>(&block.hash)?;
    writer.remove::<OutputParts>(&number)?;
    outputs::forget(writer, number)?;
    for (index, transaction) in (0..).zip(&block.transactions) {
        writer.remove::<BlockBodies>(&(number, index))?;
        writer.remove::<Receipts>(&(number, index))?;
        writer.remove::<TransactionHashNumbers>(&transaction.hash())?;
    }
    remove_history(writer, number)?;
    Ok(block)
}

fn remove_history(writer: &KvWriter, number: u64) -> Result<(), ChainStoreError> {
    for address in keys_of_block::<AccountChangeSets, _>(writer, number, |(block, _)| *block)? {
        writer.remove::<AccountChangeSets>(&address)?;
        writer.remove::<AccountsHistory>(&(address.1, number))?;
    }
    for key in keys_of_block::<StorageChangeSets, _>(writer, number, |((block, _), _)| *block)? {
        let ((_, address), slot) = key;
        writer.remove::<StorageChangeSets>(&key)?;
        writer.remove::<StoragesHistory>(&((address, slot), number))?;
    }
    Ok(())
}

/// The keys of a table that start with block `number`.
fn keys_of_block<T: Table, K: Access>(
    transaction: &KvTransaction<K>,
    number: u64,
    block_of: impl Fn(&T::Key) -> u64,
) -> Result<Vec<T::Key>, ChainStoreError> {
    let mut keys = Vec::new();
    transaction.visit_from::<T, ChainStoreError>(&number, |key, _| {
        if block_of(&key) != number {
            return Ok(ControlFlow::Break(()));
        }
        keys.push(key);
        Ok(ControlFlow::Continue(()))
    })?;
    Ok(keys)
}
