//! What of the L2 chain is on L1: follows the Inbox through derivation and hands every derived block to
//! a chain ([`DerivedChain`]). A node's own compares it with its block, so that the safe head is what any
//! other node would derive; a follower's and a verifier's execute it.
//!
//! Owns the safe and finalized heads, the way back after an L1 reorg, and where a later run may start.
//! It executes nothing itself and posts nothing.

mod checkpoints;
mod decoding;
mod likeness;

use crate::{
    derive::{
        Append, Derivation, Derived, DropReason, Head, L1Lookup, Outcome, Step,
        assembler::OpenChannel, decode_transactions, rules::Epoch,
    },
    encoder::{BlockId, SourceBlock},
    format::History,
    l1::{
        AppendsAhead, BlocksAhead, InboxPosition, InboxReader, L1Block, L1BlockReader, L1Error,
        Missing, PostedAppend, Standing,
    },
    source::{BlockSource, SourceError},
};
use alloy::{eips::BlockNumberOrTag, primitives::B256};
use async_trait::async_trait;
use checkpoints::{Checkpoint, Checkpoints};
use decoding::Decoding;
use executor::{Deposit, Genesis, Header, L1Origin, RollupRules};
pub use likeness::Likeness;
use std::{
    cmp::Ordering,
    collections::BTreeMap,
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
        let is_same = match Likeness::of(&derived.input, &block.header, &block.transactions) {
            Likeness::Same => true,
            Likeness::Part => self.0.replay(&derived.input).await?.as_ref() == Some(&block.header),
            Likeness::Other => false,
        };
        if is_same { Ok((block.header, block.hash)) } else { Err(TrackError::Diverged(number)) }
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
    /// State after each append.
    checkpoints: Checkpoints,
    finalized: SafeHead,
    /// The finalized head was seen to be on L1.
    is_started: bool,
    /// L1 block up to which the Inbox was read.
    scanned: BlockId,
    /// All appends of that block were taken, too.
    is_scanned_whole: bool,
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
        let base = Checkpoint::new(derivation, l1_block, position, false);
        Self {
            inbox,
            blocks,
            chain,
            checkpoints: Checkpoints::new(base),
            finalized,
            is_started: false,
            scanned: l1_block,
            is_scanned_whole: false,
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
        self.checkpoints.last().safe_head()
    }

    /// L1 block up to which the Inbox was read.
    #[must_use]
    pub fn scanned(&self) -> BlockId {
        self.scanned
    }

    /// All heads.
    #[must_use]
    pub fn heads(&self) -> Heads {
        let (safe, finalized) = (self.safe_head(), self.finalized);
        // After a start they are behind for as long as L1 is read again.
        let is_behind = safe.position.next_batch < finalized.position.next_batch;
        let start = self.checkpoints.base().safe_head();
        Heads { safe: if is_behind { finalized } else { safe }, finalized, start }
    }

    /// Derivation as of the newest append.
    pub(crate) fn derivation(&self) -> Derivation {
        self.checkpoints.last().derivation().clone()
    }

    /// The reader of L1's blocks.
    pub(crate) fn l1_blocks(&self) -> L1BlockReader {
        self.blocks.clone()
    }

    /// What the next channel may continue.
    #[must_use]
    pub fn history(&self) -> History {
        self.checkpoints.last().derivation().history().clone()
    }

    /// The channel that waits on L1 for more frames.
    #[must_use]
    pub fn open_channel(&self) -> Option<OpenChannel> {
        self.checkpoints.last().derivation().open_channel()
    }

    /// Goes back where L1 was reorganised, then reads on, for some seconds at most and at least one
    /// append. Returns whether it has read all of L1. An endpoint that is behind undoes nothing.
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
        let end = match self.read_checked(&mut reading).await {
            Ok(end) => end,
            Err(error) => {
                self.checkpoints.truncate(kept);
                if matches!(error, TrackError::L1(L1Error::Reorged)) {
                    // Where no block is another one, logs were missing before: they are asked for again.
                    self.read_on_from_last();
                }
                return Err(error);
            }
        };
        self.checkpoints.forget_oldest();
        self.checkpoints.forget_histories(0);
        match end {
            End::OfL1 => {
                let is_all = latest == Some(reading.to);
                if is_all {
                    self.check_complete(reading.to).await?;
                }
                (self.scanned, self.is_scanned_whole) = (reading.to, true);
                return Ok(is_all);
            }
            End::OfTime => {
                self.read_on_from_last();
                self.reading = Some(reading);
            }
            End::ByError => self.read_on_from_last(),
        }
        Ok(false)
    }

    /// The next reading begins with the last append's L1 block, which may have more.
    fn read_on_from_last(&mut self) {
        (self.scanned, self.is_scanned_whole) = (self.checkpoints.last().l1_block(), false);
    }

    /// Logs can be missing where an endpoint's parts are not equally far. The Inbox commits to all that
    /// is in it; it is asked at L1's end only, because endpoints forget old states.
    async fn check_complete(&mut self, to: BlockId) -> Result<(), L1Error> {
        if self.inbox.acc(to).await? == self.safe_head().position.acc {
            return Ok(());
        }
        self.read_on_from_last();
        Err(L1Error::Missing(Missing::Appends(to.number)))
    }

    /// What is being read, or where there is something new on L1, a reading of that.
    async fn open_reading(&mut self, latest: Option<BlockId>) -> Result<Option<Reading>, L1Error> {
        let Some(latest) = latest else { return Ok(self.reading.take()) };
        match latest.number.cmp(&self.scanned.number) {
            Ordering::Greater => {}
            Ordering::Equal if !self.is_scanned_whole => {}
            Ordering::Less if !self.is_scanned_whole => return Err(missing(self.scanned)),
            _ => return Ok(None),
        }
        // With the block read last, of which there may be more. What is known is passed over.
        let from = self.scanned.number;
        let last = latest.number.min(from.saturating_add(READING_BLOCKS_MAX - 1));
        let to = if last == latest.number { latest } else { self.block_id(last.into()).await? };
        let appends = self.inbox.appends_ahead(self.safe_head().position, from, last);
        let origins = Origins::new(self.blocks.clone(), last);
        Ok(Some(Reading { to, appends, origins }))
    }

    /// Reads, and sees that what was read is of one chain: that its end still stands.
    async fn read_checked(&mut self, reading: &mut Reading) -> Result<End, TrackError> {
        let end = self.read(reading).await?;
        match self.inbox.standing(reading.to).await? {
            Standing::Canonical => Ok(end),
            Standing::Lost => Err(L1Error::Reorged.into()),
            Standing::NotRead => Err(missing(reading.to).into()),
        }
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
                    self.checkpoints.forget_histories(known);
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

    /// Goes back to the newest append that is still on L1, where what was read is not. Only another
    /// block at the same height shows that: one that L1 does not have is waited for.
    async fn rewind(&mut self) -> Result<(), TrackError> {
        if !self.is_started {
            self.check_final().await?;
            self.is_started = true;
            return Ok(());
        }
        let lost = match self.inbox.standing(self.scanned).await? {
            Standing::Canonical => return Ok(()),
            Standing::Lost => self.scanned,
            Standing::NotRead => self.find_lost().await?.ok_or_else(|| missing(self.scanned))?,
        };
        self.check_final().await?;
        let kept = self.find_kept(lost.number).await?;
        self.checkpoints.truncate(kept);
        self.reading = None;
        // What else its block has is read again.
        self.read_on_from_last();
        tracing::warn!(l1_block = ?self.scanned, "L1 was reorganised, going back");
        Ok(())
    }

    /// L1 does not go as far as was read: the newest of the blocks with appends that it should have, where
    /// it has another one in that place.
    async fn find_lost(&self) -> Result<Option<BlockId>, L1Error> {
        let latest = self.block_id(BlockNumberOrTag::Latest).await?.number;
        let mut known = self.checkpoints.newest_first().map(|(_, known)| known.l1_block());
        let Some(known) = known.find(|known| known.number <= latest) else { return Ok(None) };
        let standing = self.inbox.standing(known).await?;
        Ok((standing == Standing::Lost).then_some(known))
    }

    /// How many checkpoints are kept where L1 is another one from block `lost` on at the latest.
    async fn find_kept(&self, lost: u64) -> Result<usize, TrackError> {
        for (kept, checkpoint) in self.checkpoints.resumable() {
            let l1_block = checkpoint.l1_block();
            if l1_block.number >= lost {
                continue;
            }
            match self.inbox.standing(l1_block).await? {
                Standing::Canonical => return Ok(kept),
                Standing::Lost => {}
                Standing::NotRead => return Err(missing(l1_block).into()),
            }
        }
        Err(TrackError::DeepReorg(self.checkpoints.base().l1_block().number))
    }

    /// That L1 still has what was final.
    async fn check_final(&self) -> Result<(), TrackError> {
        let finalized = self.finalized.l1_block;
        match self.inbox.standing(finalized).await? {
            Standing::Canonical => return Ok(()),
            Standing::Lost => return Err(TrackError::DeepReorg(finalized.number)),
            Standing::NotRead => {}
        }
        // L1 may be another one, and shorter.
        let base = self.checkpoints.base().l1_block();
        match self.inbox.standing(base).await? {
            Standing::Lost => Err(TrackError::DeepReorg(base.number)),
            Standing::Canonical | Standing::NotRead => Err(missing(finalized).into()),
        }
    }

    async fn take(
        &mut self,
        posted: PostedAppend,
        origins: &mut Origins,
    ) -> Result<(), TrackError> {
        let mut derivation = self.derivation();
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
        self.checkpoints.push(Checkpoint::new(derivation, l1_block, position, ends_fresh));
        Ok(())
    }

    /// Takes everything up to L1 block `number` for final and forgets how to go back before it. The
    /// finalized head has no channel open.
    pub fn finalize(&mut self, number: u64) {
        if let Some(finalized) = self.checkpoints.finalize(number)
            && finalized.position.next_batch > self.finalized.position.next_batch
        {
            self.finalized = finalized;
        }
    }

    async fn block_id(&self, tag: BlockNumberOrTag) -> Result<BlockId, L1Error> {
        self.inbox.block_id(tag).await?.ok_or(L1Error::Missing(Missing::Tag(tag)))
    }
}

/// A block that L1 had, and the endpoint does not have.
fn missing(block: BlockId) -> L1Error {
    L1Error::Missing(Missing::Block(block.number))
}

fn report_dropped(append_id: u64, reason: DropReason) {
    tracing::warn!(append_id, %reason, "an inbox batch is empty");
}
