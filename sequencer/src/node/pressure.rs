//! Watches how far L1 is behind: keeps account of the blocks that it does not have, asks the governor
//! several times a second, tells everybody, and says every change in the log and the audit trail.
//!
//! Owns the clock and the account. What a level is and when it is entered is [`crate::pressure`]'s; acting
//! on it is the builder's and the admission's. Sealing waits for nothing here.

use super::{NodeError, audit};
use crate::{
    builder::{Sealed, batch_bytes_max},
    pressure::{Backlog, Gauge, Governor, Level, Limits, Load, Pressure, backlog},
    rpc::Check,
    store::{ChainStore, ChainStoreError, Head, Ledger},
};
use batcher::tracker::Heads;
use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant, SystemTime},
};
use tokio::sync::{mpsc, watch};

/// Time between two looks. Five of them, a second or so, lead from the first level to the pause if all is
/// late at once.
const OBSERVE_EVERY: Duration = Duration::from_millis(250);
/// Blocks of an earlier run that are read at the start for their size: a minute's work at worst. Of a
/// longer backlog the oldest count, and their age is what decides then.
const RECALLED_BLOCKS_MAX: u64 = 16_384;
/// Changes that wait to be written into the audit trail, while the ledger is slow. When full the next ones
/// are in the log alone.
const CHANGES_QUEUED_MAX: usize = 64;

/// Milliseconds since 1970 when the node started, and monotonic from there on.
#[derive(Debug)]
struct Clock {
    started: Instant,
    started_unix_ms: u64,
}

impl Clock {
    fn start() -> Self {
        let unix = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        let millis = unix.map_or(0, |unix| unix.as_millis());
        let started_unix_ms = u64::try_from(millis).unwrap_or(u64::MAX);
        Self { started: Instant::now(), started_unix_ms }
    }

    fn now_ms(&self) -> u64 {
        let elapsed = u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.started_unix_ms.saturating_add(elapsed)
    }
}

/// The blocks that L1 does not have, as the build loop tells them.
#[derive(Debug)]
pub(super) struct Unposted {
    clock: Clock,
    backlog: Mutex<Backlog>,
}

impl Unposted {
    fn backlog(&self) -> MutexGuard<'_, Backlog> {
        self.backlog.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes a block that was sealed now.
    pub(super) fn note(&self, sealed: &Sealed) {
        let (number, at_ms) = (sealed.header.number, self.clock.now_ms());
        self.backlog().note(backlog::Sealed { number, bytes: sealed.bytes as u64, at_ms });
    }
}

/// The watch, before it runs.
#[derive(Debug)]
pub(super) struct Watch {
    governor: Governor,
    store: ChainStore,
    ledger: Ledger,
    heads: watch::Receiver<Heads>,
    unposted: Arc<Unposted>,
    /// Newest block that is not the backlog's, as an earlier run knew.
    known_safe: u64,
    /// Newest block of earlier runs.
    found: Head,
    told: watch::Sender<Pressure>,
}

impl Watch {
    /// A watch of the chain in `store`, and what shows its findings. What an earlier run left counts from
    /// the first block on that the builder makes.
    pub(super) async fn new(
        limits: Limits,
        store: ChainStore,
        ledger: Ledger,
        heads: watch::Receiver<Heads>,
    ) -> Result<(Self, Arc<Unposted>, Gauge), NodeError> {
        // The heads start at the finalized one, and L1 is read from there. Until that is done what the
        // run before knew to be safe counts; without that, the blocks of this run alone.
        let safe = ledger.heads().await?.map(|heads| heads.safe.block);
        let is_ours =
            |number, hash| store.header(number).map(|it| it.is_some_and(|it| it.1 == hash));
        let known_safe = match safe {
            Some(safe) if is_ours(safe.number, safe.hash)? => safe.number,
            _ => store.head().number,
        };
        let found = store.head();
        let left = Load { lag: lag_left(&store, known_safe, found)?, ..Load::default() };
        let (governor, pressure) = Governor::resume(limits, left);
        let backlog = Mutex::new(Backlog::new(known_safe));
        let unposted = Arc::new(Unposted { clock: Clock::start(), backlog });
        let (told, receiver) = watch::channel(pressure);
        let watch = Self {
            governor,
            store,
            ledger,
            heads,
            unposted: unposted.clone(),
            known_safe,
            found,
            told,
        };
        Ok((watch, unposted, Gauge::new(receiver)))
    }

    /// Runs for as long as the node.
    ///
    /// # Errors
    /// [`NodeError`] when a thread panics.
    pub(super) async fn run(self) -> Result<(), NodeError> {
        let (store, from, head) = (self.store.clone(), self.known_safe + 1, self.found);
        let started_ms = self.unposted.clock.started_unix_ms;
        let earlier =
            tokio::task::spawn_blocking(move || recall(&store, from, head, started_ms)).await?;
        match earlier {
            Ok(blocks) => self.unposted.backlog().note_earlier(blocks),
            Err(error) => {
                tracing::warn!(%error, "blocks of earlier runs are not counted as backlog")
            }
        }
        let (changes, queued) = mpsc::channel(CHANGES_QUEUED_MAX);
        tokio::join!(self.observe(changes), write(&self.ledger, queued));
        Ok(())
    }

    async fn observe(&self, changes: mpsc::Sender<String>) {
        let mut governor = self.governor.clone();
        let found = *self.told.borrow();
        if found.level > Level::Open {
            report(Level::Open, &found, &changes);
        }
        let mut ticks = tokio::time::interval(OBSERVE_EVERY);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            let safe = self.heads.borrow().safe.block.number;
            let (head, now_ms) = (self.store.head().number, self.unposted.clock.now_ms());
            let load = self.unposted.backlog().load(safe, head, now_ms);
            let pressure = governor.observe(load);
            let before = self.told.send_replace(pressure).level;
            if before != pressure.level {
                report(before, &pressure, &changes);
            }
        }
    }
}

/// Age of the oldest block above `known_safe` when the run before ended, as the timestamps say.
fn lag_left(store: &ChainStore, known_safe: u64, head: Head) -> Result<Duration, ChainStoreError> {
    if known_safe >= head.number {
        return Ok(Duration::ZERO);
    }
    let oldest = store.header(known_safe + 1)?.map_or(head.timestamp, |(it, _)| it.timestamp);
    Ok(Duration::from_secs(head.timestamp.saturating_sub(oldest)))
}

/// What was sealed from block `from` to `head`, by earlier runs: as long before this one's start as the
/// timestamps say. The time that the node was down does not count: nobody could post then.
fn recall(
    store: &ChainStore,
    from: u64,
    head: Head,
    started_ms: u64,
) -> Result<Vec<backlog::Sealed>, ChainStoreError> {
    let last = head.number.min(from.saturating_add(RECALLED_BLOCKS_MAX - 1));
    let mut blocks = Vec::new();
    for number in from..=last {
        let Some(block) = store.block(number)? else { break };
        let bytes = block.transactions.iter().map(batch_bytes_max).sum::<usize>() as u64;
        let age_secs = head.timestamp.saturating_sub(block.header.timestamp);
        let at_ms = started_ms.saturating_sub(age_secs.saturating_mul(1_000));
        blocks.push(backlog::Sealed { number, bytes, at_ms });
    }
    Ok(blocks)
}

/// Says a change in the log and the audit trail.
fn report(before: Level, pressure: &Pressure, changes: &mpsc::Sender<String>) {
    let (from, to) = (before.name(), pressure.level.name());
    let (lag, blocks, bytes) = (pressure.load.lag, pressure.load.blocks, pressure.load.bytes);
    if pressure.level > before {
        tracing::warn!(from, to, ?lag, blocks, bytes, "back-pressure: L1 is behind");
    } else {
        tracing::info!(from, to, ?lag, blocks, bytes, "back-pressure: L1 is catching up");
    }
    if changes.try_send(format!("{from} -> {to}: {}", describe(pressure))).is_err() {
        tracing::warn!("no line in the audit trail: the ledger is too slow");
    }
}

async fn write(ledger: &Ledger, mut queued: mpsc::Receiver<String>) {
    while let Some(line) = queued.recv().await {
        audit::note(ledger, "back-pressure", &line).await;
    }
}

fn describe(pressure: &Pressure) -> String {
    let (blocks, kib) = (pressure.load.blocks, pressure.load.bytes >> 10);
    let secs = pressure.load.lag.as_secs_f64();
    format!("{blocks} blocks ({kib} KiB) are not on L1, the oldest for {secs:.1} s")
}

/// The check of `/ready`: it fails from the level on at which no transaction is taken any more.
pub(super) fn check(pressure: &Pressure) -> Check {
    let detail = format!("{}: {}", pressure.level.name(), describe(pressure));
    Check { name: "posting", ok: pressure.orders.takes_transactions, detail }
}
