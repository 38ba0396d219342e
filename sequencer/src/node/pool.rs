//! The pool over the life of the node: filled from its journal at the start, the journal kept short
//! while it runs.
//!
//! Does not write what is admitted: JSON-RPC does, before it answers.

use super::NodeError;
use crate::{
    settings::Config,
    store::{ChainStore, ChainStoreError, ChainView},
    txpool::{AccountState, AddError, Admission, Journal, Pool, Submission},
};
use executor::{ChainRules, FeeSchedule, Genesis, ViewError};
use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};
use tokio_util::sync::CancellationToken;

/// How often the journal learns what left the pool, and is looked at whether it should be compacted.
/// What left within it comes back after a kill, and goes the same way again.
const KEEP_INTERVAL: Duration = Duration::from_secs(1);

type SharedPool = Arc<Mutex<Pool>>;

fn lock(pool: &Mutex<Pool>) -> MutexGuard<'_, Pool> {
    pool.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The pool as it was when the node stopped, as far as that still holds, and its journal. A journal
/// that cannot be used does not keep the node from starting.
pub(super) async fn open(
    config: &Config,
    genesis: &Genesis,
    store: &ChainStore,
) -> Result<(SharedPool, Option<Arc<Journal>>), NodeError> {
    let mut pool = Pool::new(config.pool);
    let (path, rules, store) = (config.pool_journal(), genesis.chain_rules(), store.clone());
    let opened = tokio::task::spawn_blocking(move || {
        let (journal, found) = match Journal::open(&path) {
            Ok(opened) => opened,
            Err(error) => {
                tracing::error!(%error, "no journal: a restart will forget the pool");
                return Ok((pool, None));
            }
        };
        let count = found.len();
        if count > 0 {
            let view = store.view()?;
            if let Err(error) = restore(&mut pool, found, &rules, &view) {
                // What is not read back stays in the journal for the next start.
                tracing::error!(%error, "the pool is not read back");
                return Ok((pool, Some(Arc::new(journal))));
            }
            let restored = size(&pool);
            tracing::info!(restored, fell_out = count - restored, "pool read back");
        }
        // From here on the journal has what lives; what fell out need not be written again.
        pool.take_changed();
        if let Err(error) = journal.compact(|hashes| are_pooled(&pool, hashes)) {
            tracing::warn!(%error, "the pool's journal stays as it was");
        }
        Ok((pool, Some(Arc::new(journal))))
    });
    let opened: Result<_, ChainStoreError> = opened.await?;
    let (pool, journal) = opened?;
    Ok((Arc::new(Mutex::new(pool)), journal))
}

fn size(pool: &Pool) -> usize {
    let counts = pool.counts();
    counts.ready + counts.parked
}

fn are_pooled(pool: &Pool, hashes: &[alloy::primitives::B256]) -> Vec<bool> {
    hashes.iter().map(|hash| pool.get(hash).is_some()).collect()
}

/// Takes transactions through admission again, but for the recovery of their senders: that they were
/// written proves it was done.
fn restore(
    pool: &mut Pool,
    found: Vec<Submission>,
    rules: &ChainRules,
    view: &ChainView,
) -> Result<(), ViewError> {
    let admission = Admission::new(rules);
    let now = Instant::now();
    for submission in found {
        let hash = submission.transaction.hash();
        if let Err(error) = readmit(pool, submission, (rules, &admission), view, now)? {
            tracing::debug!(%hash, %error, "not read back into the pool");
        }
    }
    pool.expire(now);
    Ok(())
}

fn readmit(
    pool: &mut Pool,
    submission: Submission,
    (rules, admission): (&ChainRules, &Admission),
    view: &ChainView,
    now: Instant,
) -> Result<Result<(), AddError>, ViewError> {
    let transaction = &submission.transaction;
    let mut checked = admission.check(transaction);
    if let Some(terms) = &submission.terms {
        checked = checked.and_then(|()| admission.check_terms(terms, transaction.gas_limit()));
        // Bounds are left to the block that could include it: that it is too late is told then.
        if let Some(conditions) = &terms.conditions
            && let Some(unmet) = conditions.find_unmet(&mut &*view)?
        {
            return Ok(Err(unmet.into()));
        }
    }
    if let Err(error) = checked {
        return Ok(Err(error));
    }
    let fees = FeeSchedule::of_state(rules, view)?;
    let account = AccountState::read(view, transaction.sender(), fees)?;
    // The base fee would only decide the reported status.
    Ok(pool.add(submission, account, 0, now).map(drop))
}

/// Tells the journal what came back and what left, and compacts it when most of it is dead.
pub(super) async fn keep(
    pool: SharedPool,
    journal: Arc<Journal>,
    shutdown: CancellationToken,
) -> Result<(), NodeError> {
    loop {
        let is_last = tokio::select! {
            () = tokio::time::sleep(KEEP_INTERVAL) => false,
            () = shutdown.cancelled() => true,
        };
        let (pool, journal) = (pool.clone(), journal.clone());
        tokio::task::spawn_blocking(move || keep_once(&pool, &journal)).await?;
        if is_last {
            return Ok(());
        }
    }
}

fn keep_once(pool: &Mutex<Pool>, journal: &Journal) {
    let mut locked = lock(pool);
    let changed = locked.take_changed();
    let changed: Vec<_> =
        changed.into_iter().map(|hash| (hash, locked.submission(&hash))).collect();
    let (live, live_bytes) = (size(&locked), locked.bytes());
    drop(locked);
    journal.append_changed(changed);
    if journal.is_mostly_dead(live, live_bytes) {
        let compacted = journal.compact(|hashes| are_pooled(&lock(pool), hashes));
        match compacted {
            Ok(()) => tracing::debug!(bytes = journal.bytes(), "the pool's journal is compacted"),
            Err(error) => tracing::warn!(%error, "the pool's journal is not compacted"),
        }
    }
}
