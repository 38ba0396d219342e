//! The one door for execution that somebody watches: a block again, transaction after transaction,
//! or calls on a state, with an inspector for each.
//!
//! Sets nothing up by itself: a block begins as the reference begins it, and its transactions run
//! through the same handlers, so that what is seen is what happened. Owns no tracer, no limit and no
//! RPC shape. An inspector that wants to stop an execution sets the context's error and halts the
//! interpreter; the session is then lost with [`ExecuteError::Evm`].

use crate::{
    block::{BlockEnv, Commitments, header, receipts_root, transactions_root},
    call::CallRequest,
    error::{ExecuteError, SkipReason, ViewError},
    evm::RuleEvm,
    execute::guard,
    receipt::Receipt,
    reference::Reference,
    rules::ChainRules,
    state::{Overlay, Reads, StateView},
    transaction::Transaction,
};
use alloy_consensus::Header;
use alloy_primitives::B256;
use revm::{
    DatabaseCommit,
    context::{BlockEnv as RevmBlock, CfgEnv, Context, Journal, JournalTr, TxEnv},
    state::EvmState,
};

pub use crate::evm::{Watched, Watching};

/// The journal below a session.
pub type SessionJournal<'v, V> = Journal<Overlay<'v, V>>;

/// What an inspector of a session sees.
pub type SessionContext<'v, V> =
    Context<RevmBlock, TxEnv, CfgEnv, Overlay<'v, V>, SessionJournal<'v, V>, ()>;

/// Execution in which somebody watches. It is handed back by each step; after an error it is lost.
#[allow(missing_debug_implementations, reason = "holds an EVM, which has no Debug")]
pub struct Session<'v, V: StateView> {
    evm: RuleEvm<SessionJournal<'v, V>>,
}

/// A step of a session: the session goes on whether or not the transaction was valid.
pub type Step<'v, V> = Result<(Session<'v, V>, Result<Watched, SkipReason>), ExecuteError>;

impl<'v, V: StateView> Session<'v, V> {
    /// Starts a block on the state before it: the system calls of its hardfork run.
    ///
    /// # Errors
    /// [`ExecuteError`] when the state cannot be read or a system call fails.
    pub fn begin(view: &'v V, rules: &ChainRules, env: &BlockEnv) -> Result<Self, ExecuteError> {
        Ok(Self { evm: Reference::begin(view, rules, env)?.into_evm() })
    }

    /// A session of calls on the state of an overlay, which carries state overrides. No system call
    /// runs.
    #[must_use]
    pub fn on(overlay: Overlay<'v, V>, rules: &ChainRules, env: &BlockEnv) -> Self {
        Self { evm: RuleEvm::new(Journal::new(overlay), rules, env) }
    }

    /// Runs the system calls that a block with this environment begins with.
    ///
    /// # Errors
    /// [`ExecuteError`] when the state cannot be read or a system call fails.
    pub fn begin_block(&mut self, env: &BlockEnv) -> Result<(), ExecuteError> {
        self.evm.begin_block(env)
    }

    /// Executes a transaction that nobody watches and settles it. One that is invalid changes
    /// nothing.
    ///
    /// # Errors
    /// [`ExecuteError`] when the state cannot be read or the EVM fails.
    pub fn pass(&mut self, transaction: &Transaction) -> Result<(), ExecuteError> {
        guard(transaction, || self.evm.transact(transaction)).map(drop)
    }

    /// Executes a transaction of the block under an inspector. [`Self::settle`] makes its changes
    /// part of the state.
    ///
    /// # Errors
    /// [`ExecuteError`] when the state cannot be read, the EVM fails, or the inspector stopped it.
    pub fn watch<I: Watching<SessionJournal<'v, V>>>(
        self,
        transaction: &Transaction,
        inspector: I,
    ) -> Step<'v, V> {
        guard(transaction, || {
            let (evm, reported) = self.evm.watch(transaction, inspector);
            reported.map(|reported| (Self { evm }, reported))
        })
    }

    /// Runs a call under an inspector, checked as eth_call checks it.
    ///
    /// # Errors
    /// As [`Self::watch`].
    pub fn call<I: Watching<SessionJournal<'v, V>>>(
        self,
        request: &CallRequest,
        gas_limit: u64,
        inspector: I,
    ) -> Step<'v, V> {
        let (evm, reported) = self.evm.watch_call(request, gas_limit, inspector);
        reported.map(|reported| (Self { evm }, reported))
    }

    /// As [`Self::watch`], without the checks that a call need not pass: its nonce, whether the
    /// sender has code, the gas limits of transaction and block, and without a fee the base fee.
    ///
    /// # Errors
    /// As [`Self::watch`].
    pub fn simulate<I: Watching<SessionJournal<'v, V>>>(
        self,
        transaction: &Transaction,
        inspector: I,
    ) -> Step<'v, V> {
        guard(transaction, || {
            let (evm, reported) = self.evm.simulate(transaction, inspector);
            reported.map(|reported| (Self { evm }, reported))
        })
    }

    /// The header of a block of simulated transactions that the session has executed. Without a trie
    /// for the state below it, its state root is zero.
    ///
    /// # Errors
    /// [`ExecuteError`] when the state cannot be read.
    pub fn seal(
        &self,
        env: &BlockEnv,
        transactions: &[Transaction],
        receipts: &[Receipt],
    ) -> Result<Header, ExecuteError> {
        let diff = self.state().diff();
        let trie = self.state().view().trie_for(&Reads::default(), &diff);
        let state_root = match trie.and_then(|trie| trie.apply(&diff)) {
            Ok(trie) => trie.root(),
            Err(ViewError::MissingNode) => B256::ZERO,
            Err(error) => return Err(error.into()),
        };
        let (receipts_root, logs_bloom) = receipts_root(receipts);
        let commitments = Commitments {
            state_root,
            transactions_root: transactions_root(transactions),
            receipts_root,
            logs_bloom,
            gas_used: receipts.last().map_or(0, |receipt| receipt.cumulative_gas_used),
            blob_gas_used: 0,
            requests_hash: None,
        };
        Ok(header(env, self.evm.spec(), &commitments))
    }

    /// Makes what a watched transaction changed part of the state.
    pub fn settle(&mut self, changes: EvmState) {
        self.state_mut().commit(changes);
    }

    /// The state as of now.
    #[must_use]
    pub fn state(&self) -> &Overlay<'v, V> {
        &self.evm.journal().database
    }

    /// The state as of now, for overrides between calls.
    pub fn state_mut(&mut self) -> &mut Overlay<'v, V> {
        &mut self.evm.journal_mut().database
    }

    /// The state, when the session is over.
    #[must_use]
    pub fn into_state(self) -> Overlay<'v, V> {
        self.evm.into_journal().database
    }

    /// The block as revm reads it.
    #[must_use]
    pub fn block(&self) -> &RevmBlock {
        self.evm.block()
    }
}
