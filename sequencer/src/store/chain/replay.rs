//! Start-up: what the order log has beyond the database becomes the list of recent blocks again, from
//! the records alone. Executes nothing; checks that every block follows the one before it and that
//! its state root is the one that its change gives.

use super::{
    ChainStoreError, Corruption, Head, Unsealed,
    recent::{Layer, RecentBlock},
    rollback::undo_folded,
    roots::Roots,
    write_position,
};
use crate::store::{
    kv::Kv,
    log::{BlockRecord, MiniBlockRecord, Record, RecordKind},
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
    /// The mini-blocks behind the last block.
    unsealed: Option<Unsealed>,
}

impl<'a> Replay<'a> {
    /// At the database's head, whose state the engine has.
    pub(super) fn new(kv: &'a Kv, roots: &'a Roots, folded: (Head, B256)) -> Self {
        Self { kv, roots, folded, blocks: Vec::new(), unsealed: None }
    }

    /// Takes the next record.
    pub(super) fn record(&mut self, record: Record<'_>) -> Result<(), ChainStoreError> {
        match record.kind {
            RecordKind::Block => self.block(record),
            RecordKind::Rollback => {
                self.unsealed = None;
                self.rollback(record)
            }
            RecordKind::MiniBlock => self.mini_block(record),
            RecordKind::Retraction => {
                self.unsealed = None;
                Ok(())
            }
            // For those who follow the chain; they read the log themselves.
            RecordKind::Stage => Ok(()),
        }
    }

    fn mini_block(&mut self, record: Record<'_>) -> Result<(), ChainStoreError> {
        let (number, position) = (record.height, record.position);
        let part = MiniBlockRecord::decode(record.payload);
        let part = part.map_err(|error| Corruption::LogBlock { number, position, error })?;
        let head = self.head();
        let order = Corruption::LogOrder { number, position, head: head.number };
        if number != head.number + 1 {
            return Err(order.into());
        }
        if let Some(opening) = part.opening {
            if opening.parent_hash != head.hash || self.unsealed.is_some() {
                return Err(order.into());
            }
            self.unsealed = Some(Unsealed::new(number, opening));
        }
        let follows = |unsealed: &&mut Unsealed| unsealed.len() == part.first_index as usize;
        let unsealed = self.unsealed.as_mut().filter(follows).ok_or(order)?;
        unsealed.push(position, part);
        Ok(())
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
        let contents = (header, &block.transactions[..], &block.receipts[..]);
        if self.unsealed.take().is_some_and(|unsealed| !unsealed.is_kept_by(contents)) {
            return Err(Corruption::LogMiniBlocks { number, position }.into());
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

    /// The list of blocks, and what there is of one that is not sealed.
    pub(super) fn finish(self) -> (Layer, Option<Unsealed>) {
        let layer = Layer { blocks: self.blocks, ..Layer::empty(self.folded.0, 0) };
        (layer, self.unsealed)
    }
}
