//! Start-up: what the order log has beyond the database becomes the list of recent blocks again, from
//! the records alone. Executes nothing; checks that every block follows the one before it and that
//! its state root is the one that its change gives.

use super::{
    ChainStoreError, Corruption, Head,
    recent::{Layer, RecentBlock},
    rollback::undo_folded,
    roots::Roots,
    write_position,
};
use crate::store::{
    kv::Kv,
    log::{BlockRecord, Record, RecordKind},
};
use alloy::primitives::B256;
use executor::StateDiff;
use std::sync::Arc;

/// The chain as far as it is read.
pub(super) struct Replay<'a> {
    kv: &'a Kv,
    roots: &'a Roots,
    /// The database's head, and its state root.
    folded: (Head, B256),
    blocks: Vec<Arc<RecentBlock>>,
}

impl<'a> Replay<'a> {
    /// At the database's head, whose state the engine has.
    pub(super) fn new(kv: &'a Kv, roots: &'a Roots, folded: (Head, B256)) -> Self {
        Self { kv, roots, folded, blocks: Vec::new() }
    }

    /// Takes the next record.
    pub(super) fn record(&mut self, record: Record<'_>) -> Result<(), ChainStoreError> {
        match record.kind {
            RecordKind::Block => self.block(record),
            RecordKind::Rollback => self.rollback(record),
        }
    }

    fn head(&self) -> Head {
        self.blocks.last().map_or(self.folded.0, |block| block.head())
    }

    fn block(&mut self, record: Record<'_>) -> Result<(), ChainStoreError> {
        let (number, position) = (record.height, record.position);
        let block = BlockRecord::decode(record.payload).map_err(|error| Corruption::LogBlock {
            number,
            position,
            error,
        })?;
        let (head, header) = (self.head(), &block.header);
        if header.number != number || number != head.number + 1 || header.parent_hash != head.hash {
            return Err(Corruption::LogOrder { number, position, head: head.number }.into());
        }
        let root = header.state_root;
        let message_passer_root = self.roots.prepare(root, &block.diff)?;
        let message_passer_root =
            message_passer_root.ok_or(Corruption::LogState { number, position })?;
        let bytes = record.payload.len();
        let block = RecentBlock::new(block, message_passer_root, position, bytes);
        self.roots.arrive(block.head(), self.folded.0.number);
        self.blocks.push(Arc::new(block));
        Ok(())
    }

    fn rollback(&mut self, record: Record<'_>) -> Result<(), ChainStoreError> {
        let (number, position) = (record.height, record.position);
        let head = self.head();
        if number > head.number {
            return Err(Corruption::LogOrder { number, position, head: head.number }.into());
        }
        while let Some(block) = self.blocks.pop_if(|block| block.number() > number) {
            let (target, root) = match self.blocks.last() {
                Some(parent) => (parent.head(), parent.record.header.state_root),
                None => self.folded,
            };
            self.go_back(target, root, &block.record.diff.reversed())?;
        }
        if number < self.folded.0.number {
            // The process ended between the record and the database's transaction.
            let writer = self.kv.writer()?;
            let undone = undo_folded(&writer, self.folded.0, number)?;
            self.go_back(undone.target, undone.state_root, &undone.diff)?;
            write_position(&writer, position)?;
            writer.commit()?;
            self.folded = (undone.target, undone.state_root);
        }
        Ok(())
    }

    fn go_back(&self, target: Head, root: B256, diff: &StateDiff) -> Result<(), ChainStoreError> {
        if self.roots.go_back(target, root, diff)? {
            return Ok(());
        }
        Err(Corruption::WayBack { number: target.number, header: root }.into())
    }

    /// The list of blocks.
    pub(super) fn finish(self) -> Layer {
        Layer { blocks: self.blocks, ..Layer::empty(self.folded.0, 0) }
    }
}
