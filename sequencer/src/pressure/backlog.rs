//! The blocks that L1 does not have: when they were sealed, and how much is in them.
//!
//! Pure: times come in as arguments, milliseconds on one clock that never goes back. Blocks count from
//! when they were sealed, not from their timestamps: after a pause, and while L1 was away, blocks are made
//! whose timestamps follow L1's past, and they are no older for that.

use super::Load;
use std::{collections::VecDeque, time::Duration};

/// Blocks sealed within this time are remembered together.
const ENTRY_MILLIS: u64 = 1_000;
/// Entries at most: eighteen hours, many times the longest that blocks are made without a safe head. When
/// full, later blocks are counted with the newest entry, as if they were as old.
const ENTRIES_MAX: usize = 65_536;

/// How old what is kept of a backlog may be when its run ends without a word.
pub const KEPT_EVERY: Duration = Duration::from_secs(30);

/// What is kept of a backlog, for the next run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Kept {
    /// The oldest block that L1 did not have; the one after the head when it had all.
    pub oldest: u64,
    /// Time since that was sealed.
    pub lag: Duration,
    /// Bytes of users' transactions in all of them.
    pub bytes: u64,
}

impl Kept {
    /// What the run before left, when `oldest` is the oldest block now that L1 does not have and its
    /// timestamp is `lag_by_timestamps` before the head's. Timestamps alone are a guess: they stand still
    /// while L1 is away, and after a pause many hours of them are made in a minute.
    #[must_use]
    pub fn left(kept: Option<Self>, oldest: u64, lag_by_timestamps: Duration) -> Load {
        let (lag, bytes) = match kept {
            None => (lag_by_timestamps, 0),
            Some(kept) if oldest <= kept.oldest => (kept.lag, kept.bytes),
            // Some were posted since. Those left are no older, and nobody has counted them yet.
            Some(kept) => (lag_by_timestamps.min(kept.lag + KEPT_EVERY), 0),
        };
        Load { lag, bytes, ..Load::default() }
    }
}

/// A block as it is noted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sealed {
    /// Height.
    pub number: u64,
    /// Bytes of users' transactions.
    pub bytes: u64,
    /// When it was sealed.
    pub at_ms: u64,
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    first: u64,
    last: u64,
    /// When the oldest was sealed.
    at_ms: u64,
    bytes: u64,
}

/// Blocks above the safe head, oldest first.
#[derive(Clone, Debug)]
pub struct Backlog {
    entries: VecDeque<Entry>,
    /// Of all entries.
    bytes: u64,
    /// Everything up to here was on L1 once, as an earlier run knew; until the heads say so again.
    known_safe: u64,
}

impl Backlog {
    /// Knows no block. Those up to `known_safe` count as safe until [`Self::load`] is told of a safe
    /// head as high: at a start, L1 is read again from an earlier one.
    #[must_use]
    pub fn new(known_safe: u64) -> Self {
        Self { entries: VecDeque::new(), bytes: 0, known_safe }
    }

    /// Notes a block. One that is not above the newest replaces those from it on: they were undone.
    pub fn note(&mut self, sealed: Sealed) {
        let Sealed { number, bytes, at_ms } = sealed;
        self.truncate(number.saturating_sub(1));
        self.bytes += bytes;
        let is_full = self.entries.len() >= ENTRIES_MAX;
        match self.entries.back_mut() {
            Some(entry) if is_full || at_ms < entry.at_ms.saturating_add(ENTRY_MILLIS) => {
                entry.last = number;
                entry.bytes += bytes;
            }
            _ => self.entries.push_back(Entry { first: number, last: number, at_ms, bytes }),
        }
    }

    /// Notes blocks from before the oldest that is noted, in their order: those that an earlier run
    /// left.
    pub fn note_earlier(&mut self, blocks: impl IntoIterator<Item = Sealed>) {
        let first = self.entries.front().map_or(u64::MAX, |entry| entry.first);
        let mut earlier = Self::new(self.known_safe);
        blocks.into_iter().filter(|it| it.number < first).for_each(|it| earlier.note(it));
        self.bytes += earlier.bytes;
        earlier.entries.append(&mut self.entries);
        self.entries = earlier.entries;
    }

    /// Forgets the blocks above `number`. Of an entry that stays in part all bytes are counted: nobody
    /// knows which.
    fn truncate(&mut self, number: u64) {
        while let Some(entry) = self.entries.back_mut().filter(|entry| entry.last > number) {
            if entry.first <= number {
                entry.last = number;
                return;
            }
            self.bytes -= entry.bytes;
            self.entries.pop_back();
        }
    }

    /// What L1 does not have, with these heads. A safe head that went back, by an L1 reorg, shows blocks
    /// of which nothing is known any more: they count from when that is seen, or as old as the block
    /// after them.
    pub fn load(&mut self, safe: u64, head: u64, now_ms: u64) -> Load {
        if safe >= self.known_safe {
            self.known_safe = 0;
        }
        let safe = safe.max(self.known_safe).min(head);
        self.truncate(head);
        while let Some(entry) = self.entries.front().filter(|entry| entry.last <= safe) {
            self.bytes -= entry.bytes;
            self.entries.pop_front();
        }
        let known = self.entries.front();
        let last = known.map_or(head, |entry| entry.first - 1);
        if last > safe {
            let at_ms = known.map_or(now_ms, |entry| entry.at_ms.min(now_ms));
            self.entries.push_front(Entry { first: safe + 1, last, at_ms, bytes: 0 });
        }
        let lag_ms = self.entries.front().map_or(0, |entry| now_ms.saturating_sub(entry.at_ms));
        Load { lag: Duration::from_millis(lag_ms), blocks: head - safe, bytes: self.bytes }
    }
}
