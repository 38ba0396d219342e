//! Start-up: what the order log has beyond the database becomes the list of recent blocks again, from
//! the records alone. Executes nothing; checks that every block follows the one before it and that
//! its state root is the one that its change gives.

use super::{
    ChainStoreError, Corruption, Head,
    recent::{Layer, RecentBlock},
    rollback::undo_folded,
    tries::Tries,
    write_position,
};
use crate::store::{
    kv::Kv,
    log::{BlockRecord, Record, RecordKind},
};
use executor::StateTrie;
use std::sync::Arc;

/// The chain as far as it is read.
pub(super) struct Replay<'a> {
    kv: &'a Kv,
    folded: (Head, StateTrie),
    blocks: Vec<Arc<RecentBlock>>,
}

impl<'a> Replay<'a> {
    /// At the database's head.
    pub(super) fn new(kv: &'a Kv, head: Head, trie: StateTrie) -> Self {
        Self { kv, folded: (head, trie), blocks: Vec::new() }
    }

    /// Takes the next record.
    pub(super) fn record(&mut self, record: Record<'_>) -> Result<(), ChainStoreError> {
        match record.kind {
            RecordKind::Block => self.block(record),
            RecordKind::Rollback => self.rollback(record),
        }
    }

    fn head(&self) -> (Head, &StateTrie) {
        let folded = (self.folded.0, &self.folded.1);
        self.blocks.last().map_or(folded, |block| (block.head(), &block.trie))
    }

    fn block(&mut self, record: Record<'_>) -> Result<(), ChainStoreError> {
        let (number, position) = (record.height, record.position);
        let block = BlockRecord::decode(record.payload).map_err(|error| Corruption::LogBlock {
            number,
            position,
            error,
        })?;
        let (head, trie) = self.head();
        let header = &block.header;
        if header.number != number || number != head.number + 1 || header.parent_hash != head.hash {
            return Err(Corruption::LogOrder { number, position, head: head.number }.into());
        }
        let trie = trie.apply(&block.diff)?;
        if trie.root() != header.state_root {
            let (header, tables) = (header.state_root, trie.root());
            return Err(Corruption::StateRoot { number, header, tables }.into());
        }
        let bytes = record.payload.len();
        self.blocks.push(Arc::new(RecentBlock::new(block, trie, position, bytes)));
        Ok(())
    }

    fn rollback(&mut self, record: Record<'_>) -> Result<(), ChainStoreError> {
        let (number, position) = (record.height, record.position);
        let head = self.head().0;
        if number > head.number {
            return Err(Corruption::LogOrder { number, position, head: head.number }.into());
        }
        self.blocks.retain(|block| block.number() <= number);
        if number < self.folded.0.number {
            // The process ended between the record and the database's transaction.
            let writer = self.kv.writer()?;
            let undone = undo_folded(&writer, self.folded.0, &self.folded.1, number)?;
            write_position(&writer, position)?;
            writer.commit()?;
            self.folded = (undone.target, undone.trie);
        }
        Ok(())
    }

    /// The list, and the tries of its blocks and of the database's head.
    pub(super) fn finish(self) -> (Layer, Tries) {
        let (head, trie) = self.folded;
        let tries = Tries::new(head, trie);
        for block in &self.blocks {
            tries.insert(block.head(), block.trie.clone());
        }
        (Layer { blocks: self.blocks, ..Layer::empty(head) }, tries)
    }
}
