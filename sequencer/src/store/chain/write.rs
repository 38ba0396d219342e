//! The rows of new blocks: one function per kind. Works inside a transaction that the caller opens
//! and commits; checks nothing about the block's place in the chain.

use super::{ChainStoreError, Head, batch::Batch, has_code, recent::RecentBlock, write_head};
use crate::store::{
    kv::{Access, KvTransaction, KvWriter},
    tables::{
        AccountChangeSets, AccountsHistory, BlockBodies, Bytecodes, HashedAccounts, HashedStorages,
        HeaderNumbers, Headers, OutputParts, Receipts, StorageChangeSets, StoragesHistory,
        StoredHeader, StoredReceipt, TableError, TransactionHashNumbers,
    },
};
use alloy::primitives::{Address, B256, Bytes, U256, keccak256};
use executor::{Account, Header, Receipt, StateDiff, Transaction, state::AccountDiff};
use std::collections::BTreeSet;

/// A block as it is written: one of the order log, or block 0.
pub(super) struct NewBlock<'a> {
    pub(super) header: &'a Header,
    pub(super) hash: B256,
    pub(super) transactions: &'a [Transaction],
    pub(super) receipts: &'a [Receipt],
    pub(super) diff: &'a StateDiff,
    pub(super) message_passer_root: B256,
}

impl<'a> From<&'a RecentBlock> for NewBlock<'a> {
    fn from(block: &'a RecentBlock) -> Self {
        let record = &block.record;
        Self {
            header: &record.header,
            hash: record.hash,
            transactions: &record.transactions,
            receipts: &record.receipts,
            diff: &record.diff,
            message_passer_root: block.message_passer_root,
        }
    }
}

/// Writes all rows of these blocks, which follow each other, and makes the last one the head.
/// The rows are gathered in `rows`. `pause` is called now and then, and may take its time.
pub(super) fn blocks(
    writer: &KvWriter,
    rows: &mut Batch,
    blocks: &[NewBlock<'_>],
    mut pause: impl FnMut(),
) -> Result<(), ChainStoreError> {
    rows.clear();
    let mut removed = BTreeSet::new();
    for block in blocks {
        pause();
        block_rows(rows, block);
        state_rows(rows, block.diff, &mut removed);
    }
    rows.write_to(writer, &mut pause)?;
    pause();
    // Such a block is not committed; a file that has the slots all the same is not what we wrote.
    for address in removed {
        if has_storage(writer, keccak256(address))? {
            return Err(ChainStoreError::StorageOutlivesAccount { address });
        }
    }
    let Some(last) = blocks.last() else { return Ok(()) };
    let (number, timestamp) = (last.header.number, last.header.timestamp);
    Ok(write_head(writer, Head { number, hash: last.hash, timestamp })?)
}

/// The rows of a block but for its state.
fn block_rows(rows: &mut Batch, block: &NewBlock<'_>) {
    let number = block.header.number;
    let stored = StoredHeader { hash: block.hash, header: block.header.clone() };
    rows.write::<Headers>(&number, &stored);
    rows.write::<HeaderNumbers>(&block.hash, &number);
    for (index, transaction) in (0..).zip(block.transactions) {
        rows.write::<BlockBodies>(&(number, index), transaction);
        rows.write::<TransactionHashNumbers>(&transaction.hash(), &(number, index));
    }
    receipt_rows(rows, number, block.receipts);
    history_rows(rows, number, block.diff);
    rows.write::<OutputParts>(&number, &block.message_passer_root);
}

fn receipt_rows(rows: &mut Batch, number: u64, receipts: &[Receipt]) {
    let mut logs_before = 0_u32;
    for (index, receipt) in (0..).zip(receipts) {
        let stored = StoredReceipt { logs_before, receipt: receipt.clone() };
        rows.write::<Receipts>(&(number, index), &stored);
        // 2^32 logs would cost 2^40 gas at the least, 700 times a full block.
        let logs = u32::try_from(receipt.logs.len()).unwrap_or(u32::MAX);
        logs_before = logs_before.saturating_add(logs);
    }
}

/// Change sets and history indexes: what every changed account and slot was before the block.
fn history_rows(rows: &mut Batch, number: u64, diff: &StateDiff) {
    for (address, change) in &diff.accounts {
        if change.before != change.after {
            rows.write::<AccountChangeSets>(&(number, *address), &change.before);
            rows.write::<AccountsHistory>(&(*address, number), &());
        }
        for (slot, value) in change.slots.iter().filter(|(_, value)| value.before != value.after) {
            rows.write::<StorageChangeSets>(&((number, *address), *slot), &value.before);
            rows.write::<StoragesHistory>(&((*address, *slot), number), &());
        }
    }
}

/// The state tables after a block, and which accounts have gone for now.
fn state_rows(rows: &mut Batch, diff: &StateDiff, removed: &mut BTreeSet<Address>) {
    for (code_hash, code) in diff.codes.iter().filter(|(hash, _)| has_code(hash)) {
        rows.write::<Bytecodes>(code_hash, &Bytes::copy_from_slice(code.original_byte_slice()));
    }
    for (address, change) in &diff.accounts {
        let hashed_address = keccak256(address);
        match change.after {
            after if after == change.before => {}
            Some(account) => {
                removed.remove(address);
                rows.write::<HashedAccounts>(&hashed_address, &account);
            }
            None => {
                removed.insert(*address);
                rows.remove::<HashedAccounts>(&hashed_address);
            }
        }
        for (slot, value) in &change.slots {
            let key = (hashed_address, hashed_slot(*slot));
            if value.after.is_zero() {
                rows.remove::<HashedStorages>(&key);
            } else {
                rows.write::<HashedStorages>(&key, &value.after);
            }
        }
    }
}

/// Brings the state tables to what a change leads to, for a rollback.
pub(super) fn state(writer: &KvWriter, diff: &StateDiff) -> Result<(), ChainStoreError> {
    for (code_hash, code) in diff.codes.iter().filter(|(hash, _)| has_code(hash)) {
        writer
            .write::<Bytecodes>(code_hash, &Bytes::copy_from_slice(code.original_byte_slice()))?;
    }
    for (address, change) in &diff.accounts {
        account_state(writer, *address, change)?;
    }
    Ok(())
}

fn account_state(
    writer: &KvWriter,
    address: Address,
    change: &AccountDiff,
) -> Result<(), ChainStoreError> {
    let hashed_address = keccak256(address);
    if change.wiped && has_storage(writer, hashed_address)? {
        return Err(ChainStoreError::StorageOutlivesAccount { address });
    }
    if change.before != change.after {
        write_account(writer, hashed_address, change.after)?;
    }
    for (slot, value) in &change.slots {
        let key = (hashed_address, hashed_slot(*slot));
        if value.after.is_zero() {
            writer.remove::<HashedStorages>(&key)?;
        } else {
            writer.write::<HashedStorages>(&key, &value.after)?;
        }
    }
    if change.after.is_none() && has_storage(writer, hashed_address)? {
        return Err(ChainStoreError::StorageOutlivesAccount { address });
    }
    Ok(())
}

fn write_account(
    writer: &KvWriter,
    hashed_address: B256,
    account: Option<Account>,
) -> Result<(), TableError> {
    match account {
        Some(account) => writer.write::<HashedAccounts>(&hashed_address, &account),
        None => writer.remove::<HashedAccounts>(&hashed_address).map(|_| ()),
    }
}

fn has_storage<K: Access>(
    transaction: &KvTransaction<K>,
    hashed_address: B256,
) -> Result<bool, TableError> {
    let first = transaction.read_from::<HashedStorages>(&(hashed_address, B256::ZERO))?;
    Ok(first.is_some_and(|((address, _), _)| address == hashed_address))
}

/// Key of a slot in the state tables and in the storage trie.
pub(super) fn hashed_slot(slot: U256) -> B256 {
    keccak256(slot.to_be_bytes::<32>())
}
