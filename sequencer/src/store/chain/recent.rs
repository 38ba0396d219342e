//! The blocks that the order log has and the database has not yet: an immutable list that views share,
//! replaced as a whole by every commit, fold and rollback.
//!
//! Owns looking things up in those blocks. Does not decide when a block is folded, and writes nothing.

use super::{Head, StoredBlock, TransactionAt};
use crate::store::log::BlockRecord;
use alloy::primitives::{Address, B256, U256, map::B256Map};
use executor::{Account, StateDiff};
use revm::bytecode::Bytecode;
use std::sync::{Arc, PoisonError, RwLock};

/// A block of the log and its place in the log.
#[derive(Debug)]
pub(super) struct RecentBlock {
    pub(super) record: BlockRecord,
    /// Storage root of the message passer after it.
    pub(super) message_passer_root: B256,
    /// Position of its record.
    pub(super) position: u64,
    /// Size of its record, as a measure of what it takes in memory.
    pub(super) bytes: usize,
    indexes: B256Map<usize>,
    touched: Filter,
    /// Some account goes, or all of its storage: then any of its slots may have changed.
    removes: bool,
}

/// Which accounts and slots a block certainly did not change, in a word for every four of them: a view
/// asks dozens of blocks for each value, and few have it.
#[derive(Debug)]
struct Filter(Vec<u64>);

impl Filter {
    fn of(diff: &StateDiff) -> Self {
        let slots: usize = diff.accounts.values().map(|change| change.slots.len()).sum();
        let words = (diff.accounts.len() + slots).div_ceil(4).next_power_of_two();
        let mut filter = Self(vec![0; words]);
        for (address, change) in &diff.accounts {
            filter.add(mix(address.as_slice(), 0));
            for slot in change.slots.keys() {
                filter.add(Self::slot(*address, *slot));
            }
        }
        filter
    }

    fn slot(address: Address, slot: U256) -> u64 {
        mix(&slot.to_be_bytes::<32>(), mix(address.as_slice(), 0))
    }

    /// A word, and four bits of it.
    fn place(&self, key: u64) -> (usize, u64) {
        let bits = [0, 6, 12, 18].map(|shift| 1 << (key >> shift & 63));
        #[allow(clippy::cast_possible_truncation, reason = "fewer words than 2^32")]
        let word = (key >> 32) as usize & (self.0.len() - 1);
        (word, bits.into_iter().fold(0, |bits, bit| bits | bit))
    }

    fn add(&mut self, key: u64) {
        let (word, bits) = self.place(key);
        self.0[word] |= bits;
    }

    fn may_have(&self, key: u64) -> bool {
        let (word, bits) = self.place(key);
        self.0[word] & bits == bits
    }
}

/// Spreads a key. Whoever finds keys that fall together makes a look-up as slow as without a filter.
fn mix(bytes: &[u8], seed: u64) -> u64 {
    bytes.chunks(8).fold(seed, |mixed, chunk| {
        let mut word = [0; 8];
        word[..chunk.len()].copy_from_slice(chunk);
        let mixed = (mixed ^ u64::from_le_bytes(word)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        mixed ^ mixed >> 29
    })
}

impl RecentBlock {
    pub(super) fn new(
        record: BlockRecord,
        message_passer_root: B256,
        position: u64,
        bytes: usize,
    ) -> Self {
        let transactions = record.transactions.iter().enumerate();
        let indexes = transactions.map(|(index, transaction)| (transaction.hash(), index));
        let indexes = indexes.collect();
        let touched = Filter::of(&record.diff);
        let mut changes = record.diff.accounts.values();
        let removes = changes.any(|change| change.wiped || change.after.is_none());
        Self { record, message_passer_root, position, bytes, indexes, touched, removes }
    }

    pub(super) fn number(&self) -> u64 {
        self.record.header.number
    }

    pub(super) fn head(&self) -> Head {
        let header = &self.record.header;
        Head { number: header.number, hash: self.record.hash, timestamp: header.timestamp }
    }

    pub(super) fn stored(&self) -> StoredBlock {
        StoredBlock {
            header: self.record.header.clone(),
            hash: self.record.hash,
            transactions: self.record.transactions.clone(),
            receipts: self.record.receipts.clone(),
        }
    }

    pub(super) fn transaction_at(&self, index: usize) -> Option<TransactionAt> {
        let transaction = self.record.transactions.get(index)?.clone();
        let receipt = self.record.receipts.get(index)?.clone();
        let earlier = self.record.receipts.get(..index)?;
        let gas_before = earlier.last().map_or(0, |before| before.cumulative_gas_used);
        Some(TransactionAt {
            transaction,
            gas_used: receipt.cumulative_gas_used.saturating_sub(gas_before),
            first_log_index: earlier.iter().map(|receipt| receipt.logs.len() as u64).sum(),
            receipt,
        })
    }

    /// The account after this block, if the block touched it.
    fn account(&self, address: Address) -> Option<Option<Account>> {
        if !self.touched.may_have(mix(address.as_slice(), 0)) {
            return None;
        }
        self.record.diff.accounts.get(&address).map(|change| change.after)
    }

    /// The slot after this block, if the block changed it.
    fn slot(&self, address: Address, slot: U256) -> Option<U256> {
        if !self.removes && !self.touched.may_have(Filter::slot(address, slot)) {
            return None;
        }
        let change = self.record.diff.accounts.get(&address)?;
        let gone = change.wiped || change.after.is_none();
        let value = change.slots.get(&slot).map(|value| value.after);
        value.or(gone.then_some(U256::ZERO))
    }
}

/// The head of the database and the blocks above it, oldest first.
#[derive(Debug)]
pub(super) struct Layer {
    /// Counts blocks and rollbacks since the store was opened.
    pub(super) version: u64,
    pub(super) folded: Head,
    pub(super) blocks: Vec<Arc<RecentBlock>>,
    /// The block that the database is being taken back to, while its transaction is committed: a
    /// snapshot may show it before the commit returns.
    pub(super) undoing_to: Option<Head>,
}

impl Layer {
    /// Nothing but what the database has.
    pub(super) const fn empty(folded: Head, version: u64) -> Self {
        Self { version, folded, blocks: Vec::new(), undoing_to: None }
    }

    fn with(&self, blocks: impl Iterator<Item = Arc<RecentBlock>>) -> Self {
        let (version, folded) = (self.version, self.folded);
        Self { version, folded, blocks: blocks.collect(), undoing_to: None }
    }

    /// The head of the chain.
    pub(super) fn head(&self) -> Head {
        self.blocks.last().map_or(self.folded, |block| block.head())
    }

    /// A block above the database's head.
    pub(super) fn get(&self, number: u64) -> Option<&Arc<RecentBlock>> {
        let index = number.checked_sub(self.folded.number + 1)?;
        self.blocks.get(usize::try_from(index).ok()?)
    }

    /// The same list, while the database is taken back to `target`.
    pub(super) fn undoing(&self, target: Head) -> Self {
        Self { undoing_to: Some(target), ..self.with(self.blocks.iter().cloned()) }
    }

    /// A block as a head, the database's included.
    pub(super) fn head_at(&self, number: u64) -> Option<Head> {
        let own = || self.get(number).map(|block| block.head());
        if number == self.folded.number { Some(self.folded) } else { own() }
    }

    pub(super) fn by_hash(&self, hash: B256) -> Option<u64> {
        let block = self.blocks.iter().rev().find(|block| block.record.hash == hash)?;
        Some(block.number())
    }

    pub(super) fn transaction_position(&self, hash: B256) -> Option<(u64, usize)> {
        self.blocks
            .iter()
            .rev()
            .find_map(|block| block.indexes.get(&hash).map(|index| (block.number(), *index)))
    }

    /// The blocks above `above` and up to `through`, newest first.
    fn newest_first(&self, above: u64, through: u64) -> impl Iterator<Item = &RecentBlock> {
        let within =
            move |block: &&Arc<RecentBlock>| block.number() > above && block.number() <= through;
        self.blocks.iter().rev().filter(within).map(|block| &**block)
    }

    /// The account after block `through`, if a block above `above` touched it.
    pub(super) fn account(
        &self,
        address: Address,
        above: u64,
        through: u64,
    ) -> Option<Option<Account>> {
        self.newest_first(above, through).find_map(|block| block.account(address))
    }

    /// The slot after block `through`, if a block above `above` changed it.
    pub(super) fn slot(
        &self,
        address: Address,
        slot: U256,
        above: u64,
        through: u64,
    ) -> Option<U256> {
        self.newest_first(above, through).find_map(|block| block.slot(address, slot))
    }

    /// Code is content: whichever block brought it.
    pub(super) fn code(&self, code_hash: B256) -> Option<&Bytecode> {
        self.blocks.iter().rev().find_map(|block| block.record.diff.codes.get(&code_hash))
    }

    pub(super) fn bytes(&self) -> usize {
        self.blocks.iter().map(|block| block.bytes).sum()
    }
}

/// The current list. The lock is held to copy or replace a pointer.
#[derive(Debug)]
pub(super) struct Recent(RwLock<Arc<Layer>>);

impl Recent {
    pub(super) fn new(layer: Layer) -> Self {
        Self(RwLock::new(Arc::new(layer)))
    }

    pub(super) fn get(&self) -> Arc<Layer> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Replaces the list by what `change` makes of it. A commit and a fold may come at once: each
    /// changes what the other left.
    pub(super) fn change(&self, change: impl FnOnce(&Layer) -> Layer) {
        let mut layer = self.0.write().unwrap_or_else(PoisonError::into_inner);
        let changed = Arc::new(change(&layer));
        let old = std::mem::replace(&mut *layer, changed);
        drop(layer);
        // Outside the lock: the last reader of a block frees its maps.
        drop(old);
    }

    pub(super) fn push(&self, block: RecentBlock) {
        let block = Arc::new(block);
        self.change(|layer| Layer {
            version: layer.version + 1,
            ..layer.with(layer.blocks.iter().cloned().chain([block]))
        });
    }

    /// The database has everything through `folded` now.
    pub(super) fn remove_folded(&self, folded: Head) {
        self.change(|layer| {
            let above = layer.blocks.iter().filter(|block| block.number() > folded.number);
            Layer { folded, ..layer.with(above.cloned()) }
        });
    }

    /// Forgets the blocks above `number`.
    pub(super) fn truncate(&self, number: u64) {
        self.change(|layer| {
            let kept = layer.blocks.iter().filter(|block| block.number() <= number);
            Layer { version: layer.version + 1, ..layer.with(kept.cloned()) }
        });
    }
}
