//! The gate before the Inbox: the very bytes of a channel are read as anybody will read them, and have to
//! give the node's own blocks.
//!
//! Owns the comparison, and what is kept where it fails. The frames are put into blobs and taken out
//! again, assembled, decoded and derived from the head that L1 has; each block is executed in order by
//! the chain ([`BlockSource::replay`]), which is another path than the one that sealed it. Posts nothing,
//! and decides nothing about what follows.

use super::{PostError, Poster};
use crate::{
    derive::{Append, Derivation, DropReason, Outcome, Step, decode_transactions},
    encoder::{BlockId, SourceBlock, Submission},
    format::{Batch, ChannelId, blob},
    l1::{L1BlockReader, L1Error},
    source::{BlockSource, SourceError},
    tracker::{Likeness, Origins, TrackError},
};
use alloy::{
    eips::BlockNumberOrTag,
    primitives::{B256, Bytes, hex},
    rlp::Encodable,
};
use executor::{BlockInput, Header, Transaction, TransactionError};
use std::{
    fmt, io,
    path::{Path, PathBuf},
    time::Instant,
};

/// What is wrong with a channel.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Finding {
    /// A frame does not come back out of its blobs.
    #[error("frame {0} does not come back out of its blobs")]
    Blobs(u16),
    /// The channel, or a part of it, would be empty.
    #[error("it would be empty from block {next} on: {reason}")]
    Dropped {
        /// The first block that would not be derived.
        next: u64,
        /// Why.
        reason: DropReason,
    },
    /// It gives fewer or more blocks than it was made of.
    #[error("it ends at block {derived} and not at block {last}")]
    End {
        /// The last block that is derived.
        derived: u64,
        /// The last block that it was made of.
        last: u64,
    },
    /// A block is derived from other transactions, or at another place, than the node's.
    #[error("block {0} has other contents than the node's")]
    Contents(u64),
    /// Executed in order a block is another one.
    #[error("block {} executed in order is {}, the node has {}", .sealed.number, .replayed.hash_slow(), .sealed.hash_slow())]
    Execution {
        /// The node's header.
        sealed: Box<Header>,
        /// That of the execution in order.
        replayed: Box<Header>,
    },
}

/// A channel that must not be posted, with what shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Suspect {
    /// Its id.
    pub channel: ChannelId,
    /// The head that it follows.
    pub after: BlockId,
    /// What is wrong.
    pub finding: Finding,
    /// Its frames.
    pub frames: Vec<Bytes>,
    /// The input that the block in question was derived as, where it came so far.
    pub input: Option<Box<BlockInput>>,
}

impl fmt::Display for Suspect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { channel, after, finding, .. } = self;
        write!(f, "channel {channel} after block {} must not be posted: {finding}", after.number)
    }
}

impl Suspect {
    /// Writes everything below `directory`, in a folder that is named after the channel: `report.txt`,
    /// the frames as they would be posted, both headers (RLP) and the transactions of the block in
    /// question (EIP-2718). With the node's data directory it can be executed again.
    ///
    /// # Errors
    /// Those of the file system.
    pub fn keep(&self, directory: &Path) -> io::Result<PathBuf> {
        let folder = directory.join(hex::encode(self.channel));
        std::fs::create_dir_all(&folder)?;
        std::fs::write(folder.join("report.txt"), format!("{self}\nhead: {:?}\n", self.after))?;
        for (index, frame) in self.frames.iter().enumerate() {
            std::fs::write(folder.join(format!("frame-{index}.bin")), frame)?;
        }
        if let Finding::Execution { sealed, replayed } = &self.finding {
            for (name, header) in [("sealed", sealed), ("replayed", replayed)] {
                let mut rlp = Vec::new();
                header.encode(&mut rlp);
                std::fs::write(folder.join(format!("{name}-header.rlp")), rlp)?;
            }
        }
        let transactions = self.input.iter().flat_map(|input| &input.transactions);
        for (index, transaction) in transactions.enumerate() {
            std::fs::write(folder.join(format!("transaction-{index}.bin")), transaction.raw())?;
        }
        Ok(folder)
    }
}

/// A channel could not be checked, or must not be posted.
#[derive(Debug, thiserror::Error)]
pub enum GateError {
    /// As in [`L1Error`].
    #[error(transparent)]
    L1(#[from] L1Error),
    /// Retry: the node does not answer.
    #[error(transparent)]
    Source(#[from] SourceError),
    /// Halt: somebody has to look.
    #[error("{0}")]
    Suspect(Box<Suspect>),
}

impl Poster {
    /// Checks the channel that a submission begins, once. What follows the first frame was checked with it.
    pub(super) async fn pass_gate(&mut self, first: &Submission) -> Result<(), PostError> {
        if first.index != 0 || self.passed == Some(first.channel) {
            return Ok(());
        }
        self.check_origin(first.last_block).await?;
        let latest = self.tracker.inbox().block_id(BlockNumberOrTag::Latest).await;
        let latest = latest.map_err(TrackError::from)?.map_or(0, |latest| latest.number);
        let gate = Gate {
            frames: &self.encoder.channel(first.channel),
            derivation: self.tracker.derivation(),
            l1_block: latest.saturating_add(1),
            l1: self.tracker.l1_blocks(),
            source: self.source.as_ref(),
        };
        let started = Instant::now();
        match gate.check().await {
            Ok(()) => {
                tracing::debug!(channel = %first.channel, elapsed = ?started.elapsed(), "checked");
                self.passed = Some(first.channel);
                Ok(())
            }
            Err(GateError::Suspect(suspect)) => {
                // Either chain may have changed while it was read.
                self.check_origin(first.last_block).await?;
                let kept = self.evidence.as_deref().map(|directory| suspect.keep(directory));
                match kept {
                    Some(Ok(folder)) => {
                        tracing::error!(%suspect, folder = %folder.display(), "what shows it is kept");
                    }
                    Some(Err(error)) => tracing::error!(%suspect, %error, "it cannot be kept"),
                    None => tracing::error!(%suspect, "nothing is kept"),
                }
                Err(GateError::Suspect(suspect).into())
            }
            Err(error) => Err(error.into()),
        }
    }
}

/// A channel on its way to L1.
struct Gate<'a> {
    /// All its frames, the first one first.
    frames: &'a [Submission],
    /// Derivation as of L1 now.
    derivation: Derivation,
    /// The first L1 block that may carry it.
    l1_block: u64,
    l1: L1BlockReader,
    source: &'a dyn BlockSource,
}

impl Gate<'_> {
    /// Passes the channel or says why not. A block whose state the node does not have any more is compared
    /// by its contents only.
    async fn check(mut self) -> Result<(), GateError> {
        let Some(last) = self.frames.last() else { return Ok(()) };
        for frame in self.frames {
            // Calldata carries the same bytes as they are.
            if blob::unpack(&blob::pack(&frame.frame)).ok().as_ref() != Some(&frame.frame) {
                return Err(self.suspect(Finding::Blobs(frame.index), None));
            }
            let append = Append {
                id: 0,
                acc: B256::ZERO,
                l1_block: self.l1_block,
                payload: Ok(frame.frame.clone()),
            };
            for outcome in self.derivation.push_append(&append) {
                // What was left open on L1 ends here: it is posted anew.
                if let Outcome::Dropped(reason) = outcome
                    && reason != DropReason::Abandoned
                {
                    return Err(self.dropped(reason));
                }
            }
        }
        self.check_blocks().await?;
        let derived = self.derivation.head().header.number;
        if self.derivation.head().hash != last.last_block.hash {
            let last = last.last_block.number;
            return Err(self.suspect(Finding::End { derived, last }, None));
        }
        Ok(())
    }

    async fn check_blocks(&mut self) -> Result<(), GateError> {
        let mut origins = Origins::new(self.l1.clone(), self.l1_block);
        loop {
            let number = self.derivation.head().header.number + 1;
            let block = self.source.block(number).await?;
            let known = |batch: &Batch| transactions_of(batch, block.as_ref());
            match self.derivation.next_block_with(&origins, known) {
                Step::Idle => return Ok(()),
                Step::NeedL1(number) => origins.load(number).await?,
                Step::Reorged => return Err(L1Error::Reorged.into()),
                Step::Dropped { reason, .. } => return Err(self.dropped(reason)),
                Step::Block(derived) => {
                    // The node's chain changes while it is read.
                    let Some(block) = block else { return Err(L1Error::Reorged.into()) };
                    self.check_block(derived.input, block).await?;
                }
            }
        }
    }

    async fn check_block(
        &mut self,
        input: BlockInput,
        block: SourceBlock,
    ) -> Result<(), GateError> {
        let number = block.header.number;
        if Likeness::of(&input, &block.header, &block.transactions) != Likeness::Same {
            return Err(self.suspect(Finding::Contents(number), Some(input)));
        }
        match self.source.replay(&input).await? {
            None => tracing::warn!(number, "posted without executing it again: its state is gone"),
            Some(replayed) if replayed == block.header => {}
            Some(replayed) => {
                let (sealed, replayed) = (Box::new(block.header), Box::new(replayed));
                let finding = Finding::Execution { sealed, replayed };
                return Err(self.suspect(finding, Some(input)));
            }
        }
        let advanced = self.derivation.advance(block.header, block.hash);
        advanced.map_err(|_| self.suspect(Finding::Contents(number), None))
    }

    fn dropped(&self, reason: DropReason) -> GateError {
        let next = self.derivation.head().header.number + 1;
        self.suspect(Finding::Dropped { next, reason }, None)
    }

    fn suspect(&self, finding: Finding, input: Option<BlockInput>) -> GateError {
        let (channel, after) =
            self.frames.first().map(|first| (first.channel, first.parent)).unwrap_or_default();
        let frames = self.frames.iter().map(|frame| frame.frame.clone()).collect();
        let input = input.map(Box::new);
        GateError::Suspect(Box::new(Suspect { channel, after, finding, frames, input }))
    }
}

/// The node's own transactions where they are those of the batch, byte for byte: their senders are known
/// already. Otherwise they are decoded.
fn transactions_of(
    batch: &Batch,
    block: Option<&SourceBlock>,
) -> Result<Vec<Transaction>, TransactionError> {
    let own = block.into_iter().flat_map(|block| &block.transactions);
    let own: Vec<Transaction> = own.filter(|tx| tx.as_signed().is_some()).cloned().collect();
    if own.iter().map(Transaction::raw).eq(&batch.transactions) {
        Ok(own)
    } else {
        decode_transactions(batch)
    }
}
