//! Pruning: history before the kept window goes, in small durable steps.
//!
//! What goes are change sets and their index, of the oldest block first. What stays for ever: blocks,
//! receipts and the look-ups that lead to them, because they are what the sequencer promised and L1
//! forgets its blobs; the message passer's slots, see `outputs`. What the steps have reached is in
//! the file with the rows that they removed, so a restart goes on where the last one ended. Pages
//! become free for new rows; the file does not shrink. Does not decide when a step is made.

use super::{
    ChainStore, ChainStoreError, DirectoryLock, Kept, lock,
    progress::{Meter, Report},
    read_head,
    reader::{LogTail, open_log, require_chain},
};
use crate::store::{
    kv::{Kv, KvWriter},
    tables::{
        AccountChangeSets, AccountsHistory, StorageChangeSets, StoragesHistory, TABLES, Table,
    },
};
use contracts::L2_TO_L1_MESSAGE_PASSER;
use std::{ops::ControlFlow, path::Path, sync::PoisonError};

/// Change-set rows removed in one step beside a block builder, which may have to wait for it: some
/// milliseconds and an fsync.
const STEP_ROWS_MAX: usize = 2_000;
/// Blocks passed in one step, with or without rows.
const STEP_BLOCKS_MAX: u64 = 2_000;
/// The same where nobody waits.
const OFFLINE_STEP_ROWS_MAX: usize = 200_000;

/// What a step left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pruned {
    /// The first block whose state can be read.
    pub first_state: u64,
    /// Change-set rows that the step removed.
    pub rows: u64,
    /// Nothing is left to prune until the chain grows or outputs become final.
    pub is_done: bool,
}

impl ChainStore {
    /// One step of pruning: the state of the last `history_blocks` blocks stays, and that of every
    /// block after the newest final output, which later outputs may be of. Counted from the newest
    /// block in the file: blocks that are in the order log alone let some more stay until they are
    /// folded.
    ///
    /// # Errors
    /// [`ChainStoreError`] when the file failed; nothing of the step counts then.
    pub fn prune_step(&self, history_blocks: u64) -> Result<Pruned, ChainStoreError> {
        // What the file still has to undo needs its change sets.
        self.0.check_not_diverged()?;
        let _fold = self.0.folding.lock().unwrap_or_else(PoisonError::into_inner);
        step(&self.0.kv, history_blocks, u64::MAX, STEP_ROWS_MAX)
    }
}

/// Prunes the chain in `directory`, which no process uses, as far as it can be. What the order log has
/// beyond the tables stays there for the next start.
///
/// # Errors
/// [`ChainStoreError`]; what was pruned before stays so.
pub fn prune_directory(
    directory: &Path,
    history_blocks: u64,
    report: Report<'_>,
) -> Result<Pruned, ChainStoreError> {
    require_chain(directory)?;
    let _lock: DirectoryLock = lock(directory)?;
    let kv = Kv::open(directory, TABLES)?;
    let snapshot = kv.snapshot()?;
    let (kept, head) = (Kept::read(&snapshot)?, read_head(&snapshot)?);
    // A rollback in the log may need the history from its block on.
    let common = LogTail::read(&open_log(directory, &snapshot)??, head)?.common;
    drop(snapshot);
    let target = target(&kept, head.number, history_blocks).min(common);
    let mut meter = Meter::new(target.saturating_sub(kept.first_state), report);
    meter.step("pruning blocks", target.saturating_sub(kept.first_state));
    let (mut first_state, mut rows) = (kept.first_state, 0);
    loop {
        let pruned = step(&kv, history_blocks, common, OFFLINE_STEP_ROWS_MAX)?;
        rows += pruned.rows;
        (first_state..pruned.first_state).for_each(|_| meter.add(0));
        first_state = pruned.first_state;
        if pruned.is_done {
            meter.finish();
            return Ok(Pruned { rows, ..pruned });
        }
    }
}

/// The first block whose state has to stay.
fn target(kept: &Kept, head: u64, history_blocks: u64) -> u64 {
    // Without a final output, the next one may be of any block.
    let outputs = kept.final_outputs.map_or(0, |outputs| outputs.block);
    (head + 1).saturating_sub(history_blocks.max(1)).min(outputs)
}

/// Prunes up to the state of block `first_state_max`, and `rows_max` rows.
fn step(
    kv: &Kv,
    history_blocks: u64,
    first_state_max: u64,
    rows_max: usize,
) -> Result<Pruned, ChainStoreError> {
    let writer = kv.writer()?;
    let kept = Kept::read(&writer)?;
    let target = target(&kept, read_head(&writer)?.number, history_blocks).min(first_state_max);
    let done = Pruned { first_state: kept.first_state, rows: 0, is_done: true };
    if target == 0 || target < kept.first_state {
        return Ok(done);
    }
    let mut first_state = kept.first_state;
    let mut rows_left = rows_max;
    // The last step may have ended within this block; then its rest goes first.
    remove_changes(&writer, first_state, &mut rows_left)?;
    while rows_left > 0 && first_state < target && first_state < kept.first_state + STEP_BLOCKS_MAX
    {
        first_state += 1;
        remove_changes(&writer, first_state, &mut rows_left)?;
    }
    let rows = (rows_max - rows_left) as u64;
    if rows == 0 && first_state == kept.first_state {
        return Ok(done);
    }
    Kept { first_state, ..kept }.write(&writer)?;
    writer.commit()?;
    Ok(Pruned { first_state, rows, is_done: first_state == target && rows_left > 0 })
}

/// Removes the changes of one block, `rows_left` at most.
fn remove_changes(
    writer: &KvWriter,
    number: u64,
    rows_left: &mut usize,
) -> Result<(), ChainStoreError> {
    let is_account = |&(block, _): &(u64, _)| (block == number).then_some(true);
    for key in some_keys::<AccountChangeSets>(writer, number, *rows_left, is_account)? {
        writer.remove::<AccountChangeSets>(&key)?;
        writer.remove::<AccountsHistory>(&(key.1, key.0))?;
        *rows_left -= 1;
    }
    let is_slot = |&((block, address), _): &((u64, _), _)| {
        (block == number).then_some(address != L2_TO_L1_MESSAGE_PASSER)
    };
    for key in some_keys::<StorageChangeSets>(writer, number, *rows_left, is_slot)? {
        let ((_, address), slot) = key;
        writer.remove::<StorageChangeSets>(&key)?;
        writer.remove::<StoragesHistory>(&((address, slot), number))?;
        *rows_left -= 1;
    }
    Ok(())
}

/// The first keys from block `number` on that `is_wanted` wants, until it answers nothing.
fn some_keys<T: Table>(
    writer: &KvWriter,
    number: u64,
    keys_max: usize,
    is_wanted: impl Fn(&T::Key) -> Option<bool>,
) -> Result<Vec<T::Key>, ChainStoreError> {
    let mut keys = Vec::new();
    writer.visit_from::<T, ChainStoreError>(&number, |key, _| match is_wanted(&key) {
        Some(is_wanted) if keys.len() < keys_max => {
            if is_wanted {
                keys.push(key);
            }
            Ok(ControlFlow::Continue(()))
        }
        _ => Ok(ControlFlow::Break(())),
    })?;
    Ok(keys)
}
