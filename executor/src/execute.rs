//! The one door: a state view and a block input go in, the executed block comes out.
//!
//! [`execute`] is one [`Execution::begin`], one [`Execution::extend`] and one [`Execution::seal`];
//! the block builder calls them apart, many times `extend`, and gets the same block. Sequential
//! execution (`reference.rs`) is the reference that every other mode must equal.

use crate::{
    access_list::BlockAccessList,
    block::{
        BlockEnv, BlockInput, Commitments, ExecutedBlock, Skipped, header, receipts_root,
        transactions_root,
    },
    counters::{Counters, Stopwatch},
    error::{ExecuteError, ViewError},
    progress::Progress,
    receipt::Receipt,
    reference::Reference,
    rules::ChainRules,
    state::{Changes, PostState, StateView, Touched},
    transaction::Transaction,
};
use alloc::{boxed::Box, sync::Arc};
use alloy_primitives::{Address, U256};
use alloy_primitives::{B256, Bloom};
use core::num::NonZeroUsize;

#[cfg(feature = "std")]
use crate::{crew::Crew, fees::FeeAccounts, knowledge::Knowledge, lane};

/// How the transactions of a block are executed. The result does not depend on it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mode {
    /// One after another on stock revm: the reference.
    Sequential,
    /// On this many threads, the caller's among them, whatever the block looks like.
    Parallel {
        /// Threads.
        workers: NonZeroUsize,
    },
    /// Whatever is predicted to be fastest for the block on this machine.
    #[default]
    Automatic,
}

/// How a block is executed, and what is known about it beforehand. All of it is advice: it can cost
/// time, never change a result.
#[derive(Clone, Copy, Debug, Default)]
pub struct Options<'a> {
    /// Mode.
    pub mode: Mode,
    /// What earlier blocks taught; learns from this one.
    #[cfg(feature = "std")]
    pub knowledge: Option<&'a Knowledge>,
    /// What the block's transactions are said to change, when the block is replayed.
    pub access_list: Option<&'a BlockAccessList>,
    /// Whether [`Execution::changes`] will be asked.
    pub reports_changes: bool,
}

impl From<Mode> for Options<'_> {
    fn from(mode: Mode) -> Self {
        Self { mode, ..Self::default() }
    }
}

/// Executes a whole block on the state of `view`, which is not changed.
///
/// # Errors
/// [`ExecuteError`] when the state cannot be read or the EVM itself fails. Invalid transactions are
/// no error: they are in [`ExecutedBlock::skipped`].
pub fn execute<V: StateView + Sync>(
    view: &V,
    input: &BlockInput,
    mode: Mode,
) -> Result<ExecutedBlock, ExecuteError> {
    execute_with(view, input, mode.into())
}

/// [`execute`] with knowledge from elsewhere.
///
/// # Errors
/// As [`execute`].
pub fn execute_with<V: StateView + Sync>(
    view: &V,
    input: &BlockInput,
    options: Options<'_>,
) -> Result<ExecutedBlock, ExecuteError> {
    let mut execution = Execution::begin(view, input.rules.clone(), input.env.clone(), options)?;
    execution.extend(&input.transactions)?;
    execution.seal()
}

/// A block being executed. Dropping it leaves no trace.
#[allow(missing_debug_implementations, reason = "holds an EVM, which has no Debug")]
pub struct Execution<'v, V: StateView> {
    env: BlockEnv,
    engine: Engine<'v, V>,
    progress: Progress,
    counters: Counters,
}

/// What executes: the reference, or a lane with or without helpers.
enum Engine<'v, V: StateView> {
    Reference(Box<Reference<'v, V>>),
    #[cfg(feature = "std")]
    Lane(Box<Crew<'v, V>>),
}

impl<'v, V: StateView + Sync> Engine<'v, V> {
    fn begin(
        view: &'v V,
        rules: &ChainRules,
        env: &BlockEnv,
        options: Options<'v>,
    ) -> Result<Self, ExecuteError> {
        #[cfg(feature = "std")]
        if options.mode != Mode::Sequential && lane::runs(rules.spec()) {
            let mut crew = Crew::new(view, rules, env, options);
            if options.reports_changes {
                crew.leader().journal_mut().set_reporting();
            }
            crew.leader().begin_block(env)?;
            return Ok(Self::Lane(Box::new(crew)));
        }
        // Without threads every mode is the reference.
        let _ = options;
        Ok(Self::Reference(Box::new(Reference::begin(view, rules, env)?)))
    }
}

impl<'v, V: StateView + Sync> Execution<'v, V> {
    /// Starts a block: the system calls of its hardfork run.
    ///
    /// # Errors
    /// [`ExecuteError`] when the state cannot be read or a system call fails.
    pub fn begin(
        view: &'v V,
        rules: Arc<ChainRules>,
        env: BlockEnv,
        options: Options<'v>,
    ) -> Result<Self, ExecuteError> {
        let stopwatch = Stopwatch::start();
        let engine = Engine::begin(view, &rules, &env, options)?;
        let mut counters = Counters { workers: 1, ..Counters::default() };
        counters.phases.transactions = stopwatch.elapsed();
        Ok(Self { progress: Progress::new(rules, &env), env, engine, counters })
    }

    /// Executes more transactions, in order, after those of earlier calls. An invalid one changes
    /// nothing and will be in [`ExecutedBlock::skipped`].
    ///
    /// # Errors
    /// [`ExecuteError`] when the state cannot be read or the EVM fails; the block is then lost.
    pub fn extend(&mut self, transactions: &[Transaction]) -> Result<(), ExecuteError> {
        self.progress.expect_more(transactions.len());
        match &mut self.engine {
            Engine::Reference(reference) => {
                let stopwatch = Stopwatch::start();
                reference.extend(transactions, &mut self.progress)?;
                self.counters.phases.transactions += stopwatch.elapsed();
                Ok(())
            }
            #[cfg(feature = "std")]
            Engine::Lane(crew) => crew.extend(transactions, &mut self.progress, &mut self.counters),
        }
    }

    /// The block's environment.
    #[must_use]
    pub const fn env(&self) -> &BlockEnv {
        &self.env
    }

    /// Gas that later transactions can still use.
    #[must_use]
    pub fn gas_left(&self) -> u64 {
        self.progress.gas_left()
    }

    /// A storage slot after the transactions so far. Looking changes nothing.
    ///
    /// # Errors
    /// [`ViewError`] when the state cannot be read.
    pub fn slot(&mut self, address: Address, slot: U256) -> Result<U256, ViewError> {
        match &mut self.engine {
            Engine::Reference(reference) => reference.peek_slot(address, slot),
            #[cfg(feature = "std")]
            Engine::Lane(crew) => crew.leader().journal_mut().peek_slot(address, slot),
        }
    }

    /// Whether the transactions so far have changed any slot of the account.
    ///
    /// # Errors
    /// [`ViewError`] when the state cannot be read.
    pub fn is_storage_changed(&mut self, address: Address) -> Result<bool, ViewError> {
        match &mut self.engine {
            Engine::Reference(reference) => Ok(reference.is_storage_changed(address)),
            #[cfg(feature = "std")]
            Engine::Lane(crew) => crew.leader().journal_mut().is_storage_changed(address),
        }
    }

    /// What was touched first since the last call; see [`Touched`]. The reference tells nothing.
    pub fn touched(&mut self) -> Touched {
        match &mut self.engine {
            Engine::Reference(_) => Touched::default(),
            #[cfg(feature = "std")]
            Engine::Lane(crew) => crew.touched(),
        }
    }

    /// What is included so far: transactions, and one receipt each. They stay as they are.
    #[must_use]
    pub fn included(&self) -> (&[Transaction], &[Receipt]) {
        (&self.progress.transactions, &self.progress.receipts)
    }

    /// What was skipped so far.
    #[must_use]
    pub fn skipped(&self) -> &[Skipped] {
        &self.progress.skipped
    }

    /// What changed since the last call, where [`Options::reports_changes`] said that it will be
    /// asked. From Cancun on: earlier, storage could vanish (EIP-6780). The reference tells everything
    /// that it has read.
    ///
    /// # Errors
    /// [`ExecuteError`] when a code cannot be read.
    pub fn changes(&mut self) -> Result<Changes, ExecuteError> {
        match &mut self.engine {
            Engine::Reference(reference) => Ok(reference.changes()),
            #[cfg(feature = "std")]
            Engine::Lane(crew) => {
                let fees = FeeAccounts::new(self.progress.rules(), &self.env);
                Ok(crew.leader().journal_mut().take_report(&fees)?)
            }
        }
    }

    /// Ends the block: withdrawals and closing system calls, the state root, the header.
    ///
    /// # Errors
    /// [`ExecuteError`] when the state cannot be read or a system call fails.
    pub fn seal(self) -> Result<ExecutedBlock, ExecuteError> {
        let Self { env, engine, progress, mut counters } = self;
        let spec = progress.rules().spec();
        let stopwatch = Stopwatch::start();
        let (requests_hash, view, diff) = match engine {
            Engine::Reference(mut reference) => {
                let requests_hash = reference.evm().end_block(&env, &progress.receipts)?;
                let (view, diff) = reference.into_diff();
                (requests_hash, view, diff)
            }
            #[cfg(feature = "std")]
            Engine::Lane(mut crew) => {
                let requests_hash = crew.leader().end_block(&env, &progress.receipts)?;
                let (view, diff) = crew.into_diff()?;
                (requests_hash, view, diff)
            }
        };
        counters.phases.diff = stopwatch.elapsed();
        let stopwatch = Stopwatch::start();
        let (lists, post_state) = roots(&progress, || view.after(&diff));
        let PostState { root, trie } = post_state?;
        let commitments = Commitments {
            state_root: root,
            transactions_root: lists.transactions_root,
            receipts_root: lists.receipts_root,
            logs_bloom: lists.logs_bloom,
            gas_used: progress.gas_used,
            blob_gas_used: progress.blob_gas_used,
            requests_hash,
        };
        let header = header(&env, spec, &commitments);
        let hash = header.hash_slow();
        counters.phases.roots = stopwatch.elapsed();
        Ok(ExecutedBlock {
            header,
            hash,
            transactions: progress.transactions,
            receipts: progress.receipts,
            skipped: progress.skipped,
            diff,
            trie,
            counters,
        })
    }
}

/// What a header says of the two lists of a block.
struct Lists {
    transactions_root: B256,
    receipts_root: B256,
    logs_bloom: Bloom,
}

impl Lists {
    fn of(progress: &Progress) -> Self {
        let (receipts_root, logs_bloom) = receipts_root(&progress.receipts);
        let transactions_root = transactions_root(&progress.transactions);
        Self { transactions_root, receipts_root, logs_bloom }
    }
}

/// Transactions from which on the lists are worth a second thread: half a millisecond of hashing.
#[cfg(feature = "std")]
const LISTS_LARGE: usize = 512;

/// The lists' roots, beside the state's where there is enough to do.
fn roots<R>(progress: &Progress, state: impl FnOnce() -> R) -> (Lists, R) {
    #[cfg(feature = "std")]
    if progress.transactions.len() >= LISTS_LARGE {
        let (lists, state) = crate::parallel::threads::both(|| Lists::of(progress), state);
        return (lists.unwrap_or_else(|| Lists::of(progress)), state);
    }
    (Lists::of(progress), state())
}

/// Runs what executes a transaction; a panic in it becomes an error that names the transaction.
pub(crate) fn guard<T>(
    transaction: &Transaction,
    run: impl FnOnce() -> Result<T, ExecuteError>,
) -> Result<T, ExecuteError> {
    #[cfg(feature = "std")]
    {
        let run = std::panic::AssertUnwindSafe(run);
        let panic = ExecuteError::Panic { transaction: transaction.hash() };
        std::panic::catch_unwind(run).unwrap_or(Err(panic))
    }
    #[cfg(not(feature = "std"))]
    {
        let _ = transaction;
        run()
    }
}
