//! The state trie for a node that follows a chain: resident in arenas, changed in place, hashed in
//! batches.
//!
//! Accounts are in shards by the first nibbles of their hashed addresses, with their storage beside
//! them, so two threads can change and hash different shards, and shards that nobody uses can be
//! dropped from memory and read back from flat state when they are needed. There is one state, the
//! newest; going back means applying the reversed diff. The persistent
//! [`StateTrie`](crate::StateTrie) is the other way round: many versions at once, at ten times the
//! cost. Deliberately absent: preimages of hashed keys, code, and files.

mod build;
mod crown;
mod diff;
mod encode;
mod extract;
mod hasher;
mod key;
mod link;
mod nodes;
mod proof;
mod shard;
mod slab;
mod slot;
mod source;
mod wanted;
mod work;

pub use diff::{Change, HashedDiff};
pub use proof::HashedProof;
pub use source::{FlatEntry, ShardSource, SourceError};
pub use wanted::Wanted;

use super::{Account, StateDiff};
use crate::keccak::{Backend, Batch};
use alloy_primitives::{Address, B256, U256, keccak256};
use alloy_trie::EMPTY_ROOT_HASH;
use build::ShardBuilder;
use core::fmt;
use crown::Crown;
use diff::KeyOf;
use hasher::Hasher;
use shard::Shard;
use slot::Slot;
use std::{boxed::Box, vec::Vec};

/// Threads that a block's changes are shared among at most.
pub const THREADS_MAX: usize = 2;

/// Why the arena could not do as asked. It is then as it was before, but for shards read back.
#[derive(Debug, thiserror::Error)]
pub enum ArenaError {
    /// This processor does not have the keccak backend.
    #[error("no {0:?} on this processor")]
    BackendAbsent(Backend),
    /// A shard must be read back, or is to be evicted, and there is nothing to read it from.
    #[error("no source to read shards from")]
    NoSource,
    /// Reading flat state failed.
    #[error("cannot read shard {shard}: {error}")]
    Source {
        /// Which shard.
        shard: usize,
        /// What the source said.
        error: SourceError,
    },
    /// Flat state is not that of this arena: it has another root.
    #[error("flat state of shard {shard} has another root")]
    SourceMismatch {
        /// Which shard.
        shard: usize,
    },
    /// Flat state has an account or a slot twice.
    #[error("flat state has {0} twice")]
    Duplicate(B256),
    /// Flat state has a slot of an account that it does not have.
    #[error("flat state has a slot of no account: {address}")]
    StraySlot {
        /// The account's hashed address.
        address: B256,
    },
    /// More than half a billion accounts, slots or branches in one shard.
    #[error("a shard of the state trie is full")]
    Full,
}

/// Into how many shards the accounts are divided. More shards: finer eviction, 9 KiB each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ShardCount {
    /// One: no parallelism, no eviction to speak of. For small states and tests.
    One,
    /// By the first nibble.
    Sixteen,
    /// By the first two nibbles.
    TwoHundredFiftySix,
}

impl ShardCount {
    /// Nibbles that tell shards apart.
    fn nibbles(self) -> u8 {
        match self {
            Self::One => 0,
            Self::Sixteen => 1,
            Self::TwoHundredFiftySix => 2,
        }
    }

    /// Number of shards.
    #[must_use]
    pub fn get(self) -> usize {
        1 << (4 * self.nibbles())
    }
}

/// How an arena works; none of it changes a root.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ArenaOptions {
    /// Number of shards.
    pub shards: ShardCount,
    /// How nodes are hashed.
    pub backend: Backend,
    /// Threads for one change: 1 to [`THREADS_MAX`]; what is beyond is taken as the limit.
    pub threads: usize,
}

impl Default for ArenaOptions {
    fn default() -> Self {
        Self {
            shards: ShardCount::TwoHundredFiftySix,
            backend: Backend::detect(),
            threads: THREADS_MAX,
        }
    }
}

/// See the [module](self).
pub struct StateArena {
    options: ArenaOptions,
    slots: Vec<Slot>,
    root: B256,
    /// One for each thread.
    hashers: [Hasher; THREADS_MAX],
    keys: Batch<KeyOf>,
    source: Option<Box<dyn ShardSource>>,
    /// Counts uses, to know which shard has gone unused the longest.
    clock: u64,
}

impl fmt::Debug for StateArena {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StateArena")
            .field("options", &self.options)
            .field("root", &self.root)
            .field("accounts", &self.accounts())
            .field("bytes_resident", &self.bytes_resident())
            .finish_non_exhaustive()
    }
}

impl StateArena {
    /// An empty state.
    ///
    /// # Errors
    /// [`ArenaError::BackendAbsent`].
    pub fn new(options: ArenaOptions) -> Result<Self, ArenaError> {
        let backend = options.backend;
        let absent = || ArenaError::BackendAbsent(backend);
        let hasher = || Hasher::new(backend).ok_or_else(absent);
        let slots = (0..options.shards.get()).map(|_| Slot::default());
        Ok(Self {
            options,
            slots: slots.collect(),
            root: EMPTY_ROOT_HASH,
            hashers: [hasher()?, hasher()?],
            keys: Batch::new(backend).ok_or_else(absent)?,
            source: None,
            clock: 0,
        })
    }

    /// A whole state from flat state: accounts by hashed address, and slots by hashed address and
    /// hashed slot, each in any order.
    ///
    /// # Errors
    /// The first error among the entries; [`ArenaError::Duplicate`] or [`ArenaError::StraySlot`] when
    /// they are no state; [`ArenaError::BackendAbsent`].
    pub fn from_hashed<E: From<ArenaError>>(
        options: ArenaOptions,
        accounts: impl IntoIterator<Item = Result<(B256, Account), E>>,
        slots: impl IntoIterator<Item = Result<(B256, B256, U256), E>>,
    ) -> Result<Self, E> {
        let mut arena = Self::new(options)?;
        let mut builders: Vec<_> = arena.slots.iter().map(|_| ShardBuilder::default()).collect();
        for account in accounts {
            let (hashed_address, account) = account?;
            builders[arena.index(&hashed_address)].add_account(hashed_address, account);
        }
        for slot in slots {
            let (hashed_address, hashed_slot, value) = slot?;
            let builder = &mut builders[arena.index(&hashed_address)];
            builder.add_slot(hashed_address, hashed_slot, value);
        }
        arena.build(builders)?;
        Ok(arena)
    }

    /// A whole state from its source, a shard at a time, which is also where evicted shards are read
    /// back from.
    ///
    /// # Errors
    /// As [`Self::from_hashed`], and [`ArenaError::Source`].
    pub fn from_source(
        options: ArenaOptions,
        source: Box<dyn ShardSource>,
    ) -> Result<Self, ArenaError> {
        let mut arena = Self::new(options)?.with_source(source);
        arena.read_all()?;
        Ok(arena)
    }

    /// Where evicted shards are read back from.
    #[must_use]
    pub fn with_source(mut self, source: Box<dyn ShardSource>) -> Self {
        self.source = Some(source);
        self
    }

    /// Hashes otherwise from now on.
    ///
    /// # Errors
    /// [`ArenaError::BackendAbsent`].
    pub fn set_backend(&mut self, backend: Backend) -> Result<(), ArenaError> {
        let absent = || ArenaError::BackendAbsent(backend);
        let hasher = || Hasher::new(backend).ok_or_else(absent);
        let hashers = [hasher()?, hasher()?];
        (self.keys, self.hashers) = (Batch::new(backend).ok_or_else(absent)?, hashers);
        self.options.backend = backend;
        Ok(())
    }

    /// Uses so many threads from now on.
    pub fn set_threads(&mut self, threads: usize) {
        self.options.threads = threads;
    }

    /// How it works.
    #[must_use]
    pub fn options(&self) -> ArenaOptions {
        self.options
    }

    /// Root of the accounts trie.
    #[must_use]
    pub fn root(&self) -> B256 {
        self.root
    }

    /// Makes a change and returns the new root. Either all of it happens or, on an error, nothing.
    ///
    /// # Errors
    /// [`ArenaError`] when an evicted shard cannot be read back, or a shard is full.
    pub fn apply(&mut self, diff: &StateDiff) -> Result<B256, ArenaError> {
        let hashed = HashedDiff::of(diff, &mut self.keys);
        self.apply_hashed(&hashed)
    }

    /// A change, and the way back from it, for [`apply_hashed`](Self::apply_hashed). Neither depends
    /// on the state; hashing is all that is done.
    pub fn hash(&mut self, diff: &StateDiff) -> Change {
        Change::of(diff, &mut self.keys)
    }

    /// The account of an address.
    ///
    /// # Errors
    /// [`ArenaError`] when an evicted shard cannot be read back; so below.
    pub fn account(&mut self, address: Address) -> Result<Option<Account>, ArenaError> {
        let (shard, leaf) = self.find(address)?;
        Ok(leaf.map(|leaf| shard.account(leaf)))
    }

    /// A storage slot; zero where nothing is stored.
    ///
    /// # Errors
    /// [`ArenaError`].
    pub fn slot(&mut self, address: Address, slot: U256) -> Result<U256, ArenaError> {
        let (shard, leaf) = self.find(address)?;
        let place = leaf.and_then(|leaf| shard.storage_place(leaf));
        let hashed_slot = keccak256(slot.to_be_bytes::<32>());
        Ok(place.map_or(U256::ZERO, |place| shard.slot(place, &hashed_slot).into()))
    }

    /// Root of an account's storage trie; the empty root where there is no account.
    ///
    /// # Errors
    /// [`ArenaError`].
    pub fn storage_root(&mut self, address: Address) -> Result<B256, ArenaError> {
        let (shard, leaf) = self.find(address)?;
        Ok(leaf.map_or(EMPTY_ROOT_HASH, |leaf| shard.storage_root(leaf)))
    }

    /// The shard of an account, and its leaf.
    fn find(&mut self, address: Address) -> Result<(&Shard, Option<u32>), ArenaError> {
        let key = keccak256(address);
        let shard = self.resident(self.index(&key))?;
        Ok((shard, shard.find(&key)))
    }

    /// Number of accounts, in memory or not.
    #[must_use]
    pub fn accounts(&self) -> usize {
        self.slots.iter().map(Slot::accounts).sum()
    }

    /// Bytes allocated for the shards in memory.
    #[must_use]
    pub fn bytes_resident(&self) -> usize {
        self.slots.iter().map(Slot::bytes).sum()
    }

    /// Number of shards that are not in memory.
    #[must_use]
    pub fn shards_evicted(&self) -> usize {
        self.slots.iter().filter(|slot| slot.is_evicted()).count()
    }

    /// Now, on the arena's clock: see [`Self::evict`].
    #[must_use]
    pub fn mark(&self) -> u64 {
        self.clock
    }

    /// Drops from memory the shards that have gone unused the longest, until at most `bytes_max` are
    /// resident, or all shards are dropped. Returns how many were dropped. Shards that were changed
    /// after `mark` stay: their source may not have those changes yet.
    ///
    /// # Errors
    /// [`ArenaError::NoSource`] when they could never be read back.
    pub fn evict(&mut self, bytes_max: usize, mark: u64) -> Result<usize, ArenaError> {
        if self.source.is_none() {
            return Err(ArenaError::NoSource);
        }
        let mut bytes = self.bytes_resident();
        let mut oldest: Vec<_> =
            self.slots.iter_mut().filter(|slot| slot.can_be_evicted(mark)).collect();
        oldest.sort_by_key(|slot| slot.used_at);
        let mut dropped = 0;
        for slot in oldest {
            if bytes <= bytes_max {
                break;
            }
            bytes -= slot.bytes();
            slot.evict();
            dropped += 1;
        }
        Ok(dropped)
    }

    /// The shard of a key.
    fn index(&self, key: &B256) -> usize {
        usize::from(key[0]) >> (8 - 4 * self.options.shards.nibbles())
    }
}
