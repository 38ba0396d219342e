//! The engine that computes state roots: the resident trie of the newest block, changed in place.
//!
//! It is at one block, or one step ahead of it: a root is computed before its block is durable, and
//! when that block does not come after all the step is undone. The step can be made in parts, while
//! the block is executed still (`foreseen`); the whole change, which comes at its end, decides. Whoever needs nodes of the trie takes
//! the few that it needs and works on those, so nobody holds the engine for longer than that. Does
//! not read or write the chain's rows, but for shards of the trie that were evicted.

use super::{ChainStoreError, Head, foreseen::Foreseen};
use alloy::primitives::B256;
use contracts::L2_TO_L1_MESSAGE_PASSER;
use executor::{
    StateDiff, StateTrie, Touched,
    state::arena::{ArenaError, HashedDiff, StateArena, THREADS_MAX, Wanted},
};
use std::{
    collections::VecDeque,
    fmt,
    sync::{
        Condvar, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

/// Blocks for which a proof can always be had, unless the node is told otherwise.
pub const PROOF_WINDOW_BLOCKS: u64 = 1_024;
/// Keys that are changed beforehand at a time: less than a millisecond of work.
const PIECE_KEYS: usize = 256;
/// Changed keys from which on a second thread is called: below, it may come later than the first is
/// done, since a node has other work for every core.
const SHARED_KEYS_MIN: usize = 1_024;
/// Time that a reader waits for a block whose root is known to become durable: some fdatasyncs. After
/// it the step is undone; should the block come nevertheless, it is done again.
const STEP_WAIT: Duration = Duration::from_millis(200);

/// The engine, shared; and what bounds the work for proofs.
pub(super) struct Roots {
    engine: Mutex<Engine>,
    /// Told when a step ends.
    settled: Condvar,
    proof_window_blocks: AtomicU64,
    /// Held by who goes back to an earlier block.
    going_back: Mutex<()>,
    /// Somebody waits for a root: foreseeing more would only keep him waiting.
    is_wanted: AtomicBool,
    bytes_max: Option<usize>,
}

impl fmt::Debug for Roots {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Roots").field("at", &self.engine().at).finish_non_exhaustive()
    }
}

struct Engine {
    arena: StateArena,
    at: Head,
    step: Option<Step>,
    /// When the newest blocks had changed the arena, oldest first: a shard that changed after the
    /// block that the tables have cannot be evicted.
    marks: VecDeque<(u64, u64)>,
}

/// The arena is at the state after a change of the block that the engine is at, or on the way there.
#[derive(Default)]
struct Step {
    /// Root of the whole change; `None` while more is foreseen.
    root: Option<B256>,
    /// What leads back, the last one first.
    backward: Vec<HashedDiff>,
    /// Whose it is, while it is foreseen.
    ticket: u64,
    foreseen: Foreseen,
}

/// How much the engine holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TrieUsage {
    /// Accounts of the state.
    pub accounts: usize,
    /// Bytes of memory.
    pub bytes_resident: usize,
    /// Shards that are not in memory.
    pub shards_evicted: usize,
}

impl Engine {
    /// Undoing can fail where a shard must be read back and cannot; what is left is undone the next
    /// time.
    fn undo_step(&mut self) -> Result<(), ArenaError> {
        let Some(step) = &mut self.step else { return Ok(()) };
        while let Some(backward) = step.backward.last() {
            self.arena.apply_hashed(backward)?;
            step.backward.pop();
        }
        self.step = None;
        Ok(())
    }

    /// The state after a change, one step ahead. What was foreseen of it is there already; any other
    /// step is undone.
    fn step(&mut self, diff: &StateDiff) -> Result<B256, ArenaError> {
        let rest = match &self.step {
            Some(step) if step.root.is_none() => step.foreseen.rest(diff),
            _ => None,
        };
        if rest.is_none() {
            self.undo_step()?;
        }
        let rest = rest.as_ref().unwrap_or(diff);
        let keys: usize = rest.accounts.values().map(|change| 1 + change.slots.len()).sum();
        self.arena.set_threads(if keys < SHARED_KEYS_MIN { 1 } else { THREADS_MAX });
        let change = self.arena.hash(rest);
        let root = self.arena.apply_hashed(&change.forward)?;
        let step = self.step.get_or_insert_default();
        step.backward.push(change.backward);
        step.root = Some(root);
        Ok(root)
    }

    /// Makes a part of a change beforehand.
    fn foresee(&mut self, ticket: u64, touched: &Touched) -> Result<(), ArenaError> {
        match &self.step {
            // It came too late: its block has its root, or is not built any more.
            Some(step) if step.root.is_some() || step.ticket > ticket => return Ok(()),
            Some(step) if step.ticket < ticket => self.undo_step()?,
            _ => {}
        }
        let arena = &mut self.arena;
        // The block's own thread is at work.
        arena.set_threads(1);
        let step = self.step.get_or_insert_default();
        step.ticket = ticket;
        let diff = step.foreseen.add(touched, |address| arena.account(address))?;
        let change = arena.hash(&diff);
        // Noted only when it is done.
        arena.apply_hashed(&change.forward)?;
        step.backward.push(change.backward);
        step.foreseen.note(&diff);
        Ok(())
    }

    fn arrive(&mut self, at: Head) {
        self.step = None;
        self.at = at;
        self.marks.push_back((at.number, self.arena.mark()));
    }
}

impl Roots {
    /// At a block whose state the arena has.
    pub(super) fn new(at: Head, arena: StateArena, bytes_max: Option<usize>) -> Self {
        let marks = VecDeque::from([(at.number, arena.mark())]);
        let engine = Engine { arena, at, step: None, marks };
        Self {
            engine: Mutex::new(engine),
            settled: Condvar::new(),
            proof_window_blocks: AtomicU64::new(PROOF_WINDOW_BLOCKS),
            going_back: Mutex::default(),
            is_wanted: AtomicBool::new(false),
            bytes_max,
        }
    }

    // A panic inside it would leave the arena half changed; nothing may be computed after that. It is
    // written so that what can fail comes before the first change.
    fn engine(&self) -> MutexGuard<'_, Engine> {
        self.engine.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Root of the state after a change of block `parent`, which is to become the next block's;
    /// nothing where the engine is at another block.
    pub(super) fn after(
        &self,
        parent: Head,
        diff: &StateDiff,
    ) -> Result<Option<B256>, ChainStoreError> {
        self.is_wanted.store(true, Ordering::Release);
        let mut engine = self.engine();
        self.is_wanted.store(false, Ordering::Release);
        if engine.at != parent {
            return Ok(None);
        }
        Ok(Some(engine.step(diff)?))
    }

    /// Makes a part of a change of block `parent` beforehand, piece by piece, until the root is wanted:
    /// whoever wants it waits for one piece at most.
    pub(super) fn foresee(&self, parent: Head, ticket: u64, touched: &Touched) {
        let accounts = touched.accounts.chunks(PIECE_KEYS);
        let accounts = accounts.map(|part| Touched { accounts: part.to_vec(), slots: Vec::new() });
        let slots = touched.slots.chunks(PIECE_KEYS);
        let slots = slots.map(|part| Touched { accounts: Vec::new(), slots: part.to_vec() });
        for piece in accounts.chain(slots) {
            if self.is_wanted.load(Ordering::Acquire) {
                return;
            }
            let mut engine = self.engine();
            if engine.at != parent {
                return;
            }
            if let Err(error) = engine.foresee(ticket, &piece) {
                tracing::debug!(%error, "nothing is foreseen");
                return;
            }
        }
    }

    /// Brings the engine to the state that a block of this root and change has, if it is not there
    /// already; the message passer's storage root. `None`, and no change, where the change has another
    /// root. The caller is the one who adds blocks.
    pub(super) fn prepare(
        &self,
        root: B256,
        diff: &StateDiff,
    ) -> Result<Option<B256>, ChainStoreError> {
        let mut engine = self.engine();
        let reached = engine.step.as_ref().and_then(|step| step.root);
        if reached != Some(root) && engine.step(diff)? != root {
            engine.undo_step()?;
            return Ok(None);
        }
        Ok(Some(engine.arena.storage_root(L2_TO_L1_MESSAGE_PASSER)?))
    }

    /// What was prepared has become this block. `folded` is the newest block that the tables have.
    pub(super) fn arrive(&self, at: Head, folded: u64) {
        let mut engine = self.engine();
        engine.arrive(at);
        self.evict(&mut engine, folded);
        drop(engine);
        self.settled.notify_all();
    }

    /// Goes to the state of an earlier block by the change that leads there, one step for now. `false`,
    /// and no change, where that does not give its root.
    pub(super) fn try_back(&self, root: B256, diff: &StateDiff) -> Result<bool, ChainStoreError> {
        let mut engine = self.engine();
        if engine.step(diff)? == root {
            return Ok(true);
        }
        engine.undo_step()?;
        Ok(false)
    }

    /// The earlier block that was tried is the newest one now.
    pub(super) fn return_to(&self, target: Head) {
        let mut engine = self.engine();
        // Its marks are of blocks that are gone.
        engine.marks.retain(|(number, _)| *number < target.number);
        engine.arrive(target);
        drop(engine);
        self.settled.notify_all();
    }

    /// Both, for who has nobody beside him.
    pub(super) fn go_back(
        &self,
        target: Head,
        root: B256,
        diff: &StateDiff,
    ) -> Result<bool, ChainStoreError> {
        let is_there = self.try_back(root, diff)?;
        if is_there {
            self.return_to(target);
        }
        Ok(is_there)
    }

    /// What is wanted of the trie of the state that the engine is at; nothing where that is another
    /// block's than `at`. Waits for a block that is being made durable, or undone.
    pub(super) fn trie_for(
        &self,
        at: Head,
        wanted: &Wanted,
    ) -> Result<Option<StateTrie>, ChainStoreError> {
        let engine = self.engine();
        // Blocks are in the list of recent ones a moment before the engine arrives there.
        let moving = |engine: &mut Engine| {
            let reached = engine.step.as_ref().and_then(|step| step.root);
            reached.is_some() || engine.at.number + 1 == at.number
        };
        let waited = self.settled.wait_timeout_while(engine, STEP_WAIT, moving);
        let mut engine = waited.unwrap_or_else(PoisonError::into_inner).0;
        if engine.at != at {
            return Ok(None);
        }
        engine.undo_step()?;
        Ok(Some(engine.arena.trie_of(wanted)?))
    }

    /// Sets for how many blocks, the head included, a proof can always be had.
    pub(super) fn set_proof_window(&self, blocks: u64) {
        self.proof_window_blocks.store(blocks, Ordering::Relaxed);
    }

    /// Whether `number` is in the proof window that ends at `head`.
    pub(super) fn is_in_window(&self, number: u64, head: u64) -> bool {
        number >= (head + 1).saturating_sub(self.proof_window_blocks.load(Ordering::Relaxed))
    }

    /// The right to go back to an earlier block's trie, one at a time: it takes memory, and a core
    /// that the block builder wants too.
    pub(super) fn turn_to_go_back(&self) -> MutexGuard<'_, ()> {
        self.going_back.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How much it holds.
    pub(super) fn usage(&self) -> TrieUsage {
        let engine = self.engine();
        TrieUsage {
            accounts: engine.arena.accounts(),
            bytes_resident: engine.arena.bytes_resident(),
            shards_evicted: engine.arena.shards_evicted(),
        }
    }

    /// Drops shards beyond the bound, of those that the tables have as they are.
    fn evict(&self, engine: &mut Engine, folded: u64) {
        let mut unchanged_since = None;
        while let Some((_, mark)) = engine.marks.front().filter(|(number, _)| *number <= folded) {
            unchanged_since = Some(*mark);
            engine.marks.pop_front();
        }
        let Some(mark) = unchanged_since else { return };
        // Kept for the next time: blocks come faster than folds.
        engine.marks.push_front((folded, mark));
        let Some(bytes_max) = self.bytes_max else { return };
        if engine.arena.bytes_resident() <= bytes_max {
            return;
        }
        match engine.arena.evict(bytes_max, mark) {
            Ok(dropped) => tracing::debug!(dropped, "shards of the state trie left memory"),
            Err(error) => tracing::warn!(%error, "shards of the state trie stay in memory"),
        }
    }
}
