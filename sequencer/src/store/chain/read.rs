//! Reading blocks, receipts and indexes. Every call looks at the blocks of the order log first and
//! then reads one snapshot, so that a block that is folded meanwhile is found in either; two calls may
//! see two heads.

use super::{ChainStore, ChainStoreError, Corruption};
use crate::store::{
    kv::{Access, KvTransaction},
    tables::{
        BlockBodies, HeaderNumbers, Headers, OutputParts, Receipts, StoredReceipt, Table,
        TransactionHashNumbers,
    },
};
use alloy::primitives::B256;
use executor::{Header, Receipt, Transaction};
use std::ops::ControlFlow;

/// A block with everything the chain knows about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredBlock {
    /// Header.
    pub header: Header,
    /// Its hash.
    pub hash: B256,
    /// Transactions in order, with their senders.
    pub transactions: Vec<Transaction>,
    /// One receipt per transaction.
    pub receipts: Vec<Receipt>,
}

/// One transaction of a block and its receipt, read without the rest of the block.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TransactionAt {
    /// The transaction.
    pub transaction: Transaction,
    /// Its receipt.
    pub receipt: Receipt,
    /// Gas that this transaction used alone.
    pub gas_used: u64,
    /// Index of its first log within the block.
    pub first_log_index: u64,
}

impl ChainStore {
    /// Header and hash of a block; `None` above the head.
    ///
    /// # Errors
    /// [`ChainStoreError`] when the file cannot be read.
    pub fn header(&self, number: u64) -> Result<Option<(Header, B256)>, ChainStoreError> {
        if let Some(block) = self.0.recent.get().get(number) {
            return Ok(Some((block.record.header.clone(), block.record.hash)));
        }
        let snapshot = self.0.kv.snapshot()?;
        let stored = snapshot.read::<Headers>(&number)?;
        Ok(stored.map(|stored| (stored.header, stored.hash)))
    }

    /// A whole block; `None` above the head.
    ///
    /// # Errors
    /// [`ChainStoreError`] when the file cannot be read.
    pub fn block(&self, number: u64) -> Result<Option<StoredBlock>, ChainStoreError> {
        if let Some(block) = self.0.recent.get().get(number) {
            return Ok(Some(block.stored()));
        }
        read_block(&self.0.kv.snapshot()?, number)
    }

    /// Number of the block with this hash; `None` when it is not on the chain (any more).
    ///
    /// # Errors
    /// [`ChainStoreError`] when the file cannot be read.
    pub fn block_number(&self, hash: B256) -> Result<Option<u64>, ChainStoreError> {
        if let Some(number) = self.0.recent.get().by_hash(hash) {
            return Ok(Some(number));
        }
        Ok(self.0.kv.snapshot()?.read::<HeaderNumbers>(&hash)?)
    }

    /// The receipts of a block, in order; `None` above the head.
    ///
    /// # Errors
    /// [`ChainStoreError`] when the file cannot be read.
    pub fn receipts(&self, number: u64) -> Result<Option<Vec<Receipt>>, ChainStoreError> {
        if let Some(block) = self.0.recent.get().get(number) {
            return Ok(Some(block.record.receipts.clone()));
        }
        let snapshot = self.0.kv.snapshot()?;
        if snapshot.read::<Headers>(&number)?.is_none() {
            return Ok(None);
        }
        read_receipts(&snapshot, number).map(Some)
    }

    /// Block number and index within the block of a transaction; `None` when it is not on the
    /// chain.
    ///
    /// # Errors
    /// [`ChainStoreError`] when the file cannot be read.
    pub fn transaction_position(
        &self,
        hash: B256,
    ) -> Result<Option<(u64, usize)>, ChainStoreError> {
        if let Some(position) = self.0.recent.get().transaction_position(hash) {
            return Ok(Some(position));
        }
        let position = self.0.kv.snapshot()?.read::<TransactionHashNumbers>(&hash)?;
        Ok(position.map(|(number, index)| (number, index as usize)))
    }

    /// One transaction with its receipt, without reading the rest of its block; `None` where there
    /// is none.
    ///
    /// # Errors
    /// [`ChainStoreError`] when the file cannot be read.
    pub fn transaction_at(
        &self,
        number: u64,
        index: usize,
    ) -> Result<Option<TransactionAt>, ChainStoreError> {
        if let Some(block) = self.0.recent.get().get(number) {
            return Ok(block.transaction_at(index));
        }
        let Ok(index) = u32::try_from(index) else { return Ok(None) };
        let snapshot = self.0.kv.snapshot()?;
        let Some(transaction) = snapshot.read::<BlockBodies>(&(number, index))? else {
            return Ok(None);
        };
        let receipt_at = |index| -> Result<StoredReceipt, ChainStoreError> {
            let receipt = snapshot.read::<Receipts>(&(number, index))?;
            let missing = Corruption::Missing { table: Receipts::SPEC.name, number };
            Ok(receipt.ok_or(missing)?)
        };
        let StoredReceipt { logs_before, receipt } = receipt_at(index)?;
        let gas_before = match index.checked_sub(1) {
            Some(before) => receipt_at(before)?.receipt.cumulative_gas_used,
            None => 0,
        };
        Ok(Some(TransactionAt {
            transaction,
            gas_used: receipt.cumulative_gas_used.saturating_sub(gas_before),
            first_log_index: logs_before.into(),
            receipt,
        }))
    }

    /// Storage root of the message passer after a block, which its output root contains; kept for
    /// every block for ever. `None` above the head.
    ///
    /// # Errors
    /// [`ChainStoreError`] when the file cannot be read.
    pub fn message_passer_root(&self, number: u64) -> Result<Option<B256>, ChainStoreError> {
        if let Some(block) = self.0.recent.get().get(number) {
            return Ok(Some(block.message_passer_root));
        }
        Ok(self.0.kv.snapshot()?.read::<OutputParts>(&number)?)
    }
}

/// A whole block as `transaction` sees it.
pub(super) fn read_block<K: Access>(
    transaction: &KvTransaction<K>,
    number: u64,
) -> Result<Option<StoredBlock>, ChainStoreError> {
    let Some(stored) = transaction.read::<Headers>(&number)? else { return Ok(None) };
    let mut transactions = Vec::new();
    let visit = |(block, _), body| -> Result<_, ChainStoreError> {
        if block != number {
            return Ok(ControlFlow::Break(()));
        }
        transactions.push(body);
        Ok(ControlFlow::Continue(()))
    };
    transaction.visit_from::<BlockBodies, _>(&number, visit)?;
    let receipts = read_receipts(transaction, number)?;
    if receipts.len() != transactions.len() {
        return Err(Corruption::Missing { table: Receipts::SPEC.name, number }.into());
    }
    let (header, hash) = (stored.header, stored.hash);
    Ok(Some(StoredBlock { header, hash, transactions, receipts }))
}

fn read_receipts<K: Access>(
    transaction: &KvTransaction<K>,
    number: u64,
) -> Result<Vec<Receipt>, ChainStoreError> {
    let mut receipts = Vec::new();
    let visit = |(block, _), stored: StoredReceipt| -> Result<_, ChainStoreError> {
        if block != number {
            return Ok(ControlFlow::Break(()));
        }
        receipts.push(stored.receipt);
        Ok(ControlFlow::Continue(()))
    };
    transaction.visit_from::<Receipts, _>(&number, visit)?;
    Ok(receipts)
}
