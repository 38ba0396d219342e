//! What the arena does to many shards: applying a change, building a state, reading shards back; on
//! one thread or two.

use super::{
    ArenaError, Crown, HashedDiff, Hasher, Shard, ShardBuilder, Slot, StateArena, THREADS_MAX,
    crown::Top, key, source::FlatEntry,
};
use crate::parallel::threads;
use alloy_primitives::B256;
use std::{ops::RangeInclusive, vec::Vec};

/// Changed keys below which a second thread costs more than it gains.
const SHARED_KEYS_MIN: usize = 48;

/// Changed keys that are applied and hashed together: enough to fill the lanes at every level, few
/// enough that what was changed is still in the core's own cache when it is hashed.
const TOGETHER_KEYS: usize = 256;

/// The changes of one shard.
struct Job<'a> {
    slot: &'a mut Slot,
    /// Indices of the changed accounts.
    changes: &'a [usize],
    /// Accounts and slots.
    keys: usize,
}

/// A shard that is being built.
struct Building<'a> {
    slot: &'a mut Slot,
    builder: ShardBuilder,
    result: Result<(), ArenaError>,
}

impl Building<'_> {
    fn run(&mut self, depth: u8, hasher: &mut Hasher) {
        self.result = std::mem::take(&mut self.builder).build().map(|mut shard| {
            hasher.hash(depth, &mut [&mut shard]);
            self.slot.put(shard, depth);
        });
    }
}

impl StateArena {
    /// [`apply`](Self::apply) by hashed keys.
    ///
    /// # Errors
    /// [`ArenaError`] when an evicted shard cannot be read back, or a shard is full; then nothing of
    /// the change has happened.
    pub fn apply_hashed(&mut self, diff: &HashedDiff) -> Result<B256, ArenaError> {
        let order = diff.order();
        let shard_of = |index: &usize| self.index(&diff.accounts[*index].key);
        let parts: Vec<_> = order
            .chunk_by(|a, b| shard_of(a) == shard_of(b))
            .map(|changes| (shard_of(&changes[0]), changes))
            .collect();
        // All that can fail comes first.
        for (index, changes) in &parts {
            if !self.resident(*index)?.has_room(keys(diff, changes)) {
                return Err(ArenaError::Full);
            }
        }
        let depth = self.options.shards.nibbles();
        let now = self.clock;
        let mut parts = parts.into_iter().peekable();
        let jobs = self.slots.iter_mut().enumerate().filter_map(|(index, slot)| {
            let (_, changes) = parts.next_if(|(part, _)| *part == index)?;
            slot.changed_at = now;
            Some(Job { slot, changes, keys: keys(diff, changes) })
        });
        let (mut first, mut second) = share(jobs.collect(), self.options.threads);
        let [hasher, other] = &mut self.hashers;
        let second = Some(&mut second).filter(|jobs| !jobs.is_empty());
        in_two((&mut first, second), (hasher, other), |jobs, hasher| {
            run(jobs, diff, depth, hasher);
        });
        self.root = self.crown().root();
        Ok(self.root)
    }

    /// Builds all shards.
    pub(super) fn build(&mut self, builders: Vec<ShardBuilder>) -> Result<(), ArenaError> {
        let depth = self.options.shards.nibbles();
        let parts = self.slots.iter_mut().zip(builders);
        let mut parts: Vec<_> =
            parts.map(|(slot, builder)| Building { slot, builder, result: Ok(()) }).collect();
        let shared = if self.options.threads > 1 { parts.len() / 2 } else { 0 };
        let mut second = parts.split_off(parts.len() - shared);
        let [hasher, other] = &mut self.hashers;
        let shared = Some(&mut second).filter(|parts| !parts.is_empty());
        in_two((&mut parts, shared), (hasher, other), |parts, hasher| {
            parts.iter_mut().for_each(|part| part.run(depth, hasher));
        });
        parts.into_iter().chain(second).try_for_each(|part| part.result)?;
        self.root = self.crown().root();
        Ok(())
    }

    /// The shard of this index, read back if it is evicted, and marked as used.
    pub(super) fn resident(&mut self, index: usize) -> Result<&Shard, ArenaError> {
        self.clock += 1;
        if self.slots[index].is_evicted() {
            let shard = self.read_back(index)?;
            self.slots[index].put(shard, self.options.shards.nibbles());
        }
        let slot = &mut self.slots[index];
        slot.used_at = self.clock;
        slot.shard().ok_or(ArenaError::NoSource)
    }

    /// Reads all shards of a new arena.
    pub(super) fn read_all(&mut self) -> Result<(), ArenaError> {
        let depth = self.options.shards.nibbles();
        for index in 0..self.slots.len() {
            let shard = self.read_shard(index)?;
            self.slots[index].put(shard, depth);
        }
        self.root = self.crown().root();
        Ok(())
    }

    fn read_back(&mut self, index: usize) -> Result<Shard, ArenaError> {
        let shard = self.read_shard(index)?;
        let root = Top::of(&shard, self.options.shards.nibbles()).map(|top| top.hash);
        if root == self.slots[index].top.as_ref().map(|top| top.hash) {
            Ok(shard)
        } else {
            Err(ArenaError::SourceMismatch { shard: index })
        }
    }

    fn read_shard(&mut self, index: usize) -> Result<Shard, ArenaError> {
        let source = self.source.as_ref().ok_or(ArenaError::NoSource)?;
        let depth = self.options.shards.nibbles();
        let mut builder = ShardBuilder::default();
        let mut add = |entry| match entry {
            FlatEntry::Account { hashed_address, account } => {
                builder.add_account(hashed_address, account);
            }
            FlatEntry::Slot { hashed_address, hashed_slot, value } => {
                builder.add_slot(hashed_address, hashed_slot, value);
            }
        };
        let read = source.read_shard(range(index, depth), &mut add);
        read.map_err(|error| ArenaError::Source { shard: index, error })?;
        let mut shard = builder.build()?;
        self.hashers[0].hash(depth, &mut [&mut shard]);
        Ok(shard)
    }

    /// What lies above the shards.
    pub(super) fn crown(&self) -> Crown<'_> {
        Crown { depth: self.options.shards.nibbles(), slots: &self.slots }
    }
}

/// The hashed addresses of a shard: those that start with the `depth` nibbles of its index.
#[allow(clippy::cast_possible_truncation, reason = "a nibble")]
fn range(index: usize, depth: u8) -> RangeInclusive<B256> {
    let (mut first, mut last) = (B256::ZERO, B256::repeat_byte(0xff));
    for at in 0..depth {
        let nibble = (index >> (4 * (depth - 1 - at)) & 15) as u8;
        key::set_nibble(&mut first, at, nibble);
        key::set_nibble(&mut last, at, nibble);
    }
    first..=last
}

/// Accounts and slots that change.
fn keys(diff: &HashedDiff, changes: &[usize]) -> usize {
    changes.iter().map(|index| 1 + diff.accounts[*index].slots.len()).sum()
}

/// Divides the work among the threads as evenly as whole shards allow.
fn share(mut jobs: Vec<Job<'_>>, threads: usize) -> (Vec<Job<'_>>, Vec<Job<'_>>) {
    let keys: usize = jobs.iter().map(|job| job.keys).sum();
    if threads.min(THREADS_MAX) < 2 || keys < SHARED_KEYS_MIN {
        return (jobs, Vec::new());
    }
    jobs.sort_by_key(|job| std::cmp::Reverse(job.keys));
    let (mut first, mut second, mut ahead) = (Vec::new(), Vec::new(), 0);
    for job in jobs {
        let (keys, lighter) = (job.keys.cast_signed(), ahead <= 0);
        ahead += if lighter { keys } else { -keys };
        if lighter { first.push(job) } else { second.push(job) }
    }
    (first, second)
}

/// Does both parts of some work, the second one on a thread of its own where there is one.
fn in_two<P: Send>(
    (first, second): (&mut P, Option<&mut P>),
    (hasher, other): (&mut Hasher, &mut Hasher),
    run: impl Fn(&mut P, &mut Hasher) + Sync,
) {
    let Some(second) = second else { return run(first, hasher) };
    let (done, ()) = threads::both(|| run(second, other), || run(first, hasher));
    if done.is_none() {
        run(second, other);
    }
}

/// Applies and hashes, some shards at a time.
fn run(jobs: &mut [Job<'_>], diff: &HashedDiff, depth: u8, hasher: &mut Hasher) {
    let mut rest = jobs;
    while !rest.is_empty() {
        let (mut count, mut keys) = (0, 0);
        while count < rest.len() && keys < TOGETHER_KEYS {
            keys += rest[count].keys;
            rest[count].apply(diff, depth);
            count += 1;
        }
        let (together, later) = rest.split_at_mut(count);
        let mut shards: Vec<_> =
            together.iter_mut().filter_map(|job| job.slot.shard_mut()).collect();
        hasher.hash(depth, &mut shards);
        together.iter_mut().for_each(|job| job.slot.refresh(depth));
        rest = later;
    }
}

impl Job<'_> {
    fn apply(&mut self, diff: &HashedDiff, depth: u8) {
        let Some(shard) = self.slot.shard_mut() else { return };
        for change in self.changes.iter().map(|index| &diff.accounts[*index]) {
            shard.apply(depth, change, &diff.slots[change.slots.clone()]);
        }
    }
}
