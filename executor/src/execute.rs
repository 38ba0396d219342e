//! The one door: a state view and a block input go in, the executed block comes out.
//!
//! [`execute`] is one [`Execution::begin`], one [`Execution::extend`] and one [`Execution::seal`];
//! the block builder calls them apart, many times `extend`, and gets the same block. The sequential
//! path below is the reference that every other mode must equal.

use crate::{
    block::{
        BlockEnv, BlockInput, Commitments, ExecutedBlock, Skipped, header, receipts_root,
        transactions_root,
    },
    counters::{Counters, Phases, Stopwatch},
    error::{ExecuteError, SkipReason},
    evm::{self, RuleEvm},
    knowledge::Knowledge,
    receipt::Receipt,
    rules::ChainRules,
    state::{Overlay, StateView},
    transaction::{Body, Transaction},
};
use alloc::{sync::Arc, vec::Vec};
use core::num::NonZeroUsize;

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
    pub knowledge: Option<&'a Knowledge>,
}

impl From<Mode> for Options<'_> {
    fn from(mode: Mode) -> Self {
        Self { mode, knowledge: None }
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
    let _ = options;
    let mut execution = Execution::begin(view, input.rules.clone(), input.env.clone())?;
    execution.extend(&input.transactions)?;
    execution.seal()
}

/// A block being executed. Dropping it leaves no trace.
#[allow(missing_debug_implementations, reason = "holds an EVM, which has no Debug")]
pub struct Execution<'v, V: StateView> {
    rules: Arc<ChainRules>,
    env: BlockEnv,
    evm: RuleEvm<'v, V>,
    gas_used: u64,
    blob_gas_used: u64,
    transactions: Vec<Transaction>,
    receipts: Vec<Receipt>,
    skipped: Vec<Skipped>,
    phases: Phases,
}

impl<'v, V: StateView + Sync> Execution<'v, V> {
    /// Starts a block: the system calls of its hardfork run.
    ///
    /// # Errors
    /// [`ExecuteError`] when the state cannot be read or a system call fails.
    pub fn begin(view: &'v V, rules: Arc<ChainRules>, env: BlockEnv) -> Result<Self, ExecuteError> {
        let mut evm = RuleEvm::new(Overlay::new(view), &rules, &env);
        evm.begin_block(&env)?;
        Ok(Self {
            rules,
            env,
            evm,
            gas_used: 0,
            blob_gas_used: 0,
            transactions: Vec::new(),
            receipts: Vec::new(),
            skipped: Vec::new(),
            phases: Phases::default(),
        })
    }

    /// Executes more transactions, in order, after those of earlier calls. An invalid one changes
    /// nothing and will be in [`ExecutedBlock::skipped`].
    ///
    /// # Errors
    /// [`ExecuteError`] when the state cannot be read or the EVM fails; the block is then lost.
    pub fn extend(&mut self, transactions: &[Transaction]) -> Result<(), ExecuteError> {
        let stopwatch = Stopwatch::start();
        transactions.iter().try_for_each(|transaction| self.execute_one(transaction))?;
        self.phases.transactions += stopwatch.elapsed();
        Ok(())
    }

    fn execute_one(&mut self, transaction: &Transaction) -> Result<(), ExecuteError> {
        if let Err(reason) = self.check_block_space(transaction) {
            self.skipped.push(Skipped { transaction: transaction.clone(), reason });
            return Ok(());
        }
        let outcome = match self.evm.transact(transaction)? {
            Ok(outcome) => outcome,
            Err(reason) => {
                self.skipped.push(Skipped { transaction: transaction.clone(), reason });
                return Ok(());
            }
        };
        let state_root =
            self.rules.receipts_have_roots().then(|| self.evm.state_root()).transpose()?;
        self.gas_used += outcome.gas_used;
        self.blob_gas_used += transaction.blob_gas();
        self.transactions.push(transaction.clone());
        self.receipts.push(Receipt {
            ty: transaction.ty(),
            success: outcome.success,
            state_root,
            cumulative_gas_used: self.gas_used,
            logs: outcome.logs,
            deposit_nonce: outcome.deposit_nonce,
        });
        Ok(())
    }

    /// Deposits always fit: their gas is bounded on L1 and they are mandatory.
    fn check_block_space(&self, transaction: &Transaction) -> Result<(), SkipReason> {
        if matches!(transaction.body(), Body::Deposit(_)) {
            return match *self.rules {
                ChainRules::Rollup(_) => Ok(()),
                ChainRules::Ethereum(_) => Err(SkipReason::TypeNotSupported),
            };
        }
        let gas_left = self.gas_left();
        let gas_limit = transaction.gas_limit();
        if gas_limit > gas_left {
            return Err(SkipReason::BlockGas { gas_limit, gas_left });
        }
        if let ChainRules::Rollup(_) = *self.rules
            && transaction.ty() == 3
        {
            return Err(SkipReason::TypeNotSupported);
        }
        let blob_gas_max = evm::blob_gas_max(self.rules.spec());
        if self.blob_gas_used + transaction.blob_gas() > blob_gas_max {
            return Err(SkipReason::BlockBlobGas);
        }
        Ok(())
    }

    /// Gas that later transactions can still use.
    #[must_use]
    pub fn gas_left(&self) -> u64 {
        self.env.gas_limit.saturating_sub(self.gas_used)
    }

    /// Ends the block: withdrawals and closing system calls, the state root, the header.
    ///
    /// # Errors
    /// [`ExecuteError`] when the state cannot be read or a system call fails.
    pub fn seal(mut self) -> Result<ExecutedBlock, ExecuteError> {
        let requests_hash = self.evm.end_block(&self.env, &self.receipts)?;
        let overlay = self.evm.into_overlay();
        let stopwatch = Stopwatch::start();
        let (view, diff) = overlay.into_diff();
        self.phases.diff = stopwatch.elapsed();
        let stopwatch = Stopwatch::start();
        let trie = view.trie().apply(&diff)?;
        let (receipts_root, logs_bloom) = receipts_root(&self.receipts);
        let commitments = Commitments {
            state_root: trie.root(),
            transactions_root: transactions_root(&self.transactions),
            receipts_root,
            logs_bloom,
            gas_used: self.gas_used,
            blob_gas_used: self.blob_gas_used,
            requests_hash,
        };
        let header = header(&self.env, self.rules.spec(), &commitments);
        let hash = header.hash_slow();
        self.phases.roots = stopwatch.elapsed();
        Ok(ExecutedBlock {
            header,
            hash,
            transactions: self.transactions,
            receipts: self.receipts,
            skipped: self.skipped,
            diff,
            trie,
            counters: Counters { workers: 1, phases: self.phases, ..Counters::default() },
        })
    }
}
