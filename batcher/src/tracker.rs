//! What of the L2 chain is on L1: follows the Inbox through derivation and hands every derived block to
//! a chain ([`DerivedChain`]). A node's own compares it with its block, so that the safe head is what any
//! other node would derive; a follower's and a verifier's execute it.
//!
//! Owns the safe and finalized heads, the way back after an L1 reorg, and where a later run may start.
//! It executes nothing itself and posts nothing.

mod decoding;

use crate::{
    derive::{
        Append, Derivation, Derived, DropReason, Head, L1Lookup, Outcome, Step,
        assembler::OpenChannel, decode_transactions, rules::Epoch,
    },
    encoder::{BlockId, SourceBlock},
    format::History,
    l1::{
        AppendsAhead, BlocksAhead, InboxPosition, InboxReader, L1Block, L1BlockReader, L1Error,
        Missing, PostedAppend,
    },
    source::{BlockSource, SourceError},
};
use alloy::{eips::BlockNumberOrTag, primitives::B256};
use async_trait::async_trait;
use decoding::Decoding;
use executor::{BlockInput, Deposit, Genesis, Header, L1Origin, RollupRules, Transaction};
use std::{
    collections::{BTreeMap, VecDeque},
    fmt,
    sync::Arc,
    time::{Duration, Instant},
};

/// L1 blocks that are read on one view of L1: a reorg of the last of them throws away what was read
/// since then.
const READING_BLOCKS_MAX: u64 = 1_000;
/// Time after which a [`Tracker::sync`] ends at the next append, so that its caller can say how far it
/// is; the next one goes on with what is read ahead.
const SYNC_TIME: Duration = Duration::from_secs(2);
/// L1 blocks kept while deriving: origins only move forward, by one.
const ORIGINS_KEPT: usize = 16;
/// Appends that an L1 reorg can undo. When full the oldest is forgotten; a deeper reorg is
/// [`TrackError::DeepReorg`]. More than L1 leaves unfinalized unless it stops finalizing for days.
const CHECKPOINTS_MAX: usize = 4_096;
/// Newest checkpoints that keep what the next channel may continue, up to two MiB each. A reorg of
/// more appends is followed from the oldest checkpoint on: its channels are read again.
const HISTORIES_KEPT: usize = 16;

/// An L2 head as L1 has it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SafeHead {
    /// L2 block.
    pub block: BlockId,
    /// L1 block of the last append that was taken into account.
    pub l1_block: BlockId,
    /// The Inbox after that append.
    pub position: InboxPosition,
}

/// The heads that L1 determines.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Heads {
    /// Derivable from L1 as it is now. Not below the finalized one.
    pub safe: SafeHead,
    /// Derivable from finalized L1.
    pub finalized: SafeHead,
    /// From where a later run may track on: final, no channel open at it, and the channel after it
    /// continues no other. Not above the finalized one.
    pub start: SafeHead,
}

/// Where tracking starts: genesis, or the [`Heads::start`] of an earlier run.
#[derive(Clone, Debug)]
pub struct TrackerStart {
    /// L2 head with no channel open behind it; the next accepted channel is fresh.
    pub head: Head,
    /// The Inbox at that point.
    pub position: InboxPosition,
    /// L1 block at which the Inbox was there, on every chain that L1 can still become.
    pub l1_block: BlockId,
    /// The finalized head, which an earlier run may have seen further on.
    pub finalized: SafeHead,
}

impl TrackerStart {
    /// From the genesis block, whose header and hash [`Genesis::build`] gives. The Inbox commits to
    /// the anchor's hash, so it has no append up to there.
    #[must_use]
    pub fn genesis(genesis: &Genesis, header: Header, hash: B256) -> Self {
        let l1_block = BlockId { number: genesis.l1.origin_number, hash: genesis.l1.origin_hash };
        let epoch = Epoch::genesis(genesis);
        let block = BlockId { number: header.number, hash };
        let head = Head { header, hash, epoch };
        let position = InboxPosition::default();
        Self { head, position, l1_block, finalized: SafeHead { block, l1_block, position } }
    }

    /// From the heads of an earlier run and the block where they say to start, so that not all of L1
    /// is read. `None` when the block is another one.
    #[must_use]
    pub fn resume(genesis: &Self, heads: &Heads, block: &SourceBlock) -> Option<Self> {
        let Heads { start, finalized, .. } = *heads;
        if start.block == genesis.finalized.block {
            return (block.id() == start.block).then(|| Self { finalized, ..genesis.clone() });
        }
        let attributes = block.attributes().filter(|_| block.id() == start.block)?;
        let epoch = Epoch {
            number: attributes.number,
            hash: attributes.hash,
            sequence_number: attributes.sequence_number,
        };
        let head = Head { header: block.header.clone(), hash: block.hash, epoch };
        Some(Self { head, position: start.position, l1_block: start.l1_block, finalized })
    }
}

/// Tracking failed, grouped by what the caller does.
#[derive(Debug, thiserror::Error)]
pub enum TrackError {
    /// As in [`L1Error`].
    #[error(transparent)]
    L1(#[from] L1Error),
    /// Retry: the node does not answer.
    #[error(transparent)]
    Source(#[from] SourceError),
    /// Retry: L1 has a block that the node does not have yet; the node has to derive it.
    #[error("L2 block {0} is on L1 and not here")]
    Behind(u64),
    /// Reset: L1 has another block than the node; the node has to give up its own.
    #[error("L2 block {0} on L1 is another one than here")]
    Diverged(u64),
    /// Retry: the chain that derived blocks go to did not take one.
    #[error("{0}")]
    Unsettled(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// Halt: an L1 reorg goes back before everything that is remembered.
    #[error("L1 was reorganised below block {0}, which was taken for final")]
    DeepReorg(u64),
}

#[derive(Clone, Debug)]
struct Checkpoint {
    derivation: Derivation,
    l1_block: BlockId,
    position: InboxPosition,
    /// The append completed an accepted channel that continues no other.
    ends_fresh: bool,
    /// Derivation can go on from here: it has what the next channel may continue.
    has_history: bool,
}

impl Checkpoint {
    fn is_closed(&self) -> bool {
        self.derivation.open_channel().is_none()
    }

    fn safe_head(&self) -> SafeHead {
        let head = self.derivation.head();
        let block = BlockId { number: head.header.number, hash: head.hash };
        SafeHead { block, l1_block: self.l1_block, position: self.position }
    }
}

/// Where derived blocks go, in order.
#[async_trait]
pub trait DerivedChain: Send + Sync + fmt::Debug {
    /// Header and hash of the block that `derived` is, which follows the one before. After an L1 reorg
    /// it may follow an earlier one.
    async fn settle(&self, derived: Derived) -> Result<(Header, B256), TrackError>;
}

/// The chain of a node that builds its own blocks.
#[derive(Debug)]
struct OwnChain(Arc<dyn BlockSource>);

#[async_trait]
impl DerivedChain for OwnChain {
    async fn settle(&self, derived: Derived) -> Result<(Header, B256), TrackError> {
        let number = derived.input.env.number;
        let block = self.0.block(number).await?.ok_or(TrackError::Behind(number))?;
        if !is_input_of(&derived.input, &block.header, &block.transactions) {
            return Err(TrackError::Diverged(number));
        }
        Ok((block.header, block.hash))
    }
}

/// L1 blocks that were asked for, valid within one reading.
#[derive(Debug)]
pub(crate) struct Origins {
    loaded: BTreeMap<u64, L1Block>,
    ahead: BlocksAhead,
}

impl Origins {
    /// Up to the L1 block `to`.
    pub(crate) fn new(reader: L1BlockReader, to: u64) -> Self {
        Self { loaded: BTreeMap::new(), ahead: BlocksAhead::new(reader, to) }
    }

    /// Loads a block.
    pub(crate) async fn load(&mut self, number: u64) -> Result<(), L1Error> {
        let block = self.ahead.block(number).await?;
        self.loaded.insert(number, block);
        while self.loaded.len() > ORIGINS_KEPT {
            self.loaded.pop_first();
        }
        Ok(())
    }
}

impl L1Lookup for Origins {
    fn origin(&self, number: u64) -> Option<L1Origin> {
        self.loaded.get(&number).map(|block| block.origin)
    }

    fn deposits(&self, number: u64) -> Option<Vec<Deposit>> {
        self.loaded.get(&number).map(|block| block.deposits.clone())
    }
}

/// How taking appends ended.
enum End {
    /// All of the reading is taken.
    OfL1,
    /// It goes on later.
    OfTime,
    /// The next append has to be read again.
    ByError,
}

/// L1 as it was when its last block was asked for, being read.
#[derive(Debug)]
struct Reading {
    /// The last block to read.
    to: BlockId,
    appends: AppendsAhead,
    origins: Origins,
}

/// Follows the Inbox.
#[derive(Debug)]
pub struct Tracker {
    inbox: InboxReader,
    blocks: L1BlockReader,
    chain: Arc<dyn DerivedChain>,
    /// State after each append, oldest first; never empty. Derivation can go on from the oldest.
    checkpoints: VecDeque<Checkpoint>,
    start: SafeHead,
    finalized: SafeHead,
    /// The finalized head was seen to be on L1.
    is_started: bool,
    /// L1 block up to which the Inbox was read.
    scanned: BlockId,
    /// What is read ahead from there on.
    reading: Option<Reading>,
}

impl Tracker {
    /// Starts at `start`, and compares with the blocks of `source`.
    #[must_use]
    pub fn new(
        rules: RollupRules,
        start: TrackerStart,
        inbox: InboxReader,
        blocks: L1BlockReader,
        source: Arc<dyn BlockSource>,
    ) -> Self {
        Self::over(rules, start, inbox, blocks, Arc::new(OwnChain(source)))
    }

    /// Starts at `start`, and hands the derived blocks to `chain`.
    #[must_use]
    pub fn over(
        rules: RollupRules,
        start: TrackerStart,
        inbox: InboxReader,
        blocks: L1BlockReader,
        chain: Arc<dyn DerivedChain>,
    ) -> Self {
        let TrackerStart { head, position, l1_block, finalized } = start;
        let derivation = Derivation::new(rules, head);
        let first =
            Checkpoint { derivation, l1_block, position, ends_fresh: false, has_history: true };
        Self {
            inbox,
            blocks,
            chain,
            start: first.safe_head(),
            checkpoints: [first].into(),
            finalized,
            is_started: false,
            scanned: l1_block,
            reading: None,
        }
    }

    /// The reader of the Inbox.
    #[must_use]
    pub fn inbox(&self) -> &InboxReader {
        &self.inbox
    }

    /// The newest head that L1 has.
    #[must_use]
    pub fn safe_head(&self) -> SafeHead {
        self.checkpoints.back().map(Checkpoint::safe_head).unwrap_or_default()
    }

    /// L1 block up to which the Inbox was read.
    #[must_use]
    pub fn scanned(&self) -> BlockId {
        self.scanned
    }

    /// The newest head that is final: as [`Self::finalize`] was told, or an earlier run was. No channel
    /// is open at it.
    #[must_use]
    pub fn finalized_head(&self) -> SafeHead {
        self.finalized
    }

    /// All heads.
    #[must_use]
    pub fn heads(&self) -> Heads {
        let (safe, finalized) = (self.safe_head(), self.finalized);
        // After a start they are behind for as long as L1 is read again.
        let is_behind = safe.position.next_batch < finalized.position.next_batch;
        Heads { safe: if is_behind { finalized } else { safe }, finalized, start: self.start }
    }

    /// Derivation as of the newest append.
    pub(crate) fn derivation(&self) -> Option<Derivation> {
        self.checkpoints.back().map(|last| last.derivation.clone())
    }

    /// The reader of L1's blocks.
    pub(crate) fn l1_blocks(&self) -> L1BlockReader {
        self.blocks.clone()
    }

    /// What the next channel may continue.
    #[must_use]
    pub fn history(&self) -> History {
        self.checkpoints.back().map(|last| last.derivation.history().clone()).unwrap_or_default()
    }

    /// The channel that waits on L1 for more frames.
    #[must_use]
    pub fn open_channel(&self) -> Option<OpenChannel> {
        self.checkpoints.back().and_then(|checkpoint| checkpoint.derivation.open_channel())
    }

    /// Goes back where L1 was reorganised, then reads on, for some seconds at most and at least one
    /// append. Returns whether it has read all of L1.
    ///
    /// # Errors
    /// [`TrackError`]; except for going back, nothing changed.
    pub async fn sync(&mut self) -> Result<bool, TrackError> {
        self.rewind().await?;
        let latest = match &self.reading {
            Some(_) => None,
            None => Some(self.block_id(BlockNumberOrTag::Latest).await?),
        };
        let Some(mut reading) = self.open_reading(latest).await? else { return Ok(true) };
        let kept = self.checkpoints.len();
        let read = self.read(&mut reading).await;
        // All of it was read from one chain only if its end still stands.
        let end = match read {
            Ok(end) if self.is_canonical(reading.to).await? => end,
            failed => {
                self.checkpoints.truncate(kept);
                return Err(failed.err().unwrap_or(L1Error::Reorged.into()));
            }
        };
        self.forget_oldest();
        self.forget_histories(0);
        let read_last = self.checkpoints.back().map_or(self.scanned, |last| last.l1_block);
        match end {
            End::OfL1 => {
                self.scanned = reading.to;
                return Ok(latest == Some(reading.to));
            }
            End::OfTime => (self.scanned, self.reading) = (read_last, Some(reading)),
            End::ByError => self.scanned = read_last,
        }
        Ok(false)
    }

    /// What is being read, or where there is something new on L1, a reading of that.
    async fn open_reading(&mut self, latest: Option<BlockId>) -> Result<Option<Reading>, L1Error> {
        let Some(latest) = latest else { return Ok(self.reading.take()) };
        if latest.number <= self.scanned.number {
            return Ok(None);
        }
        // With the block read last: a run before may have started again between two appends of it.
        // Those that are known are passed over.
        let from = self.scanned.number;
        let last = latest.number.min(from.saturating_add(READING_BLOCKS_MAX - 1));
        let to = if last == latest.number { latest } else { self.block_id(last.into()).await? };
        let appends = self.inbox.appends_ahead(self.safe_head().position, from, last);
        let origins = Origins::new(self.blocks.clone(), last);
        Ok(Some(Reading { to, appends, origins }))
    }

    /// Takes appends until there are no more, the time is over, or one cannot be taken: what was taken
    /// before that counts.
    async fn read(&mut self, reading: &mut Reading) -> Result<End, TrackError> {
        let (started, known) = (Instant::now(), self.checkpoints.len());
        let mut taken = false;
        while !taken || started.elapsed() < SYNC_TIME {
            let Some(posted) = reading.appends.next().await else { return Ok(End::OfL1) };
            let result = match posted {
                Ok(posted) => self.take(posted, &mut reading.origins).await,
                Err(error) => Err(error.into()),
            };
            match result {
                Ok(()) => {
                    taken = true;
                    // Those of before are still needed where this was not one chain.
                    self.forget_histories(known);
                }
                Err(error) if taken => {
                    tracing::debug!(%error, "an append is read again");
                    return Ok(End::ByError);
                }
                Err(error) => return Err(error),
            }
        }
        Ok(End::OfTime)
    }

    async fn rewind(&mut self) -> Result<(), TrackError> {
        if self.is_started && self.is_canonical(self.scanned).await? {
            return Ok(());
        }
        let finalized = self.finalized.l1_block;
        if !self.is_canonical(finalized).await? {
            return Err(TrackError::DeepReorg(finalized.number));
        }
        if !std::mem::replace(&mut self.is_started, true) {
            return Ok(());
        }
        self.reading = None;
        while let Some(last) = self.checkpoints.back() {
            let (l1_block, has_history) = (last.l1_block, last.has_history);
            if has_history && self.is_canonical(l1_block).await? {
                tracing::warn!(?l1_block, "L1 was reorganised, going back");
                // What else this block has is read again.
                self.scanned = l1_block;
                return Ok(());
            }
            if self.checkpoints.len() == 1 {
                return Err(TrackError::DeepReorg(l1_block.number));
            }
            self.checkpoints.pop_back();
        }
        Ok(())
    }

    async fn take(
        &mut self,
        posted: PostedAppend,
        origins: &mut Origins,
    ) -> Result<(), TrackError> {
        let Some(last) = self.checkpoints.back() else { return Ok(()) };
        let mut derivation = last.derivation.clone();
        let Append { id, .. } = posted.append;
        let mut ends_fresh = false;
        for outcome in derivation.push_append(&posted.append) {
            match outcome {
                Outcome::Dropped(reason) => report_dropped(id, reason),
                Outcome::Ready { is_fresh, .. } => ends_fresh = is_fresh,
                Outcome::Continued => {}
            }
        }
        let mut decoding = Decoding::default();
        loop {
            decoding.prepare(&derivation).await;
            let decode = |batch: &_| decoding.take().unwrap_or_else(|| decode_transactions(batch));
            match derivation.next_block_with(origins, decode) {
                Step::Idle => break,
                Step::NeedL1(number) => origins.load(number).await?,
                Step::Reorged => return Err(L1Error::Reorged.into()),
                Step::Dropped { append_id, reason } => report_dropped(append_id, reason),
                Step::Block(derived) => {
                    let number = derived.input.env.number;
                    let (header, hash) = self.chain.settle(*derived).await?;
                    let advanced = derivation.advance(header, hash);
                    advanced.map_err(|_| TrackError::Diverged(number))?;
                }
            }
        }
        let (l1_block, position) = (posted.l1_block, posted.position());
        let has_history = true;
        let checkpoint = Checkpoint { derivation, l1_block, position, ends_fresh, has_history };
        self.checkpoints.push_back(checkpoint);
        Ok(())
    }

    /// Takes everything up to L1 block `number` for final and forgets how to go back before it. The
    /// finalized head has no channel open: frames that wait for their channel's last one move no head.
    /// What is kept first is the last before a fresh channel: a later run can start there.
    pub fn finalize(&mut self, number: u64) {
        let is_final = |c: &Checkpoint| c.l1_block.number <= number;
        let finalized = self.checkpoints.iter().rfind(|c| is_final(c) && c.is_closed());
        if let Some(finalized) = finalized.map(Checkpoint::safe_head)
            && finalized.position.next_batch > self.finalized.position.next_batch
        {
            self.finalized = finalized;
        }
        let fresh = self.checkpoints.iter().rposition(|c| is_final(c) && c.ends_fresh);
        let mut before = self.checkpoints.range(..fresh.unwrap_or(0));
        if let Some(base) = before.rposition(Checkpoint::is_closed) {
            self.checkpoints.drain(..base);
            if let Some(first) = self.checkpoints.front_mut() {
                first.derivation.forget_history();
                first.has_history = true;
                self.start = first.safe_head();
            }
        }
    }

    /// A later run starts where it would have without this.
    fn forget_oldest(&mut self) {
        let surplus = self.checkpoints.len().saturating_sub(CHECKPOINTS_MAX);
        if surplus > 0 {
            let is_base = |c: &Checkpoint| c.is_closed() && c.has_history;
            let kept = self.checkpoints.iter().skip(surplus).position(is_base);
            self.checkpoints.drain(..kept.map_or(0, |base| surplus + base));
        }
    }

    /// Lets go of histories between the oldest checkpoint and the newest ones, from the `first`-th on.
    fn forget_histories(&mut self, first: usize) {
        let last = self.checkpoints.len().saturating_sub(HISTORIES_KEPT);
        let (first, last) = (first.max(1).min(last), last);
        for checkpoint in self.checkpoints.range_mut(first..last) {
            if std::mem::take(&mut checkpoint.has_history) {
                checkpoint.derivation.forget_history();
            }
        }
    }

    async fn block_id(&self, tag: BlockNumberOrTag) -> Result<BlockId, L1Error> {
        self.inbox.block_id(tag).await?.ok_or(L1Error::Missing(Missing::Tag(tag)))
    }

    async fn is_canonical(&self, block: BlockId) -> Result<bool, L1Error> {
        Ok(self.inbox.block_id(block.number.into()).await? == Some(block))
    }
}

/// Whether the block with this header and these transactions is what `input` gives: everything else of
/// a block follows from these.
#[must_use]
pub fn is_input_of(input: &BlockInput, header: &Header, transactions: &[Transaction]) -> bool {
    let env = &input.env;
    let same_place = env.number == header.number
        && env.parent_hash == header.parent_hash
        && env.timestamp == header.timestamp
        && env.prevrandao == header.mix_hash;
    let derived = input.transactions.iter().map(Transaction::hash);
    same_place && derived.eq(transactions.iter().map(Transaction::hash))
}

fn report_dropped(append_id: u64, reason: DropReason) {
    tracing::warn!(append_id, %reason, "an inbox batch is empty");
}
