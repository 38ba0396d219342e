//! The rows of a new block: one function per kind. Works inside a transaction that the caller opens
//! and commits; checks nothing about the block's place in the chain.

use super::{ChainStoreError, Head, has_code, recent::RecentBlock, write_head};
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

/// Writes all rows of a block, and makes it the head.
pub(super) fn block(writer: &KvWriter, block: &NewBlock<'_>) -> Result<(), ChainStoreError> {
    let number = block.header.number;
    let stored = StoredHeader { hash: block.hash, header: block.header.clone() };
    writer.write::<Headers>(&number, &stored)?;
    writer.write::<HeaderNumbers>(&block.hash, &number)?;
    transactions(writer, number, block.transactions)?;
    receipts(writer, number, block.receipts)?;
    history(writer, number, block.diff)?;
    state(writer, block.diff)?;
    writer.write::<OutputParts>(&number, &block.message_passer_root)?;
    let head = Head { number, hash: block.hash, timestamp: block.header.timestamp };
    Ok(write_head(writer, head)?)
}

fn transactions(
    writer: &KvWriter,
    number: u64,
    transactions: &[Transaction],
) -> Result<(), TableError> {
    for (index, transaction) in (0..).zip(transactions) {
        writer.write::<BlockBodies>(&(number, index), transaction)?;
        writer.write::<TransactionHashNumbers>(&transaction.hash(), &(number, index))?;
    }
    Ok(())
}

fn receipts(writer: &KvWriter, number: u64, receipts: &[Receipt]) -> Result<(), TableError> {
    let mut logs_before = 0_u32;
    for (index, receipt) in (0..).zip(receipts) {
        let stored = StoredReceipt { logs_before, receipt: receipt.clone() };
        writer.write::<Receipts>(&(number, index), &stored)?;
        // 2^32 logs would cost 2^40 gas at the least, 700 times a full block.
        let logs = u32::try_from(receipt.logs.len()).unwrap_or(u32::MAX);
        logs_before = logs_before.saturating_add(logs);
    }
    Ok(())
}

/// Change sets and history indexes: what every changed account and slot was before the block.
fn history(writer: &KvWriter, number: u64, diff: &StateDiff) -> Result<(), TableError> {
    for (address, change) in &diff.accounts {
        if change.before != change.after {
            writer.write::<AccountChangeSets>(&(number, *address), &change.before)?;
            writer.write::<AccountsHistory>(&(*address, number), &())?;
        }
        for (slot, value) in change.slots.iter().filter(|(_, value)| value.before != value.after) {
            writer.write::<StorageChangeSets>(&((number, *address), *slot), &value.before)?;
            writer.write::<StoragesHistory>(&((*address, *slot), number), &())?;
        }
    }
    Ok(())
}

/// Brings the state tables from `before` to `after`; used forwards and, reversed, by a rollback.
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
