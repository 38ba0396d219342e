//! Adding a block: checked, appended to the order log, and only then in the chain. The database gets
//! it later (`fold`). Blocks come one after another.

use super::{
    ChainEvent, ChainStore, ChainStoreError, Head,
    recent::{Layer, RecentBlock},
    write::hashed_slot,
};
use crate::store::{
    kv::KvSnapshot,
    log::{BlockRecord, RecordKind},
    tables::HashedStorages,
};
use alloy::primitives::{Address, B256, U256, keccak256};
use executor::{ExecutedBlock, state::AccountDiff};
use std::{collections::BTreeMap, ops::ControlFlow, sync::PoisonError, thread};

impl ChainStore {
    /// [`Self::seal`] with a copy of the block.
    ///
    /// # Errors
    /// As [`Self::seal`].
    pub fn commit(&self, block: &ExecutedBlock) -> Result<(), ChainStoreError> {
        self.seal(block.clone())
    }

    /// Appends a block to the order log, and publishes the new head when the log has it durably: that
    /// is the acknowledgement. Blocks the thread for the time of an fdatasync, and longer while the
    /// fold into the database is as far behind as it may be.
    ///
    /// # Errors
    /// [`ChainStoreError::NotNextBlock`], [`ChainStoreError::OtherState`],
    /// [`ChainStoreError::DiffersFromMiniBlocks`] and
    /// [`ChainStoreError::StorageOutlivesAccount`] when the block does not fit;
    /// [`ChainStoreError::DiskFull`] until there is room, and the chain is as it was; otherwise a file
    /// failed and the node should halt.
    pub fn seal(&self, block: ExecutedBlock) -> Result<(), ChainStoreError> {
        let _writer = self.0.writer.lock().unwrap_or_else(PoisonError::into_inner);
        self.0.check_not_diverged()?;
        let number = block.header.number;
        let (head, parent) = (self.head(), block.header.parent_hash);
        if parent != head.hash || number != head.number + 1 {
            return Err(ChainStoreError::NotNextBlock { head, number, parent });
        }
        if !self.0.preconfirmed.agrees(&block) {
            return Err(ChainStoreError::DiffersFromMiniBlocks { number });
        }
        self.check_removals(&block)?;
        self.1.wait_for_room(&self.0)?;
        let root = block.header.state_root;
        let message_passer_root = self.0.roots.prepare(root, &block.diff)?;
        let message_passer_root =
            message_passer_root.ok_or(ChainStoreError::OtherState { number, header: root })?;
        let payload = BlockRecord::encode(&block);
        let ticket = self.0.log.append(RecordKind::Block, number, &payload)?;
        let next = Head { number, hash: block.hash, timestamp: block.header.timestamp };
        let transactions = block.transactions.len();
        let (position, bytes) = (ticket.position(), payload.len());
        let version = self.0.recent.get().version;
        // Nobody has a view of the next version before the list has the block.
        let prepare = || {
            self.0.cache.follow(version + 1, &block.diff);
            RecentBlock::new(BlockRecord::from(block), message_passer_root, position, bytes)
        };
        let (recent, durable) =
            beside(transactions >= BESIDE_MIN, prepare, || self.0.log.wait(&ticket));
        if let Err(error) = durable {
            self.0.cache.clear(version);
            return Err(error.into());
        }
        self.0.recent.push(recent);
        self.0.roots.arrive(next, self.folded_head().number);
        self.0.preconfirmed.close();
        self.0.head.send_replace(next);
        self.0.preconfirmed.tell(ChainEvent::Sealed { position, head: next, transactions });
        self.1.wake();
        Ok(())
    }

    /// Refuses a block that removes an account or its storage and leaves slots behind: its state
    /// could not be folded, and must not be acknowledged.
    fn check_removals(&self, block: &ExecutedBlock) -> Result<(), ChainStoreError> {
        let removes = |change: &AccountDiff| change.wiped || change.after.is_none();
        let mut removed =
            block.diff.accounts.iter().filter(|(_, change)| removes(change)).peekable();
        if removed.peek().is_none() {
            return Ok(());
        }
        let (layer, snapshot, _) = self.layer_and_snapshot()?;
        for (address, change) in removed {
            let mut slots = storage(&snapshot, &layer, *address)?;
            let outlives = change.wiped && !slots.is_empty();
            apply(&mut slots, change);
            if outlives || (change.after.is_none() && !slots.is_empty()) {
                return Err(ChainStoreError::StorageOutlivesAccount { address: *address });
            }
        }
        Ok(())
    }
}

/// Transactions from which on a block is indexed while the disk writes it: half a millisecond.
const BESIDE_MIN: usize = 256;

/// Runs both, `first` on a thread of its own where that is worth it and there is one.
fn beside<A: Send, B>(
    is_worth_it: bool,
    first: impl FnOnce() -> A + Send,
    second: impl FnOnce() -> B,
) -> (A, B) {
    if !is_worth_it {
        return (first(), second());
    }
    thread::scope(|scope| {
        let first = scope.spawn(first);
        let second = second();
        match first.join() {
            Ok(first) => (first, second),
            Err(panic) => std::panic::resume_unwind(panic),
        }
    })
}

/// All slots of an account at the head that are not zero, by their hash.
fn storage(
    snapshot: &KvSnapshot,
    layer: &Layer,
    address: Address,
) -> Result<BTreeMap<B256, U256>, ChainStoreError> {
    let mut slots = BTreeMap::new();
    let hashed_address = keccak256(address);
    let visit = |(account, slot), value| -> Result<_, ChainStoreError> {
        if account != hashed_address {
            return Ok(ControlFlow::Break(()));
        }
        slots.insert(slot, value);
        Ok(ControlFlow::Continue(()))
    };
    snapshot.visit_from::<HashedStorages, _>(&hashed_address, visit)?;
    // Those that the snapshot has already are applied again, which changes nothing.
    for block in &layer.blocks {
        if let Some(change) = block.record.diff.accounts.get(&address) {
            apply(&mut slots, change);
        }
    }
    Ok(slots)
}

fn apply(slots: &mut BTreeMap<B256, U256>, change: &AccountDiff) {
    for (slot, value) in &change.slots {
        if value.after.is_zero() {
            slots.remove(&hashed_slot(*slot));
        } else {
            slots.insert(hashed_slot(*slot), value.after);
        }
    }
}
