//! The block that is being built: its mini-blocks, each durable in the order log before it is here,
//! and the state after them. An immutable value, replaced as a whole, so a reader sees no half of one.
//!
//! Owns looking things up in it. Does not execute, and does not decide when the block is sealed.

use super::Head;
use crate::store::log::{MiniBlockRecord, Opening};
use alloy::primitives::{
    Address, B256, U256,
    map::{AddressMap, B256Map, HashMap},
};
use executor::{Account, BlockEnv, Changes, Header, Receipt, Transaction};
use revm::bytecode::Bytecode;
use std::sync::Arc;

/// A part of a block, executed and durable.
#[derive(Debug)]
pub struct MiniBlock {
    /// Height of its block.
    pub number: u64,
    /// Hash of the block before.
    pub parent_hash: B256,
    /// Position of its record in the order log.
    pub position: u64,
    /// How many mini-blocks of the block come before it.
    pub index: usize,
    /// Index of its first transaction in the block.
    pub first_index: usize,
    /// Index of its first log in the block.
    pub first_log_index: u64,
    /// Gas that the block had used before it.
    pub gas_before: u64,
    /// Transactions in order.
    pub transactions: Vec<Transaction>,
    /// One receipt per transaction, as the block will have it.
    pub receipts: Vec<Receipt>,
    /// The block's first transaction, which sets the fees of the others.
    pub attributes: Option<Transaction>,
    /// What of the block everybody can see already.
    pub env: Arc<BlockEnv>,
    indexes: B256Map<usize>,
}

impl MiniBlock {
    /// Place of a transaction in the mini-block.
    #[must_use]
    pub fn index_of(&self, hash: &B256) -> Option<usize> {
        self.indexes.get(hash).copied()
    }

    /// Gas used by one of its transactions.
    #[must_use]
    pub fn gas_used(&self, index: usize) -> Option<u64> {
        let through = self.receipts.get(index)?.cumulative_gas_used;
        let before = index.checked_sub(1).and_then(|index| self.receipts.get(index));
        Some(through - before.map_or(self.gas_before, |receipt| receipt.cumulative_gas_used))
    }

    /// Index in the block of the first log of one of its transactions.
    #[must_use]
    pub fn log_index(&self, index: usize) -> u64 {
        let before = self.receipts.iter().take(index);
        self.first_log_index + before.map(|receipt| receipt.logs.len() as u64).sum::<u64>()
    }
}

/// What an order log has of a block that was not sealed when the node ended.
#[derive(Clone, Debug)]
pub struct Unsealed {
    /// Height.
    pub number: u64,
    /// What its first mini-block says of it.
    pub opening: Opening,
    /// The mini-blocks in order, with the positions of their records.
    pub(super) records: Vec<(u64, MiniBlockRecord)>,
}

impl Unsealed {
    pub(super) fn new(number: u64, opening: Opening) -> Self {
        Self { number, opening, records: Vec::new() }
    }

    pub(super) fn push(&mut self, position: u64, record: MiniBlockRecord) {
        self.records.push((position, record));
    }

    /// Transactions in order.
    #[must_use]
    pub fn transactions(&self) -> Vec<Transaction> {
        self.said().cloned().collect()
    }

    fn said(&self) -> impl Iterator<Item = &Transaction> {
        self.records.iter().flat_map(|(_, record)| &record.transactions)
    }

    /// Whether a sealed block is what was said of it.
    pub(super) fn is_kept_by(&self, block: Contents<'_>) -> bool {
        keeps_word(block, self.opening, self.said(), self.receipts())
    }

    pub(super) fn receipts(&self) -> impl Iterator<Item = &Receipt> {
        self.records.iter().flat_map(|(_, record)| &record.receipts)
    }

    /// Number of transactions.
    pub(super) fn len(&self) -> usize {
        self.records.iter().map(|(_, record)| record.transactions.len()).sum()
    }
}

/// Values that a part of the block left.
#[derive(Clone, Debug, Default)]
struct StateLayer {
    accounts: AddressMap<Option<Account>>,
    slots: HashMap<(Address, U256), U256>,
    codes: B256Map<Bytecode>,
}

impl StateLayer {
    fn of(changes: Changes) -> Self {
        let slots = changes.slots.into_iter();
        Self {
            accounts: changes.accounts.into_iter().collect(),
            slots: slots.map(|(address, slot, value)| ((address, slot), value)).collect(),
            codes: changes.codes.into_iter().collect(),
        }
    }

    fn keys(&self) -> usize {
        self.accounts.len() + self.slots.len()
    }

    /// This layer with a later one on top.
    fn with(&self, later: &Self) -> Self {
        let mut merged = self.clone();
        merged.accounts.extend(&later.accounts);
        merged.slots.extend(&later.slots);
        merged.codes.extend(later.codes.iter().map(|(hash, code)| (*hash, code.clone())));
        merged
    }
}

/// The open block as of one mini-block.
#[derive(Clone, Debug)]
pub struct OpenBlock {
    /// The block before, which is the head.
    pub parent: Head,
    /// Environment, which is the sealed block's.
    pub env: Arc<BlockEnv>,
    mini_blocks: Vec<Arc<MiniBlock>>,
    /// Oldest first. Each has more keys than the next, so there are few.
    layers: Vec<Arc<StateLayer>>,
}

impl OpenBlock {
    pub(super) fn new(parent: Head, env: BlockEnv) -> Self {
        Self { parent, env: Arc::new(env), mini_blocks: Vec::new(), layers: Vec::new() }
    }

    /// The mini-blocks in order.
    #[must_use]
    pub fn mini_blocks(&self) -> &[Arc<MiniBlock>] {
        &self.mini_blocks
    }

    /// Number of transactions.
    #[must_use]
    pub fn len(&self) -> usize {
        self.mini_blocks.last().map_or(0, |last| last.first_index + last.transactions.len())
    }

    /// Whether nothing was executed yet.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.mini_blocks.is_empty()
    }

    /// Gas used so far.
    #[must_use]
    pub fn gas_used(&self) -> u64 {
        let last = self.mini_blocks.last().and_then(|last| last.receipts.last());
        last.map_or(0, |receipt| receipt.cumulative_gas_used)
    }

    /// The transactions in order.
    pub fn transactions(&self) -> impl Iterator<Item = &Transaction> {
        self.mini_blocks.iter().flat_map(|mini_block| &mini_block.transactions)
    }

    /// Whether a sealed block is what was said of it.
    pub(super) fn is_kept_by(&self, block: Contents<'_>) -> bool {
        let receipts = self.mini_blocks.iter().flat_map(|mini_block| &mini_block.receipts);
        // Nothing is said before the first mini-block.
        self.is_empty() || keeps_word(block, opening(&self.env), self.transactions(), receipts)
    }

    /// Where a transaction is: its mini-block, and its place there.
    #[must_use]
    pub fn find(&self, hash: &B256) -> Option<(&Arc<MiniBlock>, usize)> {
        let mut newest_first = self.mini_blocks.iter().rev();
        newest_first.find_map(|mini_block| Some((mini_block, mini_block.index_of(hash)?)))
    }

    /// Its first mini-block says what the block is.
    pub(super) fn opening(&self) -> Option<Opening> {
        self.is_empty().then(|| opening(&self.env))
    }

    /// The block with one more mini-block, and what that left.
    pub(super) fn with(
        &self,
        position: u64,
        parts: Parts,
        changes: Changes,
    ) -> (Self, Arc<MiniBlock>) {
        let (transactions, receipts) = parts;
        let indexes = transactions.iter().enumerate();
        let before = self.mini_blocks.last();
        let first = before.map_or(transactions.first(), |before| before.attributes.as_ref());
        let attributes = first.cloned();
        let mini_block = Arc::new(MiniBlock {
            number: self.env.number,
            parent_hash: self.parent.hash,
            position,
            index: self.mini_blocks.len(),
            first_index: self.len(),
            first_log_index: before.map_or(0, |last| last.log_index(last.receipts.len())),
            gas_before: self.gas_used(),
            indexes: indexes.map(|(index, transaction)| (transaction.hash(), index)).collect(),
            env: self.env.clone(),
            attributes,
            transactions,
            receipts,
        });
        let mut next = self.clone();
        next.mini_blocks.push(mini_block.clone());
        next.put(changes);
        (next, mini_block)
    }

    /// Adds what the block's beginning changed, before its first mini-block.
    pub(super) fn put(&mut self, changes: Changes) {
        let mut layer = StateLayer::of(changes);
        while let Some(below) = self.layers.pop_if(|below| below.keys() <= 2 * layer.keys()) {
            layer = below.with(&layer);
        }
        self.layers.push(Arc::new(layer));
    }

    /// The account, if the block changed it.
    pub(super) fn account(&self, address: Address) -> Option<Option<Account>> {
        self.layers.iter().rev().find_map(|layer| layer.accounts.get(&address).copied())
    }

    /// The slot, if the block changed it.
    pub(super) fn slot(&self, address: Address, slot: U256) -> Option<U256> {
        self.layers.iter().rev().find_map(|layer| {
            let gone = || matches!(layer.accounts.get(&address), Some(None)).then_some(U256::ZERO);
            layer.slots.get(&(address, slot)).copied().or_else(gone)
        })
    }

    /// Code that the block brought.
    pub(super) fn code(&self, code_hash: &B256) -> Option<&Bytecode> {
        self.layers.iter().rev().find_map(|layer| layer.codes.get(code_hash))
    }
}

/// Transactions, and one receipt each.
pub(super) type Parts = (Vec<Transaction>, Vec<Receipt>);

/// What of a sealed block its mini-blocks have said: header, transactions and receipts.
pub(super) type Contents<'b> = (&'b Header, &'b [Transaction], &'b [Receipt]);

fn opening(env: &BlockEnv) -> Opening {
    let BlockEnv { parent_hash, timestamp, prevrandao, .. } = *env;
    Opening { parent_hash, timestamp, prevrandao }
}

/// Whether a sealed block keeps the word of its mini-blocks, which people act on before it is there:
/// it is the block that they opened, and begins with their transactions and receipts.
fn keeps_word<'a>(
    (header, transactions, receipts): Contents<'_>,
    opening: Opening,
    said: impl Iterator<Item = &'a Transaction>,
    said_receipts: impl Iterator<Item = &'a Receipt>,
) -> bool {
    fn begins<'a, T: PartialEq + 'a>(all: &[T], mut first: impl Iterator<Item = &'a T>) -> bool {
        let mut all = all.iter();
        first.all(|item| all.next() == Some(item))
    }
    header.parent_hash == opening.parent_hash
        && header.timestamp == opening.timestamp
        && header.mix_hash == opening.prevrandao
        && begins(transactions, said)
        && begins(receipts, said_receipts)
}
