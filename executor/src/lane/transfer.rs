//! The plain transfer, without an interpreter.
//!
//! Takes the transaction only when it is certain to go through as a transfer between accounts
//! without code; everything else, and every doubt, is revm's. Equal to revm by the tests that
//! compare every mode with the reference.

use super::{access::clear_destroyed, base, journal::LaneJournal, trace::is_low};
use crate::{
    error::ViewError,
    fees::{FeeAccounts, FeeSchedule, Payout},
    state::StateView,
    transaction::{SignedTransaction, Transaction},
};
use alloy_consensus::Transaction as _;
use alloy_primitives::{Address, KECCAK256_EMPTY, TxKind, U256};

/// Gas of a transfer without data (Yellow Paper, G_transaction).
pub(crate) const TRANSFER_GAS: u64 = 21_000;

/// A transfer that the block's rules allow; whether the accounts do is not known yet.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Transfer {
    pub(crate) from: Address,
    pub(crate) to: Address,
    nonce: u64,
    value: U256,
    /// Balance needed, in wei.
    cost_max_wei: U256,
    /// All fees that the sender pays, in wei.
    fee_wei: U256,
    /// The part of them that is not burnt.
    payout: Payout,
}

/// What of the block a transfer needs to know.
#[derive(Clone, Copy, Debug)]
pub(crate) struct TransferRules {
    pub(crate) chain_id: u64,
    /// Highest transaction type that may be a plain transfer: 2, or 0 before London.
    pub(crate) ty_max: u8,
    pub(crate) base_fee_wei: u64,
    pub(crate) gas_limit_max: u64,
    pub(crate) fee_accounts: FeeAccounts,
}

impl Transfer {
    /// The transfer that a transaction is; `None` for anything else. `fees` are those beside gas.
    pub(crate) fn of(
        signed: &SignedTransaction,
        transaction: &Transaction,
        rules: &TransferRules,
        fees: Option<FeeSchedule>,
    ) -> Option<Self> {
        let TxKind::Call(to) = signed.kind() else { return None };
        let base_fee_wei = u128::from(rules.base_fee_wei);
        let price_max_wei = signed.max_fee_per_gas();
        let gas_limit = signed.gas_limit();
        let is_plain = signed.input().is_empty()
            && signed.tx_type() as u8 <= rules.ty_max
            && signed.access_list().is_none_or(|list| list.is_empty())
            && signed.chain_id().is_none_or(|id| id == rules.chain_id)
            && (TRANSFER_GAS..=rules.gas_limit_max).contains(&gas_limit)
            && price_max_wei >= base_fee_wei
            && signed.max_priority_fee_per_gas().is_none_or(|tip| tip <= price_max_wei)
            && signed.nonce() != u64::MAX
            && !is_low(&to);
        if !is_plain {
            return None;
        }
        let price_wei = match signed.max_priority_fee_per_gas() {
            Some(tip) => price_max_wei.min(base_fee_wei.saturating_add(tip)),
            None => price_max_wei,
        };
        let gas = U256::from(TRANSFER_GAS);
        let cost_max_wei = U256::from(price_max_wei)
            .checked_mul(U256::from(gas_limit))?
            .checked_add(signed.value())?;
        let mut payout = Payout {
            priority_wei: U256::from(price_wei - base_fee_wei) * gas,
            ..Payout::default()
        };
        let mut extra_max_wei = U256::ZERO;
        if let Some(fees) = fees {
            let charge = fees.charge(transaction.raw(), gas_limit);
            payout.l1_wei = charge.l1_wei;
            payout.operator_wei = charge.operator_wei(TRANSFER_GAS);
            extra_max_wei = charge.upfront_wei();
        }
        Some(Self {
            from: transaction.sender(),
            to,
            nonce: signed.nonce(),
            value: signed.value(),
            cost_max_wei: cost_max_wei.checked_add(extra_max_wei)?,
            fee_wei: (U256::from(price_wei) * gas)
                .checked_add(payout.l1_wei)?
                .checked_add(payout.operator_wei)?,
            payout,
        })
    }
}

impl<V: StateView> LaneJournal<'_, V> {
    /// Executes a transfer if the accounts allow it; `false` leaves everything to revm.
    /// `fee_accounts` is `None` in a helper's lane.
    ///
    /// # Errors
    /// The view cannot be read.
    pub(crate) fn transfer_plainly(
        &mut self,
        transfer: &Transfer,
        fee_accounts: Option<&FeeAccounts>,
    ) -> Result<bool, ViewError> {
        let Some(from) = self.visit(transfer.from)? else { return Ok(false) };
        if from.nonce != transfer.nonce
            || from.code_hash != KECCAK256_EMPTY
            || from.balance_wei < transfer.cost_max_wei
        {
            return Ok(false);
        }
        // Only now: revm reads the recipient of no transaction that is not valid.
        let Some(to) = self.visit(transfer.to)? else { return Ok(false) };
        if to.code_hash != KECCAK256_EMPTY || to.balance_wei.checked_add(transfer.value).is_none() {
            return Ok(false);
        }
        self.change(transfer.from, |account| {
            account.nonce += 1;
            account.balance -= transfer.value + transfer.fee_wei;
        });
        self.change(transfer.to, |account| account.balance += transfer.value);
        if let Some(fee_accounts) = fee_accounts {
            self.credit_fees(fee_accounts, transfer.payout)?;
        }
        Ok(true)
    }

    /// The account as the next transaction finds it.
    fn visit(&mut self, address: Address) -> Result<Option<crate::Account>, ViewError> {
        if !self.state().contains_key(&address) {
            self.load_unvisited(address)?;
        }
        let Self { inner, trace } = self;
        let Some(account) = inner.inner.state.get_mut(&address) else { return Ok(None) };
        clear_destroyed(account);
        trace.note_account(address, account, true);
        Ok(Some(base::account(&account.info)))
    }

    fn change(&mut self, address: Address, change: impl FnOnce(&mut revm::state::AccountInfo)) {
        if let Some(account) = self.inner.inner.state.get_mut(&address) {
            change(&mut account.info);
            account.mark_touch();
            debug_assert!(base::account(&account.info).code_hash == KECCAK256_EMPTY);
        }
    }
}
