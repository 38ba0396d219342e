//! A place for a shard: the shard itself, or, while it is evicted, what the rest of the trie must know
//! of it.

use super::{crown::Top, shard::Shard};
use std::boxed::Box;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Slot {
    /// Its uppermost node; `None` when it has no account.
    pub(super) top: Option<Top>,
    accounts: usize,
    /// When it was used last, on the arena's clock.
    pub(super) used_at: u64,
    /// When it was changed last.
    pub(super) changed_at: u64,
    content: Content,
}

#[derive(Debug)]
enum Content {
    Resident(Box<Shard>),
    Evicted,
}

impl Default for Content {
    fn default() -> Self {
        Self::Resident(Box::default())
    }
}

impl Slot {
    /// The shard, unless it is evicted.
    pub(super) fn shard(&self) -> Option<&Shard> {
        match &self.content {
            Content::Resident(shard) => Some(shard),
            Content::Evicted => None,
        }
    }

    pub(super) fn shard_mut(&mut self) -> Option<&mut Shard> {
        match &mut self.content {
            Content::Resident(shard) => Some(shard),
            Content::Evicted => None,
        }
    }

    /// Puts a hashed shard here, which hangs at `depth`.
    pub(super) fn put(&mut self, shard: Shard, depth: u8) {
        self.content = Content::Resident(Box::new(shard));
        self.refresh(depth);
    }

    /// Takes over from the hashed shard what is known of it outside.
    pub(super) fn refresh(&mut self, depth: u8) {
        if let Content::Resident(shard) = &self.content {
            self.accounts = shard.accounts.len();
            self.top = Top::of(shard, depth);
        }
    }

    pub(super) fn is_evicted(&self) -> bool {
        matches!(self.content, Content::Evicted)
    }

    /// Whether dropping it frees anything, and it has not changed after `mark`.
    pub(super) fn can_be_evicted(&self, mark: u64) -> bool {
        !self.is_evicted() && self.top.is_some() && self.changed_at <= mark
    }

    pub(super) fn evict(&mut self) {
        self.content = Content::Evicted;
    }

    pub(super) fn accounts(&self) -> usize {
        self.accounts
    }

    pub(super) fn bytes(&self) -> usize {
        self.shard().map_or(0, Shard::bytes)
    }
}
