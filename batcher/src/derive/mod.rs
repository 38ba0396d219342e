//! Derivation: from the Inbox's appends and the L1 chain to the inputs of L2 blocks. Pure; the
//! caller brings payloads and L1 blocks, executes what comes out and hands the header back.
//!
//! Owns the order of L2 blocks, every reason for which a posted batch is empty, and the tables that
//! one accepted channel leaves to the next. An empty batch is an outcome, never an error: every node
//! drops the same ones. Does not execute, and does not read L1: L1 reorgs are the caller's, who keeps
//! a clone of the state for each append and goes back to it.

pub mod assembler;
pub mod rules;

use crate::format::{Batch, Channel, History, Malformed};
use alloy::primitives::{Address, B256, Bytes};
use assembler::{Assembler, Assembly, FrameFault, OpenChannel};
use executor::{
    BlockInput, ChainRules, Deposit, Genesis, Header, L1Origin, RollupRules, Transaction,
    TransactionError,
};
use rules::{Epoch, Violation, check_origin_number, check_timestamp, next_origin_allowed};
use std::{collections::VecDeque, sync::Arc};

/// One Inbox append with its bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Append {
    /// Its id in the Inbox.
    pub id: u64,
    /// Accumulator after it.
    pub acc: B256,
    /// L1 block it is in.
    pub l1_block: u64,
    /// Its bytes, or why its blobs hold none.
    pub payload: Result<Bytes, Malformed>,
}

/// The L1 chain that derivation reads: canonical blocks before the append's.
pub trait L1Lookup {
    /// The canonical L1 block of this number, when loaded.
    fn origin(&self, number: u64) -> Option<L1Origin>;
    /// Its deposits in log order, when loaded.
    fn deposits(&self, number: u64) -> Option<Vec<Deposit>>;
}

/// The last derived block.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Head {
    /// Header.
    pub header: Header,
    /// Its hash.
    pub hash: B256,
    /// Its place on L1.
    pub epoch: Epoch,
}

/// Why an append or part of it is empty.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DropReason {
    /// The payload is no frame, or the channel does not decode.
    #[error("malformed: {0}")]
    Malformed(#[from] Malformed),
    /// The frame neither continues the open channel nor opens one.
    #[error("frame out of order")]
    FrameOutOfOrder,
    /// The channel was still open when another began.
    #[error("channel abandoned")]
    Abandoned,
    /// The channel is of another rollup.
    #[error("another chain id")]
    ChainId,
    /// The channel does not begin right after the derived head.
    #[error("first block is not the next one")]
    FirstBlock,
    /// The channel was built on another block than the derived head.
    #[error("parent is not the derived head")]
    Parent,
    /// The block may not follow its parent.
    #[error("{0}")]
    Violation(#[from] Violation),
    /// The L1 origin is not before the L1 block that carries the append.
    #[error("L1 origin not before the append")]
    OriginNotBeforeAppend,
    /// A transaction does not decode.
    #[error("transaction: {0}")]
    Transaction(#[from] TransactionError),
}

/// What became of an append.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// A frame of a channel that needs more.
    Continued,
    /// The append completed a channel of this many blocks; [`Derivation::next_block`] yields them.
    Ready {
        /// Blocks of the channel.
        blocks: usize,
        /// Whether it took nothing as said before: derivation may start before it without having
        /// seen the channels of before.
        is_fresh: bool,
    },
    /// The append, or the channel that was open, is empty.
    Dropped(DropReason),
}

/// The next block's input and where it comes from.
#[derive(Clone, Debug)]
pub struct Derived {
    /// Execute this, then call [`Derivation::advance`].
    pub input: BlockInput,
    /// Place of the block on L1.
    pub epoch: Epoch,
    /// Append that completed the channel the block came in.
    pub append_id: u64,
}

/// What [`Derivation::next_block`] came to.
#[derive(Clone, Debug)]
pub enum Step {
    /// Nothing left: push the next append.
    Idle,
    /// The L1 block of this number must be loaded first, with its deposits; then call again.
    NeedL1(u64),
    /// The L1 chain that is offered is not the one the head was derived from: L1 was reorganised,
    /// and the caller goes back to an earlier state.
    Reorged,
    /// A batch, and with it the rest of its channel, is empty: what follows has no parent.
    Dropped {
        /// Append that completed the channel.
        append_id: u64,
        /// Why.
        reason: DropReason,
    },
    /// A block.
    Block(Box<Derived>),
}

/// The header handed back is not that of the block that was yielded: the caller's mistake, and
/// nothing changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AdvanceError {
    /// No block is waiting for its header.
    #[error("no derived block is waiting for its header")]
    NotWaiting,
    /// Number or parent differ.
    #[error("the header is not of the derived block")]
    OtherBlock,
}

#[derive(Clone, Debug)]
struct Ready {
    append_id: u64,
    l1_block: u64,
    batches: VecDeque<Batch>,
    /// Who sent what its blocks so far hold.
    senders: Vec<Address>,
}

/// The block that was yielded.
#[derive(Clone, Debug)]
struct Waiting {
    epoch: Epoch,
    senders: Vec<Address>,
}

/// The state of derivation. Cloning is cheap while no channel is half consumed, which is when a caller
/// keeps clones; what they hold is their [`History`], up to two MiB each, and the frames of an open
/// channel, which clones share.
#[derive(Clone, Debug)]
pub struct Derivation {
    rules: Arc<ChainRules>,
    rollup: RollupRules,
    head: Head,
    assembler: Assembler,
    ready: Option<Ready>,
    waiting: Option<Waiting>,
    /// What the last accepted channel left.
    history: History,
}

impl Derivation {
    /// Starts after `head`, with no channel open and nothing said before: after the genesis block, or
    /// after the last block of a channel after which the next accepted one is fresh.
    #[must_use]
    pub fn new(rollup: RollupRules, head: Head) -> Self {
        Self {
            rules: Arc::new(ChainRules::Rollup(rollup.clone())),
            rollup,
            head,
            assembler: Assembler::default(),
            ready: None,
            waiting: None,
            history: History::default(),
        }
    }

    /// Starts after the genesis block, whose header and hash [`Genesis::build`] gives.
    #[must_use]
    pub fn from_genesis(genesis: &Genesis, header: Header, hash: B256) -> Self {
        let head = Head { header, hash, epoch: Epoch::genesis(genesis) };
        Self::new(genesis.rules.clone(), head)
    }

    /// The last derived block.
    #[must_use]
    pub fn head(&self) -> &Head {
        &self.head
    }

    /// The channel that waits for more frames.
    #[must_use]
    pub fn open_channel(&self) -> Option<OpenChannel> {
        self.assembler.open()
    }

    /// What the next channel may continue. Of use once [`Self::next_block`] is drained.
    #[must_use]
    pub fn history(&self) -> &History {
        &self.history
    }

    /// Lets go of what the next append may continue, which the caller keeps elsewhere or does not need:
    /// the tables and the frames of an open channel. From here only a fresh channel is accepted next.
    pub fn forget_channels(&mut self) {
        self.history = History::default();
        self.assembler.close();
    }

    /// Takes the next append, in the Inbox's order. Blocks still pending of the channel before are
    /// lost, so the caller drains [`Self::next_block`] first.
    pub fn push_append(&mut self, append: &Append) -> Vec<Outcome> {
        self.end_channel();
        let payload = match &append.payload {
            Ok(payload) => payload,
            Err(malformed) => {
                let dropped = Outcome::Dropped((*malformed).into());
                let abandoned = self.assembler.close();
                return outcomes(abandoned, dropped);
            }
        };
        let (assembly, abandoned) = self.assembler.push(payload, &self.history);
        let outcome = match assembly {
            Assembly::Continued => Outcome::Continued,
            Assembly::Lost(FrameFault::OutOfOrder) => Outcome::Dropped(DropReason::FrameOutOfOrder),
            Assembly::Lost(FrameFault::Malformed(malformed)) => Outcome::Dropped(malformed.into()),
            Assembly::Complete(channel, left) => self.accept(append, channel, left),
        };
        outcomes(abandoned, outcome)
    }

    fn accept(&mut self, append: &Append, channel: Channel, left: History) -> Outcome {
        let Channel { chain_id, first_block, parent_hash, batches } = channel;
        if chain_id != self.rollup.chain_id {
            return Outcome::Dropped(DropReason::ChainId);
        }
        if Some(first_block) != self.head.header.number.checked_add(1) {
            return Outcome::Dropped(DropReason::FirstBlock);
        }
        if parent_hash != self.head.hash {
            return Outcome::Dropped(DropReason::Parent);
        }
        let blocks = batches.len();
        let (append_id, l1_block) = (append.id, append.l1_block);
        let is_fresh = left.channels() == 1;
        self.history = left;
        self.ready =
            Some(Ready { append_id, l1_block, batches: batches.into(), senders: Vec::new() });
        Outcome::Ready { blocks, is_fresh }
    }

    /// The channel is at its end: its tables get the senders of those of its blocks that were derived.
    /// A batch that is dropped takes no part, nor does what follows it.
    fn end_channel(&mut self) {
        self.waiting = None;
        let Some(ready) = self.ready.take() else { return };
        if !ready.senders.is_empty() {
            self.history = self.history.with_senders(ready.senders);
        }
    }

    /// The next block of the channel, on the L1 chain that `l1` offers. Until [`Self::advance`] is
    /// called the same block is yielded again.
    pub fn next_block(&mut self, l1: &impl L1Lookup) -> Step {
        self.next_block_with(l1, decode_transactions)
    }

    /// [`Self::next_block`] with transactions that come from elsewhere: `decode` gives what
    /// [`decode_transactions`] gives for the batch, which may have been made beforehand.
    pub fn next_block_with(
        &mut self,
        l1: &impl L1Lookup,
        decode: impl FnOnce(&Batch) -> Result<Vec<Transaction>, TransactionError>,
    ) -> Step {
        let Some(ready) = &self.ready else { return Step::Idle };
        let Some(batch) = ready.batches.front() else {
            self.end_channel();
            return Step::Idle;
        };
        let append_id = ready.append_id;
        match self.derive(batch, ready.l1_block, l1, decode) {
            Ok((input, epoch)) => {
                let signed = input.transactions.iter().filter(|tx| tx.as_signed().is_some());
                let senders = signed.map(Transaction::sender).collect();
                self.waiting = Some(Waiting { epoch, senders });
                Step::Block(Box::new(Derived { input, epoch, append_id }))
            }
            Err(Stop::NeedL1(number)) => Step::NeedL1(number),
            Err(Stop::Reorged) => Step::Reorged,
            Err(Stop::Drop(reason)) => {
                self.end_channel();
                Step::Dropped { append_id, reason }
            }
        }
    }

    fn derive(
        &self,
        batch: &Batch,
        append_l1_block: u64,
        l1: &impl L1Lookup,
        decode: impl FnOnce(&Batch) -> Result<Vec<Transaction>, TransactionError>,
    ) -> Result<(BlockInput, Epoch), Stop> {
        let parent = &self.head;
        let advances = check_origin_number(&parent.epoch, batch.origin_number)?;
        if batch.origin_number >= append_l1_block {
            return Err(Stop::Drop(DropReason::OriginNotBeforeAppend));
        }
        let need = Stop::NeedL1(batch.origin_number);
        let origin = l1.origin(batch.origin_number).ok_or(need)?;
        // The head's origin is on the chain it was derived from. If L1 offers another, no batch is
        // to blame.
        let expected = if advances { origin.parent_hash } else { origin.hash };
        if expected != parent.epoch.hash {
            return Err(Stop::Reorged);
        }
        if Batch::check_of(origin.hash) != batch.origin_check {
            return Err(Violation::OriginHash.into());
        }
        let epoch = next_origin_allowed(&parent.epoch, &origin)?;
        check_timestamp(&self.rollup, parent.header.timestamp, &origin, batch.timestamp)?;
        let transactions = decode(batch).map_err(|error| Stop::Drop(error.into()))?;
        let deposits = if epoch.is_first() {
            l1.deposits(origin.number).ok_or(Stop::NeedL1(origin.number))?
        } else {
            Vec::new()
        };
        let input = BlockInput::rollup(
            &self.rules,
            (&parent.header, parent.hash),
            (&origin, epoch.sequence_number),
            batch.timestamp,
            deposits,
        );
        Ok((input.with_transactions(transactions), epoch))
    }

    /// The batch of the channel that is `index` batches after the next one to be yielded.
    #[must_use]
    pub fn ready_batch(&self, index: usize) -> Option<&Batch> {
        self.ready.as_ref()?.batches.get(index)
    }

    /// Takes the header of the block that was yielded last, once executed.
    ///
    /// # Errors
    /// [`AdvanceError`] when no block waits for its header, or the header is of another one.
    pub fn advance(&mut self, header: Header, hash: B256) -> Result<(), AdvanceError> {
        let waiting = self.waiting.as_ref().ok_or(AdvanceError::NotWaiting)?;
        let follows = header.number.checked_sub(1) == Some(self.head.header.number);
        if !follows || header.parent_hash != self.head.hash {
            return Err(AdvanceError::OtherBlock);
        }
        self.head = Head { header, hash, epoch: waiting.epoch };
        if let (Some(ready), Some(waiting)) = (&mut self.ready, self.waiting.take()) {
            ready.batches.pop_front();
            ready.senders.extend(waiting.senders);
            if ready.batches.is_empty() {
                self.end_channel();
            }
        }
        Ok(())
    }
}

/// The transactions of a batch with their senders.
///
/// # Errors
/// The first [`TransactionError`]; the batch is then dropped.
pub fn decode_transactions(batch: &Batch) -> Result<Vec<Transaction>, TransactionError> {
    batch.transactions.iter().cloned().map(Transaction::decode_signed).collect()
}

enum Stop {
    NeedL1(u64),
    Reorged,
    Drop(DropReason),
}

impl From<Violation> for Stop {
    fn from(violation: Violation) -> Self {
        Self::Drop(violation.into())
    }
}

fn outcomes(abandoned: bool, outcome: Outcome) -> Vec<Outcome> {
    let abandoned = abandoned.then_some(Outcome::Dropped(DropReason::Abandoned));
    abandoned.into_iter().chain([outcome]).collect()
}
