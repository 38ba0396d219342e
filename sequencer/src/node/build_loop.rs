//! The clock of the chain: asks the builder for a block at every slot. Building runs on a blocking
//! thread, so that it neither delays nor waits for the async tasks.

use super::{NodeError, audit, health::Health};
use crate::{builder::Builder, store::Ledger};
use executor::ExecutedBlock;
use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};
use tokio::time::{Instant, MissedTickBehavior, interval_at};
use tokio_util::sync::CancellationToken;

/// Builds until `shutdown`. A block that cannot be built is tried again at the next slot: nothing
/// of it was acknowledged.
pub(super) async fn build_blocks(
    mut builder: Builder,
    block_time: Duration,
    health: Arc<Health>,
    ledger: Ledger,
    shutdown: CancellationToken,
) -> Result<(), NodeError> {
    let mut slots = interval_at(Instant::now(), block_time);
    let mut sealed = 0;
    slots.set_missed_tick_behavior(MissedTickBehavior::Skip);
    loop {
        if !builder.is_behind() || health.is_failing() {
            tokio::select! {
                _ = slots.tick() => {}
                () = shutdown.cancelled() => return Ok(()),
            }
        }
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        let now_secs = now.map_or(0, |now| now.as_secs());
        let building = tokio::task::spawn_blocking(move || {
            let built = builder.build_next(now_secs);
            (builder, built)
        });
        let (returned, built) = building.await?;
        builder = returned;
        match built {
            Ok(Some(block)) => {
                let number = block.header.number;
                log(&block);
                if number <= sealed {
                    // Aside: sealing does not wait for the ledger.
                    tokio::spawn(audit::undone(ledger.clone(), sealed, number - 1));
                }
                sealed = number;
                health.sealed();
            }
            Ok(None) => health.sealed(),
            Err(error) => health.failed(&error),
        }
        if shutdown.is_cancelled() {
            return Ok(());
        }
    }
}

/// A line for the block, and one for what executing it took: whether helpers were called, how many
/// of their results held, and where the time went.
fn log(block: &ExecutedBlock) {
    let number = block.header.number;
    let users = block.transactions.iter().filter(|tx| tx.as_signed().is_some());
    let (transactions, gas) = (users.count(), block.header.gas_used);
    let skipped = block.skipped.len();
    tracing::debug!(number, transactions, skipped, gas, hash = %block.hash, "sealed");
    let counters = &block.counters;
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
