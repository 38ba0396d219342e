//! Folding: a thread of its own moves blocks from the order log into the database, several in one
//! durable transaction that also says which record of the log it reached; then the log drops the
//! segments that the database has passed. Nothing waits for it until it is too far behind.
//!
//! A fold that fails is tried again: its blocks are in the log and in memory. Does not acknowledge
//! anything and does not touch blocks that are in the database.

use super::{
    ChainStore, ChainStoreError, Head, Inner,
    batch::Batch,
    recent::RecentBlock,
    write::{self, NewBlock},
    write_position,
};
use std::{
    fmt,
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, atomic::Ordering},
    thread::JoinHandle,
    time::{Duration, Instant},
};

/// Bounds of the fold. A program has one set of them; tests have smaller ones.
#[derive(Clone, Copy, Debug)]
pub struct FoldLimits {
    /// Blocks in one transaction at most. With as many waiting the fold starts at once.
    pub blocks_max: usize,
    /// Bytes of log records in one transaction at most; one block is always taken. A transaction
    /// keeps the pages it changed in memory, about ten times as much.
    pub bytes_max: usize,
    /// Time that the fold lets blocks gather: more blocks in a transaction write fewer pages.
    pub pause: Duration,
    /// Blocks in the log and not in the database at most. A commit waits then: every view searches
    /// all of them, and a start replays them.
    pub unfolded_blocks_max: usize,
    /// Bytes of log records in the log and not in the database at most; a commit waits then.
    pub unfolded_bytes_max: usize,
}

impl Default for FoldLimits {
    /// A start replays at most 64 blocks: their changes, without executing. 256 MiB of records are
    /// about a gigabyte of blocks in memory.
    fn default() -> Self {
        Self {
            blocks_max: 32,
            bytes_max: 32 << 20,
            pause: Duration::from_millis(500),
            unfolded_blocks_max: 64,
            unfolded_bytes_max: 256 << 20,
        }
    }
}

/// The thread's niceness: a tenth of the share of a thread that seals.
const NICE: i32 = 10;
/// Time between two looks at whether somebody is still in a hurry.
const PASS_POLL: Duration = Duration::from_micros(200);
/// Longest time that one fold stands still: whoever hurries and waits for somebody who waits for the
/// fold waits no longer.
const PASS_MAX: Duration = Duration::from_secs(2);
/// Time after which a failed fold is tried again.
const RETRY: Duration = Duration::from_secs(1);
/// Longest time that a commit waits for a fold that neither ends nor fails: the longest transaction
/// measured took a second.
const WAIT_MAX: Duration = Duration::from_secs(30);

/// The thread, and what it shares with those who commit. Dropping it stops the thread; a transaction
/// in progress is ended first.
pub(super) struct Folder {
    signal: Arc<Signal>,
    limits: FoldLimits,
    thread: Option<JoinHandle<()>>,
}

impl fmt::Debug for Folder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Folder").field("limits", &self.limits).finish_non_exhaustive()
    }
}

#[derive(Default)]
struct Signal {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    stop: bool,
    /// Why the last fold failed; none after one that did not.
    failure: Option<Failure>,
}

#[derive(Clone)]
struct Failure {
    disk_full: bool,
    reason: String,
}

impl Signal {
    // Held to look at it or change it, never during a fold.
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wait<'a>(&'a self, state: MutexGuard<'a, State>, time: Duration) -> MutexGuard<'a, State> {
        self.changed.wait_timeout(state, time).unwrap_or_else(PoisonError::into_inner).0
    }
}

impl Folder {
    /// Starts the thread.
    pub(super) fn start(inner: &Arc<Inner>, limits: FoldLimits) -> Result<Self, ChainStoreError> {
        let signal = Arc::new(Signal::default());
        let run = {
            let (inner, signal) = (inner.clone(), signal.clone());
            move || run(&inner, &signal, limits)
        };
        let thread = std::thread::Builder::new().name("fold".to_owned()).spawn(run);
        let thread = Some(thread.map_err(ChainStoreError::Directory)?);
        Ok(Self { signal, limits, thread })
    }

    /// Tells the thread that there is a block.
    pub(super) fn wake(&self) {
        // Between its look at the list and its wait the thread holds the lock: no call is missed.
        drop(self.signal.state());
        self.signal.changed.notify_all();
    }

    /// Waits while as many blocks are unfolded as may be.
    pub(super) fn wait_for_room(&self, inner: &Inner) -> Result<(), ChainStoreError> {
        let started = Instant::now();
        let mut state = self.signal.state();
        let mut warned = false;
        loop {
            let layer = inner.recent.get();
            let blocks = layer.blocks.len();
            if blocks < self.limits.unfolded_blocks_max
                && (blocks == 0 || layer.bytes() < self.limits.unfolded_bytes_max)
            {
                return Ok(());
            }
            drop(layer);
            if let Some(Failure { disk_full, reason }) = state.failure.clone() {
                return Err(if disk_full {
                    ChainStoreError::DiskFull { reason }
                } else {
                    ChainStoreError::FoldFailed { blocks, reason }
                });
            }
            if started.elapsed() > WAIT_MAX {
                let reason = format!("it has not ended for {WAIT_MAX:?}");
                return Err(ChainStoreError::FoldFailed { blocks, reason });
            }
            // Whoever adds blocks as fast as they can be had waits a moment for every one.
            if started.elapsed() >= RETRY && !std::mem::replace(&mut warned, true) {
                tracing::warn!(blocks, "the chain database is behind the order log: sealing waits");
            }
            self.signal.changed.notify_all();
            state = self.signal.wait(state, RETRY);
        }
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        self.signal.state().stop = true;
        self.signal.changed.notify_all();
        if let Some(thread) = self.thread.take() {
            // A panic there has been reported by the thread.
            let _ = thread.join();
        }
    }
}

/// Makes this thread wait for those that seal and serve. When they wait for it, they leave it a core.
fn step_back() {
    // A hint to the scheduler: without it the fold only takes more from the others.
    if let Err(error) = rustix::process::setpriority_process(None, NICE) {
        tracing::debug!(%error, "the fold keeps its priority");
    }
}

fn run(inner: &Inner, signal: &Signal, limits: FoldLimits) {
    step_back();
    while wait_for_blocks(inner, signal, limits) {
        let mut left = PASS_MAX;
        let folded = inner.fold_once(limits, || left -= inner.let_pass(limits, left).min(left));
        let mut state = signal.state();
        match folded {
            Ok(()) => {
                if state.failure.take().is_some() {
                    tracing::info!("the chain database follows the order log again");
                }
                signal.changed.notify_all();
            }
            Err(error) => {
                let disk_full = error.is_disk_full();
                let reason = error.to_string();
                if state.failure.as_ref().is_none_or(|failure| failure.reason != reason) {
                    tracing::error!(%error, "cannot fold blocks into the chain database");
                }
                state.failure = Some(Failure { disk_full, reason });
                signal.changed.notify_all();
                if !state.stop {
                    drop(signal.wait(state, RETRY));
                }
            }
        }
    }
}

/// Waits until there is something to fold and has had time to become more; false to stop.
fn wait_for_blocks(inner: &Inner, signal: &Signal, limits: FoldLimits) -> bool {
    let mut state = signal.state();
    let mut first_seen = None;
    while !state.stop {
        let layer = inner.recent.get();
        let (blocks, bytes) = (layer.blocks.len(), layer.bytes());
        drop(layer);
        let now = Instant::now();
        let due = match first_seen {
            None => now + limits.pause,
            Some(due) => due,
        };
        if blocks > 0 {
            first_seen = Some(due);
        }
        let enough = blocks >= limits.blocks_max.min(limits.unfolded_blocks_max)
            || bytes >= limits.bytes_max.min(limits.unfolded_bytes_max);
        if enough || (blocks > 0 && now >= due) {
            return true;
        }
        let time = if blocks > 0 { due - now } else { Duration::from_secs(60) };
        state = signal.wait(state, time);
    }
    false
}

impl Inner {
    /// Folds the oldest blocks, as many as one transaction may have. `pause` is called between rows.
    pub(super) fn fold_once(
        &self,
        limits: FoldLimits,
        pause: impl FnMut(),
    ) -> Result<(), ChainStoreError> {
        let mut rows = self.folding.lock().unwrap_or_else(PoisonError::into_inner);
        let layer = self.recent.get();
        let mut bytes = 0;
        let fits = |block: &&Arc<RecentBlock>| {
            let is_first = bytes == 0;
            bytes += block.bytes;
            is_first || bytes <= limits.bytes_max
        };
        let blocks = layer.blocks.iter().take(limits.blocks_max.max(1)).take_while(fits);
        let blocks: Vec<_> = blocks.cloned().collect();
        drop(layer);
        let Some(last) = blocks.last() else { return Ok(()) };
        let (through, count) = (last.number(), blocks.len());
        tracing::debug!(through, count, "folding");
        self.write_blocks(&mut rows, (&blocks, last.position), pause).map_err(
            |error| match error {
                ChainStoreError::Engine(error) => self.kv.name_full_disk(error).into(),
                error => error,
            },
        )?;
        self.recent.remove_folded(last.head());
        tracing::debug!(through, count, "folded");
        // The blocks are folded whether or not a file can be removed.
        if let Err(error) = self.log.drop_through(last.position, self.log_segments_kept) {
            tracing::warn!(%error, "a passed segment of the order log stays");
        }
        Ok(())
    }

    /// Waits while somebody is in a hurry, unless the log is filling up; how long that was.
    fn let_pass(&self, limits: FoldLimits, time_max: Duration) -> Duration {
        let has_room = || {
            let layer = self.recent.get();
            layer.blocks.len() < limits.unfolded_blocks_max / 2
                && layer.bytes() < limits.unfolded_bytes_max / 2
        };
        let started = Instant::now();
        let waits = || self.hurries.load(Ordering::Acquire) > 0 && has_room();
        while waits() && started.elapsed() < time_max {
            std::thread::park_timeout(PASS_POLL);
        }
        started.elapsed()
    }

    fn write_blocks(
        &self,
        rows: &mut Batch,
        (blocks, position): (&[Arc<RecentBlock>], u64),
        pause: impl FnMut(),
    ) -> Result<(), ChainStoreError> {
        let writer = self.kv.writer()?;
        let blocks: Vec<_> = blocks.iter().map(|block| NewBlock::from(&**block)).collect();
        write::blocks(&writer, rows, &blocks, pause)?;
        write_position(&writer, position)?;
        Ok(writer.commit()?)
    }
}

/// Somebody is in a hurry for as long as this lives.
#[derive(Debug)]
pub struct Hurry(ChainStore);

impl Drop for Hurry {
    fn drop(&mut self) {
        self.0.0.hurries.fetch_sub(1, Ordering::Release);
    }
}

impl ChainStore {
    /// Says that a block is being built: the fold stands still meanwhile, in the middle of what it
    /// writes if need be, as long as there is room in the log for twice as much.
    #[must_use]
    pub fn hurry(&self) -> Hurry {
        self.0.hurries.fetch_add(1, Ordering::AcqRel);
        Hurry(self.clone())
    }

    /// Folds every block that is in the log into the database now, as before a copy of the database
    /// is made and at the end of the process.
    ///
    /// # Errors
    /// [`ChainStoreError`] when the database cannot be written; the blocks are still in the log.
    pub fn fold_all(&self) -> Result<(), ChainStoreError> {
        let _writer = self.0.writer.lock().unwrap_or_else(PoisonError::into_inner);
        while !self.0.recent.get().blocks.is_empty() {
            self.0.fold_once(self.1.limits, || {})?;
        }
        Ok(())
    }

    /// Folds until the database has block `number`, if the chain has it.
    pub(super) fn fold_through(&self, number: u64) -> Result<(), ChainStoreError> {
        // A rollback may take it meanwhile; then it is in neither.
        while self.0.recent.get().get(number).is_some() {
            self.0.fold_once(self.1.limits, || {})?;
        }
        Ok(())
    }

    /// The last block that the database holds; those above it are in the order log.
    #[must_use]
    pub fn folded_head(&self) -> Head {
        self.0.recent.get().folded
    }
}
