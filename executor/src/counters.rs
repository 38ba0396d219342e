//! What the execution of a block did and how long its phases took: numbers for metrics, the
//! dashboard and the benchmark. No result depends on them.

use core::time::Duration;

/// How a block's transactions were executed in the end.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Strategy {
    /// The reference: stock revm, one transaction after another.
    #[default]
    Reference,
    /// One after another over a kept journal, without helpers.
    InOrder,
    /// A leader in order, and helpers that execute ahead of it.
    Parallel,
}

/// Counters of one block.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// What was chosen.
    pub strategy: Strategy,
    /// Threads that executed transactions.
    pub workers: usize,
    /// Groups of transactions that were predicted to share nothing.
    pub components: usize,
    /// Results of helpers that were there when the leader came to their transactions.
    pub speculated: usize,
    /// Of those, the ones whose result the leader took over.
    pub accepted: usize,
    /// Of those, the ones that had read a value that was not the leader's then.
    pub conflicts: usize,
    /// Transactions that the leader executed although a helper had handed its result over.
    pub re_executions: usize,
    /// Time per phase.
    pub phases: Phases,
}

/// Time per phase of a block. Zero without the `std` feature, which has the clock.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Phases {
    /// Prediction and assignment of transactions to workers.
    pub plan: Duration,
    /// Transactions, with the system calls around them.
    pub transactions: Duration,
    /// Of that, the leader's waiting for helpers: in the middle of a block, and for their end.
    pub waiting: Duration,
    /// Collecting the state diff.
    pub diff: Duration,
    /// State root, transactions root, receipts root, header.
    pub roots: Duration,
}

impl Phases {
    /// Everything but the roots: from the block's inputs to its receipts and state diff.
    #[must_use]
    pub fn execution(&self) -> Duration {
        self.plan + self.transactions + self.diff
    }
}

/// A running clock, where there is one.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Stopwatch {
    #[cfg(feature = "std")]
    started: std::time::Instant,
}

impl Stopwatch {
    pub(crate) fn start() -> Self {
        Self {
            #[cfg(feature = "std")]
            started: std::time::Instant::now(),
        }
    }

    pub(crate) fn elapsed(&self) -> Duration {
        #[cfg(feature = "std")]
        return self.started.elapsed();
        #[cfg(not(feature = "std"))]
        Duration::ZERO
    }
}
