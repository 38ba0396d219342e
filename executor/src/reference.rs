//! The reference: stock revm, one transaction after another, each committed to the [`Overlay`].
//!
//! Every other way of executing must equal it, so it shares as little with them as it can and has
//! no fast paths; it is also what a lean sequential executor is, and what the benchmark compares
//! with. Older rules live here alone: the DAO fork, and receipts with state roots.

use crate::{
    block::BlockEnv,
    dao_fork,
    error::{ExecuteError, SkipReason, ViewError},
    evm::{Outcome, RuleEvm},
    execute::guard,
    progress::Progress,
    rules::ChainRules,
    state::{Changes, Overlay, StateDiff, StateView},
    transaction::Transaction,
};
use alloy_primitives::{Address, B256, U256};
use revm::context::{Journal, JournalTr};

type Evm<'v, V> = RuleEvm<Journal<Overlay<'v, V>>>;

/// The reference at work on a block.
pub(crate) struct Reference<'v, V: StateView> {
    evm: Evm<'v, V>,
}

impl<'v, V: StateView> Reference<'v, V> {
    pub(crate) fn begin(
        view: &'v V,
        rules: &ChainRules,
        env: &BlockEnv,
    ) -> Result<Self, ExecuteError> {
        let mut overlay = Overlay::new(view);
        if let ChainRules::Ethereum(rules) = rules {
            dao_fork::apply(&mut overlay, rules.chain_id, env.number)?;
        }
        let mut evm = Evm::new(Journal::new(overlay), rules, env);
        evm.begin_block(env)?;
        Ok(Self { evm })
    }

    pub(crate) fn evm(&mut self) -> &mut Evm<'v, V> {
        &mut self.evm
    }

    /// The EVM of the block that has begun.
    pub(crate) fn into_evm(self) -> Evm<'v, V> {
        self.evm
    }

    pub(crate) fn extend(
        &mut self,
        transactions: &[Transaction],
        progress: &mut Progress,
    ) -> Result<(), ExecuteError> {
        for transaction in transactions {
            let outcome = match progress.admit(transaction) {
                Ok(()) => guard(transaction, || self.evm.transact(transaction))?,
                Err(reason) => Err(reason),
            };
            let root = self.root_for_receipt(&outcome, progress.rules())?;
            progress.record(transaction, outcome, root);
        }
        Ok(())
    }

    /// State root after a transaction, which receipts before Byzantium carry. Costs as much as the
    /// root of a block; those blocks are few and small.
    fn root_for_receipt(
        &self,
        outcome: &Result<Outcome, SkipReason>,
        rules: &ChainRules,
    ) -> Result<Option<B256>, ViewError> {
        if outcome.is_err() || !rules.receipts_have_roots() {
            return Ok(None);
        }
        let overlay = &self.evm.journal().database;
        Ok(Some(overlay.view().after(&overlay.diff())?.root))
    }

    /// Everything that was read or changed so far, as it is now.
    pub(crate) fn changes(&self) -> Changes {
        self.evm.journal().database.values()
    }

    /// A slot as the next transaction will find it.
    pub(crate) fn peek_slot(&self, address: Address, slot: U256) -> Result<U256, ViewError> {
        let overlay = &self.evm.journal().database;
        overlay.peek_slot(address, slot)
    }

    /// Whether any slot of the account differs from what it was before the block.
    pub(crate) fn is_storage_changed(&self, address: Address) -> bool {
        self.evm.journal().database.is_storage_changed(address)
    }

    pub(crate) fn into_diff(self) -> (&'v V, StateDiff) {
        let overlay = self.evm.into_journal().database;
        (overlay.view(), overlay.diff())
    }
}
