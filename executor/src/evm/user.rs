//! A user's transaction: Ethereum's, and on a rollup the fees beside gas, charged as the OP Stack
//! does. Both are taken before it runs, the operator fee for the whole gas limit; what of that was
//! for unused gas is given back, and the rest goes to the vaults.
//!
//! The fees may be handed out instead of credited, so that transactions which have nothing but the
//! accounts of the fees in common can be executed side by side.

use super::{BlockJournal, Engine, EngineError};
#[cfg(feature = "std")]
use super::{Outcome, RuleEvm, signed_env};
#[cfg(feature = "std")]
use crate::{
    error::{ExecuteError, SkipReason},
    transaction::SignedTransaction,
};
use crate::{
    fees::{Charge, Payout},
    transaction::Transaction,
};
use alloc::boxed::Box;
use alloy_primitives::U256;
use core::{cell::Cell, marker::PhantomData};
use revm::{
    context::{
        ContextTr,
        result::{HaltReason, InvalidTransaction},
    },
    context_interface::{
        Block as _, Cfg as _, Transaction as _, cfg::gas::InitialAndFloorGas,
        journaled_state::account::JournaledAccountTr,
    },
    handler::{EvmTr, FrameResult, Handler, post_execution, pre_execution},
    interpreter::Gas,
    primitives::hardfork::SpecId,
};

impl<J: BlockJournal> super::RuleEvm<J> {
    /// What a signed transaction is charged beside its gas.
    pub(super) fn charge(&self, transaction: &Transaction) -> Option<Charge> {
        self.fees.map(|fees| fees.charge(transaction.raw(), transaction.gas_limit()))
    }
}

#[cfg(feature = "std")]
impl<J: BlockJournal> RuleEvm<J> {
    /// As [`Self::transact`] for a signed transaction, but its fees stay out of the journal and are
    /// returned: the balances of those who get them are not this journal's business.
    pub(crate) fn transact_without_payout(
        &mut self,
        signed: &SignedTransaction,
        transaction: &Transaction,
    ) -> Result<(Result<Outcome, SkipReason>, Payout), ExecuteError> {
        self.engine.ctx.tx = signed_env(signed, transaction.sender());
        let charge = self.charge(transaction);
        let mut handler = UserHandler { credits: false, ..UserHandler::crediting(charge) };
        let result = handler.run(&mut self.engine);
        let payout = handler.payout.get();
        Ok((self.conclude(result, transaction.hash())?, payout))
    }
}

/// Ethereum's handler with the fees beside gas.
pub(crate) struct UserHandler<J, I = ()> {
    charge: Option<Charge>,
    credits: bool,
    payout: Cell<Payout>,
    marker: PhantomData<(J, I)>,
}

impl<J, I> UserHandler<J, I> {
    /// A handler that credits all fees to those who get them.
    pub(crate) fn crediting(charge: Option<Charge>) -> Self {
        Self { charge, credits: true, payout: Cell::default(), marker: PhantomData }
    }
}

/// Gas that was used in the end: refunds and the calldata floor (EIP-7623) are in it.
fn gas_used(gas: &Gas) -> u64 {
    gas.used().saturating_sub(gas.reservoir())
}

impl<J: BlockJournal, I> Handler for UserHandler<J, I> {
    type Evm = Engine<J, I>;
    type Error = EngineError;
    type HaltReason = HaltReason;

    fn validate_against_state_and_deduct_caller(
        &self,
        evm: &mut Self::Evm,
        _initial: &mut InitialAndFloorGas,
    ) -> Result<(), Self::Error> {
        let Some(charge) = self.charge.filter(|_| !evm.ctx().cfg().is_fee_charge_disabled()) else {
            return pre_execution::validate_against_state_and_deduct_caller(evm.ctx());
        };
        let extra_wei = charge.upfront_wei();
        let (block, tx, cfg, journal, ..) = evm.ctx().all_mut();
        let mut caller = journal.load_account_with_code_mut(tx.caller())?.data;
        let info = &caller.account().info;
        pre_execution::validate_account_nonce_and_code_with_components(info, tx, cfg)?;
        let balance_wei = info.balance;
        let cost_wei = tx.max_balance_spending()?.checked_add(extra_wei);
        let cost_wei = cost_wei.ok_or(InvalidTransaction::OverflowPaymentInTransaction)?;
        if cost_wei > balance_wei && !cfg.is_balance_check_disabled() {
            let (fee, balance) = (Box::new(cost_wei), Box::new(balance_wei));
            return Err(InvalidTransaction::LackOfFundForMaxFee { fee, balance }.into());
        }
        let rest_wei = balance_wei.saturating_sub(extra_wei);
        let rest_wei = pre_execution::calculate_caller_fee(rest_wei, tx, block, cfg)?;
        caller.set_balance(rest_wei);
        if tx.kind().is_call() {
            caller.bump_nonce();
        }
        Ok(())
    }

    fn reimburse_caller(
        &self,
        evm: &mut Self::Evm,
        result: &mut FrameResult,
    ) -> Result<(), Self::Error> {
        let gas = result.gas();
        let unused_wei = self.charge.map_or(U256::ZERO, |charge| {
            charge.operator_max_wei.saturating_sub(charge.operator_wei(gas_used(gas)))
        });
        Ok(post_execution::reimburse_caller(evm.ctx(), gas, unused_wei)?)
    }

    fn reward_beneficiary(
        &self,
        evm: &mut Self::Evm,
        result: &mut FrameResult,
    ) -> Result<(), Self::Error> {
        let gas = result.gas();
        let mut payout = Payout::default();
        if let Some(charge) = self.charge.filter(|_| !evm.ctx().cfg().is_fee_charge_disabled()) {
            payout.l1_wei = charge.l1_wei;
            payout.operator_wei = charge.operator_wei(gas_used(gas));
        }
        if self.credits {
            post_execution::reward_beneficiary(evm.ctx(), gas)?;
            for (vault, wei) in payout.to_vaults() {
                evm.ctx().journal_mut().load_account_mut(vault)?.data.incr_balance(wei);
            }
            return Ok(());
        }
        // The amount that revm's `post_execution::reward_beneficiary` credits.
        let (block, tx, cfg, ..) = evm.ctx().all_mut();
        let base_fee_wei = u128::from(block.basefee());
        let price_wei = tx.effective_gas_price(base_fee_wei);
        let burnt_wei = if cfg.spec.is_enabled_in(SpecId::LONDON) { base_fee_wei } else { 0 };
        let priority_wei = price_wei.saturating_sub(burnt_wei) * u128::from(gas_used(gas));
        payout.priority_wei = U256::from(priority_wei);
        self.payout.set(payout);
        Ok(())
    }
}
