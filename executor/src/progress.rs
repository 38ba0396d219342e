//! What of a block is there so far: included transactions, their receipts, the gas they used, and
//! what was skipped. The same for every way of executing; authoritative.

use crate::{
    block::{BlockEnv, Skipped},
    error::SkipReason,
    evm::{Outcome, blob_gas_max},
    receipt::Receipt,
    rules::ChainRules,
    transaction::{Body, Transaction},
};
use alloc::{sync::Arc, vec::Vec};
use alloy_primitives::B256;

/// The block so far.
#[derive(Debug)]
pub(crate) struct Progress {
    rules: Arc<ChainRules>,
    gas_limit: u64,
    pub(crate) gas_used: u64,
    pub(crate) blob_gas_used: u64,
    pub(crate) transactions: Vec<Transaction>,
    pub(crate) receipts: Vec<Receipt>,
    pub(crate) skipped: Vec<Skipped>,
}

impl Progress {
    pub(crate) fn new(rules: Arc<ChainRules>, env: &BlockEnv) -> Self {
        Self {
            rules,
            gas_limit: env.gas_limit,
            gas_used: 0,
            blob_gas_used: 0,
            transactions: Vec::new(),
            receipts: Vec::new(),
            skipped: Vec::new(),
        }
    }

    pub(crate) fn rules(&self) -> &ChainRules {
        &self.rules
    }

    pub(crate) fn expect_more(&mut self, count: usize) {
        self.transactions.reserve(count);
        self.receipts.reserve(count);
    }

    /// Gas that later transactions can still use.
    pub(crate) fn gas_left(&self) -> u64 {
        self.gas_limit.saturating_sub(self.gas_used)
    }

    /// Whether there is room for a transaction. Deposits always fit: their gas is bounded on L1 and
    /// they are mandatory.
    pub(crate) fn admit(&self, transaction: &Transaction) -> Result<(), SkipReason> {
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
        if transaction.ty() != 3 {
            return Ok(());
        }
        if let ChainRules::Rollup(_) = *self.rules {
            return Err(SkipReason::TypeNotSupported);
        }
        if self.blob_gas_used + transaction.blob_gas() > blob_gas_max(self.rules.spec()) {
            return Err(SkipReason::BlockBlobGas);
        }
        Ok(())
    }

    /// Writes down what became of a transaction. `state_root` is the one after it, where receipts
    /// carry it.
    pub(crate) fn record(
        &mut self,
        transaction: &Transaction,
        outcome: Result<Outcome, SkipReason>,
        state_root: Option<B256>,
    ) {
        let transaction = transaction.clone();
        let outcome = match outcome {
            Ok(outcome) => outcome,
            Err(reason) => return self.skipped.push(Skipped { transaction, reason }),
        };
        self.gas_used += outcome.gas_used;
        self.blob_gas_used += transaction.blob_gas();
        self.receipts.push(Receipt {
            ty: transaction.ty(),
            success: outcome.success,
            state_root,
            cumulative_gas_used: self.gas_used,
            logs: outcome.logs,
            deposit_nonce: outcome.deposit_nonce,
        });
        self.transactions.push(transaction);
    }
}
