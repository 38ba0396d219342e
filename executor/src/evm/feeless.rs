//! A transaction whose fee is handed out instead of credited, so that transactions which have nothing
//! but the beneficiary in common can be executed side by side.

use super::{BlockJournal, Engine, EngineError, Outcome, RuleEvm, signed_env};
use crate::{
    error::{ExecuteError, SkipReason},
    transaction::{SignedTransaction, Transaction},
};
use alloy_primitives::U256;
use core::{cell::Cell, marker::PhantomData};
use revm::{
    context::{ContextTr, result::HaltReason},
    context_interface::Transaction as _,
    handler::{EvmTr, FrameResult, Handler},
    primitives::hardfork::SpecId,
};

impl<J: BlockJournal> RuleEvm<J> {
    /// As [`Self::transact`] for a signed transaction, but its fee stays out of the journal and is
    /// returned: the beneficiary's balance is not this journal's business.
    pub(crate) fn transact_without_fee(
        &mut self,
        signed: &SignedTransaction,
        transaction: &Transaction,
    ) -> Result<(Result<Outcome, SkipReason>, U256), ExecuteError> {
        self.engine.ctx.tx = signed_env(signed, transaction.sender());
        let mut handler = FeelessHandler { fee_wei: Cell::new(U256::ZERO), marker: PhantomData };
        let result = handler.run(&mut self.engine);
        let fee_wei = handler.fee_wei.get();
        Ok((self.conclude(result, transaction.hash())?, fee_wei))
    }
}

/// Ethereum's handler, except that the fee is handed out instead of credited.
struct FeelessHandler<J> {
    fee_wei: Cell<U256>,
    marker: PhantomData<J>,
}

impl<J: BlockJournal> Handler for FeelessHandler<J> {
    type Evm = Engine<J>;
    type Error = EngineError;
    type HaltReason = HaltReason;

    /// The amount that revm's `post_execution::reward_beneficiary` credits.
    fn reward_beneficiary(
        &self,
        evm: &mut Self::Evm,
        result: &mut FrameResult,
    ) -> Result<(), Self::Error> {
        let (block, tx, cfg, ..) = evm.ctx().all_mut();
        let base_fee_wei = u128::from(block.basefee);
        let price_wei = tx.effective_gas_price(base_fee_wei);
        let burnt_wei = if cfg.spec.is_enabled_in(SpecId::LONDON) { base_fee_wei } else { 0 };
        let gas = result.gas();
        let used = gas.used().saturating_sub(gas.reservoir());
        self.fee_wei.set(U256::from(price_wei.saturating_sub(burnt_wei) * u128::from(used)));
        Ok(())
    }
}
