//! Watches how far L1 is behind: keeps account of the blocks that it does not have, asks the governor
//! several times a second, tells everybody, and says every change in the log and the audit trail.
//!
//! Owns the clock and the account. What a level is and when it is entered is [`crate::pressure`]'s; acting
//! on it is the builder's and the admission's. Sealing waits for nothing here.

use super::{NodeError, audit};
use crate::{
    builder::{Sealed, batch_bytes_max},
    pressure::{
        Backlog, Gauge, Governor, Level, Limits, Load, Pressure,
        backlog::{self, KEPT_EVERY, Kept},
    },
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
/// Notes that wait to be written into the ledger while that is slow. When full the next changes are in the
/// log alone.
const NOTES_QUEUED_MAX: usize = 64;

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

/// What is written into the ledger.
#[derive(Debug)]
struct Note {
    /// For the audit trail, when the level changed.
    line: Option<String>,
    /// For the next run.
    kept: Kept,
}

/// The watch, before it runs.
#[derive(Debug)]
pub(super) struct Watch {
    limits: Limits,
    governor: Governor,
    store: ChainStore,
    ledger: Ledger,
    heads: watch::Receiver<Heads>,
    unposted: Arc<Unposted>,
    /// Newest block that is not the backlog's, as an earlier run knew.
    known_safe: u64,
    /// Newest block of earlier runs, and the age of the oldest of them that L1 does not have.
    found: Head,
    lag_left: Duration,
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
        let left = match known_safe < found.number {
            true => {
                let (oldest, lag) = (known_safe + 1, lag_by_timestamps(&store, known_safe, found)?);
                Kept::left(ledger.backlog().await?, oldest, lag)
            }
            false => Load::default(),
        };
        let (governor, pressure) = Governor::resume(limits, left);
        let backlog = Mutex::new(Backlog::new(known_safe));
        let unposted = Arc::new(Unposted { clock: Clock::start(), backlog });
        let (told, receiver) = watch::channel(pressure);
        let watch = Self {
            limits,
            governor,
            store,
            ledger,
            heads,
            unposted: unposted.clone(),
            known_safe,
            found,
            lag_left: left.lag,
            told,
        };
        Ok((watch, unposted, Gauge::new(receiver)))
    }

    /// Runs for as long as the node.
    ///
    /// # Errors
    /// [`NodeError`] when a thread panics.
    pub(super) async fn run(self) -> Result<(), NodeError> {
        let (store, known_safe, head) = (self.store.clone(), self.known_safe, self.found);
        let (lag, started_ms) = (self.lag_left, self.unposted.clock.started_unix_ms);
        let recalling = move || recall(&store, known_safe, head, (lag, started_ms));
        let earlier = tokio::task::spawn_blocking(recalling).await?;
        match earlier {
            Ok(blocks) => self.unposted.backlog().note_earlier(blocks),
            Err(error) => {
                tracing::warn!(%error, "blocks of earlier runs are not counted as backlog")
            }
        }
        let (notes, queued) = mpsc::channel(NOTES_QUEUED_MAX);
        tokio::join!(self.observe(notes), write(&self.ledger, queued));
        Ok(())
    }

    /// What L1 does not have now, and that for the next run.
    fn measure(&self) -> (Load, Kept) {
        let safe = self.heads.borrow().safe.block.number;
        let (head, now_ms) = (self.store.head().number, self.unposted.clock.now_ms());
        let load = self.unposted.backlog().load(safe, head, now_ms);
        let oldest = (head + 1).saturating_sub(load.blocks);
        (load, Kept { oldest, lag: load.lag, bytes: load.bytes })
    }

    async fn observe(&self, notes: mpsc::Sender<Note>) {
        // By now the blocks of earlier runs are counted.
        let (load, mut kept) = self.measure();
        let (resumed, found) = Governor::resume(self.limits, load);
        let mut governor = self.governor.clone();
        if found.level > governor.level() {
            governor = resumed;
            self.told.send_replace(found);
        }
        let found = *self.told.borrow();
        if found.level > Level::Open {
            report(Level::Open, &found, kept, &notes);
        }
        let mut kept_at = Instant::now();
        let mut ticks = tokio::time::interval(OBSERVE_EVERY);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            let (load, now) = self.measure();
            let pressure = governor.observe(load);
            let before = self.told.send_replace(pressure).level;
            if before != pressure.level {
                report(before, &pressure, now, &notes);
            } else if kept_at.elapsed() < KEPT_EVERY || now == kept {
                continue;
            } else {
                // While the ledger is slow the next one will do.
                let _ = notes.try_send(Note { line: None, kept: now });
            }
            (kept, kept_at) = (now, Instant::now());
        }
    }
}

/// Time from the oldest block above `known_safe` to the head, as their timestamps say.
fn lag_by_timestamps(
    store: &ChainStore,
    known_safe: u64,
    head: Head,
) -> Result<Duration, ChainStoreError> {
    let oldest = store.header(known_safe + 1)?.map_or(head.timestamp, |(it, _)| it.timestamp);
    Ok(Duration::from_secs(head.timestamp.saturating_sub(oldest)))
}

/// What was sealed above `known_safe` up to `head`, by earlier runs: the oldest `lag` before this run's
/// start, the others after that as their timestamps say. The time that the node was down does not count:
/// nobody could post then.
fn recall(
    store: &ChainStore,
    known_safe: u64,
    head: Head,
    (lag, started_ms): (Duration, u64),
) -> Result<Vec<backlog::Sealed>, ChainStoreError> {
    let from = known_safe + 1;
    let shift = lag.saturating_sub(lag_by_timestamps(store, known_safe, head)?);
    let last = head.number.min(from.saturating_add(RECALLED_BLOCKS_MAX - 1));
    let mut blocks = Vec::new();
    for number in from..=last {
        let Some(block) = store.block(number)? else { break };
        let bytes = block.transactions.iter().map(batch_bytes_max).sum::<usize>() as u64;
        let by_timestamps = head.timestamp.saturating_sub(block.header.timestamp);
        let age = (Duration::from_secs(by_timestamps) + shift).min(lag);
        let age_ms = u64::try_from(age.as_millis()).unwrap_or(u64::MAX);
        let at_ms = started_ms.saturating_sub(age_ms);
        blocks.push(backlog::Sealed { number, bytes, at_ms });
    }
    Ok(blocks)
}

/// Says a change in the log and the audit trail.
fn report(before: Level, pressure: &Pressure, kept: Kept, notes: &mpsc::Sender<Note>) {
    let (from, to) = (before.name(), pressure.level.name());
    let (lag, blocks, bytes) = (pressure.load.lag, pressure.load.blocks, pressure.load.bytes);
    if pressure.level > before {
        tracing::warn!(from, to, ?lag, blocks, bytes, "back-pressure: L1 is behind");
    } else {
        tracing::info!(from, to, ?lag, blocks, bytes, "back-pressure: L1 is catching up");
    }
    let line = Some(format!("{from} -> {to}: {}", describe(pressure)));
    if notes.try_send(Note { line, kept }).is_err() {
        tracing::warn!("no line in the audit trail: the ledger is too slow");
    }
}

async fn write(ledger: &Ledger, mut queued: mpsc::Receiver<Note>) {
    while let Some(Note { line, kept }) = queued.recv().await {
        if let Some(line) = line {
            audit::note(ledger, "back-pressure", &line).await;
        }
        if let Err(error) = ledger.keep_backlog(&kept).await {
            tracing::warn!(%error, "the ledger does not keep how far L1 is behind");
        }
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
