//! The encoder: a state machine from L2 blocks to frames. Synchronous and pure: time comes in as an
//! argument, blocks are offered in order, frames are taken in order.
//!
//! Owns which blocks form a channel, when it closes and what it continues. The same blocks offered at
//! the same times give the same frames. Does not know L1: whether a frame arrived is reported with
//! [`Encoder::confirm`] and [`Encoder::requeue`].

use crate::{
    carrier::target_bytes,
    derive::assembler::OpenChannel,
    format::{
        BLOCK_BYTES_MAX, BLOCKS_MAX, Batch, CONTENT_BYTES_MAX, CONTENT_HEAD_BYTES_MAX, Channel,
        ChannelId, Frame, History, TRANSACTIONS_MAX, channel::ChannelLimit, compress::Quality,
        frame::cut,
    },
};
use alloy::primitives::{Address, B64, B256, Bytes};
use executor::{ExecutedBlock, Header, L1Attributes, Transaction};
use std::collections::VecDeque;

/// Frames that may wait to be confirmed. When full, [`Encoder::add_block`] refuses blocks and the
/// caller offers them again later; nothing is lost, the node has them.
pub const FRAMES_QUEUED_MAX: usize = 64;

/// A number and hash that name one L2 block.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BlockId {
    /// Height.
    pub number: u64,
    /// Hash.
    pub hash: B256,
}

/// An L2 block as the node has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SourceBlock {
    /// Header.
    pub header: Header,
    /// Its hash.
    pub hash: B256,
    /// Transactions in order, deposits included.
    pub transactions: Vec<Transaction>,
}

impl SourceBlock {
    /// Number and hash.
    #[must_use]
    pub fn id(&self) -> BlockId {
        BlockId { number: self.header.number, hash: self.hash }
    }

    /// The L1 attributes in its first transaction; `None` for the genesis block.
    #[must_use]
    pub fn attributes(&self) -> Option<L1Attributes> {
        L1Attributes::from_deposit(self.transactions.first()?.as_deposit()?)
    }

    /// The part of the block that is posted; `None` for the genesis block.
    #[must_use]
    pub fn to_batch(&self) -> Option<Batch> {
        let attributes = self.attributes()?;
        let signed = self.transactions.iter().filter(|tx| tx.as_signed().is_some());
        Some(Batch {
            timestamp: self.header.timestamp,
            origin_number: attributes.number,
            origin_check: Batch::check_of(attributes.hash),
            transactions: signed.map(|tx| tx.raw().clone()).collect(),
        })
    }
}

impl From<&ExecutedBlock> for SourceBlock {
    fn from(block: &ExecutedBlock) -> Self {
        let (header, transactions) = (block.header.clone(), block.transactions.clone());
        Self { header, hash: block.hash, transactions }
    }
}

/// When a channel closes. Whatever limit is reached first closes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EncoderConfig {
    /// Chain id of the rollup.
    pub chain_id: u64,
    /// Most bytes of one frame: what an append carries
    /// ([`BLOB_FRAME_BYTES_MAX`](crate::format::blob::BLOB_FRAME_BYTES_MAX) or
    /// [`CALLDATA_FRAME_BYTES_MAX`](crate::format::CALLDATA_FRAME_BYTES_MAX)).
    pub frame_bytes_max: usize,
    /// Compressed size to close at, in bytes, by the ratio of the channel before. Below
    /// `frame_bytes_max` most channels are one frame.
    pub target_bytes: usize,
    /// Most blocks of a channel.
    pub blocks_max: u32,
    /// Age in seconds of a channel's first block, by the caller's clock, at which it closes: the
    /// longest that a block waits to be posted when there is little traffic.
    pub age_secs_max: u64,
    /// Compression of what is posted as it comes.
    pub quality: Quality,
    /// Compression while more than `backlog_blocks_max` blocks wait to be taken.
    pub backlog_quality: Quality,
    /// Blocks that may wait before speed counts more than size.
    pub backlog_blocks_max: u64,
    /// Channels in a row that each continue the one before, the first of them fresh; 1 continues none.
    /// Whoever starts to derive reads L1 from a fresh channel on.
    pub continued_max: u32,
}

/// A block is not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EncodeError {
    /// Retry later: [`FRAMES_QUEUED_MAX`] frames wait.
    #[error("frame queue full")]
    Full,
    /// Reset: the block does not follow the one before. The chain was reorganised, or a block was
    /// left out.
    #[error("block {given} does not follow block {tip}")]
    NotNext {
        /// Number of the offered block.
        given: u64,
        /// Number of the last block taken.
        tip: u64,
    },
    /// Halt: the block has no L1 attributes, so it is not a block of a rollup.
    #[error("block {0} has no L1 attributes")]
    NoAttributes(u64),
    /// Halt: the block alone exceeds what a channel can hold
    /// ([`BLOCK_BYTES_MAX`], [`TRANSACTIONS_MAX`]); the block builder has to stay below it.
    #[error("block {0} does not fit in a channel")]
    BlockTooLarge(u64),
    /// Halt: the encoded channel does not decode to what went in. Nothing of it was queued.
    #[error("channel from block {0} does not read back")]
    ReadBack(u64),
}

/// Names a frame of one encoder. Ids are never used twice, also not after a reset.
pub type FrameId = u64;

/// A frame to be appended to the Inbox.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Submission {
    /// For [`Encoder::confirm`] and [`Encoder::requeue`].
    pub id: FrameId,
    /// Channel.
    pub channel: ChannelId,
    /// Position in the channel.
    pub index: u16,
    /// Whether it completes the channel.
    pub is_last: bool,
    /// Block before the channel's first.
    pub parent: BlockId,
    /// Last block of the channel.
    pub last_block: BlockId,
    /// Digest of what the channel continues; `None` when it is fresh.
    pub continues: Option<B64>,
    /// The encoded frame.
    pub frame: Bytes,
}

#[derive(Clone, Debug)]
struct Building {
    parent: BlockId,
    opened_at_secs: u64,
    batches: Vec<Batch>,
    /// Of all its transactions, in order.
    senders: Vec<Address>,
    content_bytes: usize,
    transactions: usize,
}

/// Most thousandths of its content that a channel is expected to take, before one was measured.
const FIRST_RATIO_PERMILLE: usize = 500;

/// The state machine.
#[derive(Clone, Debug)]
pub struct Encoder {
    config: EncoderConfig,
    /// Last block taken.
    tip: BlockId,
    /// Height of the chain that blocks are offered from, as last heard.
    head: u64,
    building: Option<Building>,
    /// Unconfirmed frames in order; the first `taken` have been handed out.
    queue: VecDeque<Submission>,
    taken: usize,
    next_id: FrameId,
    ratio_permille: usize,
    /// What the last channel in the queue leaves; without one, the last on L1.
    history: History,
}

impl Encoder {
    /// Starts after the block `tip`, with a fresh channel.
    #[must_use]
    pub fn new(config: EncoderConfig, tip: BlockId) -> Self {
        Self {
            config,
            tip,
            head: tip.number,
            building: None,
            queue: VecDeque::new(),
            taken: 0,
            next_id: 0,
            ratio_permille: FIRST_RATIO_PERMILLE,
            history: History::default(),
        }
    }

    /// The last block taken: the next one offered must be its child.
    #[must_use]
    pub fn tip(&self) -> BlockId {
        self.tip
    }

    /// Hears how high the chain is that blocks are offered from: how far this is behind decides how hard
    /// it compresses. A channel that was posted in part and is encoded again, after a restart, may get
    /// other bytes for it; then what is on L1 of it is given up.
    pub fn observe_head(&mut self, number: u64) {
        self.head = number;
    }

    /// Channels that close from now on fill frames of another length: what carries them has changed.
    pub fn fill_frames_of(&mut self, frame_bytes_max: usize) {
        self.config.frame_bytes_max = frame_bytes_max;
        self.config.target_bytes = target_bytes(frame_bytes_max);
    }

    /// How hard the next channel is compressed.
    #[must_use]
    pub fn quality(&self) -> Quality {
        let waiting = self.head.saturating_sub(self.tip.number);
        match waiting > self.config.backlog_blocks_max {
            true => self.config.backlog_quality,
            false => self.config.quality,
        }
    }

    /// Unconfirmed frames.
    #[must_use]
    pub fn queued(&self) -> usize {
        self.queue.len()
    }

    /// Blocks taken that are not in a frame yet.
    #[must_use]
    pub fn building_blocks(&self) -> usize {
        self.building.as_ref().map_or(0, |building| building.batches.len())
    }

    /// Takes the next block. Closes the channel before it when the block does not fit in, and with
    /// it when it is then full or old.
    ///
    /// # Errors
    /// [`EncodeError`]; the block was not taken, except with [`EncodeError::ReadBack`].
    pub fn add_block(&mut self, block: &SourceBlock, now_secs: u64) -> Result<(), EncodeError> {
        let number = block.header.number;
        if number.checked_sub(1) != Some(self.tip.number)
            || block.header.parent_hash != self.tip.hash
        {
            return Err(EncodeError::NotNext { given: number, tip: self.tip.number });
        }
        if self.queue.len() >= FRAMES_QUEUED_MAX {
            return Err(EncodeError::Full);
        }
        let batch = block.to_batch().ok_or(EncodeError::NoAttributes(number))?;
        let bytes = batch.encoded_bytes_max();
        let count = batch.transactions.len();
        if bytes > BLOCK_BYTES_MAX || count > TRANSACTIONS_MAX as usize {
            return Err(EncodeError::BlockTooLarge(number));
        }
        if self.building.as_ref().is_some_and(|building| !building.has_room(bytes, count)) {
            self.close()?;
        }
        let building = self.building.get_or_insert_with(|| Building {
            parent: self.tip,
            opened_at_secs: now_secs,
            batches: Vec::new(),
            senders: Vec::new(),
            content_bytes: CONTENT_HEAD_BYTES_MAX,
            transactions: 0,
        });
        building.batches.push(batch);
        let signed = block.transactions.iter().filter(|tx| tx.as_signed().is_some());
        building.senders.extend(signed.map(Transaction::sender));
        building.content_bytes += bytes;
        building.transactions += count;
        self.tip = block.id();
        self.step(now_secs)
    }

    /// Closes the channel when it is full, or when its first block is too old at `now_secs`.
    ///
    /// # Errors
    /// [`EncodeError::ReadBack`].
    pub fn step(&mut self, now_secs: u64) -> Result<(), EncodeError> {
        let Some(building) = &self.building else { return Ok(()) };
        let age_secs = now_secs.saturating_sub(building.opened_at_secs);
        let estimate = building.content_bytes / 1000 * self.ratio_permille;
        let blocks_max = self.config.blocks_max.clamp(1, BLOCKS_MAX) as usize;
        let closes = age_secs >= self.config.age_secs_max
            || estimate >= self.config.target_bytes
            || building.batches.len() >= blocks_max;
        if closes { self.close() } else { Ok(()) }
    }

    /// Closes the channel now, whatever its size. Does nothing without one.
    ///
    /// # Errors
    /// [`EncodeError::ReadBack`].
    pub fn close(&mut self) -> Result<(), EncodeError> {
        let Some(building) = self.building.take() else { return Ok(()) };
        let Building { parent, batches, senders, content_bytes, .. } = building;
        let (chain_id, first_block) = (self.config.chain_id, parent.number + 1);
        let channel = Channel { chain_id, first_block, parent_hash: parent.hash, batches };
        if self.history.channels() >= self.config.continued_max {
            self.history = History::default();
        }
        let continues = (!self.history.is_fresh()).then(|| self.history.digest());
        let (frames, left) = self.encode(&channel).ok_or(EncodeError::ReadBack(first_block))?;
        self.history = if senders.is_empty() { left } else { left.with_senders(senders) };
        let bytes: usize = frames.iter().map(|frame| frame.data.len()).sum();
        self.ratio_permille = (bytes * 1000 / content_bytes.max(1)).clamp(1, 1000);
        for frame in frames {
            self.queue.push_back(Submission {
                id: self.next_id,
                channel: frame.channel,
                index: frame.index,
                is_last: frame.is_last,
                parent,
                last_block: self.tip,
                continues,
                frame: frame.encode(),
            });
            self.next_id += 1;
        }
        Ok(())
    }

    /// Closes the channel now if it has a block up to `number`.
    ///
    /// # Errors
    /// [`EncodeError::ReadBack`].
    pub fn close_through(&mut self, number: u64) -> Result<(), EncodeError> {
        let has = self.building.as_ref().is_some_and(|building| building.parent.number < number);
        if has { self.close() } else { Ok(()) }
    }

    /// The frames of a channel, once they are seen to read back, and what it leaves.
    fn encode(&self, channel: &Channel) -> Option<(Vec<Frame>, History)> {
        let encoded = channel.encode_after(&self.history, self.quality());
        let (bytes, left) = encoded.map_err(|ChannelLimit(_)| ()).ok()?;
        let (read, left_read) = Channel::decode_after(&bytes, &self.history).ok()?;
        if read != *channel || left_read != left {
            return None;
        }
        Some((cut(&bytes.into(), self.config.frame_bytes_max)?, left))
    }

    /// The frames of a channel that are queued, in order.
    #[must_use]
    pub fn channel(&self, id: ChannelId) -> Vec<Submission> {
        self.queue.iter().filter(|submission| submission.channel == id).cloned().collect()
    }

    /// The next frame to be appended, in order. It stays queued until it is confirmed.
    pub fn next_submission(&mut self) -> Option<Submission> {
        let submission = self.queue.get(self.taken)?.clone();
        self.taken += 1;
        Some(submission)
    }

    /// The frame and all before it are on L1. An unknown id changes nothing.
    pub fn confirm(&mut self, id: FrameId) {
        let Some(position) = self.position(id) else { return };
        self.queue.drain(..=position);
        self.taken = self.taken.saturating_sub(position + 1);
    }

    /// The frame is not on L1 and will not get there: it and those after it are handed out again,
    /// in the same order with the same bytes and ids. An unknown id changes nothing.
    pub fn requeue(&mut self, id: FrameId) {
        if let Some(position) = self.position(id) {
            self.taken = self.taken.min(position);
        }
    }

    /// Forgets every frame and block; the next block offered follows `tip`, in a channel that may
    /// continue `history`: what the accepted channel up to there left.
    pub fn reset(&mut self, tip: BlockId, history: History) {
        self.tip = tip;
        self.history = history;
        self.building = None;
        self.queue.clear();
        self.taken = 0;
    }

    /// Brings the encoder in line with what L1 has: everything up to the block `safe`, the history that
    /// this left, and the frames of `open` before its next index. Frames that are there already are
    /// forgotten, the first one handed out next continues L1. Where nothing here does, the encoder is
    /// reset to `safe`.
    pub fn align(&mut self, safe: BlockId, history: &History, open: Option<OpenChannel>) {
        let continues =
            |s: &Submission| open.is_some_and(|o| s.channel == o.id && s.index == o.next_index);
        let begins = |s: &Submission| {
            let reads = s.continues.is_none_or(|digest| digest == history.digest());
            s.index == 0 && s.parent == safe && reads
        };
        let position = self.queue.iter().position(continues);
        self.taken = 0;
        if let Some(position) = position.or_else(|| self.queue.iter().position(begins)) {
            self.queue.drain(..position);
        } else if self.building.as_ref().map_or(self.tip, |building| building.parent) == safe {
            self.queue.clear();
            self.history = history.clone();
        } else {
            self.reset(safe, history.clone());
        }
    }

    fn position(&self, id: FrameId) -> Option<usize> {
        self.queue.iter().position(|submission| submission.id == id)
    }
}

impl Building {
    fn has_room(&self, bytes: usize, transactions: usize) -> bool {
        self.content_bytes + bytes <= CONTENT_BYTES_MAX
            && self.transactions + transactions <= TRANSACTIONS_MAX as usize
            && self.batches.len() < BLOCKS_MAX as usize
    }
}
