//! The threads of the executor, kept for the life of the process: starting one costs as much as
//! twenty transactions.
//!
//! There is one pool for each number of helpers that was ever asked for. Two blocks that are
//! executed at once share it: one may then run with fewer helpers than it asked for, and none the
//! less ends.

use rayon_core::{ThreadPool, ThreadPoolBuilder};
use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, OnceLock, PoisonError},
};

/// Cores that this process may use.
pub(crate) fn cores() -> usize {
    static CORES: OnceLock<usize> = OnceLock::new();
    *CORES.get_or_init(|| std::thread::available_parallelism().map_or(1, Into::into))
}

/// The threads for this many helpers; `None` when the system has none to give.
pub(super) fn pool(helpers: usize) -> Option<Arc<ThreadPool>> {
    static POOLS: Mutex<BTreeMap<usize, Arc<ThreadPool>>> = Mutex::new(BTreeMap::new());
    let mut pools = POOLS.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(pool) = pools.get(&helpers) {
        return Some(pool.clone());
    }
    let named = |index| std::format!("executor-{index}");
    let pool = ThreadPoolBuilder::new().num_threads(helpers).thread_name(named).build().ok()?;
    let pool = Arc::new(pool);
    pools.insert(helpers, pool.clone());
    Some(pool)
}

/// Runs both, at the same time where there is a core for each.
pub(crate) fn both<A: Send, B>(
    first: impl FnOnce() -> A + Send,
    second: impl FnOnce() -> B,
) -> (Option<A>, B) {
    let pool = if cores() > 1 { pool(1) } else { None };
    let Some(pool) = pool else {
        let second = second();
        return (Some(first()), second);
    };
    let mut result = None;
    let second = pool.in_place_scope(|scope| {
        let result = &mut result;
        scope.spawn(move |_| *result = Some(first()));
        second()
    });
    (result, second)
}

/// Runs it when there is a core for it, and does not wait.
pub(crate) fn later(run: impl FnOnce() + Send + 'static) {
    match if cores() > 1 { pool(1) } else { None } {
        Some(pool) => pool.spawn(run),
        None => run(),
    }
}
