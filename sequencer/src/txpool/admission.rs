//! The checks that need neither state nor pool: what can be said about a transaction from its bytes
//! and the rules of the chain alone, microseconds before anything that costs more is done for it.
//!
//! Does not check nonce or balance: [`super::Pool::add`] does, against the account it is given.

use super::{
    AddError,
    terms::{CONDITIONS_COST_MAX, Terms},
};
use alloy::{
    consensus::{Transaction as _, Typed2718},
    primitives::{Bytes, U256},
};
use executor::{ChainRules, Transaction, Unrecovered, transaction::SignedTransaction};
use revm::{
    context_interface::cfg::gas::calculate_initial_tx_gas,
    primitives::{eip3860::MAX_INITCODE_SIZE, hardfork::SpecId},
};

/// EIP-2718 type of a blob transaction.
const BLOB_TX_TYPE: u8 = 3;

/// The static limits of one chain, read from its rules once.
#[derive(Clone, Copy, Debug)]
pub struct Admission {
    chain_id: u64,
    spec: SpecId,
    block_gas_limit: u64,
    transaction_gas_limit: u64,
    base_fee_min_wei: u64,
}

impl Admission {
    /// Takes the limits from the rules. Ethereum's rules, which no pool of ours serves, leave
    /// everything open that a block decides there.
    #[must_use]
    pub fn new(rules: &ChainRules) -> Self {
        let (block_gas_limit, transaction_gas_limit, base_fee_min_wei) = match rules {
            ChainRules::Rollup(rollup) => {
                (rollup.gas_limit, rollup.transaction_gas_limit, rollup.base_fee_min_wei)
            }
            ChainRules::Ethereum(_) => (u64::MAX, u64::MAX, 0),
        };
        Self {
            chain_id: rules.chain_id(),
            spec: rules.spec(),
            block_gas_limit,
            transaction_gas_limit,
            base_fee_min_wei,
        }
    }

    /// Decodes and runs every static check, cheapest first. The sender is not known then:
    /// [`executor::recover`] finds it, which costs more than everything here.
    ///
    /// # Errors
    /// [`AddError`]: any variant that needs no account.
    pub fn decode(&self, raw: Bytes) -> Result<Unrecovered, AddError> {
        if raw.first() == Some(&BLOB_TX_TYPE) {
            return Err(AddError::BlobsNotAccepted);
        }
        let decoded = Unrecovered::decode(raw)?;
        self.check_signed(decoded.signed())?;
        Ok(decoded)
    }

    /// The static checks on a transaction whose sender is known.
    ///
    /// # Errors
    /// [`AddError`]: any variant that needs no account.
    pub fn check(&self, transaction: &Transaction) -> Result<(), AddError> {
        match transaction.as_signed() {
            Some(signed) => self.check_signed(signed),
            None => Err(executor::TransactionError::DepositNotAllowed.into()),
        }
    }

    /// The checks on what a sender asks with a transaction, but for those that need a state.
    ///
    /// # Errors
    /// [`AddError`] when it can never be met, or costs too much to check.
    pub fn check_terms(&self, terms: &Terms, gas_limit: u64) -> Result<(), AddError> {
        if let Some(conditions) = &terms.conditions {
            let cost = conditions.cost();
            if cost > CONDITIONS_COST_MAX {
                return Err(AddError::ConditionsTooCostly { cost });
            }
            conditions.validate()?;
        }
        let needed_wei = U256::from(gas_limit) * U256::from(self.base_fee_min_wei);
        match terms.max_total_fee_wei {
            Some(cap_wei) if cap_wei < needed_wei => {
                Err(AddError::TotalFeeCapTooLow { cap_wei, needed_wei })
            }
            _ => Ok(()),
        }
    }

    fn check_signed(&self, signed: &SignedTransaction) -> Result<(), AddError> {
        if signed.ty() == BLOB_TX_TYPE {
            return Err(AddError::BlobsNotAccepted);
        }
        match signed.chain_id() {
            None => return Err(AddError::ReplayUnprotected),
            Some(have) if have != self.chain_id => {
                return Err(AddError::WrongChainId { have, want: self.chain_id });
            }
            Some(_) => {}
        }
        if signed.nonce() == u64::MAX {
            return Err(AddError::NonceMax);
        }
        if signed.authorization_list().is_some_and(<[_]>::is_empty) {
            return Err(AddError::EmptyAuthorizationList);
        }
        self.check_fees(signed)?;
        self.check_gas(signed)
    }

    fn check_fees(&self, signed: &SignedTransaction) -> Result<(), AddError> {
        let max_fee_wei = signed.max_fee_per_gas();
        let priority_fee_wei = offered_tip_wei(signed);
        if priority_fee_wei > max_fee_wei {
            return Err(AddError::PriorityFeeAboveMaxFee { priority_fee_wei, max_fee_wei });
        }
        if max_fee_wei < u128::from(self.base_fee_min_wei) {
            let base_fee_wei = self.base_fee_min_wei;
            return Err(AddError::FeeBelowBaseFee { max_fee_wei, base_fee_wei });
        }
        Ok(())
    }

    fn check_gas(&self, signed: &SignedTransaction) -> Result<(), AddError> {
        let gas_limit = signed.gas_limit();
        if gas_limit > self.block_gas_limit {
            return Err(AddError::ExceedsBlockGasLimit);
        }
        if gas_limit > self.transaction_gas_limit {
            return Err(AddError::GasLimitAboveCap { gas_limit, cap: self.transaction_gas_limit });
        }
        let input = signed.input();
        let is_create = signed.kind().is_create();
        if is_create && input.len() > MAX_INITCODE_SIZE {
            return Err(AddError::InitCodeTooLarge { size: input.len(), limit: MAX_INITCODE_SIZE });
        }
        let (accounts, slots) = signed.access_list().map_or((0, 0), |list| {
            let slots: usize = list.iter().map(|item| item.storage_keys.len()).sum();
            (list.len() as u64, slots as u64)
        });
        let authorizations = signed.authorization_list().map_or(0, |list| list.len() as u64);
        let gas = calculate_initial_tx_gas(
            self.spec,
            input,
            is_create,
            accounts,
            slots,
            authorizations,
            None,
        );
        let needed = gas.initial_total_gas();
        if gas_limit < needed {
            return Err(AddError::IntrinsicGas { gas_limit, needed });
        }
        let needed = gas.floor_gas();
        if gas_limit < needed {
            return Err(AddError::FloorGas { gas_limit, needed });
        }
        Ok(())
    }
}

/// Highest priority fee the sender offers, wei; a legacy transaction offers its whole price.
pub(crate) fn priority_fee_wei(transaction: &Transaction) -> u128 {
    transaction.as_signed().map_or(0, offered_tip_wei)
}

fn offered_tip_wei(signed: &SignedTransaction) -> u128 {
    signed.max_priority_fee_per_gas().unwrap_or_else(|| signed.max_fee_per_gas())
}
