//! What happened to the chain, read again from the order log, for those who follow it and were away.
//!
//! Owns the way from records to what they say. A record's position is its name for ever: positions
//! have no gaps, and none is given twice.

use super::{ChainEvent, ChainStore, Head};
use crate::store::log::{
    BlockRecord, LogError, MiniBlockRecord, Record, RecordKind, Stage, StageRecord,
};
use alloy::primitives::B256;
use executor::{Receipt, Transaction};

/// One thing that happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Followed {
    /// A part of a block was executed.
    MiniBlock {
        /// Height of the block.
        number: u64,
        /// Index of the first transaction in the block.
        first_index: usize,
        /// Transactions in order.
        transactions: Vec<Transaction>,
        /// One receipt per transaction.
        receipts: Vec<Receipt>,
    },
    /// A block was sealed.
    Sealed {
        /// The block.
        head: Head,
        /// Number of its transactions.
        transactions: usize,
    },
    /// Everything from this height on does not count any more.
    Retracted {
        /// Height of the first lost block, sealed or open.
        from: u64,
    },
    /// L1 has a block, and all before it.
    Stage {
        /// The block.
        number: u64,
        /// Its hash.
        hash: B256,
        /// How far it has come.
        stage: Stage,
    },
}

/// The log cannot be read from a position on.
#[derive(Debug, thiserror::Error)]
pub enum FollowError {
    /// What comes next is not kept any more.
    #[error("what follows position {after} is not kept; the oldest that is kept follows {oldest}")]
    Gone {
        /// The position asked for.
        after: u64,
        /// The least that can be asked for.
        oldest: u64,
    },
    /// Nothing has happened there yet.
    #[error("position {after} is ahead of the log, which is at {last}")]
    Ahead {
        /// The position asked for.
        after: u64,
        /// The last one.
        last: u64,
    },
    /// The log cannot be read.
    #[error(transparent)]
    Log(#[from] LogError),
    /// A record is not what this program writes.
    #[error("undecodable record at position {0} of the order log")]
    Record(u64),
    /// Whoever wanted it does not any more.
    #[error("nobody listens")]
    Ended,
}

impl From<&ChainEvent> for Followed {
    fn from(event: &ChainEvent) -> Self {
        match event {
            ChainEvent::MiniBlock(mini_block) => Self::MiniBlock {
                number: mini_block.number,
                first_index: mini_block.first_index,
                transactions: mini_block.transactions.clone(),
                receipts: mini_block.receipts.clone(),
            },
            ChainEvent::Sealed { head, transactions, .. } => {
                Self::Sealed { head: *head, transactions: *transactions }
            }
            ChainEvent::Retracted { number, .. } => Self::Retracted { from: *number },
            ChainEvent::RolledBack { to, .. } => Self::Retracted { from: to + 1 },
            ChainEvent::Stage { number, record, .. } => {
                Self::Stage { number: *number, hash: record.hash, stage: record.stage }
            }
        }
    }
}

impl Followed {
    fn read(record: &Record<'_>) -> Result<Self, FollowError> {
        let undecodable = FollowError::Record(record.position);
        let number = record.height;
        match record.kind {
            RecordKind::Block => {
                let block = BlockRecord::decode(record.payload).map_err(|_| undecodable)?;
                let timestamp = block.header.timestamp;
                let head = Head { number, hash: block.hash, timestamp };
                Ok(Self::Sealed { head, transactions: block.transactions.len() })
            }
            RecordKind::MiniBlock => {
                let part = MiniBlockRecord::decode(record.payload).map_err(|_| undecodable)?;
                let MiniBlockRecord { first_index, transactions, receipts, .. } = part;
                let first_index = first_index as usize;
                Ok(Self::MiniBlock { number, first_index, transactions, receipts })
            }
            RecordKind::Rollback => Ok(Self::Retracted { from: number + 1 }),
            RecordKind::Retraction => Ok(Self::Retracted { from: number }),
            RecordKind::Stage => {
                let StageRecord { stage, hash } =
                    StageRecord::decode(record.payload).ok_or(undecodable)?;
                Ok(Self::Stage { number, hash, stage })
            }
        }
    }
}

impl ChainStore {
    /// Position of the last thing that happened; 0 before the first.
    #[must_use]
    pub fn position(&self) -> u64 {
        self.0.log.durable_position()
    }

    /// The least position after which everything is kept.
    #[must_use]
    pub fn oldest_position(&self) -> u64 {
        self.0.log.first_position().saturating_sub(1)
    }

    /// Gives what happened after a position to `visit`, in order, until now. Blocks on the files.
    ///
    /// # Errors
    /// [`FollowError`]; what `visit` answers ends the reading.
    pub fn follow_from(
        &self,
        after: u64,
        mut visit: impl FnMut(u64, Followed) -> Result<(), FollowError>,
    ) -> Result<(), FollowError> {
        let last = self.position();
        if after > last {
            return Err(FollowError::Ahead { after, last });
        }
        let read = self.0.log.read_after(after, |record| {
            let position = record.position;
            visit(position, Followed::read(&record)?)
        });
        let oldest = self.oldest_position();
        match read {
            // A segment may be dropped between two looks.
            Err(FollowError::Log(LogError::Missing { .. })) if after < oldest => {
                Err(FollowError::Gone { after, oldest })
            }
            read => read,
        }
    }
}
