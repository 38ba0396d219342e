//! Mini-blocks: appended to the order log, and only then in the open block that readers see.
//!
//! Everything that happens to the chain is told here to who follows it, in the order of the log. Does
//! not execute; the block builder does, and gives what came of it.

use super::{
    ChainStore, ChainStoreError, Head, Inner,
    open_block::{MiniBlock, OpenBlock, Parts, Unsealed},
};
use crate::store::log::{MiniBlockRecord, RecordKind, StageRecord};
use executor::{BlockEnv, Changes, ExecutedBlock};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::{broadcast, watch};

/// Events that a listener may be behind; one further behind is told so, and reads on from the log.
const EVENTS_MAX: usize = 4_096;

/// What happened to the chain, in the order of the log's positions.
#[derive(Clone, Debug)]
pub enum ChainEvent {
    /// A part of the open block was executed.
    MiniBlock(Arc<MiniBlock>),
    /// A block was sealed.
    Sealed {
        /// Position in the order log.
        position: u64,
        /// The block.
        head: Head,
        /// Number of its transactions.
        transactions: usize,
    },
    /// The mini-blocks of the open block will not be sealed.
    Retracted {
        /// Position in the order log.
        position: u64,
        /// Height of the open block.
        number: u64,
    },
    /// Blocks were undone, and what was open with them.
    RolledBack {
        /// Position in the order log.
        position: u64,
        /// The block gone back to.
        to: u64,
    },
    /// L1 has a block, and all before it.
    Stage {
        /// Position in the order log.
        position: u64,
        /// The block.
        number: u64,
        /// How far it has come.
        record: StageRecord,
    },
}

impl ChainEvent {
    /// Position in the order log.
    #[must_use]
    pub fn position(&self) -> u64 {
        match self {
            Self::MiniBlock(mini_block) => mini_block.position,
            Self::Sealed { position, .. }
            | Self::Retracted { position, .. }
            | Self::RolledBack { position, .. }
            | Self::Stage { position, .. } => *position,
        }
    }
}

/// The open block, and those who follow the chain.
#[derive(Debug)]
pub(super) struct Preconfirmed {
    open: watch::Sender<Option<Arc<OpenBlock>>>,
    /// What the log had of a block that was not sealed, until the builder has it again.
    unsealed: Mutex<Option<Arc<Unsealed>>>,
    events: broadcast::Sender<ChainEvent>,
}

impl Preconfirmed {
    pub(super) fn new(unsealed: Option<Unsealed>) -> Self {
        Self {
            open: watch::Sender::new(None),
            unsealed: Mutex::new(unsealed.map(Arc::new)),
            events: broadcast::Sender::new(EVENTS_MAX),
        }
    }

    fn unsealed(&self) -> MutexGuard<'_, Option<Arc<Unsealed>>> {
        self.unsealed.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Nothing is open any more.
    pub(super) fn close(&self) {
        self.unsealed().take();
        self.open.send_replace(None);
    }

    pub(super) fn tell(&self, event: ChainEvent) {
        // An error means that nobody listens.
        let _ = self.events.send(event);
    }

    pub(super) fn open(&self) -> Option<Arc<OpenBlock>> {
        self.open.borrow().clone()
    }

    /// Whether a sealed block is what was said of it before.
    pub(super) fn agrees(&self, block: &ExecutedBlock) -> bool {
        let contents = (&block.header, &block.transactions[..], &block.receipts[..]);
        if let Some(open) = self.open() {
            return open.is_kept_by(contents);
        }
        self.unsealed().as_ref().is_none_or(|unsealed| unsealed.is_kept_by(contents))
    }
}

impl ChainStore {
    /// The block that is being built, as far as it is durable.
    #[must_use]
    pub fn open_block(&self) -> Option<Arc<OpenBlock>> {
        self.0.preconfirmed.open()
    }

    /// Follows everything that happens to the chain from now on.
    #[must_use]
    pub fn subscribe_events(&self) -> broadcast::Receiver<ChainEvent> {
        self.0.preconfirmed.events.subscribe()
    }

    /// What the log has of a block that was promised and not sealed: the builder has to execute it
    /// again before anything else.
    #[must_use]
    pub fn unsealed(&self) -> Option<Arc<Unsealed>> {
        let waiting = self.0.preconfirmed.unsealed().clone();
        waiting.or_else(|| self.open_block()?.to_unsealed().map(Arc::new))
    }

    /// Begins a block on top of the head: readers of the pending state see its environment, and
    /// what its beginning changed. Nothing is written.
    pub fn begin_block(&self, env: BlockEnv, changes: Changes) {
        let mut open = OpenBlock::new(self.head(), env);
        open.put(changes);
        self.0.preconfirmed.open.send_replace(Some(Arc::new(open)));
    }

    /// Takes up a block that the log has already a part of: what was executed again, and what came of
    /// it. `false` where that is not what the log has; then nothing is open, and
    /// [`Self::retract`] has to say so.
    pub fn resume_block(&self, env: BlockEnv, parts: Parts, changes: Changes) -> bool {
        let Some(unsealed) = self.unsealed() else { return false };
        let (transactions, receipts) = parts;
        let agrees = unsealed.number == env.number
            && unsealed.opening.timestamp == env.timestamp
            && unsealed.opening.parent_hash == env.parent_hash
            && transactions == unsealed.transactions()
            && unsealed.receipts().eq(&receipts);
        if !agrees {
            return false;
        }
        let mut open = OpenBlock::new(self.head(), env);
        for (position, record) in &unsealed.records {
            let parts = (record.transactions.clone(), record.receipts.clone());
            (open, _) = open.with(*position, parts, Changes::default());
        }
        open.put(changes);
        self.0.preconfirmed.unsealed().take();
        self.0.preconfirmed.open.send_replace(Some(Arc::new(open)));
        true
    }

    /// Makes a part of the open block durable, and only then shows it. Blocks the thread for the time
    /// of an fdatasync.
    ///
    /// # Errors
    /// [`ChainStoreError::NothingOpen`]; [`ChainStoreError::DiskFull`] until there is room; otherwise
    /// a file failed. Nothing of the part counts then.
    pub fn extend_block(&self, parts: Parts, changes: Changes) -> Result<(), ChainStoreError> {
        let _writer = self.0.writer.lock().unwrap_or_else(PoisonError::into_inner);
        self.0.check_not_diverged()?;
        let open = self.open_block().ok_or(ChainStoreError::NothingOpen)?;
        let first_index = u32::try_from(open.len()).unwrap_or(u32::MAX);
        let opens = (first_index, open.opening());
        let payload = MiniBlockRecord::encode(opens, &parts.0, &parts.1);
        let ticket = self.0.log.append(RecordKind::MiniBlock, open.env.number, &payload)?;
        self.0.log.wait(&ticket)?;
        let (open, mini_block) = open.with(ticket.position(), parts, changes);
        self.0.preconfirmed.open.send_replace(Some(Arc::new(open)));
        self.0.preconfirmed.tell(ChainEvent::MiniBlock(mini_block));
        Ok(())
    }

    /// Gives the open block up, and says so to everybody who was told of it. Nothing is written where
    /// nobody was.
    ///
    /// # Errors
    /// [`ChainStoreError::DiskFull`] until there is room; otherwise a file failed.
    pub fn retract(&self) -> Result<(), ChainStoreError> {
        let _writer = self.0.writer.lock().unwrap_or_else(PoisonError::into_inner);
        self.0.check_not_diverged()?;
        if let Some(unsealed) = self.unsealed() {
            let number = unsealed.number;
            let position = self.0.append(RecordKind::Retraction, number, &[])?;
            self.0.preconfirmed.close();
            self.0.preconfirmed.tell(ChainEvent::Retracted { position, number });
        } else {
            self.0.preconfirmed.close();
        }
        Ok(())
    }

    /// Writes down that a block has come further on L1, for those who follow the chain.
    ///
    /// # Errors
    /// [`ChainStoreError::DiskFull`] until there is room; otherwise a file failed.
    pub fn note_stage(&self, number: u64, record: StageRecord) -> Result<(), ChainStoreError> {
        let _writer = self.0.writer.lock().unwrap_or_else(PoisonError::into_inner);
        self.0.check_not_diverged()?;
        let position = self.0.append(RecordKind::Stage, number, &record.encode())?;
        self.0.preconfirmed.tell(ChainEvent::Stage { position, number, record });
        Ok(())
    }
}

impl Inner {
    /// Appends a record and waits until it is durable; its position.
    pub(super) fn append(
        &self,
        kind: RecordKind,
        height: u64,
        payload: &[u8],
    ) -> Result<u64, ChainStoreError> {
        let ticket = self.log.append(kind, height, payload)?;
        self.log.wait(&ticket)?;
        Ok(ticket.position())
    }
}

impl OpenBlock {
    /// What the log has of it.
    fn to_unsealed(&self) -> Option<Unsealed> {
        let opening = Self::new(self.parent, (*self.env).clone()).opening()?;
        let mut unsealed = Unsealed::new(self.env.number, opening);
        for mini_block in self.mini_blocks() {
            let first_index = u32::try_from(mini_block.first_index).unwrap_or(u32::MAX);
            let record = MiniBlockRecord {
                first_index,
                opening: (first_index == 0).then_some(opening),
                transactions: mini_block.transactions.clone(),
                receipts: mini_block.receipts.clone(),
            };
            unsealed.push(mini_block.position, record);
        }
        (!self.is_empty()).then_some(unsealed)
    }
}
