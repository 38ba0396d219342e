//! The clock of the chain: gives the builder one slot after another. It has a thread of its own,
//! because it executes; waiting for transactions goes through the runtime's timers.

use super::{NodeError, audit, health::Health, metrics::SealedCounters, pressure::Unposted};
use crate::{
    builder::{Builder, Pulse, Sealed, Wake},
    store::Ledger,
};
use std::{
    sync::Arc,
    time::{Duration, Instant, SystemTime},
};
use tokio::{runtime::Handle, sync::Notify};
use tokio_util::sync::CancellationToken;

/// What the loop needs besides the builder.
#[derive(Debug)]
pub(super) struct BuildLoop {
    pub(super) block_time: Duration,
    /// Told after each admitted transaction.
    pub(super) new_transaction: Arc<Notify>,
    pub(super) health: Arc<Health>,
    pub(super) ledger: Ledger,
    /// Told of each block.
    pub(super) counters: SealedCounters,
    /// Told of each block; `None` without back-pressure.
    pub(super) unposted: Option<Arc<Unposted>>,
    pub(super) shutdown: CancellationToken,
}

impl BuildLoop {
    /// Builds until the node stops. A block that cannot be built is tried again at the next slot:
    /// what was acknowledged of it stands.
    ///
    /// # Errors
    /// [`NodeError`] when the thread cannot be started, or panics.
    pub(super) async fn run(self, builder: Builder) -> Result<(), NodeError> {
        let runtime = Handle::current();
        let building = tokio::task::spawn_blocking(move || self.build(builder, &runtime));
        Ok(building.await?)
    }

    fn build(self, mut builder: Builder, runtime: &Handle) {
        let Self { block_time, new_transaction, health, ledger, shutdown, .. } = &self;
        let block_time = *block_time;
        let mut pulse = Clock { runtime, new_transaction, shutdown };
        let mut slot_end = Instant::now() + block_time;
        let mut sealed_number = 0;
        while !shutdown.is_cancelled() {
            let is_behind = builder.is_behind() && !health.is_failing();
            let end = if is_behind { Instant::now() } else { slot_end };
            match builder.build_next(now_secs(), end, &mut pulse) {
                Ok(Some(sealed)) => {
                    let number = sealed.header.number;
                    log(&sealed);
                    self.counters.note(&sealed);
                    if let Some(unposted) = &self.unposted {
                        unposted.note(&sealed);
                    }
                    if number <= sealed_number {
                        // Aside: sealing does not wait for the ledger.
                        let undone = audit::undone(ledger.clone(), sealed_number, number - 1);
                        runtime.spawn(undone);
                    }
                    sealed_number = number;
                    health.sealed();
                }
                Ok(None) => {
                    health.sealed();
                    pulse.wait(slot_end);
                }
                Err(error) => {
                    health.failed(&error);
                    while pulse.wait(slot_end) == Wake::Transactions {}
                }
            }
            let now = Instant::now();
            while slot_end <= now {
                slot_end += block_time;
            }
        }
    }
}

fn now_secs() -> u64 {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    now.map_or(0, |now| now.as_secs())
}

/// Waits on the runtime's timers.
struct Clock<'a> {
    runtime: &'a Handle,
    new_transaction: &'a Notify,
    shutdown: &'a CancellationToken,
}

impl Pulse for Clock<'_> {
    fn wait(&mut self, until: Instant) -> Wake {
        self.runtime.block_on(async {
            tokio::select! {
                biased;
                () = self.shutdown.cancelled() => Wake::Shutdown,
                () = self.new_transaction.notified() => Wake::Transactions,
                () = tokio::time::sleep_until(until.into()) => Wake::Time,
            }
        })
    }
}

/// A line for the block, and one for what executing it took: whether helpers were called, how many
/// of their results held, and where the time went.
fn log(sealed: &Sealed) {
    let (number, gas) = (sealed.header.number, sealed.header.gas_used);
    let (transactions, skipped) = (sealed.transactions, sealed.skipped.len());
    let sealing = sealed.sealing;
    tracing::debug!(number, transactions, skipped, gas, hash = %sealed.hash, ?sealing, "sealed");
    let counters = &sealed.counters;
    let phases = &counters.phases;
    tracing::debug!(
        number,
        strategy = ?counters.strategy,
        workers = counters.workers,
        components = counters.components,
        speculated = counters.speculated,
        accepted = counters.accepted,
        conflicts = counters.conflicts,
        re_executions = counters.re_executions,
        plan = ?phases.plan,
        execution = ?phases.transactions,
        diff = ?phases.diff,
        roots = ?phases.roots,
        "executed"
    );
}
