//! What derivation was after each append, so that appends which an L1 reorg takes back can be undone.
//!
//! Owns what is forgotten when: the bounds on all of it, and from which checkpoint a later run may
//! start. Asks L1 nothing.

use super::SafeHead;
use crate::{derive::Derivation, encoder::BlockId, l1::InboxPosition};
use std::collections::VecDeque;

/// Appends that an L1 reorg can undo one by one. When full, the oldest but the first are forgotten: a
/// deeper reorg is followed from the first on. More than L1 leaves unfinalized unless it stops
/// finalizing for days.
const CHECKPOINTS_MAX: usize = 4_096;
/// Newest checkpoints that keep what the next append may continue: up to two MiB of tables each, and the
/// frames of an open channel. A reorg of more appends is followed from the first checkpoint on: their
/// channels are read again.
const HISTORIES_KEPT: usize = 16;

/// After an append.
#[derive(Clone, Debug)]
pub(super) struct Checkpoint {
    derivation: Derivation,
    l1_block: BlockId,
    position: InboxPosition,
    /// No channel is open at it.
    is_closed: bool,
    /// The append completed an accepted channel that continues no other.
    ends_fresh: bool,
    /// Derivation can go on from here: it has what the next append may continue.
    has_history: bool,
}

impl Checkpoint {
    /// With all that derivation needs to go on.
    pub(super) fn new(
        derivation: Derivation,
        l1_block: BlockId,
        position: InboxPosition,
        ends_fresh: bool,
    ) -> Self {
        let is_closed = derivation.open_channel().is_none();
        Self { derivation, l1_block, position, is_closed, ends_fresh, has_history: true }
    }

    pub(super) fn derivation(&self) -> &Derivation {
        &self.derivation
    }

    /// The append's L1 block.
    pub(super) fn l1_block(&self) -> BlockId {
        self.l1_block
    }

    pub(super) fn safe_head(&self) -> SafeHead {
        let head = self.derivation.head();
        let block = BlockId { number: head.header.number, hash: head.hash };
        SafeHead { block, l1_block: self.l1_block, position: self.position }
    }

    fn forget_history(&mut self) {
        if std::mem::take(&mut self.has_history) {
            self.derivation.forget_channels();
        }
    }
}

/// The checkpoints, one at least.
#[derive(Clone, Debug)]
pub(super) struct Checkpoints {
    /// Derivation can go on from it, a later run may start at it: no channel is open, and the next
    /// accepted one is fresh.
    base: Checkpoint,
    /// After each append since then, oldest first. Between the base and the first of them appends may
    /// have been forgotten, and nowhere else.
    since: VecDeque<Checkpoint>,
}

impl Checkpoints {
    pub(super) fn new(base: Checkpoint) -> Self {
        Self { base, since: VecDeque::new() }
    }

    /// The oldest.
    pub(super) fn base(&self) -> &Checkpoint {
        &self.base
    }

    pub(super) fn last(&self) -> &Checkpoint {
        self.since.back().unwrap_or(&self.base)
    }

    /// How many there are beside the base.
    pub(super) fn len(&self) -> usize {
        self.since.len()
    }

    pub(super) fn push(&mut self, checkpoint: Checkpoint) {
        self.since.push_back(checkpoint);
    }

    /// Keeps the oldest `len` beside the base.
    pub(super) fn truncate(&mut self, len: usize) {
        self.since.truncate(len);
    }

    /// All, the newest first, each with the `len` to which [`Self::truncate`] makes it the last.
    pub(super) fn newest_first(&self) -> impl Iterator<Item = (usize, &Checkpoint)> {
        let since = self.since.iter().enumerate().rev().map(|(index, c)| (index + 1, c));
        since.chain([(0, &self.base)])
    }

    /// Those from which derivation can go on, the newest first.
    pub(super) fn resumable(&self) -> impl Iterator<Item = (usize, &Checkpoint)> {
        self.newest_first().filter(|(_, checkpoint)| checkpoint.has_history)
    }

    /// Takes everything up to L1 block `number` for final, and forgets how to go back before it. The base
    /// becomes the last checkpoint before a fresh channel. Returns the newest final head at which no
    /// channel is open, where there is one: frames that wait for their channel's last one move no head.
    pub(super) fn finalize(&mut self, number: u64) -> Option<SafeHead> {
        let is_final = |c: &Checkpoint| c.l1_block.number <= number;
        let is_head = |(_, c): &(usize, &Checkpoint)| is_final(c) && c.is_closed;
        let finalized = self.newest_first().find(is_head).map(|(_, head)| head.safe_head());
        let fresh = self.since.iter().rposition(|c| is_final(c) && c.ends_fresh);
        let before = self.since.range(..fresh.unwrap_or(0)).rposition(|c| c.is_closed);
        if let Some(base) = before.and_then(|base| self.since.drain(..=base).next_back()) {
            self.base = base;
            self.base.derivation.forget_channels();
            self.base.has_history = true;
        }
        finalized
    }

    /// Forgets the oldest but the base, where there are too many. A later run starts where it would have
    /// without this.
    pub(super) fn forget_oldest(&mut self) {
        let surplus = (self.since.len() + 1).saturating_sub(CHECKPOINTS_MAX);
        self.since.drain(..surplus);
    }

    /// Lets go of histories between the base and the newest ones, from the `first`-th beside it on.
    pub(super) fn forget_histories(&mut self, first: usize) {
        let last = self.since.len().saturating_sub(HISTORIES_KEPT);
        self.since.range_mut(first.min(last)..last).for_each(Checkpoint::forget_history);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        derive::{Append, Head, rules::Epoch},
        format::{ChannelId, Frame},
    };
    use alloy::primitives::{B256, Bytes};
    use executor::{Header, RollupRules};

    fn block(number: u64) -> BlockId {
        BlockId { number, hash: B256::repeat_byte(1) }
    }

    fn derivation() -> Derivation {
        let epoch = Epoch { number: 0, hash: B256::ZERO, sequence_number: 0 };
        let head = Head { header: Header::default(), hash: B256::ZERO, epoch };
        Derivation::new(RollupRules::default(), head)
    }

    /// With the first frame of a channel that stays open.
    fn open() -> Derivation {
        let mut derivation = derivation();
        let frame = Frame {
            channel: ChannelId::default(),
            index: 0,
            is_last: false,
            data: Bytes::from_static(&[7; 100]),
        };
        let payload = Ok(frame.encode());
        derivation.push_append(&Append { id: 0, acc: B256::ZERO, l1_block: 1, payload });
        assert!(derivation.open_channel().is_some());
        derivation
    }

    /// After the append of L1 block `id`, its id.
    fn after(id: u64, derivation: Derivation, ends_fresh: bool) -> Checkpoint {
        let position = InboxPosition { next_batch: id, acc: B256::ZERO };
        Checkpoint::new(derivation, block(id), position, ends_fresh)
    }

    #[test]
    fn when_full_the_oldest_go_and_the_base_stays() {
        let mut checkpoints = Checkpoints::new(after(0, derivation(), false));
        let count = CHECKPOINTS_MAX as u64 + 10;
        for id in 1..=count {
            checkpoints.push(after(id, derivation(), false));
            checkpoints.forget_histories(0);
        }
        checkpoints.forget_oldest();
        assert_eq!(checkpoints.len() + 1, CHECKPOINTS_MAX);
        assert_eq!(checkpoints.base().l1_block(), block(0));
        assert_eq!(checkpoints.since[0].l1_block(), block(12));
        assert_eq!(checkpoints.last().l1_block(), block(count));
        let resumable: Vec<_> = checkpoints.resumable().map(|(_, c)| c.l1_block().number).collect();
        assert_eq!(resumable.len(), HISTORIES_KEPT + 1);
        assert_eq!((resumable[0], resumable[HISTORIES_KEPT]), (count, 0));
    }

    #[test]
    fn what_cannot_be_resumed_keeps_no_frames_and_stays_open() {
        let mut checkpoints = Checkpoints::new(after(0, derivation(), false));
        checkpoints.push(after(1, open(), false));
        for id in 2..20 {
            checkpoints.push(after(id, derivation(), id == 3));
        }
        checkpoints.forget_histories(0);
        assert!(checkpoints.since[0].derivation().open_channel().is_none());
        // The base is what it would have been: nothing can start at an open channel.
        assert_eq!(checkpoints.finalize(1).unwrap().l1_block, block(0));
        assert_eq!(checkpoints.finalize(2).unwrap().l1_block, block(2));
        assert_eq!(checkpoints.base().l1_block(), block(0));
        checkpoints.finalize(3);
        assert_eq!(checkpoints.base().l1_block(), block(2));
        assert_eq!(checkpoints.len(), 17);
        assert!(checkpoints.resumable().any(|(len, _)| len == 0));
    }
}
