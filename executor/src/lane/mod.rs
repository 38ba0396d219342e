//! A lane: one EVM whose journal is kept from transaction to transaction.
//!
//! The kept journal is at once the cache of what was read, the changes of the block so far, and,
//! for a helper of the parallel executor, the record of what a transaction read and wrote. Nothing
//! is moved out of it or hashed a second time between two transactions, which makes a lane faster
//! than the reference even on one thread.
//!
//! Authoritative: the leader's lane, whose state after each transaction is the block's. A hint: a
//! helper's lane, of which single results are taken over only when everything they read equals the
//! leader's state. Semantics are revm's; what is written here is the plain transfer, the
//! comparison, the diff, and around revm's own methods the notes of what they touch. Lanes run Byzantium and later, where an empty account and none are the
//! same (EIP-161) and receipts hold no state roots (EIP-658); older blocks take the reference.

mod access;
mod base;
mod diff;
mod journal;
mod keccak;
mod peek;
mod spare;
mod trace;
mod transfer;

pub(crate) use access::{Access, Announcement, Patch};
pub(crate) use base::Base;
pub(crate) use journal::LaneJournal;
pub(crate) use transfer::{Transfer, TransferRules};

use crate::{
    block::BlockEnv,
    error::{ExecuteError, SkipReason},
    evm::{Outcome, RuleEvm},
    fees::FeeAccounts,
    rules::ChainRules,
    state::StateView,
    transaction::{Body, Transaction},
};
use alloc::vec::Vec;
use revm::primitives::{eip7825, hardfork::SpecId};

/// A lane over the state of a view.
pub(crate) type Lane<'v, V> = RuleEvm<LaneJournal<'v, V>>;

/// Whether lanes execute blocks of this hardfork.
pub(crate) fn runs(spec: SpecId) -> bool {
    spec.is_enabled_in(SpecId::BYZANTIUM) && !spec.is_enabled_in(SpecId::AMSTERDAM)
}

impl TransferRules {
    /// The rules for plain transfers in a block of a hardfork that lanes run.
    pub(crate) fn new(rules: &ChainRules, env: &BlockEnv) -> Self {
        let gas_limit_max = match rules {
            ChainRules::Rollup(rollup) => rollup.transaction_gas_limit,
            ChainRules::Ethereum(rules) if rules.spec.is_enabled_in(SpecId::OSAKA) => {
                eip7825::TX_GAS_LIMIT_CAP
            }
            ChainRules::Ethereum(_) => u64::MAX,
        };
        Self {
            chain_id: rules.chain_id(),
            ty_max: if rules.spec().is_enabled_in(SpecId::LONDON) { 2 } else { 0 },
            base_fee_wei: env.base_fee_wei.unwrap_or(0),
            gas_limit_max,
            fee_accounts: FeeAccounts::new(rules, env),
        }
    }
}

impl<V: StateView> Lane<'_, V> {
    /// Makes the EVM note hashes when it is asked to; for the lane that learns.
    pub(crate) fn teachable(mut self) -> Self {
        keccak::install(self.engine_mut());
        self
    }

    /// Executes a transaction as the leader: its fees are credited, its changes count.
    pub(crate) fn execute(
        &mut self,
        transaction: &Transaction,
        rules: &TransferRules,
    ) -> Result<Result<Outcome, SkipReason>, ExecuteError> {
        let mut has_access_list = false;
        if let Body::Signed(signed) = transaction.body() {
            let transfer = Transfer::of(signed, transaction, rules, self.fees());
            self.journal_mut().begin_trace(false);
            if let Some(transfer) = transfer
                && self.journal_mut().transfer_plainly(&transfer, Some(&rules.fee_accounts))?
            {
                return Ok(Ok(transferred()));
            }
            has_access_list = transaction.has_access_list();
        }
        self.journal_mut().begin_trace(has_access_list);
        self.transact(transaction)
    }
}

/// Outcome of a plain transfer.
pub(crate) fn transferred() -> Outcome {
    Outcome {
        success: true,
        gas_used: transfer::TRANSFER_GAS,
        logs: Vec::new(),
        deposit_nonce: None,
    }
}
